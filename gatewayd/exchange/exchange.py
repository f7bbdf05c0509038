"""The life of every call: admitted, run inside a scope, answered exactly once, counted."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable

import structlog
import trio

from gatewayd.auth.principal import Principal
from gatewayd.exchange import admission
from gatewayd.exchange.admission import Admitted, Door, Refused
from gatewayd.exchange.batch import serve_batch
from gatewayd.exchange.boundary import Verdict, http_status, judge, judge_end
from gatewayd.exchange.call import Call
from gatewayd.exchange.http_sse import SseClients, ticket_in, wants_sse
from gatewayd.exchange.legacy import Legacy
from gatewayd.exchange.modern import end_listening, serve_modern
from gatewayd.exchange.plan import Plans
from gatewayd.exchange.reply import Reply
from gatewayd.observe.metrics import Metrics, Outcome
from gatewayd.observe.tree import Node
from gatewayd.protocol.codes import HEADER_MISMATCH, INVALID_REQUEST, UNSUPPORTED_VERSION
from gatewayd.protocol.envelope import classify
from gatewayd.protocol.http1 import HttpError, RequestHead
from gatewayd.protocol.jsonrpc import Message, Notification, Request, RpcError, decode, encode
from gatewayd.protocol.jsontext import is_array
from gatewayd.protocol.versions import LISTEN
from gatewayd.sessions.registry import Registry
from gatewayd.upstreams.channel import UpstreamError
from gatewayd.upstreams.service import Upstream

log = structlog.get_logger("gatewayd.exchange")

LAST_WORD = 1.5
"""Seconds for the answer to a call that has been ended: its own deadline is over by then."""


class Exchange:
    """What the fronts share. `plans` is swapped by a reload; calls keep the plan they began with."""

    def __init__(self, plans: Plans, registry: Registry, metrics: Metrics, ids: itertools.count[int]) -> None:
        self.plans = plans
        self.registry = registry
        self.metrics = metrics
        self.draining = False
        self._calls: set[Call] = set()
        self._idle = trio.Event()
        self._ids = ids
        self._legacy = Legacy(registry, ids)
        registry.behind = self._behind
        self._sse = SseClients(self._legacy, self._legacy.streams, registry, self.run_message)

    def admit(self, head: RequestHead, door: Door) -> Admitted | Refused:
        """Judge a head before its body is read."""
        return admission.admit(head, self.plans, door, draining=self.draining)

    def begin(self, head: RequestHead, admitted: Admitted, reply: Reply, node: Node, now: float) -> Call:
        """A call for an admitted request. The front runs it next, and may `end` or `settle` it meanwhile.

        It begins under the plan in force: a body may have taken so long that a reload came between.
        """
        plan = self.plans.routes.get(admitted.plan.route.path)
        if plan is None or not (plan is admitted.plan or plan.gate.knows(admitted.principal)):
            plan = admitted.plan
        return Call(plan, head, admitted.principal, admitted.correlation, reply, node, now)

    async def run(self, call: Call, body: bytes) -> None:
        """Run a call to its end. Raises nothing but cancellation from outside of the call's own scope.

        If the client is gone the answer stays unfinished, which the reply shows.
        """
        await self._account(call, lambda: self._dispatch(call, body))

    async def run_message(
        self, call: Call, message: Message | RpcError, work: Callable[[], Awaitable[Outcome]]
    ) -> None:
        """Run a call for one of several messages that came together. Raises nothing but cancellation. A `Runner`."""
        self._label(call, message)
        await self._account(call, work)

    async def _account(self, call: Call, work: Callable[[], Awaitable[Outcome]]) -> None:
        outcome: Outcome = "cancelled"
        call.plan.upstream.usage.begin()
        self.metrics.in_flight += 1
        self._calls.add(call)
        if call.parent is not None:
            call.parent.members += 1
        try:
            with call.scope:
                outcome = await self._serve(call, work)
            if call.scope.cancelled_caught:
                outcome = await self._ended(call)
        except trio.BrokenResourceError:
            call.ended = call.ended or "disconnected"
        finally:
            self._calls.discard(call)
            if call.parent is not None:
                call.parent.members -= 1
            if self.draining:
                self._end_standing()
                if not self._calls:
                    self._idle.set()
            self.metrics.in_flight -= 1
            upstream = call.plan.upstream
            upstream.usage.end()
            seconds = trio.current_time() - call.started
            self.metrics.call(call.plan.route.path, upstream.service.name, call.method, outcome, seconds)

    def drain(self) -> None:
        """Take no new calls. Standing streams, which never end by themselves, end: see `_end_standing`."""
        self.draining = True
        self._end_standing()
        if not self._calls:
            self._idle.set()

    async def wait_idle(self) -> None:
        """Wait until the last call has ended, once `drain` was called."""
        await self._idle.wait()

    def end_all(self) -> None:
        """End what is left with an error. What carries several answers ends when all are told."""
        for call in list(self._calls):
            if not call.members:
                call.end("drained")

    async def revoke(self) -> None:
        """After a reload: end the streams and sessions of principals who could not come in any more.

        The streams of others go on with what stands behind their route now.
        """
        for call in list(self._calls):
            plan = self.plans.routes.get(call.plan.route.path)
            if call.listening and not self._welcome(call.principal, call.plan.route.path):
                call.end("session ended")
            elif plan is not None and plan.upstream is not call.plan.upstream:
                call.move(plan)
        await self.registry.end_where(lambda session: not self._welcome(session.principal, session.path))

    @property
    def streams(self) -> int:
        """Event streams towards clients that are open."""
        return sum(call.reply.streaming for call in self._calls if call.parent is None)

    @property
    def running(self) -> int:
        """Calls that have begun and not ended."""
        return len(self._calls)

    @property
    def working(self) -> int:
        """Those of them that will end by themselves: all but standing streams."""
        return sum(not call.listening for call in self._calls)

    def _behind(self, path: str) -> Upstream | None:
        plan = self.plans.routes.get(path)
        return None if plan is None else plan.upstream

    def _end_standing(self) -> None:
        """While draining: subscriptions end at once, streams of sessions when no call runs any more.

        Their clients come back at once, and some give up after a few attempts: so they are sent away last.
        """
        working = any(not call.listening or call.members for call in self._calls)
        for call in list(self._calls):
            if call.listening and not call.members and (call.era == "modern" or not working):
                call.end("drained")

    def _welcome(self, principal: Principal, path: str) -> bool:
        plan = self.plans.routes.get(path)
        return plan is not None and plan.gate.knows(principal)

    async def _serve(self, call: Call, work: Callable[[], Awaitable[Outcome]]) -> Outcome:
        try:
            return await work()
        except trio.BrokenResourceError:
            raise  # the client's side: upstreams raise their own
        except Exception as error:  # noqa: BLE001 (the boundary: whatever it is, the client gets one answer)
            verdict = judge(error, call)
            self._note(error, call, verdict)
            await self._say(call, verdict)
            return verdict.outcome

    async def _dispatch(self, call: Call, body: bytes) -> Outcome:
        head = call.head
        try:
            version = head.get(b"mcp-protocol-version")
            call.version = None if version is None else version.decode("ascii", "replace")
            if head.method == "POST" and is_array(body):
                return await self._batch(call, body, version)
            message = decode(body) if head.method == "POST" else None
            self._label(call, message)
            if call.plan.route.sse and (served := await self._old_sse(call, message)) is not None:
                return served
            session = head.get(b"mcp-session-id")
            call.era = classify(head.method, version, session=session is not None, message=message)
            if call.era == "modern" and message is not None:
                return await serve_modern(call, message, self._ids)
            return await self._legacy.serve(call, message)
        except HttpError as error:
            raise RpcError(HEADER_MISMATCH, f"Header mismatch: {error.reason}", call.rpc_id) from None
        except RpcError as error:
            if error.code == UNSUPPORTED_VERSION:
                self.metrics.refuse("unsupported_version")
            raise

    async def _batch(self, call: Call, body: bytes, version: bytes | None) -> Outcome:
        call.era = classify("POST", version, session=True, message=None)
        if call.era == "modern":
            raise RpcError(INVALID_REQUEST, "Invalid request: this protocol version has no batches")
        return await serve_batch(call, body, self._legacy, self.run_message)

    async def _old_sse(self, call: Call, message: Message | None) -> Outcome | None:
        """Serve a request of an HTTP+SSE client; None where it is none."""
        if wants_sse(call.head):
            return await self._sse.listen(call)
        ticket = ticket_in(call.head)
        if ticket is None or message is None:
            return None
        return await self._sse.post(call, ticket, message)

    def _label(self, call: Call, message: Message | RpcError | None) -> None:
        if isinstance(message, Request):
            call.rpc_id = message.id
        match message:
            case None | RpcError():
                call.method = "other"
            case Request() | Notification():
                call.method = message.method
            case _:
                call.method = "response"

    async def _ended(self, call: Call) -> Outcome:
        """The call's scope was cancelled: by its deadline, or by `Call.end`."""
        with trio.move_on_after(LAST_WORD):
            if call.listening and call.ended == "drained" and call.reply.streaming:
                await (end_listening(call) if call.method == LISTEN else call.reply.send_away())
                return "ok"
            verdict = judge_end(call.ended, call)
            if verdict is not None:
                log.warning("call ended", reason=call.ended or "timed out", **_facts(call))
                await self._say(call, verdict)
                return verdict.outcome
            if call.ended in ("cancelled by client", "session ended"):
                await call.reply.finish_without_answer()
        return "cancelled"

    async def _say(self, call: Call, verdict: Verdict) -> None:
        if not call.reply.finished:
            if verdict.status in (429, 503):
                call.reply.add_field(b"retry-after", b"1")
            if verdict.status == 405:
                call.reply.add_field(b"allow", b"POST")
            await call.reply.finish(encode(verdict.failure), http_status(verdict, call))

    def _note(self, error: Exception, call: Call, verdict: Verdict) -> None:
        """Write a failure down once, with what the client is not told."""
        facts = {"code": verdict.failure.code, "reason": verdict.failure.message, **_facts(call)}
        match error:
            case RpcError():
                log.info("call refused", **facts)
            case UpstreamError(detail=detail):
                facts["service"] = error.service or facts["service"]
                log.warning("call failed", detail=detail, **facts)
            case _:
                log.error("call crashed", exc_info=error, **facts)


def _facts(call: Call) -> dict[str, object]:
    return {
        "request_id": call.correlation.request_id,
        "trace": call.correlation.traceparent,
        "route": call.plan.route.path,
        "service": call.plan.upstream.service.name,
        "method": call.method,
        "principal": call.principal.id,
    }
