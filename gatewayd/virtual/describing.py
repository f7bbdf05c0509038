"""What a virtual server says of itself: what its members say, put together. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import attrs

from gatewayd import __version__
from gatewayd.bridge.changes import LISTS
from gatewayd.bridge.modern_client.filters import TASKS
from gatewayd.catalog.offers import LIST_CHANGED_FLAG, SUBSCRIBE, Offers
from gatewayd.protocol.jsontext import encode_elements, encode_members, members_if_any, text
from gatewayd.protocol.versions import META, META_SERVER_INFO, SUPPORTED
from gatewayd.routes.virtual import Discovery

LONGEST_SECTION: Final = 4096
LONGEST_INSTRUCTIONS: Final = 16 * 1024
"""Characters of one member's instructions, and of all. Clients hand them to their model whole."""
SEARCHING: Final = "The tools are not listed one by one: find them with `search_tools`, and call them with `call_tool`."

_SIMPLE: Final = ("completions", "logging")
_OPEN: Final = ("experimental", "extensions")
"""Capabilities whose parts nobody here knows the meaning of."""


@attrs.frozen
class Introduction:
    """One member."""

    service: str
    offers: Offers | None
    """None: it has not said yet."""


def description(path: str, members: Sequence[Introduction], discovery: Discovery) -> dict[str, bytes]:
    """The members of a `server/discover` result, without caching hints. A single member speaks for itself."""
    known = [member.offers for member in members if member.offers is not None]
    result = {
        "resultType": b'"complete"',
        "supportedVersions": encode_elements(map(text, SUPPORTED)),
        "capabilities": encode_members(_capabilities(known, whole=len(known) == len(members))),
    }
    told = _instructions(members, discovery)
    if told:
        result["instructions"] = text(told)
    info = known[0].server_info if len(members) == 1 and known else None
    if info is None:
        info = encode_members({"name": b'"gatewayd"', "title": text(f"gatewayd {path}"), "version": text(__version__)})
    return {**result, META: encode_members({META_SERVER_INFO: info})}


def _capabilities(known: Sequence[Offers], *, whole: bool) -> Mapping[str, bytes]:
    """The union. As long as a member has not said anything, it may still come with any list: clients of sessions are
    told only once. Changes are told of every list, because the gateway looks where no member tells it.
    """
    merged = {name: encode_members({LIST_CHANGED_FLAG: b"true"}) for name in lists_of(known, whole=whole)}
    if "resources" in merged:
        subscribe = not whole or any(offers.has("resources", SUBSCRIBE) for offers in known)
        merged["resources"] = encode_members({SUBSCRIBE: _flag(subscribe), LIST_CHANGED_FLAG: b"true"})
    for name in _SIMPLE:
        if any(offers.has(name) for offers in known):
            merged[name] = b"{}"
    for name in _OPEN:
        common = _common([members_if_any(offers.capabilities.get(name)) for offers in known])
        if name == "extensions" and any(TASKS in members_if_any(offers.capabilities.get(name)) for offers in known):
            common[TASKS] = b"{}"
        if common:
            merged[name] = encode_members(common)
    return merged


def lists_of(known: Sequence[Offers], *, whole: bool) -> list[str]:
    """The lists that there are, or (not `whole`: somebody has not said anything) may be."""
    return [name for name in LISTS if not whole or any(offers.has(name) for offers in known)]


def _flag(value: bool) -> bytes:
    return b"true" if value else b"false"


def _common(declared: Sequence[Mapping[str, bytes]]) -> dict[str, bytes]:
    """What all members declare, in the same words."""
    if not declared:
        return {}
    first, *rest = declared
    return {name: raw for name, raw in first.items() if all(other.get(name) == raw for other in rest)}


def _instructions(members: Sequence[Introduction], discovery: Discovery) -> str:
    sections = [SEARCHING] if discovery == "search" else []
    sections += _sections(members)
    told = "\n\n".join(sections)
    return told if len(told) <= LONGEST_INSTRUCTIONS else told[: LONGEST_INSTRUCTIONS - 1] + "…"


def _sections(members: Sequence[Introduction]) -> Iterable[str]:
    for member in members:
        said = member.offers.instructions if member.offers is not None else None
        if said:
            cut = said if len(said) <= LONGEST_SECTION else said[: LONGEST_SECTION - 1] + "…"
            yield cut if len(members) == 1 else f"## {member.service}\n\n{cut}"
