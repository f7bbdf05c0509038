"""What a virtual server says of itself, and its lists, page by page."""

from __future__ import annotations

from collections.abc import Mapping

from gatewayd.bridge.immediate import Immediate
from gatewayd.catalog.kinds import TOOLS, Kind
from gatewayd.protocol.jsonrpc import Result
from gatewayd.protocol.jsontext import encode_members, text
from gatewayd.upstreams.channel import UpstreamUnreachable
from gatewayd.virtual import cursors, search
from gatewayd.virtual.describing import Introduction, description
from gatewayd.virtual.inquiry import Inquiry, Shared
from gatewayd.virtual.merge import View

NOT_CACHED = {"ttlMs": b"0", "cacheScope": b'"private"'}


class Lists:
    """Answers what needs no member but its catalog."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared

    async def discover(self, inquiry: Inquiry) -> Immediate:
        """`server/discover`: also where members are silent, because they may come back."""
        roster = inquiry.roster
        await roster.greet(inquiry.audience)
        catalogs = roster.catalogs(inquiry.audience)
        introductions = [Introduction(seat.member.service, catalog.offers) for seat, catalog in catalogs]
        said = description(self._shared.path, introductions, roster.virtual.discovery)
        return _answer(inquiry, {**said, **NOT_CACHED})

    async def list(self, kind: Kind, inquiry: Inquiry) -> Immediate:
        """One page. Raises `RpcError` for a bad cursor, `UpstreamUnreachable` where no member can be asked."""
        roster, cursor = inquiry.roster, inquiry.request.params.get("cursor")
        if kind is TOOLS and roster.virtual.discovery == "search":
            return _answer(inquiry, {"tools": search.TOOLS, **NOT_CACHED})
        if cursor is not None:
            return self._page(inquiry, *self._resumed(kind, inquiry, cursor))
        await roster.gather(inquiry.audience, kind)
        known = [catalog.known(kind.name) for _, catalog in roster.catalogs(inquiry.audience)]
        if not any(known):
            raise UpstreamUnreachable("none of the services of this route says what it offers")
        return self._page(inquiry, roster.view(kind, inquiry.audience), 0)

    def _resumed(self, kind: Kind, inquiry: Inquiry, cursor: bytes) -> tuple[View, int]:
        holder = self._shared.holder(inquiry.caller.key)
        position = cursors.read_cursor(self._shared.keychain, cursor, kind, holder)
        view = inquiry.roster.recall(kind, position.digest)
        if view is None:
            raise cursors.invalid_cursor()
        return view, position.start

    def _page(self, inquiry: Inquiry, view: View, start: int) -> Immediate:
        entries, following = cursors.page(view, start)
        parts = {view.kind.member: entries}
        if following is not None:
            position = cursors.Position(view.kind.name, view.digest, following)
            holder = self._shared.holder(inquiry.caller.key)
            parts["nextCursor"] = text(cursors.make_cursor(self._shared.keychain, position, holder))
        hints = inquiry.roster.hints(view.kind, inquiry.audience)
        parts["ttlMs"] = b"%d" % int(hints.ttl * 1000)
        whole = start == 0 and following is None  # cursors are good for one principal
        parts["cacheScope"] = b'"public"' if hints.public and whole else b'"private"'
        return _answer(inquiry, parts)


def _answer(inquiry: Inquiry, parts: Mapping[str, bytes]) -> Immediate:
    return Immediate(Result(inquiry.request.id, encode_members({"resultType": b'"complete"', **parts})))
