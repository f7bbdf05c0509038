from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.protocol import headers
from gatewayd.protocol.headers import HeaderValueError, decode_value, encode_value

PLAIN = (
    "",
    "search",
    "two words",
    "a  b",
    "=?base64?",
    "?=",
    "=?BASE64?YQ==?=",
    "=?Base64?YQ==?=",
    "=?base64?YQ==",
    "YQ==?=",
    "~!@#",
)
ENCODED = (
    ("\u00e9", b"=?base64?w6k=?="),
    (" a", b"=?base64?IGE=?="),
    ("a ", b"=?base64?YSA=?="),
    (" ", b"=?base64?IA==?="),
    ("a\tb", b"=?base64?YQli?="),
    ("a\r\nx: y", b"=?base64?YQ0KeDogeQ==?="),
    ("\0", b"=?base64?AA==?="),
    ("\x7f", b"=?base64?fw==?="),
    ("=?base64?YQ==?=", b"=?base64?PT9iYXNlNjQ/WVE9PT89?="),
    ("=?base64??=", b"=?base64?PT9iYXNlNjQ/Pz0=?="),
    ("=?base64?=", b"=?base64?PT9iYXNlNjQ/PQ==?="),
)


@pytest.mark.parametrize("value", PLAIN)
def test_plain_values_stay_as_they_are(value: str) -> None:
    assert encode_value(value) == value.encode()
    assert decode_value(value.encode()) == value


@pytest.mark.parametrize(("value", "wire"), ENCODED)
def test_other_values_are_encoded(value: str, wire: bytes) -> None:
    assert encode_value(value) == wire
    assert decode_value(wire) == value


@pytest.mark.parametrize(
    "wire",
    [
        b"=?base64?YQ?=",
        b"=?base64?YQ=?=",
        b"=?base64?YQ===?=",
        b"=?base64?YR==?=",
        b"=?base64?Y?=",
        b"=?base64?=?=",
        b"=?base64?YQ==YQ==?=",
        b"=?base64?Y Q==?=",
        b"=?base64?YQ==\n?=",
        b"=?base64?_-8=?=",
        b"=?base64?YQ== ?=",
        b"=?base64?/w==?=",
        b"=?base64?7aCA?=",
        b"=?base64?wIA=?=",
        b"caf\xc3\xa9",
        b"a\tb",
        b"a\x00b",
        b"a\x7f",
        b"a\r\nb",
        b"\xff",
    ],
)
def test_malformed_values_are_refused(wire: bytes) -> None:
    with pytest.raises(HeaderValueError):
        decode_value(wire)


def test_an_empty_payload_is_the_empty_string() -> None:
    assert decode_value(b"=?base64??=") == ""


def test_overlapping_markers_are_literal() -> None:
    assert decode_value(b"=?base64?=") == "=?base64?="


def test_a_lone_surrogate_cannot_be_sent() -> None:
    with pytest.raises(HeaderValueError):
        encode_value("\ud800")


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_every_text_survives_as_a_safe_header(value: str) -> None:
    wire = encode_value(value)
    assert decode_value(wire) == value
    assert wire.strip() == wire
    assert all(0x20 <= byte <= 0x7E for byte in wire)


@given(st.binary() | st.binary().map(lambda raw: b"=?base64?" + raw + b"?="))
def test_garbage_is_decoded_or_refused_but_nothing_else(wire: bytes) -> None:
    try:
        value = decode_value(wire)
    except HeaderValueError:
        return
    assert decode_value(encode_value(value)) == value


def test_names_are_lower_case() -> None:
    names = [value for name, value in vars(headers).items() if name.isupper() and not name.startswith("_")]
    assert len(names) == 6
    assert all(name == name.lower() for name in names)
