"""What has become of tools since somebody approved them, and how people read it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

import attrs

from gatewayd.dsl.lockfile import Entries
from gatewayd.dsl.locktext import toml_string
from gatewayd.dsl.model_lock import LockEntry

Part = Literal["description", "schema", "annotations"]
_PARTS: tuple[Part, ...] = ("description", "schema", "annotations")


@attrs.frozen
class Change:
    """One tool that is not as it was."""

    service: str
    tool: str
    """The name that the service uses."""
    old: LockEntry | None
    """None: the tool is new."""
    new: LockEntry | None
    """None: the tool is gone."""

    @property
    def kind(self) -> Literal["added", "changed", "removed"]:
        """What has become of the tool."""
        return "added" if self.old is None else "removed" if self.new is None else "changed"

    @property
    def parts(self) -> tuple[Part, ...]:
        """Which parts of a changed tool are others; of a new one or one that is gone, none."""
        if self.old is None or self.new is None:
            return ()
        return tuple(part for part in _PARTS if getattr(self.old, part) != getattr(self.new, part))


def changes(old: Entries, new: Entries) -> tuple[Change, ...]:
    """What is different, sorted by service and tool. Texts for people do not count, only hashes do."""
    found: list[Change] = []
    for service in sorted({*old, *new}):
        before, after = old.get(service, {}), new.get(service, {})
        for tool in sorted({*before, *after}):
            change = Change(service, tool, before.get(tool), after.get(tool))
            if change.kind != "changed" or change.parts:
                found.append(change)
    return tuple(found)


def render_changes(found: Iterable[Change]) -> str:
    """The changes like a small diff, safe to print: empty where there are none, else with a final line end."""
    lines: list[str] = []
    service: str | None = None
    for change in found:
        if change.service != service:
            service = change.service
            lines.append(toml_string(service)[1:-1])
        lines += _lines(change)
    return "".join(f"{line}\n" for line in lines)


def _lines(change: Change) -> Iterator[str]:
    sign = {"added": "+", "removed": "-", "changed": "~"}[change.kind]
    name = toml_string(change.tool)[1:-1]
    if change.old is None or change.new is None:
        yield f"  {sign} {name}"
        for tool in filter(None, (change.old, change.new)):
            yield from (f"      {sign} {line}" for part in _PARTS for line in _shown(tool, part))
        return
    for part in change.parts:
        yield f"  {sign} {name}: {'other' if part == 'annotations' else 'another'} {part}"
        before, after = list(_shown(change.old, part)), list(_shown(change.new, part))
        if before == after:
            yield f"      {_UNSHOWN[part]}"
        yield from (f"      - {line}" for line in before if line not in after)
        yield from (f"      + {line}" for line in after if line not in before)


def _shown(tool: LockEntry, part: Part) -> Iterator[str]:
    if part == "description":
        texts = [tool.text] if tool.text else []
        return map(toml_string, texts)
    return (toml_string(text)[1:-1] for text in (tool.arguments if part == "schema" else tool.hints))


_UNSHOWN: dict[Part, str] = {
    "description": "in its title",
    "schema": "below the names and types of its arguments, or in its output",
    "annotations": "in their order or form",
}
