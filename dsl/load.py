"""The configuration file and all that it includes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import attrs

from gatewayd.dsl import source as disk
from gatewayd.dsl.diagnostics import Code, Finding, Place, quote
from gatewayd.dsl.document import Document, parse
from gatewayd.dsl.source import Source, Span


@attrs.define
class Loaded:
    """What was read. `sources` has files with syntax errors too, `documents` has not."""

    sources: list[Source] = attrs.field(factory=list[Source])
    documents: list[Document] = attrs.field(factory=list[Document])
    findings: list[Finding] = attrs.field(factory=list[Finding])
    complete: bool = True
    """False when a file is missing from `documents`: then nobody may say that a name is unknown or unused."""
    included_at: dict[str, Place] = attrs.field(factory=dict[str, Place])
    """Where each file was asked for first, by identity."""


def load(source: Source) -> Loaded:
    """Parse a source and follow its includes, depth first, in the order of the files' names."""
    loaded = Loaded()
    _follow(source, loaded, (disk.identity(source.path),))
    return loaded


def _follow(source: Source, loaded: Loaded, stack: tuple[str, ...]) -> None:
    loaded.sources.append(source)
    document = parse(source)
    if isinstance(document, Finding):
        loaded.findings.append(document)
        loaded.complete = False
        return
    loaded.documents.append(document)
    for place, pattern in _patterns(document):
        paths = disk.expand(source, pattern)
        if not paths and not disk.is_pattern(pattern):
            _miss(loaded, Finding(Code.NO_MATCH, f"the included file {quote(pattern)} does not exist", place))
        for path in paths:
            _include(path, place, loaded, stack)


def _include(path: Path, place: Place, loaded: Loaded, stack: tuple[str, ...]) -> None:
    identity = disk.identity(path)
    if identity in stack:
        message = f"{quote(path)} includes itself" + (" by way of others" if stack[-1] != identity else "")
        loaded.findings.append(Finding(Code.INCLUDE_CYCLE, message, place, "narrow the pattern or take it out"))
        return
    first = loaded.included_at.setdefault(identity, place)
    if first is not place:
        also = ((first, "included here first"),)
        loaded.findings.append(Finding(Code.INCLUDED_TWICE, f"{quote(path)} is included twice", place, None, also))
        return
    try:
        source = disk.read_source(path)
    except disk.Unreadable as error:
        _miss(loaded, Finding(Code.UNREADABLE, f"cannot read {quote(path)}: {error}", place))
        return
    _follow(source, loaded, (*stack, identity))


def _miss(loaded: Loaded, finding: Finding) -> None:
    loaded.findings.append(finding)
    loaded.complete = False


def _patterns(document: Document) -> Iterator[tuple[Place, str]]:
    """The well-formed part of `include`; the rest is a fault of the model."""
    patterns = document.raw.get("include")
    if isinstance(patterns, list):
        for index, pattern in enumerate(cast("list[object]", patterns)):
            if isinstance(pattern, str) and pattern and "\0" not in pattern:
                yield document.value(("include", index)), pattern


def unreadable(path: Path, reason: str) -> Finding:
    """The configuration file itself cannot be read."""
    return Finding(Code.UNREADABLE, f"cannot read {quote(path)}: {reason}", Place(Source(path, ""), Span(0, 0)))
