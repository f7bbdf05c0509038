"""Where an HTTP+SSE service wants its messages: on its own origin and nowhere else."""

from __future__ import annotations

import pytest

from gatewayd.routes.table import HttpTarget
from gatewayd.upstreams.channel import UpstreamBroke
from gatewayd.upstreams.sse_endpoint import endpoint_path


def at(url: str, path: str = "/base/sse") -> HttpTarget:
    return HttpTarget(url, "http", "web", 8000, path)


WEB = at("http://web:8000/base/sse?key=1")


@pytest.mark.parametrize(
    ("reference", "path"),
    [
        (b"/messages?session=1", "/messages?session=1"),
        (b"messages/1", "/base/messages/1"),
        (b"?session=1", "/base/sse?session=1"),
        (b"../x", "/x"),
        (b"http://web:8000/m", "/m"),
        (b"HTTP://WEB:8000/m", "/m"),
        (b"//web:8000/m", "/m"),
        (b"http://web:8000", "/"),
        (b"/m?a=1#fragment", "/m?a=1"),
        (b"/%2e%2e/%0d%0a", "/%2e%2e/%0d%0a"),
    ],
)
def test_it_is_resolved_against_the_url_of_the_service(reference: bytes, path: str) -> None:
    assert endpoint_path(WEB, reference) == path


@pytest.mark.parametrize(
    ("url", "reference"),
    [
        ("http://web/sse", b"http://web:80/m"),
        ("https://web/sse", b"https://web:443/m"),
        ("https://web:443/sse", b"//web/m"),
        ("http://[::1]:81/sse", b"http://[::1]:81/m"),
    ],
)
def test_the_usual_port_may_be_left_out(url: str, reference: bytes) -> None:
    assert endpoint_path(at(url), reference) == "/m"


@pytest.mark.parametrize(
    "reference",
    [
        b"http://evil:8000/m",
        b"//evil/m",
        b"https://web:8000/m",
        b"http://web/m",
        b"http://web:8001/m",
        b"http://web:8000@evil/m",
        b"http://user@web:8000/m",
        b"javascript:alert(1)",
        b"file:///etc/passwd",
        b"http://web.evil:8000/m",
    ],
)
def test_another_origin_is_refused(reference: bytes) -> None:
    with pytest.raises(UpstreamBroke, match="another origin"):
        endpoint_path(WEB, reference)


@pytest.mark.parametrize(
    "reference",
    [b"", b"/a b", b"/a\r\nx: y", b"/\xc3\xbc", b"/" + b"x" * 5000, b"http://[::1/m", b"http://web:99999/m", b"/\0"],
)
def test_what_is_no_uri_is_refused(reference: bytes) -> None:
    with pytest.raises(UpstreamBroke, match="no usable endpoint"):
        endpoint_path(WEB, reference)
