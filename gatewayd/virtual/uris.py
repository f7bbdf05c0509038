"""Resource URIs of several services in one name space. Pure.

A URI stays as it is as long as it leads back to the service that it came from; else it becomes `gatewayd://SERVICE/URI`
(MCP apps: `ui://gatewayd/SERVICE/...`, because hosts look at the scheme). RFC 6570 templates are not taken apart: only
what stands before them is changed.
"""

from __future__ import annotations

import re
from typing import Final

OURS: Final = "gatewayd:"
PREFIX: Final = "gatewayd://"
UI: Final = "ui://"
UI_PREFIX: Final = "ui://gatewayd/"
DIRECT: Final = ("https://", "http://")
"""What clients may fetch themselves, so that another URI would mean another thing."""

_EXPRESSIONS: Final = re.compile(r"(?:\{[^{}]*\})+")
"""Those that follow each other count as one."""
_RESERVED: Final = re.compile(r"\{[+#/?&;.]")
"""Operators that bring other characters in, or nothing at all."""


def carried(service: str, uri: str) -> str:
    """The URI, or template, with the service that it belongs to."""
    if uri.startswith(UI):
        return f"{UI_PREFIX}{service}/{uri[len(UI) :]}"
    return f"{PREFIX}{service}/{uri}"


def carrier(uri: str) -> tuple[str, str] | None:
    """The service and the URI that `carried` made this of; None where it did not."""
    for prefix, scheme in ((UI_PREFIX, UI), (PREFIX, "")):
        if uri.startswith(prefix):
            service, slash, rest = uri[len(prefix) :].partition("/")
            return (service, scheme + rest) if slash and rest else None
    return None


def is_carrier(uri: str) -> bool:
    """Whether the URI, or template, looks like one of ours, however it is written: then it is nobody else's."""
    return uri.lower().startswith((OURS, UI_PREFIX))


def scheme_of(uri: str) -> str:
    """The scheme, in lower case; empty where there is none."""
    scheme, colon, _ = uri.partition(":")
    return scheme.lower() if colon and "{" not in scheme else ""


def tail(template: str) -> str:
    """A template from its first expression on."""
    return template[template.find("{") :] if "{" in template else ""


class Template:
    """An RFC 6570 URI template, to be matched against."""

    __slots__ = ("_literals", "_reserved", "specific")

    def __init__(self, template: str) -> None:
        self._literals = _EXPRESSIONS.split(template)
        self.specific = len(self._literals[0])
        """How much is said before anything is left open: of several that match, the one that says most is meant."""
        self._reserved = [_RESERVED.search(group) is not None for group in _EXPRESSIONS.findall(template)]

    def matches(self, uri: str) -> bool:
        """Whether the template may have been expanded to this URI: each literal where it first fits.

        Linear in the length of the URI whatever the template. A simple expression stands for no `/`.
        """
        first, *rest = self._literals
        if not rest:
            return uri == first
        if not uri.startswith(first):
            return False
        at = len(first)
        for literal, reserved in zip(rest[:-1], self._reserved, strict=False):
            found = uri.find(literal, at + (0 if reserved else 1))
            if found < 0 or not (reserved or _simple(uri[at:found])):
                return False
            at = found + len(literal)
        last, end = rest[-1], len(uri) - len(rest[-1])
        return end >= at and uri.endswith(last) and (self._reserved[-1] or _simple(uri[at:end]))


def _simple(value: str) -> bool:
    """What an expression without an operator expands to: all but letters, digits and `-._~` is percent-encoded."""
    return bool(value) and "/" not in value
