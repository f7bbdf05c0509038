"""Where an HTTP+SSE service wants its messages (MCP 2024-11-05, HTTP with SSE)."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urljoin, urlsplit

from gatewayd.routes.table import HttpTarget
from gatewayd.upstreams.channel import UpstreamBroke

REFERENCE = re.compile(rb"[\x21-\x7e]{1,4096}")
"""A URI reference has visible ASCII only; the length is what common servers take as a request target."""
PORTS = {"http": 80, "https": 443}


def endpoint_path(target: HttpTarget, reference: bytes) -> str:
    """The request target that an `endpoint` event names, resolved against the URL of the service.

    Raises `UpstreamBroke` where it is no URI, or one of another origin: messages, and with them the credentials of the
    gateway, go to nobody else.
    """
    if REFERENCE.fullmatch(reference) is None:
        raise UpstreamBroke("the service named no usable endpoint", f"{len(reference)} bytes")
    base = urlsplit(target.url)
    try:
        parts = urlsplit(urljoin(target.url, reference.decode("ascii")))
        same = _origin(parts) == _origin(base)
    except ValueError as error:  # brackets that hold no address, or a port out of range
        raise UpstreamBroke("the service named no usable endpoint", str(error)) from error
    if not same:
        raise UpstreamBroke("the service named an endpoint on another origin", f"{parts.scheme}://{parts.hostname}")
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None, bool]:
    return parts.scheme, parts.hostname, parts.port or PORTS.get(parts.scheme), "@" in parts.netloc
