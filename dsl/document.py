"""One parsed file: values, and where each of them stands. TOML syntax errors become findings here."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import attrs

from gatewayd.dsl.diagnostics import Code, Finding, Place
from gatewayd.dsl.source import Source, Span
from gatewayd.dsl.spans import Entry, KeyPath, Layout, scan

_SUFFIX = re.compile(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", re.DOTALL)


@attrs.frozen(eq=False)
class Document:
    """A file that is valid TOML."""

    source: Source
    raw: dict[str, Any] = attrs.field(repr=False)
    entries: dict[KeyPath, Entry] = attrs.field(repr=False)

    def value(self, path: KeyPath) -> Place:
        """Where the value of a key path stands, or the nearest table around it."""
        entry = self._nearest(path)
        return self._place(entry.value if entry else None)

    def key(self, path: KeyPath) -> Place:
        """Where the key stands, or the nearest one around it."""
        entry = self._nearest(path)
        return self._place(entry.key if entry else None)

    def table(self, path: KeyPath) -> Place:
        """What to underline to mean the whole table: its header, or its key."""
        entry = self._nearest(path)
        return self._place(entry.table if entry else None)

    def has(self, path: KeyPath) -> bool:
        """Is this path written in the file?"""
        return path in self.entries

    def _nearest(self, path: KeyPath) -> Entry | None:
        for length in range(len(path), 0, -1):
            if entry := self.entries.get(path[:length]):
                return entry
        return None

    def _place(self, span: Span | None) -> Place:
        return Place(self.source, span or Span(0, 0))


def parse(source: Source) -> Document | Finding:
    """Parse a text; the first syntax error where there is one."""
    try:
        raw = tomllib.loads(source.text)
    except tomllib.TOMLDecodeError as error:
        return _syntax(source, str(error))
    except RecursionError:
        return Finding(Code.SYNTAX, "values are nested too deeply", Place(source, Span(0, 0)))
    return Document(source, raw, scan(source.text).entries)


def _syntax(source: Source, complaint: str) -> Finding:
    match = _SUFFIX.fullmatch(complaint)
    message, line, column = match.groups() if match else (complaint, None, None)
    offset = source.offset(int(line), int(column)) if line and column else len(source.text)
    if "twice" in message or message.startswith(("Cannot", "Duplicate")):
        repeated = _repeated(source, scan(source.text[:offset]))
        if repeated is not None:
            return repeated
    text = message[:1].lower() + message[1:]
    if line is None:
        offset = max(len(source.text.rstrip()) - 1, 0)
        return Finding(Code.SYNTAX, f"{text}: the file ends too early", Place(source, _word_at(source, offset)))
    hint, span = _hint(source, offset)
    return Finding(Code.SYNTAX, text, Place(source, span or _word_at(source, offset)), hint)


def _repeated(source: Source, layout: Layout) -> Finding | None:
    if not layout.repeated:
        return None
    path, second = layout.repeated[-1]
    first = layout.entries[path]
    name = ".".join(str(step) for step in path)
    also = ((Place(source, first.table), "first written here"),)
    message = f"`{name}` is written twice"
    return Finding(Code.REPEATED_KEY, message, Place(source, second.table), "keep one of them", also)


def _word_at(source: Source, offset: int) -> Span:
    match = re.compile(r"[^\s,\]}#=]*").match(source.text, offset)
    end = match.end() if match else offset
    return Span(offset, max(end, min(offset + 1, len(source.text))))


def _hint(source: Source, offset: int) -> tuple[str | None, Span | None]:
    """What was probably meant, and the value in question: most syntax errors are a missing quote.

    The hint never shows the value, for it may be a secret.
    """
    span = source.line_span(source.position(offset)[0])
    line = source.text[span.start : span.end]
    pair = re.match(r"\s*([\w.\"-]+\s*=)\s*", line)
    if pair is None:
        return None, None
    value = line[pair.end() :].split("#")[0].strip()
    if not value:
        return "a value is missing after `=`", None
    if value[0] in "\"'" and value.count(value[0]) == 1:
        return "the string is not closed on its line", None
    if re.fullmatch(r"[A-Za-z0-9_./:-]+", value):
        start = span.start + pair.end()
        return f'strings go in quotes: `{pair[1].strip()} "..."`', Span(start, start + len(value))
    return None, None
