"""Which member a request is for. What a member has not listed does not exist, whoever guesses its name."""

from __future__ import annotations

from collections.abc import Sequence

from gatewayd.catalog.catalogs import Audience
from gatewayd.catalog.kinds import RESOURCES, TEMPLATES, Kind
from gatewayd.protocol.codes import INVALID_PARAMS
from gatewayd.protocol.jsonrpc import RpcError
from gatewayd.protocol.jsontext import encode_members, text
from gatewayd.routes.names import SEPARATOR
from gatewayd.upstreams.channel import UpstreamError, UpstreamUnreachable
from gatewayd.virtual.merge import Entry
from gatewayd.virtual.places import Place, Places
from gatewayd.virtual.roster import Roster, Seat

_ONE = {"tools": "tool", "prompts": "prompt"}


async def find(roster: Roster, kind: Kind, name: str, audience: Audience) -> Entry:
    """What clients call so. Nobody waits for a member that it cannot be from.

    Raises `RpcError` where there is no such thing, `UpstreamError` where the member that might have it cannot say.
    """
    entry = _known(roster, kind, name, audience)
    if entry is not None and roster.virtual.lock == "enforce":
        # What has changed must not be called before that was looked at.
        await roster.by_service[entry.member.service].catalogs.of(audience).wait(kind.name)
        entry = _known(roster, kind, name, audience)
    if entry is not None:
        return entry
    likely = [seat for seat in roster.seats if _may_have(seat, roster, kind, name)]
    if len(likely) == 1:
        await likely[0].catalogs.of(audience).wait(kind.name)
        entry = _known(roster, kind, name, audience)
    if entry is None:
        await roster.gather(audience, kind)
        entry = _known(roster, kind, name, audience)
    if entry is None:
        raise _silent(likely, kind, audience) or unknown(kind, name)
    return entry


async def find_place(roster: Roster, uri: str, audience: Audience) -> Place:
    """Where a URI leads to, asking again only where that is not known. Raises `RpcError` where it is nowhere."""
    place = roster.places(audience).find(uri)
    if place is None or not _is_known(roster, audience):
        place = (await find_places(roster, audience)).find(uri)
    if place is None:
        raise no_resource(uri, [seat.member.service for seat in roster.seats if not _has_said(seat, audience)])
    return place


async def find_places(roster: Roster, audience: Audience) -> Places:
    """Where URIs lead to, as true as patience allows."""
    await roster.gather(audience, RESOURCES, TEMPLATES)
    return roster.places(audience)


def _known(roster: Roster, kind: Kind, name: str, audience: Audience) -> Entry | None:
    return roster.view(kind, audience).names.get(name)


def _is_known(roster: Roster, audience: Audience) -> bool:
    """Whether every member has said what it has, or nobody expects it to."""
    return all(_has_said(seat, audience) or not seat.catalogs.health.hopeful(RESOURCES.name) for seat in roster.seats)


def _has_said(seat: Seat, audience: Audience) -> bool:
    return all(seat.catalogs.of(audience).known(kind.name) is not None for kind in (RESOURCES, TEMPLATES))


def _may_have(seat: Seat, roster: Roster, kind: Kind, name: str) -> bool:
    """Whether a member may have something of that name, as far as the configuration says."""
    member = seat.member
    renamed = name in roster.virtual.shapes.of(kind.capability).rename.values()
    begins = tuple(prefix + SEPARATOR for prefix in (member.prefix, member.service))
    return renamed or not member.prefix or name.startswith(begins)


def unknown(kind: Kind, name: str) -> RpcError:
    """The same for what is hidden, withheld or was never there."""
    return RpcError(INVALID_PARAMS, f"Unknown {_ONE[kind.name]}: {name[:200]}")


def no_resource(uri: str, silent: Sequence[str]) -> RpcError:
    """The same for what is hidden and what was never there (MCP 2026-07-28, resources).

    It may be one of those services that have not said what they have.
    """
    told = f"; not known: what there is at {', '.join(silent)}" if silent else ""
    return RpcError(INVALID_PARAMS, f"Resource not found{told}", data=encode_members({"uri": text(uri)}))


def _silent(seats: Sequence[Seat], kind: Kind, audience: Audience) -> UpstreamError | None:
    """The error of a member that has not said what it has, if there is one."""
    for seat in seats:
        if seat.catalogs.of(audience).known(kind.name) is None:
            reason = seat.catalogs.health.trouble or "the service has not said in time what it offers"
            error = UpstreamUnreachable(reason)
            error.service = seat.member.service
            return error
    return None
