"""Secrets in clear: where they stand, so that they are warned about and never shown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

import attrs

from gatewayd.dsl.diagnostics import USERINFO, Code, Diagnostic, Finding, Label, Place
from gatewayd.dsl.document import Document
from gatewayd.dsl.later import LATER_CREDENTIALS
from gatewayd.dsl.source import Source, Span
from gatewayd.dsl.spans import KeyPath

Masks = Mapping[Source, Sequence[Span]]
"""What must not be shown of each source."""

_WORD = r"(?:secret|token|passw|pwd|bearer|api_?-?key|access_?-?key|private_?-?key|authorization|credential)"
_SECRETISH = re.compile(_WORD, re.IGNORECASE)
_POINTER = re.compile(r"(?:_|-)(?:file|path|url|uri|type|ttl|name|endpoint)$", re.IGNORECASE)
_HARMLESS = re.compile(r"[0-9.]*|true|false|yes|no|none|/.*", re.IGNORECASE)
_FLAG = re.compile(rf"--?[\w-]*{_WORD}[\w-]*", re.IGNORECASE)
_QUERY = re.compile(rf"[?&][^=&]*{_WORD}[^=&]*=[^&]", re.IGNORECASE)
_REFERENCES = ("env", "file", "credential")
_SESSION_KEYS = ("gateway", "session", "keys")
_SESSION_PLAIN = (("idle",), ("ttl",), ("resume",), ("buffer",))
_KEYS_OF_TEXT = re.compile(
    r"\bkeys?[\"']?[ \t]*=(.*?)(?=^[ \t]*[\w.\"'-]+[ \t]*=|^[ \t]*\[\w|\Z)", re.DOTALL | re.MULTILINE
)
"""Whatever `keys` are in a text that is not TOML, up to the next key or table."""

_AS_REFERENCE = 'write `{ env = "NAME" }` or `{ file = "path" }` instead'
_AS_ENV = "hand it over in `env`, as a `{ file = ... }` or `{ env = ... }`; arguments are visible to every process"


def may_hold_secret(text: str) -> bool:
    """Does a text speak of a secret anywhere?"""
    return bool(_SECRETISH.search(text) or USERINFO.search(text))


def clear_secrets(document: Document) -> Iterator[Finding]:
    """A warning for each secret that a configuration file shows."""
    for path, value in _leaves(document.raw, ()):
        hint = _clear_hint(document, path, value)
        if hint is not None:
            yield Finding(Code.CLEAR_SECRET, "this looks like a secret in clear", document.value(path), hint)


def _clear_hint(document: Document, path: KeyPath, value: object) -> str | None:
    if len(path) < 3 or not isinstance(value, str) or not value:
        return None
    if path[:3] == _SESSION_KEYS:
        return None if path[-1] in _REFERENCES else _AS_REFERENCE
    if path[0] != "services":
        return None
    if path[2:] == ("auth", "bearer"):
        return _AS_REFERENCE
    if path[2] == "env" and len(path) == 4:
        return _AS_REFERENCE if _tells(path[3:], value) or USERINFO.search(value) else None
    if path[2] == "command" and len(path) == 4:
        return _AS_ENV if _in_command(document, path, value) else None
    return 'send it as `auth = { bearer = { env = "NAME" } }`: URLs are logged' if _QUERY.search(value) else None


def masks_of(document: Document) -> list[Span]:
    """Everything in a configuration file that may be a secret, misplaced and misspelt ones included."""
    spans: list[Span] = []
    for path, value in _leaves(document.raw, ()):
        entry = document.entries.get(path)
        if entry is not None and _hidden(document, path, value):
            text = document.source.text[entry.value.start : entry.value.end]
            quoted = int(len(text) > 1 and text[0] in "\"'")
            spans.append(Span(entry.value.start + quoted, entry.value.end - quoted))
    return spans


def masks_of_text(source: Source, *, all_values: bool = False) -> list[Span]:
    """The same for a text that is not TOML: generous, line by line. `all_values`: whatever follows a `=`."""
    spans: list[Span] = []
    for number in range(1, len(source.starts) + 1):
        line = source.line_span(number)
        text = source.text[line.start : line.end]
        word = re.search("" if all_values else _WORD, text, re.IGNORECASE) or USERINFO.search(text)
        if word is not None:
            equals = text.find("=", word.start() if all_values else word.end())
            start = equals + 1 if equals >= 0 else word.end()
            spans.append(Span(line.start + start, line.end))
    return [*spans, *(Span(*match.span(1)) for match in _KEYS_OF_TEXT.finditer(source.text))]


def _hidden(document: Document, path: KeyPath, value: object) -> bool:
    text = value if isinstance(value, str) else ""
    named = path[2:] if path[0] in ("services", "routes", "auth") else path
    if path[0] == "services" and "auth" in named[:1]:
        return not (path[-1] in _REFERENCES or text in ("none", *LATER_CREDENTIALS))
    if path[-1] in _REFERENCES:
        return False
    if path[:2] == _SESSION_KEYS[:2] and path[2:3] not in _SESSION_PLAIN:
        return True
    if _tells(named, value) or USERINFO.search(text) or _QUERY.search(text):
        return True
    return "command" in named[:1] and _in_command(document, path, text)


def _tells(steps: KeyPath, value: object) -> bool:
    """Do the keys say that this is a secret?"""
    names = [step for step in steps if isinstance(step, str)]
    telling = any(_SECRETISH.search(name) and not _POINTER.search(name) for name in names)
    return telling and not (isinstance(value, str) and _HARMLESS.fullmatch(value))


def _in_command(document: Document, path: KeyPath, value: str) -> bool:
    if path[-1] == "command":  # a whole command line, refused
        return may_hold_secret(value)
    flag, equals, rest = value.partition("=")
    if equals and rest and _FLAG.fullmatch(flag):
        return True
    if USERINFO.search(value) or _QUERY.search(value):
        return True
    index = path[-1]
    if not isinstance(index, int) or index == 0 or value.startswith("-") or _HARMLESS.fullmatch(value):
        return False
    before = _at(document.raw, (*path[:-1], index - 1))
    return isinstance(before, str) and _FLAG.fullmatch(before) is not None and not _POINTER.search(before)


def _at(raw: object, path: KeyPath) -> object:
    for step in path:
        raw = cast("dict[str | int, object]", raw)[step]
    return raw


def _leaves(value: object, path: KeyPath) -> Iterator[tuple[KeyPath, object]]:
    if isinstance(value, dict):
        for key, inner in cast("dict[str, object]", value).items():
            yield from _leaves(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(cast("list[object]", value)):
            yield from _leaves(inner, (*path, index))
    else:
        yield path, value


def show(finding: Finding, masks: Masks) -> Diagnostic:
    """A finding with its source lines cut out, secrets replaced."""
    label = _cut(finding.place, "", masks)
    also = tuple(_cut(place, message, masks) for place, message in finding.also)
    return Diagnostic(finding.code, finding.message, label, finding.hint, also)


def _cut(place: Place, message: str, masks: Masks) -> Label:
    source, span = attrs.astuple(place, recurse=False)
    line, column = source.position(span.start)
    whole = source.line_span(line)
    cells = [
        c if c.isprintable() or c == "\t" else "\N{REPLACEMENT CHARACTER}" for c in source.text[whole.start : whole.end]
    ]
    for mask in masks.get(source, ()):
        first, last = max(mask.start, whole.start), min(mask.end, whole.end)
        if first < last:
            cells[first - whole.start : last - whole.start] = ["***", *[""] * (last - first - 1)]
    end = max(min(span.end, whole.end), span.start)
    start = len("".join(cells[: column - 1]))
    length = len("".join(cells[column - 1 : column - 1 + end - span.start]))
    return Label(
        str(source.path),
        line,
        column,
        max(end - span.start, 1),
        "".join(cells),
        (start, max(length, 1)),
        message,
    )
