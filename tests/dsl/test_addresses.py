"""Addresses, hosts, origins and URLs: what is taken apart, and how."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.dsl.addresses import Address, address, is_loopback, origin, trusted_host, url
from gatewayd.dsl.diagnostics import Fault


@pytest.mark.parametrize(
    ("text", "host", "port", "loopback"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8080, True),
        ("127.9.9.9:0", "127.9.9.9", 0, True),
        ("[::1]:80", "::1", 80, True),
        ("LocalHost:80", "localhost", 80, True),
        ("0.0.0.0:80", "0.0.0.0", 80, False),
        ("[::]:80", "::", 80, False),
        ("gw.example.com:65535", "gw.example.com", 65535, False),
        ("localhost.example.com:1", "localhost.example.com", 1, False),
    ],
)
def test_addresses(text: str, host: str, port: int, loopback: bool) -> None:
    assert address(text) == Address(host, port)
    assert address(text).loopback is loopback
    assert is_loopback(host) is loopback


@pytest.mark.parametrize(
    "text", ["127.1:80", "1.2.3:80", "[fe80::1%eth0]:80", "[1.2.3.4]:80", "a..b:80", "-a:80", "a:٣"]
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(Fault):
        address(text)


@pytest.mark.parametrize(
    ("one", "other", "clash"),
    [
        ("127.0.0.1:1", "127.0.0.1:1", True),
        ("127.0.0.1:1", "127.0.0.1:2", False),
        ("127.0.0.1:0", "127.0.0.1:0", False),
        ("localhost:1", "[::1]:1", True),
        ("0.0.0.0:1", "10.0.0.1:1", True),
        ("[::]:1", "[::1]:1", True),
        ("[::]:1", "0.0.0.0:1", False),
        ("0.0.0.0:1", "[::1]:1", False),
        ("10.0.0.1:1", "10.0.0.2:1", False),
        ("a.example.com:1", "a.example.com:1", True),
        ("a.example.com:1", "b.example.com:1", False),
    ],
)
def test_clashes(one: str, other: str, clash: bool) -> None:
    assert address(one).clashes(address(other)) is clash
    assert address(other).clashes(address(one)) is clash


def test_hosts_are_lower_case() -> None:
    assert trusted_host("GW.Example.com:8443") == "gw.example.com:8443"
    assert trusted_host("[::1]") == "[::1]"


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("https://App.example.com", "https://app.example.com"),
        ("https://a:443", "https://a"),
        ("http://a:443", "http://a:443"),
        ("http://[::1]:3000", "http://[::1]:3000"),
    ],
)
def test_origins_are_as_browsers_send_them(text: str, plain: str) -> None:
    assert origin(text) == plain


@pytest.mark.parametrize(
    ("text", "host", "port", "target"),
    [
        ("http://a", "a", 80, "/"),
        ("https://A.b/c?d=e", "a.b", 443, "/c?d=e"),
        ("http://[::1]:8000/mcp", "::1", 8000, "/mcp"),
        ("http://a/b@c", "a", 80, "/b@c"),
        ("https://a?x", "a", 443, "/?x"),
    ],
)
def test_urls(text: str, host: str, port: int, target: str) -> None:
    found = url(text)
    assert (found.text, found.host, found.port, found.target) == (text, host, port, target)


@given(st.text(alphabet="htps:/@[]?#a.1% é", max_size=30))
def test_no_text_gets_past_or_breaks_the_parsers(text: str) -> None:
    for parse in (address, trusted_host, origin, url):
        try:
            parse("http://" + text)
            parse(text)
        except Fault:
            continue


@pytest.mark.parametrize(
    "text", ["http://me:hunter2@host/", "HTTP://hunter2@host", "http://a:hunter2@[::1]:x", "x://:hunter2@h"]
)
def test_passwords_are_not_repeated(text: str) -> None:
    for parse in (address, trusted_host, origin, url):
        with pytest.raises(Fault) as caught:
            parse(text)
        assert "hunter2" not in f"{caught.value.message} {caught.value.hint}"
