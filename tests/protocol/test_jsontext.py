from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.protocol import jsontext
from gatewayd.protocol.jsontext import JsonError, NotAnObject
from gatewayd.protocol.limits import ID_DIGITS, JSON_DEPTH
from tests.protocol.json_cases import BAD, GOOD, NESTED_BAD

NEST = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"arguments":{"x":[%b]}}}'

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
)


def test_there_are_enough_cases() -> None:
    assert len(set(NESTED_BAD)) >= 240


@pytest.mark.parametrize("bad", BAD)
def test_bad_text_is_refused(bad: bytes) -> None:
    with pytest.raises(JsonError) as caught:
        jsontext.check(bad)
    assert caught.value.reason
    with pytest.raises(JsonError):
        jsontext.checked_members(bad)


@pytest.mark.parametrize("bad", NESTED_BAD)
def test_bad_text_is_refused_inside_what_nobody_looks_into(bad: bytes) -> None:
    for data in (NEST % bad, NEST % (b'"\\n",' + bad), NEST % (bad + b"," + b"[]," * 200 + b"1")):
        with pytest.raises(JsonError):
            jsontext.check(data)
        with pytest.raises(JsonError) as caught:
            jsontext.checked_members(data)
        assert not isinstance(caught.value, NotAnObject)


@pytest.mark.parametrize("good", GOOD)
def test_good_text_passes_everywhere(good: bytes) -> None:
    jsontext.check(good)
    jsontext.check(NEST % good)
    assert jsontext.checked_members(b'{"x":%b}' % good) == {"x": good.strip(b" \t\r\n")}


@pytest.mark.parametrize("cut", range(1, len(NEST)))
def test_truncated_text_is_refused(cut: int) -> None:
    with pytest.raises(JsonError):
        jsontext.check(NEST[:-cut])


@given(json_values, st.booleans(), st.sampled_from([None, 1, "\t"]))
def test_whatever_python_writes_passes(value: Any, ascii_only: bool, indent: int | str | None) -> None:
    data = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "surrogatepass")
    jsontext.check(data)
    if isinstance(value, dict):
        parts = jsontext.checked_members(data)
        assert list(parts) == list(value)
        assert {name: json.loads(raw) for name, raw in parts.items()} == value
        assert jsontext.members(jsontext.encode_members(parts)) == parts
    else:
        with pytest.raises(NotAnObject):
            jsontext.checked_members(data)


@given(st.binary(max_size=64))
def test_garbage_is_refused_or_passes_but_nothing_else(data: bytes) -> None:
    for act in (jsontext.check, jsontext.checked_members, jsontext.members):
        with contextlib.suppress(JsonError):
            act(data)
    jsontext.string(data)
    jsontext.integer(data)
    jsontext.is_object(data)


def refuse_constant(text: str) -> None:
    raise ValueError(text)


@given(st.sampled_from(BAD + GOOD), st.integers(0, 40), st.sampled_from([bytes([byte]) for byte in range(256)]))
def test_we_are_as_strict_as_the_standard_library(case: bytes, at: int, extra: bytes) -> None:
    data = case[:at] + extra + case[at:]
    try:
        value = json.loads(data.decode(), parse_constant=refuse_constant)
        json.dumps(value, ensure_ascii=False).encode()
        expected = True
    except ValueError:
        expected = False
    with pytest.raises(JsonError) if not expected else contextlib.nullcontext():
        jsontext.check(data)


def nested(depth: int, inner: bytes = b"1") -> Iterator[bytes]:
    yield b"[" * depth + inner + b"]" * depth
    yield b'{"a":' * depth + inner + b"}" * depth
    yield b'[{"\\"[":' * (depth // 2) + b"[" * (depth % 2) + inner + b"]" * (depth % 2) + b"}]" * (depth // 2)
    yield b'["]]]]",' * depth + inner + b"]" * depth


def test_depth_is_limited_exactly() -> None:
    for good in nested(JSON_DEPTH):
        jsontext.check(good)
    for deep in (JSON_DEPTH + 1, 1_000, 100_000):
        for bad in nested(deep):
            with pytest.raises(JsonError, match="deeper"):
                jsontext.check(bad)
            with pytest.raises(JsonError, match="deeper"):
                jsontext.checked_members(b'{"a":%b}' % bad)


def test_many_brackets_are_not_depth() -> None:
    jsontext.check(b"[" + b"[],{}," * 10_000 + b"1]")
    jsontext.check(b'["' + b"[{" * 10_000 + b'"]')
    jsontext.check(b'["' + b'\\"[{\\\\' * 10_000 + b'"]')


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":%b}' % (b"9" * 900_000),
        b'{"a":1e%b}' % (b"9" * 900_000),
        b'{"a":0.%b}' % (b"1" * 900_000),
        b'{"a":"%b"}' % (b"\\\\" * 500_000),
        b'{"a":"%b"}' % (b"\\ud83d\\ude00" * 80_000),
        b'{"a":[%b1]}' % (b"[]," * 300_000),
        b'{"a":["%b"]}' % (b'\\"[' * 300_000),
        b'{"a":[%b""]}' % (b'"[",' * 250_000),
        b'{"a":"%b"}' % ("\u00e9".encode() * 500_000),
        b'{"a":%b1}' % (b" " * 900_000),
        b"{%b}" % b",".join(b'"%d": 1' % n for n in range(80_000)),
    ],
    ids=lambda data: data[:12].decode(),
)
def test_a_megabyte_costs_little_whatever_it_holds(data: bytes) -> None:
    start = time.thread_time()
    jsontext.checked_members(data)
    jsontext.members(data)
    assert time.thread_time() - start < 1.0


def test_numbers_stay_text() -> None:
    data = b'{"a":9007199254740993,"b":1e400,"c":-0,"d":1.10,"e":[1E+2]}'
    assert jsontext.checked_members(data) == {
        "a": b"9007199254740993",
        "b": b"1e400",
        "c": b"-0",
        "d": b"1.10",
        "e": b"[1E+2]",
    }
    assert jsontext.encode_members(jsontext.members(data)) == data


@pytest.mark.parametrize(
    "twins",
    [
        b'{"id":1,"id":1}',
        b'{"id":1,"id":2}',
        b'{"id":1,"\\u0069d":2}',
        b'{"\\u0069d":1,"\\u0069\\u0064":2}',
        b'{"id":1,"x":{"id":3},"id":2}',
        b'{ "id" : 1 , "id" : 1 }',
        b'{"":1,"":1}',
        b'{"id":1,"id":{"a":{"b":[1,{"c":":"}]}}}',
        b'{"id":{"a":{"b":[1,{"c":":"}]}},"id":1}',
        b'{"id":":::","id":1,"a":"::"}',
        b'{"\xc3\xa9":1,"\\u00e9":2}',
        b'{"\\ud83d\\ude00":1,"\xf0\x9f\x98\x80":2}',
        b'{"a\\/b":1,"a/b":2}',
        b'{"a\\"":1,"a\\u0022":2}',
    ],
)
def test_twin_members_are_refused(twins: bytes) -> None:
    for act in (jsontext.checked_members, jsontext.members):
        with pytest.raises(JsonError, match="twice") as caught:
            act(twins)
        assert not isinstance(caught.value, NotAnObject)


@given(st.lists(st.tuples(st.text(max_size=2), json_values), max_size=6), st.booleans(), st.booleans())
def test_twins_are_found_exactly(pairs: list[tuple[str, Any]], ascii_only: bool, spaced: bool) -> None:
    colon, comma = (": ", ", ") if spaced else (":", ",")

    def dumps(value: Any) -> str:
        return json.dumps(value, ensure_ascii=ascii_only, separators=(comma, colon))

    data = ("{" + comma.join(dumps(name) + colon + dumps(value) for name, value in pairs) + "}").encode()
    unique = len({name for name, _ in pairs}) == len(pairs)
    with contextlib.nullcontext() if unique else pytest.raises(JsonError, match="twice"):
        assert list(jsontext.checked_members(data)) == [name for name, _ in pairs]


def test_equal_names_on_different_levels_are_no_twins() -> None:
    assert jsontext.checked_members(b'{"a": {"a": 1, "b": {"a": 2}}, "b": 2}').keys() == {"a", "b"}


def test_encoding_never_lengthens_a_name() -> None:
    """What finding twins relies on: each character is re-encoded in its shortest form."""
    for char in map(chr, [*range(0x300), 0x2028, 0x2029, 0xFEFF, 0xFFFF, 0x1F600]):
        shortest = min(len(json.dumps(char)), len(json.dumps(char, ensure_ascii=False).encode()))
        assert len(jsontext.text(char)) <= shortest


@pytest.mark.parametrize("other", [b"[]", b"1", b'"a"', b"null", b"true", b' ["a"]', b"1.5"])
def test_other_values_are_not_objects(other: bytes) -> None:
    for act in (jsontext.checked_members, jsontext.members):
        with pytest.raises(NotAnObject):
            act(other)


def test_members_of_unchecked_text_raise_nothing_else() -> None:
    for bad in (*BAD, b"[" * 5_000, b'{"a":' * 5_000, b'{"\xff":1}'):
        with contextlib.suppress(JsonError):
            jsontext.members(bad)


def test_encode_members_escapes_names_and_leaves_values() -> None:
    assert jsontext.encode_members({'a"\n': b"1.0", "b": b"[ 1 ]"}) == b'{"a\\"\\n":1.0,"b":[ 1 ]}'
    assert jsontext.encode_members({}) == b"{}"
    with pytest.raises(JsonError, match="surrogate"):
        jsontext.encode_members({"\ud800": b"1"})


@given(st.text())
def test_strings_survive(value: str) -> None:
    raw = jsontext.text(value)
    assert jsontext.string(raw) == value
    assert b"\n" not in raw
    assert b"\r" not in raw
    jsontext.check(raw)


def test_lone_surrogates_are_never_written() -> None:
    with pytest.raises(JsonError, match="surrogate"):
        jsontext.text("a\udc80")


@pytest.mark.parametrize(
    "raw", [b"1", b"null", b"", b"[]", b'["a"]', b'{"a":1}', b'"a', b'"\xff"', b'"\\ud800"', b"[" * 9999]
)
def test_what_is_no_string_is_none(raw: bytes) -> None:
    assert jsontext.string(raw) is None


def test_integers_are_exact_and_bounded() -> None:
    for value in (0, 1, -1, 2**53 + 1, -(2**63), 10**ID_DIGITS - 1, 1 - 10**ID_DIGITS):
        assert jsontext.integer(b"%d" % value) == value
    for raw in (
        b"",
        b"1.0",
        b"1e0",
        b"-0",
        b"01",
        b"+1",
        b" 1",
        b"1\n",
        b"true",
        b'"1"',
        b"%d" % 10**ID_DIGITS,
        b"9" * 900_000,
    ):
        assert jsontext.integer(raw) is None


def test_kinds() -> None:
    assert jsontext.is_object(b"{}")
    assert jsontext.is_object(b" \r\n\t{}")
    assert not jsontext.is_object(b'["{"]')
    assert not jsontext.is_object(b"")
    assert jsontext.is_array(b" []")
    assert not jsontext.is_array(b"{}")


def test_one_line_changes_white_space_only() -> None:
    pretty = b'{\r\n  "a": "x\\ny",\n\r "b": [\n]}'
    flat = jsontext.one_line(pretty)
    assert b"\n" not in flat
    assert b"\r" not in flat
    assert json.loads(flat) == json.loads(pretty)
    compact = b'{"a":1}'
    assert jsontext.one_line(compact) is compact


def test_every_code_unit_is_judged_as_the_standard_library_does() -> None:
    """The decoder finds lone surrogates also in strings that it skips: nothing else in this package does."""
    around = ((b"", b""), (b"\\\\", b"a"), (b"\\ud83d", b""), (b"", b"\\ude00"), (b"\\ud83d\\ude00", b"\\n"))
    for unit in (*range(0xD700, 0xE100), *range(0, 0x10000, 0x101)):
        for before, after in around:
            string = b'"%b\\u%04x%b"' % (before, unit, after)
            try:
                json.loads(string).encode()
                expected = True
            except UnicodeEncodeError:
                expected = False
            for data in (b'{"a":{"b":[%b]}}' % string, b'{"a":{%b:1}}' % string):
                with contextlib.nullcontext() if expected else pytest.raises(JsonError):
                    jsontext.checked_members(data)


def test_strings_are_all_or_none() -> None:
    assert jsontext.strings(b'["a", "b"]') == ("a", "b")
    assert jsontext.strings(b"[]") == ()
    for other in (b'["a", 1]', b'"a"', b"{}", b"", b'["\xff"]', b"[" * 9999):
        assert jsontext.strings(other) == ()


def test_members_if_any_are_none_where_members_refuses() -> None:
    assert jsontext.members_if_any(b'{"a": 1.0}') == {"a": b"1.0"}
    for other in (None, b"", b"[]", b"null", b'{"a":1,"a":1}', b"{", b'{"a":"\xff"}x'):
        assert jsontext.members_if_any(other) == {}


def test_elements_are_put_together_as_they_are() -> None:
    assert jsontext.encode_elements([]) == b"[]"
    assert jsontext.encode_elements(iter([b"1.0", b"{}"])) == b"[1.0,{}]"


def test_elements_are_the_text_to_the_letter() -> None:
    parts = [b"1.0", b'"\\u0061,]"', b'{ "a" : [1, 2] }', b"[ ]", b"null", b"1e400"]
    data = b"\t[ %b ] " % b" ,\n".join(parts)
    assert jsontext.elements(data) == jsontext.checked_elements(data, 9) == parts
    assert jsontext.elements(b"[]") == jsontext.checked_elements(b" [ ]", 9) == []


@pytest.mark.parametrize("other", [b"{}", b'"[]"', b"1", b"null", b"", b"[1", b"[" * 9999, b'"\xff"'])
def test_what_is_no_array_has_no_elements(other: bytes) -> None:
    with pytest.raises(JsonError, match="not an array"):
        jsontext.elements(other)
    with pytest.raises(JsonError):
        jsontext.checked_elements(other, 9)


def test_of_too_many_elements_only_so_many_are_looked_at() -> None:
    assert jsontext.checked_elements(b"[1,2,3]", 3) == [b"1", b"2", b"3"]
    assert jsontext.checked_elements(b"[1,2,3,4,5,6]", 3) == [b"1", b"2", b"3", b"4"]
    with pytest.raises(JsonError):
        jsontext.checked_elements(b"[1,2,3,4,5,nope]", 3)


@pytest.mark.parametrize("bad", NESTED_BAD)
def test_bad_text_is_refused_in_an_element_as_well(bad: bytes) -> None:
    with pytest.raises(JsonError):
        jsontext.checked_elements(b"[1,%b]" % bad, 9)


@given(st.lists(json_values, max_size=5))
def test_elements_are_those_that_the_standard_library_finds(values: list[Any]) -> None:
    assert [json.loads(raw) for raw in jsontext.checked_elements(json.dumps(values).encode(), 9)] == values
