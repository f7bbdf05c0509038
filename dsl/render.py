"""Diagnostics -> text: with source lines for people, one line each for editors, JSON for tools."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Literal

from gatewayd.dsl.diagnostics import Diagnostic, Label

Style = Literal["full", "concise", "json"]

_COLOURS = {"error": "31", "warning": "33", "note": "34", "hint": "32"}


def render(diagnostics: Iterable[Diagnostic], style: Style = "full", *, colour: bool = False) -> str:
    """The text to print, with a final line end unless there is nothing to say.

    `full` shows source lines and carets, `concise` one line `file:line:column: code: message` each, `json`
    one array. `colour` adds ANSI colours to `full`; whether the reader wants them is the caller's question.
    """
    if style == "json":
        return json.dumps([_plain(d) for d in diagnostics], indent=2, ensure_ascii=False) + "\n"
    if style == "concise":
        return "".join(f"{_where(d.label)}: {d.code.value}: {d.message}\n" for d in diagnostics)
    return "\n".join("\n".join(_full(d, colour)) + "\n" for d in diagnostics)


def _where(label: Label) -> str:
    return f"{label.file}:{label.line}:{label.column}"


def _full(diagnostic: Diagnostic, colour: bool) -> Iterator[str]:
    labels = (diagnostic.label, *diagnostic.also)
    gutter = " " * len(str(max(label.line for label in labels)))
    kind = diagnostic.severity
    yield _paint(f"{kind}[{diagnostic.code.value}]", kind, colour) + f": {diagnostic.message}"
    yield from _snippet(diagnostic.label, "-->", "^", gutter, kind if colour else None)
    for label in diagnostic.also:
        yield from _snippet(label, ":::", "-", gutter, "note" if colour else None)
    if diagnostic.hint:
        yield f"{gutter} = " + _paint("hint", "hint", colour) + f": {diagnostic.hint}"


def _snippet(label: Label, arrow: str, mark: str, gutter: str, kind: str | None) -> Iterator[str]:
    yield f"{gutter}{arrow} {_where(label)}"
    if not label.text:
        return
    start, length = label.caret
    indent = "".join("\t" if c == "\t" else " " for c in label.text[:start])
    marks = _paint((mark * length + " " + label.message).rstrip(), kind or "note", kind is not None)
    yield f"{gutter} |"
    yield f"{label.line:>{len(gutter)}} | {label.text}"
    yield f"{gutter} | {indent}{marks}"


def _paint(text: str, kind: str, colour: bool) -> str:
    return f"\x1b[1;{_COLOURS[kind]}m{text}\x1b[0m" if colour else text


def _plain(diagnostic: Diagnostic) -> dict[str, object]:
    return {
        "code": diagnostic.code.value,
        "severity": diagnostic.severity,
        "message": diagnostic.message,
        "hint": diagnostic.hint,
        **_place(diagnostic.label),
        "related": [{"message": label.message, **_place(label)} for label in diagnostic.also],
    }


def _place(label: Label) -> dict[str, object]:
    return {"file": label.file, "line": label.line, "column": label.column, "length": label.length}
