"""Ids and tokens on the two hops of a request: the client's never reach the service, ours never reach the client."""

from __future__ import annotations

import pytest

from gatewayd.exchange.hop import Hop, legacy_hop, modern_hop
from gatewayd.protocol.codes import INVALID_PARAMS
from gatewayd.protocol.jsonrpc import Failure, Id, Notification, Request, Result, RpcError
from gatewayd.protocol.jsontext import members

TAG = b'"io.modelcontextprotocol/subscriptionId"'
PROGRESS = "notifications/progress"
UPDATED = "notifications/resources/updated"


def progress(token: bytes, more: bytes = b"") -> Notification:
    return Notification(PROGRESS, b'{"progressToken":%b,"progress":1%b}' % (token, more))


@pytest.mark.parametrize("token", [b'"mine"', b"3", b"9007199254740993", b'"\\u00fc"', b"1.5"])
def test_a_modern_request_travels_under_our_id_and_token(token: bytes) -> None:
    params, meta = {"name": b'"t"', "x": b"1e400"}, {"progressToken": token, "other": b'"kept"'}
    hop, sent = modern_hop(Request("theirs", "tools/call"), 42, params, meta)
    assert (sent.id, sent.method) == (42, "tools/call")
    parts = members(sent.params or b"")
    assert (parts["name"], parts["x"]) == (b'"t"', b"1e400")
    assert members(parts["_meta"]) == {"progressToken": b"42", "other": b'"kept"'}
    assert hop == Hop("theirs", 42, token)
    assert (params, meta) == ({"name": b'"t"', "x": b"1e400"}, {"progressToken": token, "other": b'"kept"'})


def test_who_does_not_ask_for_progress_gets_none() -> None:
    hop, sent = modern_hop(Request(1, "tools/call"), 42, {}, {})
    assert b"progressToken" not in (sent.params or b"")
    assert hop.notification(progress(b"42")) is None


@pytest.mark.parametrize("params", [None, b"{}", b'{"name":"t","arguments":{"a":[1,2.50,"\\u00e9"]}}', b'{"_meta":{}}'])
def test_a_legacy_request_without_token_is_passed_on_to_the_letter(params: bytes | None) -> None:
    hop, sent = legacy_hop(Request("theirs", "tools/call", params), 42)
    assert sent == Request(42, "tools/call", params)
    assert hop == Hop("theirs", 42)


@pytest.mark.parametrize(
    "params",
    [
        b'{"_meta":{"progressToken":"mine"},"name":"t"}',
        b'{"name":"t","_meta":{"progressToken":"mine"}}',
        b'{"name":"t","_meta":{"progress\\u0054oken":"mine"}}',
        b'{"name":"t","\\u005fmeta":{"progressToken":"mine"}}',
    ],
)
def test_a_legacy_token_is_replaced_however_it_is_spelled(params: bytes) -> None:
    hop, sent = legacy_hop(Request(1, "tools/call", params), 42)
    assert hop.client_token == b'"mine"'
    assert b"mine" not in (sent.params or b"")
    parts = members(sent.params or b"")
    assert parts["name"] == b'"t"'
    assert members(parts["_meta"]) == {"progressToken": b"42"}


@pytest.mark.parametrize(
    "params",
    [b'{"arguments":{"progressToken":1}}', b'{"progressToken":1}', b'{"_meta":{"x":{"progressToken":1}}}'],
)
def test_a_token_elsewhere_is_only_data(params: bytes) -> None:
    hop, sent = legacy_hop(Request(1, "tools/call", params), 42)
    assert sent.params == params
    assert hop.client_token is None


@pytest.mark.parametrize(
    "params",
    [
        b'{"_meta":"progressToken"}',
        b'{"_meta":["progressToken"]}',
        b'{"_meta":{"progressToken":1,"progressToken":2}}',
        b'{"_meta":{"progressToken":1},"_meta":{}}',
    ],
)
def test_an_ambiguous_legacy_request_is_refused_and_not_guessed_at(params: bytes) -> None:
    with pytest.raises(RpcError) as caught:
        legacy_hop(Request("theirs", "tools/call", params), 42)
    assert (caught.value.code, caught.value.id) == (INVALID_PARAMS, "theirs")


@pytest.mark.parametrize("token", [b'"mine"', b"7"])
def test_progress_comes_back_under_the_client_s_token(token: bytes) -> None:
    hop = Hop("theirs", 42, token)
    out = hop.notification(progress(b"42", b',"message":"half"'))
    assert out is not None
    assert members(out.params or b"") == {"progressToken": token, "progress": b"1", "message": b'"half"'}


@pytest.mark.parametrize(
    "note",
    [
        progress(b"43"),
        progress(b'"42"'),
        progress(b"42.0"),
        progress(b'"mine"'),
        Notification(PROGRESS),
        Notification(PROGRESS, b"{}"),
        Notification(PROGRESS, b'{"progressToken":42,"progressToken":42}'),
    ],
)
def test_progress_of_somebody_else_is_dropped(note: Notification) -> None:
    assert Hop("theirs", 42, b'"mine"').notification(note) is None


@pytest.mark.parametrize(("ident", "raw"), [("theirs", b'"theirs"'), (7, b"7"), ('q"\\', b'"q\\"\\\\"')])
def test_a_subscription_is_named_by_the_client_s_id(ident: Id, raw: bytes) -> None:
    hop = Hop(ident, 42)
    out = hop.notification(Notification(UPDATED, b'{"uri":"x","_meta":{%b:42,"k":1}}' % TAG))
    assert out is not None
    parts = members(out.params or b"")
    assert parts["uri"] == b'"x"'
    assert members(parts["_meta"]) == {"io.modelcontextprotocol/subscriptionId": raw, "k": b"1"}
    final = hop.final(Result(42, b'{"_meta":{%b:42}}' % TAG))
    assert final == Result(ident, b'{"_meta":{%b:%b}}' % (TAG, raw))


@pytest.mark.parametrize(
    "params",
    [
        None,
        b"{}",
        b'{"uri":"x"}',
        b'{"_meta":{"k":1}}',
        b'{"text":"\\u0041"}',
        b'{"x":%b}' % TAG,
        b'{"_meta":[%b]}' % TAG,
    ],
)
def test_other_notifications_are_passed_on_as_they_are(params: bytes | None) -> None:
    note = Notification(UPDATED, params)
    assert Hop("theirs", 42).notification(note) == note


def test_the_final_answer_carries_the_client_s_id_and_is_otherwise_untouched() -> None:
    hop = Hop("theirs", 42)
    raw = b'{ "content":[{"n":1.10}], "a" : 12345678901234567890 }'
    assert hop.final(Result(42, raw)) == Result("theirs", raw)
    assert hop.final(Failure(42, -1, "no", b"[1]")) == Failure("theirs", -1, "no", b"[1]")
    assert hop.final(Failure(None, -1, "no")) == Failure("theirs", -1, "no")
