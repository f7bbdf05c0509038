"""Heads that we send: what is not one head is never sent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.protocol.http1 import encode_request_head, encode_response_head
from gatewayd.protocol.http1_head import parse_request_head, parse_response_head


def test_a_request_head_can_be_read_back() -> None:
    fields = ((b"host", b"a:80"), (b"x", b""), (b"mcp-name", b"\xc3\xa9 b"))
    head = encode_request_head("POST", "/mcp?a=b", fields)
    assert head == b"POST /mcp?a=b HTTP/1.1\r\nhost: a:80\r\nx: \r\nmcp-name: \xc3\xa9 b\r\n\r\n"
    assert parse_request_head(head).fields == fields


def test_a_response_head_carries_the_usual_phrase() -> None:
    assert encode_response_head(404, [(b"a", b"b")]) == b"HTTP/1.1 404 Not Found\r\na: b\r\n\r\n"
    assert encode_response_head(599, []) == b"HTTP/1.1 599 \r\n\r\n"
    assert parse_response_head(encode_response_head(599, []), "GET").status == 599


@pytest.mark.parametrize("status", [0, 99, 600, 1000])
def test_a_status_outside_100_to_599_is_refused(status: int) -> None:
    with pytest.raises(ValueError, match="status"):
        encode_response_head(status, [])


@pytest.mark.parametrize(
    "field",
    [
        (b"a", b"b\r\nX: y"),
        (b"a", b"b\nX: y"),
        (b"a", b"b\r"),
        (b"a", b"\x00"),
        (b"a", b"\x7f"),
        (b"a\r\nx", b"b"),
        (b"a\n", b"b"),
        (b"a\x00", b"b"),
        (b"a: b", b"c"),
        (b"a ", b"b"),
        (b"", b"b"),
        (b"\xe9", b"b"),
    ],
)
def test_a_field_that_is_not_one_line_is_refused(field: tuple[bytes, bytes]) -> None:
    fields = [(b"host", b"a"), field, (b"accept", b"b")]
    with pytest.raises(ValueError, match="cannot be sent"):
        encode_request_head("GET", "/", fields)
    with pytest.raises(ValueError, match="cannot be sent"):
        encode_response_head(200, fields)


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/ HTTP/1.1\r\nX: y"),
        ("GET", "/a b"),
        ("GET", "/a#b"),
        ("GET", ""),
        ("GET", "/\u00e9"),
        ("GET /", "/"),
        ("", "/"),
        ("GET\r\n", "/"),
    ],
)
def test_a_request_line_that_is_not_one_is_refused(method: str, target: str) -> None:
    with pytest.raises(ValueError, match=r"cannot be sent|codec can't encode"):
        encode_request_head(method, target, [(b"host", b"a")])


_PIECES = st.lists(st.sampled_from([b"a", b"Host", b":", b" ", b"\r", b"\n", b"\r\n", b"\x00", b"\xff"])).map(b"".join)


@given(fields=st.lists(st.tuples(_PIECES, _PIECES), max_size=5))
def test_every_head_that_is_sent_holds_the_fields_given_and_no_more(
    fields: list[tuple[bytes, bytes]],
) -> None:
    try:
        head = encode_response_head(200, fields)
    except ValueError:
        return
    seen = parse_response_head(head, "GET").fields
    assert seen == tuple((name.lower(), value.strip()) for name, value in fields)
