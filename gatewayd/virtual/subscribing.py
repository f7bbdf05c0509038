"""Subscriptions to resources of members, on behalf of clients that listen to their virtual server.

A task for each client and member. A subscription that is lost is made again, and the client is told to look.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping

import structlog
import trio

from gatewayd.bridge.changes import ACKNOWLEDGED, RESOURCES, UPDATED, covers
from gatewayd.bridge.legacy_client.downgrade import without_meta
from gatewayd.bridge.legacy_client.subscriptions import acknowledged
from gatewayd.bridge.modern_client.client_request import ClientRequest
from gatewayd.bridge.modern_client.filters import updated_uri
from gatewayd.protocol.jsonrpc import Failure, Notification, Request, RpcError
from gatewayd.protocol.jsontext import JsonError, encode_elements, encode_members, members_if_any, text
from gatewayd.protocol.versions import LISTEN, META, META_SERVER_INFO, META_SUBSCRIPTION_ID, MODERN
from gatewayd.upstreams.backoff import Backoff
from gatewayd.upstreams.channel import Answer, UpstreamBroke, UpstreamError
from gatewayd.upstreams.service import Caller, Upstream

log = structlog.get_logger("gatewayd.virtual")

Hear = Callable[[Notification], None]
Target = tuple[Upstream, Mapping[str, str]]
"""The member, and the resources there: its own URIs, with those of the client."""
Find = Callable[[], Target | None]
Agreed = Callable[[Mapping[str, str]], None]


class Subscription:
    """Some resources of one member, for one client. `run` is a task; `renew` has it begin anew."""

    def __init__(self, find: Find, request: ClientRequest, caller: Caller, ids: itertools.count[int]) -> None:
        """`find` says what is to be subscribed to at the time; None: nothing, until `renew`."""
        self.hear: Hear = _to_nobody
        """Where news go, once the client is told that it gets them."""
        self.life = trio.CancelScope()
        """Of the task."""
        self._find = find
        self._meta = {META: encode_members(request.meta)}
        self._caller = caller
        self._ids = ids
        self._round = trio.CancelScope()

    def renew(self) -> None:
        """The member may be another one by now."""
        self._round.cancel()

    async def run(self, *, task_status: trio.TaskStatus[list[str]]) -> None:
        """Subscribe, say which of the client's URIs that was agreed to for, and hand on what is told, until cancelled.

        Ends at once where the member does not agree to anything the first time.
        """
        with self.life:
            await self._run(task_status)

    async def _run(self, task_status: trio.TaskStatus[list[str]]) -> None:
        backoff, first = Backoff(), True

        def agreed(uris: Mapping[str, str]) -> None:
            nonlocal first
            if first:
                task_status.started(list(uris.values()))
            else:
                for shown in uris.values():
                    self.hear(updated(shown))
            first = False

        while True:
            began = trio.current_time()
            try:
                with trio.CancelScope() as self._round:
                    await self._listen(agreed)
            except (UpstreamError, RpcError) as error:
                log.debug("subscription lost", reason=str(error))
            if first:
                task_status.started([])
                return
            now = trio.current_time()
            backoff.ended(now, now - began)
            await trio.sleep(backoff.remaining(now))

    async def _listen(self, agreed: Agreed) -> None:
        target = self._find()
        if target is None:
            await trio.sleep_forever()
            return
        upstream, uris = target
        upstream.usage.begin()
        try:
            wanted = encode_members({RESOURCES: encode_elements(map(text, uris))})
            params = encode_members({**self._meta, "notifications": wanted})
            request = Request(next(self._ids), LISTEN, params)
            answer = await upstream.request(request, MODERN[0], None, self._caller)
            try:
                await self._read(answer, uris, agreed)
            finally:
                await answer.aclose()
        finally:
            upstream.usage.end()

    async def _read(self, answer: Answer, uris: Mapping[str, str], agreed: Agreed) -> None:
        while (message := await answer.receive()) is not None:
            match message:
                case Notification(method=method) if method == ACKNOWLEDGED:
                    known = _acknowledged(message)
                    agreed({own: shown for own, shown in uris.items() if own in known})
                case Notification(method=method) if method == UPDATED:
                    self._updated(message, uris)
                case Failure(message=reason):
                    raise UpstreamBroke("the service refused to be listened to", reason[:200])
                case _:
                    pass

    def _updated(self, message: Notification, uris: Mapping[str, str]) -> None:
        """Tell it under the client's URI; a part of a resource is named after the whole."""
        uri = updated_uri(message) or ""
        whole = max((own for own in uris if covers(own, uri)), key=len, default=None)
        if whole is not None:
            params = members_if_any(message.params)
            without_meta(params, META_SUBSCRIPTION_ID, META_SERVER_INFO)
            shown = uris[whole] + uri[len(whole) :]
            self.hear(Notification(UPDATED, encode_members({**params, "uri": text(shown)})))


def _to_nobody(message: Notification) -> None:
    pass


def updated(uri: str) -> Notification:
    """The news that a resource may be another one."""
    return Notification(UPDATED, encode_members({"uri": text(uri)}))


def _acknowledged(message: Notification) -> frozenset[str]:
    try:
        return acknowledged(message)
    except JsonError as error:
        raise UpstreamBroke("the service agreed to something that nobody can read", error.reason) from error
