from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.protocol.codes import INVALID_REQUEST, PARSE_ERROR
from gatewayd.protocol.jsonrpc import (
    Failure,
    Id,
    Message,
    Notification,
    Request,
    Result,
    RpcError,
    decode,
    decode_batch,
    encode,
    identifier,
)
from gatewayd.protocol.jsontext import JsonError, is_array
from tests.protocol.json_cases import BAD, NESTED_BAD

MESSAGES: tuple[tuple[bytes, Message], ...] = (
    (b'{"jsonrpc":"2.0","id":1,"method":"ping"}', Request(1, "ping")),
    (b'{"jsonrpc":"2.0","id":"a","method":"x","params":{"b":1.0}}', Request("a", "x", b'{"b":1.0}')),
    (b'{"jsonrpc":"2.0","id":"","method":"x"}', Request("", "x")),
    (b'{"jsonrpc":"2.0","id":"1","method":"x"}', Request("1", "x")),
    (b'{"jsonrpc":"2.0","id":-7,"method":"x"}', Request(-7, "x")),
    (b'{"jsonrpc":"2.0","id":9007199254740993,"method":"x"}', Request(9007199254740993, "x")),
    (b'{"jsonrpc":"2.0","id":%b,"method":"x"}' % (b"9" * 64), Request(10**64 - 1, "x")),
    (b'{"jsonrpc":"2.0","method":"notifications/x"}', Notification("notifications/x")),
    (b'{"jsonrpc":"2.0","method":"x","params":{}}', Notification("x", b"{}")),
    (b'{"jsonrpc":"2.0","id":3,"result":{"n":1e400}}', Result(3, b'{"n":1e400}')),
    (b'{"jsonrpc":"2.0","id":3,"error":{"code":-32601,"message":"no"}}', Failure(3, -32601, "no")),
    (b'{"jsonrpc":"2.0","error":{"code":1,"message":"","data":[1]}}', Failure(None, 1, "", b"[1]")),
    (b'{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"m","data":null}}', Failure(1, 1, "m", b"null")),
)


def refusal(data: bytes) -> RpcError:
    with pytest.raises(RpcError) as caught:
        decode(data)
    assert caught.value.message
    assert caught.value.status == 400
    return caught.value


@pytest.mark.parametrize(("data", "message"), MESSAGES)
def test_messages_both_ways(data: bytes, message: Message) -> None:
    assert decode(data) == message
    assert encode(message) == data
    assert decode(json.dumps(json.loads(data, parse_float=str), indent=1).encode()) is not None


def test_order_space_and_unknown_members_do_not_matter() -> None:
    data = b' {"x" : [1], "params" : {"a" : 1} ,\r\n"method" : "m\\u0031", "id" : 5 , "\\u006asonrpc":"2\\u002e0"}\n'
    assert decode(data) == Request(5, "m1", b'{"a" : 1}')


def test_an_error_answer_may_have_a_null_id() -> None:
    assert decode(b'{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"m","more":2}}') == Failure(None, 1, "m")


@pytest.mark.parametrize("bad", BAD)
def test_what_is_not_json_is_a_parse_error(bad: bytes) -> None:
    assert refusal(bad).code == PARSE_ERROR


@pytest.mark.parametrize("bad", NESTED_BAD)
def test_what_is_not_json_deep_inside_is_a_parse_error(bad: bytes) -> None:
    nest = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"arguments":{"x":[%b]}}}'
    assert refusal(nest % bad).code == PARSE_ERROR


@pytest.mark.parametrize("data", [b"[]", b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]', b" [1]"])
def test_batches_are_refused_by_name(data: bytes) -> None:
    error = refusal(data)
    assert error.code == INVALID_REQUEST
    assert "batch" in error.message


@pytest.mark.parametrize("data", [b"1", b'"a"', b"null", b"true", b"1.5"])
def test_bare_values_are_no_messages(data: bytes) -> None:
    assert refusal(data).code == INVALID_REQUEST


@pytest.mark.parametrize(
    "raw",
    [
        b"null",
        b"true",
        b"1.0",
        b"1e0",
        b"1.5",
        b"-0",
        b"[]",
        b"[1]",
        b"{}",
        b'{"a":1}',
        b"9" * 65,
        b"9" * 900_000,
        b'"%b"' % (b"a" * 1025),
        b'"%b"' % ("\u00e9".encode() * 513),
    ],
)
def test_bad_ids(raw: bytes) -> None:
    error = refusal(b'{"jsonrpc":"2.0","id":%b,"method":"ping"}' % raw)
    assert error.code == INVALID_REQUEST
    assert error.id is None
    refusal(b'{"jsonrpc":"2.0","id":%b,"result":{}}' % raw)
    if raw != b"null":
        refusal(b'{"jsonrpc":"2.0","id":%b,"error":{"code":1,"message":"m"}}' % raw)


def test_an_id_of_the_greatest_length() -> None:
    assert decode(b'{"jsonrpc":"2.0","id":"%b","method":"x"}' % (b"a" * 1024)) == Request("a" * 1024, "x")
    assert identifier(b'"\xff"') is None


@pytest.mark.parametrize(
    "tail",
    [
        b'"method":1',
        b'"method":null',
        b'"method":""',
        b'"method":["ping"]',
        b'"method":"%b"' % (b"m" * 257),
        b'"method":"x","params":[]',
        b'"method":"x","params":[1]',
        b'"method":"x","params":null',
        b'"method":"x","params":1',
        b'"method":"x","params":"{}"',
        b'"method":"x","result":{}',
        b'"method":"x","error":{"code":1,"message":"m"}',
        b'"result":{},"error":{"code":1,"message":"m"}',
        b'"result":1',
        b'"result":null',
        b'"result":[]',
        b'"error":null',
        b'"error":1',
        b'"error":[]',
        b'"error":{}',
        b'"error":{"code":1}',
        b'"error":{"message":"m"}',
        b'"error":{"code":"1","message":"m"}',
        b'"error":{"code":1.0,"message":"m"}',
        b'"error":{"code":true,"message":"m"}',
        b'"error":{"code":1,"message":null}',
        b'"error":{"code":1,"code":2,"message":"m"}',
        b'"params":{}',
        b'"x":1',
    ],
)
def test_bad_envelopes_are_answered_with_their_id(tail: bytes) -> None:
    error = refusal(b'{"jsonrpc":"2.0","id":"q",%b}' % tail)
    assert (error.code, error.id) == (INVALID_REQUEST, "q")
    assert error.failure() == Failure("q", INVALID_REQUEST, error.message)


@pytest.mark.parametrize(
    "version", [b"", b'"jsonrpc":"1.0",', b'"jsonrpc":2.0,', b'"jsonrpc":"2.00",', b'"jsonrpc":null,']
)
def test_the_version_is_exact(version: bytes) -> None:
    error = refusal(b'{%b"id":1,"method":"ping"}' % version)
    assert (error.code, error.id) == (INVALID_REQUEST, 1)


def test_a_result_needs_an_id() -> None:
    assert refusal(b'{"jsonrpc":"2.0","result":{}}').code == INVALID_REQUEST


@pytest.mark.parametrize("twin", [b'"id":2', b'"\\u0069d":2', b'"method":"y"', b'"params":{}', b'"jsonrpc":"2.0"'])
def test_twin_members_of_the_envelope_are_refused(twin: bytes) -> None:
    assert refusal(b'{"jsonrpc":"2.0","id":1,"method":"x","params":{},%b}' % twin).code == PARSE_ERROR


def test_too_deep_is_a_parse_error() -> None:
    for depth in (200, 100_000):
        assert (
            refusal(b'{"jsonrpc":"2.0","id":1,"method":"x","params":{"a":%b}}' % (b"[" * depth + b"]" * depth)).code
            == PARSE_ERROR
        )


def test_pretty_parts_are_written_on_one_line() -> None:
    pretty = b'{\r\n "a": [\n  1\r ]\n}'
    for message in (
        Request(1, "m", pretty),
        Notification("m", pretty),
        Result(1, pretty),
        Failure(1, 2, "\r\n", pretty),
    ):
        line = encode(message)
        assert b"\n" not in line
        assert b"\r" not in line
        assert encode(decode(line)) == line


def test_a_lone_surrogate_is_never_written() -> None:
    for message in (Request("\ud800", "m"), Request(1, "\ud800"), Failure(1, 2, "\udfff")):
        with pytest.raises(JsonError):
            encode(message)


def test_an_error_shows_its_code_and_message_only() -> None:
    error = RpcError(-32600, "no", "id-1", b"[1]", status=404)
    assert error.failure() == Failure("id-1", -32600, "no", b"[1]")
    assert isinstance(error, Exception)
    with pytest.raises(RpcError) as caught:
        raise error
    assert caught.value is error


ids: st.SearchStrategy[Id] = st.integers(-(10**63), 10**63) | st.text(max_size=200)
objects = st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=3).map(
    lambda value: json.dumps(value, separators=(",", ":")).encode()
)
methods = st.text(min_size=1, max_size=30)
messages: st.SearchStrategy[Message] = (
    st.builds(Request, ids, methods, st.none() | objects)
    | st.builds(Notification, methods, st.none() | objects)
    | st.builds(Result, ids, objects)
    | st.builds(Failure, st.none() | ids, st.integers(-(10**20), 10**20), st.text(max_size=30), st.none() | objects)
)


@given(messages)
def test_every_message_survives(message: Message) -> None:
    assert decode(encode(message)) == message


@given(messages, st.data())
def test_damaged_messages_decode_or_raise_the_one_error(message: Message, data: st.DataObject) -> None:
    line = bytearray(encode(message))
    for _ in range(data.draw(st.integers(1, 3))):
        line[data.draw(st.integers(0, len(line) - 1))] = data.draw(st.integers(0, 255))
    check_total(bytes(line))


envelopes: st.SearchStrategy[dict[str, Any]] = st.dictionaries(
    st.sampled_from(["jsonrpc", "id", "method", "params", "result", "error", "x"]),
    st.sampled_from(["2.0", 1, 1.5, None, True, [], {}, {"code": 1, "message": "m"}, "", {"code": []}]),
)


@given(envelopes)
def test_any_envelope_decodes_or_raises_the_one_error(envelope: dict[str, Any]) -> None:
    check_total(json.dumps(envelope).encode())


@given(st.binary(max_size=100))
def test_garbage_raises_the_one_error(data: bytes) -> None:
    check_total(data)


@pytest.mark.parametrize(
    ("data", "batch"),
    [(b"[]", True), (b" \r\n\t[1", True), (b'{"a":[]}', False), (b"", False), (b"\xef\xbb\xbf[]", False)],
)
def test_what_begins_an_array_is_treated_as_a_batch(data: bytes, batch: bool) -> None:
    assert is_array(data) is batch


def test_a_batch_is_read_message_by_message_each_to_the_letter() -> None:
    parts = [raw for raw, _ in MESSAGES]
    assert decode_batch(b" [%b ]\n" % b" , ".join(parts), len(parts)) == [message for _, message in MESSAGES]


def test_what_is_no_message_is_answered_beside_those_that_are() -> None:
    good = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
    bad = [b"1", b"null", b"[%b]" % good, b"{}", b'{"jsonrpc":"2.0","id":7}', b'{"jsonrpc":"2.0","id":1,"id":1}']
    first, *errors, last = decode_batch(b"[%b]" % b",".join([good, *bad, good]), 100)
    assert first == last == Request(1, "ping")
    assert [(error.code, error.id) for error in errors if isinstance(error, RpcError)] == [
        (INVALID_REQUEST, None),
        (INVALID_REQUEST, None),
        (INVALID_REQUEST, None),
        (INVALID_REQUEST, None),
        (INVALID_REQUEST, 7),
        (PARSE_ERROR, None),
    ]


@pytest.mark.parametrize(
    ("data", "code", "reason"),
    [
        (b"[]", INVALID_REQUEST, "at least one"),
        (b" [ ] ", INVALID_REQUEST, "at least one"),
        (b"[1,2,3,4]", INVALID_REQUEST, "at most 3"),
        (b"[1,]", PARSE_ERROR, "not valid JSON"),
        (b"[1", PARSE_ERROR, "not valid JSON"),
        (b"[1]x", PARSE_ERROR, "not valid JSON"),
        (b'["\xff"]', PARSE_ERROR, "UTF-8"),
        (b"[" * 200 + b"]" * 200, PARSE_ERROR, "nested"),
        (b"{}", PARSE_ERROR, "not an array"),
        (b"", PARSE_ERROR, "not valid JSON"),
    ],
)
def test_a_batch_that_cannot_be_taken_apart_is_refused_whole(data: bytes, code: int, reason: str) -> None:
    with pytest.raises(RpcError) as caught:
        decode_batch(data, 3)
    assert (caught.value.code, caught.value.id) == (code, None)
    assert reason in caught.value.message


@given(st.lists(messages, min_size=1, max_size=5))
def test_every_message_survives_a_batch(batch: list[Message]) -> None:
    assert decode_batch(b"[%b]" % b",".join(map(encode, batch)), 5) == batch


@given(st.binary(max_size=100))
def test_a_batch_of_garbage_raises_the_one_error(data: bytes) -> None:
    with contextlib.suppress(RpcError):
        for message in decode_batch(b"[%b]" % data, 100):
            assert isinstance(message, RpcError | Message)


def check_total(data: bytes) -> None:
    message = outcome(data)
    if isinstance(message, RpcError):
        assert message.code in (PARSE_ERROR, INVALID_REQUEST)
        message = message.failure()
    assert decode(encode(message)) == message


def outcome(data: bytes) -> Message | RpcError:
    try:
        return decode(data)
    except RpcError as error:
        return error
