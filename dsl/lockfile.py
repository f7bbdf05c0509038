"""The tool lock: read with the same care as the configuration itself, and refused as a whole where it is faulty."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import attrs

from gatewayd.dsl import source as disk
from gatewayd.dsl.diagnostics import Code, Diagnostic, Finding, Place, quote
from gatewayd.dsl.document import Document, parse
from gatewayd.dsl.load import unreadable
from gatewayd.dsl.masking import show
from gatewayd.dsl.model_lock import LockEntry, LockFile
from gatewayd.dsl.source import Source
from gatewayd.dsl.structure import structure
from gatewayd.dsl.world import World, findings_of
from gatewayd.routes.lock import Pin, Pins

VERSION: Final = 1
"""Of the format."""
DEFAULT: Final = "tools.lock"
"""The file, beside the main one, where the configuration names none."""

Entries = Mapping[str, Mapping[str, LockEntry]]
"""By service, then by the name that the service uses."""


class BrokenLock(Exception):
    """A lock file that cannot be used."""

    def __init__(self, diagnostics: tuple[Diagnostic, ...]) -> None:
        super().__init__("the lock file cannot be used")
        self.diagnostics = diagnostics


@attrs.frozen
class Lock:
    """What a lock file says, and what is wrong with it."""

    entries: Entries = attrs.field(factory=dict[str, Mapping[str, LockEntry]])
    findings: tuple[Finding, ...] = ()

    def pins(self) -> Pins:
        """The hashes alone."""
        return {
            service: {name: Pin(tool.description, tool.schema, tool.annotations) for name, tool in tools.items()}
            for service, tools in self.entries.items()
        }


def lock_path(world: World) -> Path:
    """Where the lock file of a configuration is, whether or not anything asks for it."""
    owned = world.gateway
    if owned is None or owned.table.lock_file is None:
        return world.root.source.path.parent / DEFAULT
    return owned.document.source.path.parent / owned.table.lock_file


def read_lock(world: World) -> Lock:
    """Read the lock file if some route asks for it. Never raises."""
    asking = [route for route in world.routes.values() if route.table.lock != "off"]
    if not asking:
        return Lock()
    path = lock_path(world)
    named = world.gateway is not None and world.gateway.table.lock_file is not None
    place = world.gateway.value("lock_file") if world.gateway and named else asking[0].value("lock")
    if not disk.exists(path):
        return Lock({}, tuple(_missing(path, world, route.table.lock, route.value("lock")) for route in asking))
    try:
        source = disk.read_source(path)
    except disk.Unreadable as error:
        return Lock({}, (Finding(Code.UNREADABLE, f"cannot read the lock file {quote(path)}: {error}", place),))
    return _read(source)


def load_lock(path: Path) -> Entries:
    """Read a lock file for its own sake; empty where there is none. Raises `BrokenLock`."""
    if not disk.exists(path):
        return {}
    try:
        lock = _read(disk.read_source(path))
    except disk.Unreadable as error:
        raise BrokenLock((show(unreadable(path, str(error)), {}),)) from None
    if lock.findings:
        raise BrokenLock(tuple(show(finding, {}) for finding in lock.findings))
    return lock.entries


def _missing(path: Path, world: World, mode: str, place: Place) -> Finding:
    fate = "every tool is withheld" if mode == "enforce" else "every tool is reported as new"
    message = f'there is no {quote(path)}: with `lock = "{mode}"` {fate}'
    return Finding(Code.NO_LOCK, message, place, f"run `gatewayd lock {world.root.source.path}`")


def _read(source: Source) -> Lock:
    document = parse(source)
    if isinstance(document, Finding):
        return Lock({}, (document,))
    result = structure(document.raw, LockFile)
    version = result.model.version
    if version != VERSION and ("version",) not in result.broken:
        return Lock({}, (_unknown_version(document, version),))
    entries = {name: service.tools for name, service in result.model.services.items()}
    return Lock(entries, tuple(findings_of(document, result)))


def _unknown_version(document: Document, version: int) -> Finding:
    found = f"is of version {version}" if document.has(("version",)) else "does not say its version"
    message = f"the lock file {found}: this release knows version {VERSION}"
    hint = "move it away, and `gatewayd lock` makes a new one"
    return Finding(Code.LOCK_VERSION, message, document.value(("version",)), hint)
