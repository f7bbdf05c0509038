"""What is wrong, where, and what to write instead: data; `render` makes text of it."""

from __future__ import annotations

import re
from enum import StrEnum, unique
from typing import Literal

import attrs

from gatewayd.dsl.source import Source, Span

USERINFO = re.compile(r"://[^\s/?#@\"']*@")
"""User name and password of a URL, with what surrounds them."""
Part = Literal["key", "value", "table"]
"""What of a key path is underlined."""
Severity = Literal["error", "warning"]


@unique
class Code(StrEnum):
    """Stable names of the faults; docs/reference/diagnostics.md explains each. `GW9xx` are warnings.

    `GW152` was a fault once and is not used again.
    """

    SYNTAX = "GW101"
    UNREADABLE = "GW102"
    NO_MATCH = "GW103"
    INCLUDE_CYCLE = "GW104"
    INCLUDED_TWICE = "GW105"
    DEFINED_TWICE = "GW106"
    REPEATED_KEY = "GW107"

    UNKNOWN_KEY = "GW111"
    WRONG_TYPE = "GW112"
    MISSING_KEY = "GW113"
    NOT_A_CHOICE = "GW114"
    LATER = "GW115"
    BAD_NAME = "GW116"

    DURATION = "GW121"
    SIZE = "GW122"
    RANGE = "GW123"
    ADDRESS = "GW124"
    URL = "GW125"
    URL_CREDENTIALS = "GW126"
    ORIGIN = "GW127"

    SECRET_MISSING = "GW131"  # noqa: S105 - a code, no password
    SECRET_UNUSABLE = "GW132"  # noqa: S105 - a code, no password
    FILE_MISSING = "GW133"
    SHORT_KEY = "GW134"

    NO_TARGET = "GW141"
    COMMAND = "GW142"
    NOT_HERE = "GW143"
    UNUSABLE_NAME = "GW144"
    SAME_NAME = "GW145"

    UNKNOWN_NAME = "GW151"
    NO_AUTH = "GW153"
    PUBLIC = "GW154"
    ROUTE_PATH = "GW155"
    NO_ROUTES = "GW156"
    REPEATED_NAME = "GW157"
    PREFIX = "GW158"
    SAME_PREFIX = "GW159"

    ADDRESS_CLASH = "GW161"

    KEY_HASH = "GW171"
    SAME_KEY = "GW172"
    LOCK_VERSION = "GW173"
    PIN_HASH = "GW174"

    CLEAR_SECRET = "GW901"  # noqa: S105 - a code, no password
    UNUSED_SERVICE = "GW902"
    UNUSED_STRATEGY = "GW903"
    NO_PROGRAM = "GW904"
    EMPTY_RING = "GW905"
    OPEN_KEY_FILE = "GW906"
    OPEN_ADMIN = "GW907"
    PLAIN_CREDENTIAL = "GW908"
    NO_HOSTS = "GW909"
    NEVER_MATCHES = "GW910"
    SHOWS_NOTHING = "GW911"
    SHOWN_AND_HIDDEN = "GW912"
    NO_LOCK = "GW913"

    @property
    def severity(self) -> Severity:
        """Errors keep the table from being built, warnings do not."""
        return "warning" if self.startswith("GW9") else "error"


class Fault(Exception):
    """A value that cannot be accepted, found where its place in the file is not known."""

    def __init__(self, code: Code, message: str, hint: str | None = None, *, on: Part = "value") -> None:
        super().__init__(message)
        self.on: Part = on
        self.code = code
        self.message = message
        self.hint = hint


@attrs.frozen
class Place:
    """A stretch of one source."""

    source: Source
    span: Span


@attrs.frozen
class Finding:
    """A fault with its place, before the source lines are cut out and masked."""

    code: Code
    message: str
    place: Place
    hint: str | None = None
    also: tuple[tuple[Place, str], ...] = ()
    """Other places that take part, each with a word on its part."""


@attrs.frozen
class Label:
    """A place as it is shown."""

    file: str
    line: int
    """Counted from 1, as is the column."""
    column: int
    length: int
    """Characters on this line."""
    text: str
    """The source line, secrets and control characters replaced."""
    caret: tuple[int, int]
    """Which part of `text` to underline: offset and length."""
    message: str = ""


@attrs.frozen
class Diagnostic:
    """One fault, ready to be shown."""

    code: Code
    message: str
    """One sentence without a full stop: what was found and what was expected."""
    label: Label
    hint: str | None = None
    """What to write instead."""
    also: tuple[Label, ...] = ()

    @property
    def severity(self) -> Severity:
        """`error` or `warning`, by the code."""
        return self.code.severity


def quote(value: object, limit: int = 60) -> str:
    """A value from the file in backticks: on one line, without passwords of URLs, not too long."""
    text = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in USERINFO.sub("://***@", str(value)))
    return f"`{text if len(text) <= limit else text[: limit - 1] + '…'}`"
