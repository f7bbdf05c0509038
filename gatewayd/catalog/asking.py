"""Requests that the gateway makes on its own behalf, to learn what a service offers."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping

import attrs

from gatewayd import __version__
from gatewayd.bridge.changes import WANTED
from gatewayd.catalog.kinds import Kind
from gatewayd.catalog.offers import Offers, read_offers
from gatewayd.protocol.codes import METHOD_NOT_FOUND
from gatewayd.protocol.jsonrpc import Failure, Request, Result, RpcError
from gatewayd.protocol.jsontext import JsonError, encode_members, members, text
from gatewayd.protocol.versions import (
    DISCOVER,
    LISTEN,
    META,
    META_CLIENT_CAPABILITIES,
    META_CLIENT_INFO,
    META_VERSION,
    MODERN,
)
from gatewayd.upstreams.channel import Answer, UpstreamBroke, UpstreamDied, UpstreamError
from gatewayd.upstreams.paging import Page, Pages, read_pages
from gatewayd.upstreams.service import Caller, Upstream

_INFO = b'{"name":"gatewayd","version":%b}' % text(__version__)


@attrs.frozen(eq=False)
class Asker:
    """Asks one service, for an audience with these capabilities. The deadlines are the caller's."""

    upstream: Upstream
    caller: Caller
    capabilities: bytes
    ids: itertools.count[int]

    async def discover(self) -> Offers:
        """What the service says of itself. Raises `UpstreamError`."""
        try:
            return read_offers(await self._ask(DISCOVER, {}))
        except JsonError as error:
            raise UpstreamBroke("the service describes itself in a way that nobody can read", error.reason) from error

    async def list(self, kind: Kind) -> Pages:
        """A list, whole. A service that has none has an empty one. Raises `UpstreamError`."""

        async def page(cursor: bytes | None) -> Page:
            return members(await self._ask(kind.method, {} if cursor is None else {"cursor": cursor}))

        try:
            return await read_pages(page, kind.member, self.upstream.service.max.response)
        except NoSuchMethod:
            return Pages([], [], None)
        except JsonError as error:
            raise UpstreamBroke(
                f"the service has a list of {kind.member} that nobody can read", error.reason
            ) from error

    async def listen(self, lists: Iterable[str]) -> Answer:
        """Subscribe to changes of lists. Raises `UpstreamError`."""
        wanted = encode_members({WANTED[name]: b"true" for name in lists})
        return await self._send(LISTEN, {"notifications": wanted})

    async def _ask(self, method: str, params: Mapping[str, bytes]) -> bytes:
        answer = await self._send(method, params)
        try:
            while (message := await answer.receive()) is not None:
                if isinstance(message, Result):
                    return message.result
                if isinstance(message, Failure):
                    raise _refused(method, message)
            raise UpstreamDied("the service ended its answer early")
        finally:
            await answer.aclose()

    async def _send(self, method: str, params: Mapping[str, bytes]) -> Answer:
        meta = {
            META_VERSION: text(MODERN[0]),
            META_CLIENT_INFO: _INFO,
            META_CLIENT_CAPABILITIES: self.capabilities,
        }
        request = Request(next(self.ids), method, encode_members({**params, META: encode_members(meta)}))
        try:
            return await self.upstream.request(request, MODERN[0], None, self.caller)
        except RpcError as error:
            raise _refused(method, error.failure()) from error


class NoSuchMethod(UpstreamError):
    """The service does not know the method."""


def _refused(method: str, failure: Failure) -> UpstreamError:
    detail = f"{method}: {failure.code} {failure.message[:200]}"
    if failure.code == METHOD_NOT_FOUND:
        return NoSuchMethod("the service does not know the method", detail)
    return UpstreamBroke("the service refuses to say what it offers", detail)
