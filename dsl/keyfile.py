"""Key files of `api_key` strategies: read with the same care as the configuration itself."""

from __future__ import annotations

import re
from pathlib import Path

import attrs

from gatewayd.dsl import source as disk
from gatewayd.dsl.diagnostics import Code, Finding, Place, quote
from gatewayd.dsl.document import Document, parse
from gatewayd.dsl.masking import masks_of_text
from gatewayd.dsl.model import AuthTable, KeyFile
from gatewayd.dsl.source import Source, Span
from gatewayd.dsl.structure import structure
from gatewayd.dsl.terms import KeyHash
from gatewayd.dsl.world import Owned, findings_of
from gatewayd.routes.table import ApiKey

KEY_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,127}")
"""What a principal may be called."""


@attrs.frozen
class Ring:
    """The keys of one file, and what is wrong with it."""

    keys: tuple[ApiKey, ...]
    findings: tuple[Finding, ...]
    source: Source | None = None
    masks: tuple[Span, ...] = ()
    """Every value of the file that is not known to be harmless."""


def read_ring(owner: Owned[AuthTable]) -> Ring:
    """Read the key file that a strategy names. Never raises."""
    name, place = owner.table.file, owner.value("file")
    path = owner.document.source.path.parent / name
    if not disk.exists(path):
        message = f"the key file {quote(name)} does not exist"
        return Ring((), (Finding(Code.FILE_MISSING, message, place, f"gatewayd keys add ID --file {path}"),))
    try:
        source = disk.read_source(path)
    except disk.Unreadable as error:
        return Ring((), (Finding(Code.UNREADABLE, f"cannot read the key file {quote(name)}: {error}", place),))
    loose = _loose(path, place)
    document = parse(source)
    if isinstance(document, Finding):
        return Ring((), (*loose, document), source, tuple(masks_of_text(source, all_values=True)))
    keys, findings = _keys(document)
    if not keys and not findings:
        hint = f"gatewayd keys add ID --file {path}"
        findings.append(
            Finding(Code.EMPTY_RING, f"the key file {quote(name)} has no keys: nobody can come in", place, hint)
        )
    return Ring(tuple(keys), (*loose, *findings), source, tuple(_masks(document)))


def _loose(path: Path, place: Place) -> tuple[Finding, ...]:
    if not disk.open_to_others(path):
        return ()
    message = "the key file can be read or written by others than its owner"
    return (Finding(Code.OPEN_KEY_FILE, message, place, f"chmod 600 {path}"),)


def _keys(document: Document) -> tuple[list[ApiKey], list[Finding]]:
    result = structure(document.raw, KeyFile)
    findings = list(findings_of(document, result))
    keys: list[ApiKey] = []
    seen: dict[KeyHash, str] = {}
    for name, entry in result.model.keys.items():
        if not KEY_ID.fullmatch(name):
            hint = "letters, digits, `.`, `_`, `@` and `-`, beginning with a letter or digit"
            findings.append(Finding(Code.BAD_NAME, "this is not an id for a key", document.key(("keys", name)), hint))
        first = seen.setdefault(entry.hash, name)
        if first != name:
            also = ((document.value(("keys", first, "hash")), "the same key"),)
            message = f"`{first}` and {quote(name)} have the same key: nobody could tell who is calling"
            findings.append(Finding(Code.SAME_KEY, message, document.value(("keys", name, "hash")), None, also))
        keys.append(ApiKey(name, entry.hash))
    return keys, findings


def _masks(document: Document) -> list[Span]:
    """Values that may be a key in clear: all but well-formed hashes and what is meant for people."""
    harmless = re.compile(r'"sha256:[0-9a-f]{64}"')
    text = document.source.text
    return [
        entry.value
        for path, entry in document.entries.items()
        if path[-1] not in ("note", "created")
        and entry.value != entry.table
        and not harmless.fullmatch(text, entry.value.start, entry.value.end)
    ]
