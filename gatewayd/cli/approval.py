"""What `gatewayd lock` approves of, and what a person should look at twice. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final

import attrs

from gatewayd.catalog.kinds import TOOLS
from gatewayd.daemon.survey import Answered
from gatewayd.dsl.lockchanges import Change, render_changes
from gatewayd.dsl.lockfile import Entries, Lock
from gatewayd.dsl.locktext import arguments, entry
from gatewayd.dsl.model_lock import LockEntry
from gatewayd.dsl.suggest import did_you_mean
from gatewayd.routes.lock import Pins, drift, pin
from gatewayd.routes.suspicion import confusable
from gatewayd.routes.table import Table

_ALL: Final = frozenset[str]()


class Unknown(Exception):
    """Somebody asked for what there is not; the message says what, and what was probably meant."""


@attrs.frozen
class Choice:
    """Which tools are looked at."""

    tools: Mapping[str, frozenset[str]]
    """By service, in the order in which they are asked; none named: all of them."""
    named: bool
    """Whether somebody named them. If not, services that are not configured any more are forgotten."""

    def touches(self, service: str, tool: str) -> bool:
        """Whether a tool is looked at."""
        return service in self.tools and (not self.tools[service] or tool in self.tools[service])


def choose(names: Iterable[str], table: Table) -> Choice:
    """The choice that was made on the command line (`SERVICE` or `SERVICE:TOOL`), or what is usual without names.

    Usual are the services of routes that have a lock, or all services where no route has one. Raises `Unknown` for a
    service that is not configured.
    """
    tools: dict[str, frozenset[str]] = {}
    for name in names:
        service, colon, tool = name.partition(":")
        if service not in table.services:
            hint = did_you_mean(service, table.services)
            raise Unknown(f"there is no service `{service}`" + (f": {hint}" if hint else ""))
        whole = not colon or tools.get(service) == _ALL
        tools[service] = _ALL if whole else tools.get(service, _ALL) | {tool}
    if tools:
        return Choice(tools, named=True)
    locked = [route for route in table.routes.values() if route.virtual is not None and route.virtual.lock != "off"]
    services = [name for route in locked for name in route.services] or list(table.services)
    return Choice(dict.fromkeys(services, _ALL), named=False)


def check_tools(choice: Choice, old: Entries, answers: Iterable[Answered]) -> None:
    """Raise `Unknown` for a tool that was named and that neither its service has nor the lock file."""
    for answered in answers:
        known = {*answered.tools, *old.get(answered.service, {})}
        for tool in sorted(choice.tools[answered.service] - known):
            if answered.whole:
                hint = did_you_mean(tool, known)
                raise Unknown(f"{answered.service} has no tool `{tool}`" + (f": {hint}" if hint else ""))


def approved(choice: Choice, old: Entries, answers: Iterable[Answered], services: Collection[str]) -> Entries:
    """What the lock file is to say. What was not asked for, or could not be read to its end, keeps what it has."""
    new = {name: dict(tools) for name, tools in old.items() if choice.named or name in services}
    for answered in answers:
        before = new.get(answered.service, {})
        now = {name: entry(tool) for name, tool in answered.tools.items()}
        kept = {
            name: tool
            for name, tool in before.items()
            if name not in now and not (answered.whole and choice.touches(answered.service, name))
        }
        looked_at = {
            name: tool if choice.touches(answered.service, name) else before.get(name) for name, tool in now.items()
        }
        new[answered.service] = {**kept, **{name: tool for name, tool in looked_at.items() if tool is not None}}
    return {name: tools for name, tools in new.items() if tools}


def review(found: Iterable[Change], old: Entries, answers: Iterable[Answered]) -> str:
    """The changes like a small diff, safe to print, with what is odd about a tool below it."""
    pins = Lock(old).pins()
    answered = {one.service: one for one in answers}
    service, parts = "", list[str]()
    for change in found:
        head, _, body = render_changes([change]).partition("\n")
        if change.service != service:
            service = change.service
            parts.append(f"{head}\n")
        parts.append(body)
        if change.new is not None:
            parts += (f"      ! {oddity}\n" for oddity in _oddities(change, change.new, answered[service], pins))
    return "".join(parts)


def _oddities(change: Change, new: LockEntry, answered: Answered, pins: Pins) -> Iterator[str]:
    """What a person might not see."""
    tool = answered.tools[change.tool]
    if change.old is None and (reason := drift(pins, change.service, change.tool, pin(tool))) not in ("is new", None):
        yield f"it {reason}"
    yield from (
        f"its server sends more than one sees: {remark.text}"
        for remark in answered.cleaned
        if remark.kind == TOOLS.name and remark.name == change.tool
    )
    for name in arguments(tool):
        if confusable(name):
            letters = ", ".join(f"U+{ord(letter):04X}" for letter in dict.fromkeys(name) if not letter.isascii())
            yield f"the name of its argument `{name}` can be taken for another one: it has {letters} in it"
