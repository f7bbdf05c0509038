"""Key path -> where it stands. `tomllib` gives values without positions; this gives positions without values.

The scanner is used on texts that `tomllib` has accepted (or, to find the first of two duplicates, on the part
before the complaint), so it finds its way and does not judge: it never raises, and on other texts the result
is merely useless.
"""

from __future__ import annotations

import re
import tomllib
from enum import Enum

import attrs

from gatewayd.dsl.source import Span

KeyPath = tuple[str | int, ...]
"""Keys and array indexes from the top of a document to a value."""


class Form(Enum):
    """How a path came to be."""

    VALUE = "value"
    """`key = value`, or an array element: the value span is TOML for the value."""
    HEADER = "header"
    """`[table]` or `[[table]]`: the value span is the header with its brackets."""
    IMPLIED = "implied"
    """A step on the way (`a` of `[a.b]` or of `a.b = 1`): the value span is the key."""


@attrs.frozen
class Entry:
    """The place of one key path."""

    key: Span
    """The key as written; of an array element, the element."""
    value: Span
    form: Form

    @property
    def table(self) -> Span:
        """What to underline to mean "this table": its header, or its key where it has none."""
        return self.value if self.form is Form.HEADER else self.key


@attrs.frozen
class Layout:
    """Every key path of a text, and the paths that were written twice (with the second place)."""

    entries: dict[KeyPath, Entry]
    repeated: list[tuple[KeyPath, Entry]]


def scan(text: str) -> Layout:
    """Map every key path of a TOML text to its place."""
    scanner = _Scanner(text)
    scanner.document()
    return Layout(scanner.entries, scanner.repeated)


_BLANK = re.compile(r"(?:[ \t\n]+|#[^\n]*)*")
_INLINE_BLANK = re.compile(r"[ \t]*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_BASIC = re.compile(r'"(?:[^"\\\n]|\\.)*"')
_LITERAL = re.compile(r"'[^'\n]*'")
_LONG_BASIC = re.compile(r'"""(?:[^"\\]|\\.|"{1,2}(?!"))*"{3,5}', re.DOTALL)
_LONG_LITERAL = re.compile(r"'''(?:[^']|'{1,2}(?!'))*'{3,5}", re.DOTALL)
_SCALAR = re.compile(r"\d{4}-\d\d-\d\d \d\d:[^\s,\]}#]+|[^\s,\]}#]+")
_STRINGS = (_LONG_BASIC, _LONG_LITERAL, _BASIC, _LITERAL)


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.pos = 0
        self.entries: dict[KeyPath, Entry] = {}
        self.repeated: list[tuple[KeyPath, Entry]] = []
        self._lengths: dict[KeyPath, int] = {}  # arrays of tables

    def document(self) -> None:
        prefix: KeyPath = ()
        self._skip(_BLANK)
        while self.pos < len(self.text):
            before = self.pos
            if self._at("["):
                prefix = self._header()
            else:
                self._pair(prefix)
            self._skip(_BLANK)
            if self.pos == before:
                return

    def _header(self) -> KeyPath:
        start = self.pos
        brackets = 2 if self._at("[[") else 1
        self.pos += brackets
        keys = self._keys()
        self.pos += brackets
        whole = Span(start, self.pos)
        path: KeyPath = ()
        for name, span in keys[:-1]:
            path = (*path, name)
            self._imply(path, span)
            path = self._into_newest(path)
        for name, span in keys[-1:]:
            path = (*path, name)
            if brackets == 2:
                self.entries.setdefault(path, Entry(span, whole, Form.HEADER))
                self._lengths[path] = self._lengths.get(path, 0) + 1
                path = self._into_newest(path)
            self._define(path, Entry(span, whole, Form.HEADER))
        return path

    def _into_newest(self, path: KeyPath) -> KeyPath:
        length = self._lengths.get(path)
        return path if length is None else (*path, length - 1)

    def _pair(self, prefix: KeyPath) -> None:
        keys = self._keys()
        self._accept("=")
        self._skip(_INLINE_BLANK)
        path = prefix
        for name, span in keys[:-1]:
            path = (*path, name)
            self._imply(path, span)
        for name, span in keys[-1:]:
            self._value((*path, name), span)

    def _keys(self) -> list[tuple[str, Span]]:
        keys: list[tuple[str, Span]] = []
        while True:
            self._skip(_INLINE_BLANK)
            match = next((m for p in (_BARE, _BASIC, _LITERAL) if (m := p.match(self.text, self.pos))), None)
            if match is None:
                return keys
            self.pos = match.end()
            keys.append((_plain(match[0]), Span(match.start(), match.end())))
            self._skip(_INLINE_BLANK)
            if not self._accept("."):
                return keys

    def _value(self, path: KeyPath, key: Span | None) -> None:
        start = self.pos
        slot = len(self.repeated)  # a repeated table comes before what repeats inside it
        if self._accept("["):
            self._array(path)
        elif self._accept("{"):
            self._inline(path)
        else:
            self._scalar()
        span = Span(start, self.pos)
        self._define(path, Entry(key or span, span, Form.VALUE), slot)

    def _scalar(self) -> None:
        for pattern in (*_STRINGS, _SCALAR):
            if match := pattern.match(self.text, self.pos):
                self.pos = match.end()
                return

    def _array(self, path: KeyPath) -> None:
        index = 0
        self._skip(_BLANK)
        while self.pos < len(self.text) and not self._accept("]"):
            before = self.pos
            self._value((*path, index), None)
            index += 1
            self._separator()
            if self.pos == before:
                return

    def _inline(self, path: KeyPath) -> None:
        self._skip(_BLANK)
        while self.pos < len(self.text) and not self._accept("}"):
            before = self.pos
            self._pair(path)
            self._separator()
            if self.pos == before:
                return

    def _separator(self) -> None:
        self._skip(_BLANK)
        self._accept(",")
        self._skip(_BLANK)

    def _imply(self, path: KeyPath, span: Span) -> None:
        self.entries.setdefault(path, Entry(span, span, Form.IMPLIED))

    def _define(self, path: KeyPath, entry: Entry, slot: int | None = None) -> None:
        old = self.entries.get(path)
        if old is None or old.form is Form.IMPLIED:
            self.entries[path] = entry
        else:
            self.repeated.insert(len(self.repeated) if slot is None else slot, (path, entry))

    def _skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self.text, self.pos)
        assert match is not None  # what may be blank matches nothing at all, too
        self.pos = match.end()

    def _at(self, token: str) -> bool:
        return self.text.startswith(token, self.pos)

    def _accept(self, token: str) -> bool:
        found = self._at(token)
        self.pos += found
        return found


def _plain(key: str) -> str:
    if not key.startswith(('"', "'")):
        return key
    try:
        return str(tomllib.loads(f"k = {key}")["k"])
    except tomllib.TOMLDecodeError:  # an escape that does not exist
        return key
