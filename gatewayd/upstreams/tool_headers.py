"""Which tools of a service mirror arguments into HTTP headers, learned from its own list of tools.

Over HTTP the upstream compares `Mcp-Param-*` with the body. A process never sees the headers: there the gateway is
the HTTP server, and comparing is its duty. For a client that knows nothing of such headers the gateway is the HTTP
client, and makes them (MCP 2026-07-28, Streamable HTTP, custom headers).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final, Protocol

import attrs
import structlog
import trio

from gatewayd.protocol.jsonrpc import Failure, Request, Result, RpcError
from gatewayd.protocol.jsontext import JsonError, encode_members, members, string
from gatewayd.protocol.param_headers import Annotation, AnnotationError, check, mirror, read_annotations
from gatewayd.upstreams.channel import Answer, UpstreamBroke, UpstreamDied, UpstreamError, UpstreamUnreachable
from gatewayd.upstreams.eras import discover_request
from gatewayd.upstreams.paging import Page, read_pages

log = structlog.get_logger("gatewayd.upstreams")

CALL = "tools/call"
REMEMBER = 60.0
"""Seconds after which the tools are listed again. As long a list that failed is not asked for again."""
AGAIN = 1.0
"""Seconds between two lists, however many calls have a reason to ask: an unknown tool, a header that does not fit."""

Field = tuple[bytes, bytes]
Known = Mapping[str, Sequence[Annotation]]
_ENVELOPE: Final = members(discover_request().params or b"{}")
"""What a request needs that the gateway makes on its own behalf."""


class Asker(Protocol):
    """Whatever carries requests to the service."""

    async def request(self, message: Request) -> Answer:
        """Send a modern request, under the id that it has or another one. Raises `UpstreamError`."""
        ...


@attrs.define(eq=False)
class ToolHeaders:
    """What is known of the tools of one service. A list has `patience` seconds, and `limit` bytes over all pages."""

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

    async def check(self, call: Request, tool: str, fields: Sequence[Field], connection: Asker) -> None:
        """Compare the header fields of a `tools/call` with its arguments.

        Passes what cannot be judged: a tool that is not listed, or whose annotations are invalid, and everything
        while there is no list. One list, over `connection`, serves all calls that wait for it; who is cancelled
        leaves the asking to the next. Before anybody is refused the tools are listed again, unless that was just done:
        the client may know of a change before we do.

        Raises `RpcError` (`HEADER_MISMATCH`, status 400).
        """
        wanted = await self._wanted(tool, connection)
        if not wanted:
            return
        arguments = members(call.params or b"{}").get("arguments")
        try:
            check(wanted, arguments, fields)
        except RpcError:
            check(await self._refreshed(tool, connection), arguments, fields)

    async def fields(
        self, tool: str, arguments: bytes | None, connection: Asker, *, relearn: bool = False
    ) -> tuple[Field, ...]:
        """The header fields of a `tools/call`; none where nothing is known. `relearn`: those sent before did not fit.

        `arguments` is the JSON text of that member. Lists as `check` does. Raises `JsonError` for arguments that say
        something twice.
        """
        wanted = await (self._refreshed if relearn else self._wanted)(tool, connection)
        return mirror(wanted, arguments)

    def expire(self) -> None:
        """The service said that its tools have changed."""
        self._old = -math.inf

    async def _wanted(self, tool: str, connection: Asker) -> Sequence[Annotation]:
        wanted = self._known.get(tool)
        if wanted is None or trio.current_time() >= self._old:
            return await self._refreshed(tool, connection)
        return wanted

    async def _refreshed(self, tool: str, connection: Asker) -> Sequence[Annotation]:
        """What is known of a tool after a list, if it was time for one."""
        if trio.current_time() >= self._again:
            async with self._listing:
                if trio.current_time() >= self._again:
                    await self._refresh(connection)
        return self._known.get(tool, ())

    async def _refresh(self, connection: Asker) -> None:
        """List the tools. If that fails, what was known is kept."""
        wait, failure = AGAIN, None
        try:
            with trio.fail_after(self.patience):
                self._known = await self._list(connection)
        except (UpstreamDied, UpstreamUnreachable) as error:
            failure = error.reason  # which the next process may do better
        except (UpstreamError, JsonError) as error:
            wait, failure = REMEMBER, error.reason
        except trio.TooSlowError:
            wait, failure = REMEMBER, f"no list within {self.patience:g} s"
        now = trio.current_time()
        self._again, self._old = now + wait, now + REMEMBER
        if failure is not None:
            log.debug("tools not listed", service=self.service, reason=failure)

    async def _list(self, connection: Asker) -> Known:
        """All pages. Raises `UpstreamError`; `JsonError` where a page cannot be read."""
        pages = await read_pages(partial(self._page, connection), "tools", self.limit)
        if pages.fault is not None:
            raise UpstreamBroke(pages.fault)
        return dict(self._tool(members(tool)) for tool in pages.items)

    async def _page(self, connection: Asker, cursor: bytes | None) -> Page:
        params = _ENVELOPE if cursor is None else {**_ENVELOPE, "cursor": cursor}
        answer = await connection.request(Request(next(self._ids), "tools/list", encode_members(params)))
        try:
            while not isinstance(message := await answer.receive(), Result):
                if message is None or isinstance(message, Failure):
                    raise UpstreamBroke("the service has no list", "" if message is None else f"code {message.code}")
            return members(message.result)
        finally:
            await answer.aclose()

    def _tool(self, tool: Mapping[str, bytes]) -> tuple[str, Sequence[Annotation]]:
        name = string(tool.get("name", b"null")) or ""
        try:
            return name, read_annotations(tool.get("inputSchema", b"{}"))
        except AnnotationError as error:
            log.debug("headers of a tool not checked", service=self.service, tool=name[:100], reason=str(error))
            return name, ()
