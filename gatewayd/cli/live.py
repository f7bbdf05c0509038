"""What `gatewayd check --live` shows: for each route its services, and what clients will see of them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from gatewayd.catalog.definitions import shown
from gatewayd.catalog.kinds import KindName
from gatewayd.cli.output import count
from gatewayd.daemon.survey import UNREAD, Answered, Offered, Remark, Survey
from gatewayd.virtual.merge import Report

HEAVY: Final = 25_000
"""Tokens of a list that are a burden: an eighth of what a model with room for 200,000 can have before it all."""
HEAVIEST: Final = 5
"""Tools that are named because they take the most."""
MOST_SHOWN: Final = 20
"""Lines of one kind; the rest is counted. JSON has all of them."""

_ONE: Final[Mapping[KindName, str]] = {
    "tools": "tool",
    "prompts": "prompt",
    "resources": "resource",
    "templates": "resource template",
}


def as_text(survey: Survey) -> str:
    """The survey for people: a paragraph for each route."""
    services = {answered.service: answered for answered in survey.services}
    return "\n".join(
        "".join(f"{line}\n" for line in _route(route, [services[name] for name in route.services]))
        for route in survey.routes
    )


def _route(route: Offered, members: Sequence[Answered]) -> Iterator[str]:
    yield f"{route.path}: {_list(route)}"
    width = max(len(member.service) for member in members)
    yield from (f"  {member.service:<{width}}  {_state(member)}" for member in members)
    if route.tools:
        yield "  most tokens:"
        heaviest = route.heaviest(HEAVIEST)
        width = max(len(name) for name, _ in heaviest)
        yield from (f"    {name:<{width}}  {tokens:,}" for name, tokens in heaviest)
    quarantined = "quarantined:" if route.virtual else "not fit for every client, and passed on as it is:"
    yield from _section(quarantined, [line for member in members for line in _remarks(member, member.quarantined)])
    cleaned = [line for member in members for line in _remarks(member, member.cleaned)] if route.virtual else []
    yield from _section("cleaned:", cleaned)
    yield from _section("withheld:", [_report(report) for report in route.reports if report.withheld])
    yield from _section("reported:", [_report(report) for report in route.reports if not report.withheld])
    if route.discovery == "list" and route.tokens > HEAVY:
        yield f"  hint: a list of more than {HEAVY:,} tokens leaves a model less room for its work. Write"
        yield '        `discovery = "search"` in this route, or choose with `only` in its `tools`.'


def _list(route: Offered) -> str:
    """How long the list is, and how heavy."""
    said = f"{count(len(route.tools), 'tool')}, about {count(route.tokens, 'token')}"
    if route.discovery == "search":
        return f"{said} to be searched; clients are told about {count(route.told, 'token')}"
    return said


def _state(member: Answered) -> str:
    if member.error is not None:
        return f"cannot be asked: {member.error}"
    found = [count(number, _ONE[name]) for name, number in member.listed.items() if number]
    return f"ready: {', '.join(found) or 'nothing to offer'}"


def _remarks(member: Answered, remarks: Sequence[Remark]) -> Iterator[str]:
    for remark in remarks:
        what = f"its {_ONE[remark.kind]}s" if remark.name == UNREAD else f"the {_ONE[remark.kind]} {remark.name}"
        yield f"{member.service}: {what}: {remark.text}"


def _report(report: Report) -> str:
    return f"{report.service}: the {_ONE[report.kind]} {shown(report.name)}: {report.reason}"


def _section(title: str, lines: Sequence[str]) -> Iterator[str]:
    if lines:
        yield f"  {title}"
    yield from (f"    {line}" for line in lines[:MOST_SHOWN])
    if len(lines) > MOST_SHOWN:
        yield f"    and {len(lines) - MOST_SHOWN:,} more"


def as_json(survey: Survey | None) -> dict[str, Any]:
    """The survey for tools, as values for JSON; the same members without values where there is none."""
    if survey is None:
        return {"services": [], "routes": []}
    return {"services": list(map(_service_json, survey.services)), "routes": list(map(_route_json, survey.routes))}


def _service_json(answered: Answered) -> dict[str, Any]:
    return {
        "name": answered.service,
        "seconds": round(answered.seconds, 3),
        "error": answered.error,
        "listed": dict(answered.listed),
        "quarantined": [_remark_json(remark) for remark in answered.quarantined],
        "cleaned": [_remark_json(remark) for remark in answered.cleaned],
    }


def _remark_json(remark: Remark) -> dict[str, str]:
    return {"kind": remark.kind, "name": remark.name, "reason": remark.text}


def _route_json(route: Offered) -> dict[str, Any]:
    return {
        "path": route.path,
        "services": list(route.services),
        "virtual": route.virtual,
        "discovery": route.discovery,
        "listed": dict(route.listed),
        "tokens": route.tokens,
        "told_tokens": route.told,
        "tools": [{"name": name, "tokens": tokens} for name, tokens in route.tools],
        "reports": [
            {
                "kind": report.kind,
                "service": report.service,
                "name": report.name,
                "reason": report.reason,
                "withheld": report.withheld,
            }
            for report in route.reports
        ],
    }
