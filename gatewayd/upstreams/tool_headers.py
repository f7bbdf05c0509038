"""Which tools of a stdio service mirror arguments into HTTP headers, learned from its own list of tools.

Over HTTP the upstream compares `Mcp-Param-*` with the body. A process never sees the headers: there the gateway is
the HTTP server, and the comparing is its duty (MCP 2026-07-28, Streamable HTTP, custom headers).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Final

import attrs
import msgspec
import structlog
import trio

from gatewayd.protocol.jsonrpc import Failure, Request, Result, RpcError
from gatewayd.protocol.jsontext import JsonError, encode_members, members, string, text
from gatewayd.protocol.param_headers import Annotation, AnnotationError, annotations, check
from gatewayd.upstreams.channel import UpstreamBroke, UpstreamDied, UpstreamError, UpstreamTimedOut, UpstreamUnreachable
from gatewayd.upstreams.eras import discover_request
from gatewayd.upstreams.stdio import StdioConnection

log = structlog.get_logger("gatewayd.upstreams")

CALL = "tools/call"
REMEMBER = 60.0
"""Seconds after which the tools are listed again. As long a list that failed is not asked for again."""
AGAIN = 1.0
"""Seconds between two lists, however many calls have a reason to ask: an unknown tool, a header that does not fit."""
MOST_PAGES = 100
MOST_TOOLS = 10_000
"""Tools that are kept in mind. No model is given a hundredth of them."""

Known = Mapping[str, Sequence[Annotation]]
_ENVELOPE: Final = members(discover_request().params or b"{}")
"""What every request needs that the gateway makes on its own behalf."""


@attrs.define(eq=False)
class ToolHeaders:
    """What is known of the tools of service `service`.

    A list has `patience` seconds, and at most `limit` bytes over all pages.
    """

    service: str
    patience: float
    limit: int
    _known: Known = attrs.field(factory=dict[str, Sequence[Annotation]], init=False)
    _old: float = attrs.field(default=-math.inf, init=False)
    """From when on known tools may have changed."""
    _again: float = attrs.field(default=-math.inf, init=False)
    """Before that no list is asked for."""
    _listing: trio.Lock = attrs.field(factory=trio.Lock, init=False)
    _ids: itertools.count[int] = attrs.field(factory=lambda: itertools.count(-1, -1), init=False)
    """Negative: those of calls begin at 1, the probe's is 0."""

    async def check(
        self, call: Request, tool: str, fields: Sequence[tuple[bytes, bytes]], connection: StdioConnection
    ) -> None:
        """Compare the header fields of a `tools/call` with its arguments.

        Passes what cannot be judged: a tool that is not listed, or whose annotations are invalid, and everything
        while there is no list. One list, over `connection`, serves all calls that wait for it; who is cancelled
        leaves the asking to the next. Nobody is refused by a list of more than `AGAIN` seconds ago, unless there is no
        newer one: the client may know of a change before we do.

        Raises `RpcError` (`HEADER_MISMATCH`, status 400).
        """
        wanted = self._known.get(tool)
        if wanted is None or trio.current_time() >= self._old:
            wanted = await self._refreshed(tool, connection)
        if not wanted:
            return
        arguments = members(call.params or b"{}").get("arguments")
        try:
            check(wanted, arguments, fields)
        except RpcError:
            check(await self._refreshed(tool, connection), arguments, fields)

    async def _refreshed(self, tool: str, connection: StdioConnection) -> Sequence[Annotation]:
        """What is known of a tool after a list, if it was time for one."""
        if trio.current_time() >= self._again or self._listing.locked():
            async with self._listing:
                if trio.current_time() >= self._again:
                    await self._refresh(connection)
        return self._known.get(tool, ())

    async def _refresh(self, connection: StdioConnection) -> None:
        """List the tools. If that fails, what was known is kept."""
        began = trio.current_time()
        wait = REMEMBER
        try:
            with trio.fail_after(self.patience):
                self._known = await self._list(connection)
            wait = AGAIN
        except (UpstreamDied, UpstreamUnreachable) as error:
            wait = AGAIN  # the next process may well answer
            self._note(error.reason)
        except UpstreamError as error:
            self._note(error.reason)
        except JsonError as error:
            self._note(error.reason)
        except trio.TooSlowError:
            self._note("no answer in time")
        self._again = trio.current_time() + wait
        self._old = max(began + REMEMBER, self._again)

    async def _list(self, connection: StdioConnection) -> Known:
        known: dict[str, Sequence[Annotation]] = {}
        cursors: set[str] = set()
        params, size = _ENVELOPE, 0
        for _ in range(MOST_PAGES):
            result = await self._ask(connection, Request(next(self._ids), "tools/list", encode_members(params)))
            size += len(result)
            if size > self.limit or len(known) > MOST_TOOLS: ...
            page = members(result)
            ...
        raise UpstreamBroke("the list of tools does not end")
