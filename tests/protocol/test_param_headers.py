from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.protocol.codes import HEADER_MISMATCH
from gatewayd.protocol.headers import encode_value
from gatewayd.protocol.jsonrpc import RpcError
from gatewayd.protocol.jsontext import JsonError
from gatewayd.protocol.param_headers import Annotation, AnnotationError, check, mirror, read_annotations

REGION: dict[str, Any] = {"type": "string", "x-mcp-header": "Region"}
TOOL = (
    Annotation(b"region", ("region",), "string"),
    Annotation(b"count", ("limits", "count"), "integer"),
    Annotation(b"dry", ("dry",), "boolean"),
)
Fields = list[tuple[bytes, bytes]]


def schema(**properties: Any) -> bytes:
    return json.dumps({"type": "object", "properties": properties}).encode()


def verdict(arguments: bytes | None, fields: Fields) -> str | None:
    """What the client is told; None: the call passes."""
    try:
        check(TOOL, arguments, fields)
    except RpcError as error:
        refused = error
    else:
        return None
    assert (refused.code, refused.status, refused.id, refused.data) == (HEADER_MISMATCH, 400, None, None)
    return refused.message.removeprefix("Header mismatch: mcp-param-")


def test_annotations_are_found_at_any_depth_of_properties() -> None:
    nested = {"type": "object", "properties": {"count": {"type": "integer", "x-mcp-header": "Count"}}}
    found = read_annotations(schema(region=REGION, limits=nested, dry={"type": "boolean", "x-mcp-header": "DRY"}))
    assert sorted(found, key=lambda one: one.path) == sorted(TOOL, key=lambda one: one.path)


@pytest.mark.parametrize(
    "text",
    [
        b"{}",
        b"true",
        b"[1]",
        schema(a={"type": "string"}),
        schema(a={"type": "string", "description": "an \\ x-mcp-header"}),
        schema(a={"type": "object", "default": REGION, "examples": [REGION], "const": REGION, "enum": [REGION]}),
        b'{"properties":{"x-mcp-header":{"type":"string"}}}',
        b'{"properties":["x-mcp-header"],"$defs":7,"items":"x-mcp-header"}',
    ],
)
def test_what_only_looks_like_an_annotation_is_none(text: bytes) -> None:
    assert read_annotations(text) == ()


def test_an_escape_in_the_keyword_hides_nothing() -> None:
    text = rb'{"properties":{"a":{"type":"string","x-mcp-he\u0061der":"A"}}}'
    assert read_annotations(text) == (Annotation(b"a", ("a",), "string"),)


@pytest.mark.parametrize("header", ["a", "Method", "X-1", "!#$%&'*+-.^_`|~"])
def test_every_token_is_a_header_name(header: str) -> None:
    (found,) = read_annotations(schema(a={"type": "string", "x-mcp-header": header}))
    assert found.header == header.lower().encode()


@pytest.mark.parametrize("header", ["", "a b", "a:", "a\r\nx", "a\n", "\u00e9", "a/b", 7, None, True, ["a"], {}])
def test_a_header_name_that_is_no_token_is_invalid(header: object) -> None:
    with pytest.raises(AnnotationError, match="not a token"):
        read_annotations(schema(a={"type": "string", "x-mcp-header": header}))


@pytest.mark.parametrize("kind", ["number", "object", "array", "null", ["string"], None, 1])
def test_other_types_are_invalid(kind: object) -> None:
    with pytest.raises(AnnotationError, match="something else"):
        read_annotations(schema(a={"type": kind, "x-mcp-header": "A"}))


def test_one_header_for_two_arguments_is_invalid() -> None:
    with pytest.raises(AnnotationError, match="occurs twice"):
        read_annotations(
            schema(a=REGION, b={"type": "object", "properties": {"c": REGION | {"x-mcp-header": "REGION"}}})
        )


@pytest.mark.parametrize(
    "place",
    [
        REGION,
        *({keyword: REGION} for keyword in ("items", "not", "if", "then", "else", "additionalProperties", "contains")),
        *({keyword: [{}, REGION]} for keyword in ("oneOf", "anyOf", "allOf", "prefixItems", "items")),
        *({keyword: {"a": REGION}} for keyword in ("$defs", "definitions", "patternProperties", "dependentSchemas")),
        {"properties": {"list": {"items": {"properties": {"a": REGION}}}}},
        {"properties": {"one": {"anyOf": [{"properties": {"a": REGION}}]}}},
    ],
)
def test_an_annotation_that_no_chain_of_properties_reaches_is_invalid(place: dict[str, Any]) -> None:
    with pytest.raises(AnnotationError, match="through properties alone"):
        read_annotations(json.dumps(place).encode())


def test_a_schema_with_numbers_out_of_range_is_invalid() -> None:
    with pytest.raises(AnnotationError, match="cannot be read"):
        read_annotations(b'{"x-mcp-header":1e999}')


@pytest.mark.parametrize(
    ("arguments", "fields"),
    [
        (b'{"region":"eu"}', [(b"mcp-param-region", b"eu")]),
        (b'{"region":"eu"}', [(b"mcp-param-region", b"=?base64?ZXU=?=")]),
        (rb'{"region":"\u0065u"}', [(b"mcp-param-region", b"eu")]),
        (b'{"region":"=?base64?ZXU="}', [(b"mcp-param-region", b"=?base64?ZXU=")]),
        (b'{"region":"ZXU=?="}', [(b"mcp-param-region", b"ZXU=?=")]),
        ('{"region":"é"}'.encode(), [(b"mcp-param-region", b"=?base64?w6k=?=")]),
        (b'{"region":""}', [(b"mcp-param-region", b"")]),
        (b'{"region":42}', [(b"mcp-param-region", b"42")]),
        (b'{"dry":true}', [(b"mcp-param-dry", b"true")]),
        (b'{"dry":false}', [(b"mcp-param-dry", b"false")]),
        (b'{"limits":{"count":1e999}}', [(b"mcp-param-count", b"1e999")]),
        (b'{"limits":{"count":"a"}}', [(b"mcp-param-count", b"a")]),
        (b'{"limits":{"count":true}}', [(b"mcp-param-count", b"true")]),
        (None, []),
        (b"null", []),
        (b"[1]", []),
        (b"{}", []),
        (b'{"region":null,"limits":null}', []),
        (b'{"region":["eu"],"limits":{"count":{}}}', []),
        (b'{"limits":"count"}', []),
    ],
)
def test_what_agrees_passes(arguments: bytes | None, fields: Fields) -> None:
    assert verdict(arguments, fields) is None


def test_what_the_tool_does_not_annotate_is_ignored() -> None:
    fields = [(b"mcp-param-a", b"3"), (b"mcp-param-a", b"\xff"), (b"traceparent", b"x"), (b"mcp-param-region", b"eu")]
    assert verdict(b'{"region":"eu","a":1}', fields) is None
    check((), b'{"a":1,"a":2}', fields)


@pytest.mark.parametrize(
    ("arguments", "fields", "told"),
    [
        (b'{"region":"eu"}', [(b"mcp-param-region", b"us")], "region differs from the argument"),
        (b'{"region":"eu"}', [(b"mcp-param-region", b"EU")], "region differs from the argument"),
        (b'{"region":"eu"}', [(b"mcp-param-region", b"")], "region differs from the argument"),
        (b'{"region":42}', [(b"mcp-param-region", b"42.0")], "region differs from the argument"),
        (b'{"dry":true}', [(b"mcp-param-dry", b"True")], "dry differs from the argument"),
        (b'{"dry":true}', [(b"mcp-param-dry", b"1")], "dry differs from the argument"),
        (b'{"limits":{"count":"a"}}', [(b"mcp-param-count", b"1")], "count differs from the argument"),
        (b'{"region":"eu"}', [], "region is missing, but the argument is not"),
        (b'{"region":""}', [], "region is missing, but the argument is not"),
        (b'{"dry":false}', [], "dry is missing, but the argument is not"),
        (b'{"limits":{"count":0}}', [(b"count", b"0")], "count is missing, but the argument is not"),
        (b'{"region":null}', [(b"mcp-param-region", b"null")], "region is present, but there is no such argument"),
        (b'{"region":[]}', [(b"mcp-param-region", b"[]")], "region is present, but there is no such argument"),
        (b'{"count":1}', [(b"mcp-param-count", b"1")], "count is present, but there is no such argument"),
        (None, [(b"mcp-param-region", b"")], "region is present, but there is no such argument"),
        (b'"eu"', [(b"mcp-param-region", b"eu")], "region is present, but there is no such argument"),
        (b'{"region":"eu"}', [(b"mcp-param-region", b"eu")] * 2, "region is repeated"),
        (b'{"region":"eu","region":"us"}', [(b"mcp-param-region", b"us")], "region cannot be compared: "),
        (b'{"limits":{"count":1,"count":2}}', [(b"mcp-param-count", b"2")], "count cannot be compared: "),
        (b'{"region":"Hello"}', [(b"mcp-param-region", b"=?base64?SGVsbG8?=")], "region cannot be read: "),
        (b'{"region":"Hello"}', [(b"mcp-param-region", b"=?base64?SGVs!!!bG8=?=")], "region cannot be read: "),
        (b'{"region":"a"}', [(b"mcp-param-region", b"\xe9")], "region cannot be read: "),
    ],
)
def test_what_disagrees_is_refused(arguments: bytes | None, fields: Fields, told: str) -> None:
    heard = verdict(arguments, fields)
    assert heard is not None
    assert heard.startswith(told)


@pytest.mark.parametrize(
    ("argument", "header"),
    [
        ("42", "42"),
        ("42", "42.0"),
        ("42.0", "42"),
        ("4.2e1", "42"),
        ("420E-1", "42.00"),
        ("4.2e+1", "42"),
        ("0", "-0"),
        ("0.0e9", "0"),
        ("-7", "-7.0"),
        ("100", "100"),
        ("9007199254740993", "9007199254740993.0"),
        ("1" + "0" * 9000, "1" + "0" * 9000 + ".0"),
    ],
)
def test_integers_are_compared_as_numbers(argument: str, header: str) -> None:
    assert verdict(b'{"limits":{"count":%b}}' % argument.encode(), [(b"mcp-param-count", header.encode())]) is None


@pytest.mark.parametrize(
    ("argument", "header"),
    [
        ("42", "43"),
        ("42", "-42"),
        ("42", "420"),
        ("42", "42.5"),
        ("42", "042"),
        ("42", "+42"),
        ("42", "4.2e1"),
        ("42", "0x2a"),
        ("42", "42."),
        ("42", ""),
        ("42", "=?base64?NDI="),
        ("9007199254740993", "9007199254740992"),
        ("1e999999999999999999", "1"),
        ("1e9999999999999999999999", "1"),
    ],
)
def test_other_numbers_are_not_equal(argument: str, header: str) -> None:
    heard = verdict(b'{"limits":{"count":%b}}' % argument.encode(), [(b"mcp-param-count", header.encode())])
    assert heard == "count differs from the argument"


@given(st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"])))
def test_only_the_same_string_passes(said: str, mirrored: str) -> None:
    arguments = json.dumps({"region": said}).encode()
    assert verdict(arguments, [(b"mcp-param-region", encode_value(said))]) is None
    assert (verdict(arguments, [(b"mcp-param-region", encode_value(mirrored))]) is None) == (said == mirrored)


def test_many_annotations_deep_down_look_at_each_object_once() -> None:
    """Otherwise this would take minutes."""
    path = tuple("a" * 60)
    wanted = [Annotation(b"h%d" % number, (*path, str(number)), "integer") for number in range(1000)]
    arguments = b'{"pad":"%b",' % (b"x" * 1_000_000) + b'"a":{' * 60 + b'"0":0' + b"}" * 61
    check(wanted, arguments, [(b"mcp-param-h0", b"0")])


@pytest.mark.parametrize(
    ("arguments", "fields"),
    [
        (b'{"region":"eu","limits":{"count":3},"dry":true,"more":1}', {"region": b"eu", "count": b"3", "dry": b"true"}),
        ('{"region":" é"}'.encode(), {"region": b"=?base64?IMOp?="}),
        (b'{"region":""}', {"region": b""}),
        (b'{"region":42}', {"region": b"42"}),
        (b'{"limits":{"count":42.0}}', {"count": b"42"}),
        (b'{"limits":{"count":-1.5e3}}', {"count": b"-1500"}),
        (b'{"limits":{"count":0.0}}', {"count": b"0"}),
        (b'{"limits":{"count":9007199254740993}}', {"count": b"9007199254740993"}),
        (b'{"limits":{"count":1.5}}', {"count": b"1.5"}),
        (b'{"limits":{"count":1e999}}', {"count": b"1e999"}),
        (b'{"limits":{"count":true}}', {"count": b"true"}),
        (b'{"region":null,"limits":"count","dry":[true]}', {}),
        (b"{}", {}),
        (None, {}),
    ],
)
def test_what_is_mirrored_agrees_with_the_arguments(arguments: bytes | None, fields: dict[str, bytes]) -> None:
    mirrored = mirror(TOOL, arguments)
    assert mirrored == tuple((b"mcp-param-" + name.encode(), value) for name, value in fields.items())
    check(TOOL, arguments, mirrored)


def test_arguments_that_say_something_twice_are_not_mirrored() -> None:
    with pytest.raises(JsonError):
        mirror(TOOL, b'{"region":"eu","region":"us"}')


@given(region=st.text(), count=st.integers() | st.floats(allow_nan=False, allow_infinity=False))
def test_whatever_is_mirrored_passes(region: str, count: float) -> None:
    arguments = json.dumps({"region": region, "limits": {"count": count}}).encode()
    check(TOOL, arguments, mirror(TOOL, arguments))
