"""Listen addresses, host names, origins and URLs, taken apart and judged."""

from __future__ import annotations

import ipaddress
import re
from typing import Literal
from urllib.parse import SplitResult, urlsplit

import attrs

from gatewayd.dsl.diagnostics import Code, Fault, quote

_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST_NAME = re.compile(rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*\.?")
_HOST_PORT = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*):([0-9]{1,5})")
_URL_TEXT = re.compile(r"[!#-;=?-\[\]_a-z~]*")  # visible ASCII without " < > \ ^ ` { | }
_PORTS = {"http": 80, "https": 443}


@attrs.frozen
class Address:
    """Where to listen: `host:port`."""

    host: str
    """Lower case; IPv6 without brackets."""
    port: int

    @property
    def loopback(self) -> bool:
        """Can only this machine reach it?"""
        return is_loopback(self.host)

    def clashes(self, other: Address) -> bool:
        """Would both listeners want the same socket?"""
        if self.port == 0 or self.port != other.port:
            return False
        mine, theirs = _addresses(self.host), _addresses(other.host)
        wild = {"0.0.0.0": 4, "::": 6}
        families = {a.version for a in mine} & {a.version for a in theirs}
        anywhere = any(wild.get(host) in families for host in (self.host, other.host))
        return self.host == other.host or bool(mine & theirs) or anywhere


@attrs.frozen
class Url:
    """An absolute `http` or `https` URL."""

    text: str
    scheme: Literal["http", "https"]
    host: str
    port: int
    target: str
    """Path and query."""


def is_loopback(host: str) -> bool:
    """Is this `localhost` or an address of the loopback network?"""
    return host == "localhost" or any(a.is_loopback for a in _addresses(host))


def _addresses(host: str) -> set[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    if host == "localhost":
        return {ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1")}
    try:
        return {ipaddress.ip_address(host)}
    except ValueError:
        return set()


def _host(text: str) -> str | None:
    """A host name or address in lower case, without brackets; None if it is neither."""
    if text.startswith("[") and text.endswith("]"):
        inner = text[1:-1].lower()
        found = _addresses(inner)
        return inner if "%" not in inner and any(a.version == 6 for a in found) else None
    numeric = re.fullmatch(r"[0-9.]+", text) is not None
    if not _HOST_NAME.fullmatch(text) or (numeric and not _addresses(text)):
        return None
    return text.lower()


def address(text: str) -> Address:
    """`host:port`, IPv6 in brackets. Raises `Fault`."""
    match = _HOST_PORT.fullmatch(text)
    host = _host(match[1]) if match else None
    if match is None or host is None:
        raise Fault(Code.ADDRESS, f"{quote(text)} is not an address to listen on: expected `host:port`", _fix(text))
    port = int(match[2])
    if port > 65535:
        raise Fault(Code.RANGE, f"port {port} is out of range: expected 0 to 65535")
    return Address(host, port)


def _fix(text: str) -> str | None:
    if text.startswith(("unix:", "/")):
        return "unix sockets are not part of this release"
    if "@" in text:
        return None
    if "://" in text:
        bare = text.split("://", 1)[1].rstrip("/")
        return f'write "{bare}"; TLS is asked for with `tls = {{ cert = ..., key = ... }}`'
    if re.fullmatch(r":[0-9]+", text):
        return f'write "127.0.0.1{text}" for this machine alone, "0.0.0.0{text}" for every IPv4 interface'
    if re.fullmatch(r"[0-9]+", text):
        return f'did you mean "127.0.0.1:{text}"?'
    bare, _, port = text.rpartition(":")
    if ":" in bare and _addresses(bare):
        return f'an IPv6 address goes in brackets: "[{bare}]:{port}"'
    if _host(text) or _addresses(text):
        return f'add a port, such as "{f"[{text}]" if ":" in text else text}:8080"'
    return None


def trusted_host(text: str) -> str:
    """A `Host` value to trust, lower case, with or without port. Raises `Fault`."""
    match = _HOST_PORT.fullmatch(text)
    host = _host(match[1] if match else text)
    if host is None or (match is not None and int(match[2]) > 65535):
        hint = "name each host; there are no wildcards" if "*" in text else None
        if "://" in text:
            hint = "a host has no scheme and no path"
        raise Fault(Code.ADDRESS, f"{quote(text)} is not a host name: expected `host` or `host:port`", hint)
    return text.lower()


def origin(text: str) -> str:
    """A browser origin as browsers send it: lower case, no default port. Raises `Fault`."""
    parts = _split(text)
    scheme = parts.scheme if parts else ""
    if parts is None or scheme not in _PORTS or text.count("://") != 1:
        hint = "name each origin; there are no wildcards" if "*" in text else None
        raise Fault(
            Code.ORIGIN,
            f"{quote(text)} is not an origin: expected `https://host` or `https://host:port`",
            hint,
        )
    host, port = _authority(parts, Code.ORIGIN)
    shown = f"[{host}]" if ":" in host else host
    plain = f"{scheme}://{shown}" + ("" if port in (None, _PORTS[scheme]) else f":{port}")
    if parts.path or parts.query or parts.fragment or text.endswith(("?", "#")):
        raise Fault(Code.ORIGIN, f"{quote(text)} is not an origin: it has a path", f'did you mean "{plain}"?')
    return plain


def url(text: str) -> Url:
    """The URL of a server. Raises `Fault`, whose message never shows a password."""
    authority = text.partition("://")[2].partition("/")[0].partition("?")[0].partition("#")[0]
    if "@" in authority:
        raise Fault(
            Code.URL_CREDENTIALS,
            "a URL must not contain a user name or password",
            'take it out and write `auth = { bearer = { env = "NAME" } }`',
        )
    parts = _split(text)
    if parts is None:
        raise Fault(Code.URL, "this is not a URL: expected visible ASCII characters, others percent-encoded")
    if parts.scheme not in _PORTS or "://" not in text:
        raise _bad_scheme(text, parts.scheme)
    if "#" in text:
        raise Fault(Code.URL, "a URL of a server has no fragment", "drop the `#` and what follows")
    host, port = _authority(parts, Code.URL)
    scheme: Literal["http", "https"] = "https" if parts.scheme == "https" else "http"
    if port == 0:
        raise Fault(Code.RANGE, "port 0 is out of range: expected 1 to 65535")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Url(text, scheme, host, _PORTS[scheme] if port is None else port, target)


def _bad_scheme(text: str, scheme: str) -> Fault:
    if "://" not in text:
        hint = (
            f'did you mean "http://{text}"?' if "?" not in text and re.match(r"[\w.\[\]-]+(:\d+)?(/|$)", text) else None
        )
        return Fault(Code.URL, "this is not a URL: expected one that starts with `http://` or `https://`", hint)
    return Fault(Code.URL, f"scheme {quote(scheme)} is not supported: expected `http` or `https`")


def _split(text: str) -> SplitResult | None:
    if not _URL_TEXT.fullmatch(text):
        return None
    try:
        return urlsplit(text)
    except ValueError:  # brackets that hold no address
        return None


def _authority(parts: SplitResult, code: Code) -> tuple[str, int | None]:
    """Host and port, judged. What precedes an `@` is refused, never shown."""
    try:
        port = parts.port
    except ValueError:
        raise Fault(Code.RANGE, "the port is out of range: expected 1 to 65535") from None
    bare, _, digits = parts.netloc.rpartition(":")
    host = _host(bare if digits.isdigit() and bare else parts.netloc)
    if host is None or (digits == "" and parts.netloc.endswith(":")):
        raise Fault(code, "the host name is missing or malformed")
    return host, port
