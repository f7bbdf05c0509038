"""Calls that wait for a client to come back with answers, under tickets that work once.

Between two requests of a modern client there is nothing but the token that it was given (MCP 2026-07-28, multi
round-trip requests). The legacy server's call stays open meanwhile, for as long as `PATIENCE` says.
"""

from __future__ import annotations

import secrets
from collections import Counter, OrderedDict
from collections.abc import Mapping

import attrs
import structlog
import trio

from gatewayd.auth.keychain import Keychain
from gatewayd.bridge.asking import REQUEST_STATE
from gatewayd.bridge.modern_client import states
from gatewayd.bridge.modern_client.client_request import ClientRequest
from gatewayd.bridge.modern_client.live_call import LiveCall
from gatewayd.bridge.modern_client.questions import Question, unanswered
from gatewayd.bridge.modern_client.states import State
from gatewayd.observe.tree import Node
from gatewayd.protocol.codes import INVALID_PARAMS
from gatewayd.protocol.jsonrpc import RpcError
from gatewayd.protocol.jsontext import string
from gatewayd.upstreams.channel import UpstreamError
from gatewayd.upstreams.service import Usage

log = structlog.get_logger("gatewayd.bridge")

PATIENCE = 600.0
"""Seconds for which a call is parked: people have to answer."""
MOST_PARKED = 1000
MOST_OF_ONE = 100
"""Parked calls of a service, and of one principal."""
MOST_BYTES = 64 * 1024 * 1024
"""Of the questions of all parked calls of a service."""
GOODBYE = 2.0
"""Seconds for telling a server that nobody will answer."""

_TICKET = 16
"""Bytes; nobody guesses one, even who could forge a seal."""


@attrs.define(eq=False)
class Parked:
    """A call without a client."""

    ticket: str
    principal: str
    digest: str
    expires: float
    questions: Mapping[str, Question]
    live: LiveCall | None
    """None: the call has failed, and is to be made again once the client has done what the server wants."""
    parking: Parking
    """Where it is."""
    node: Node

    @property
    def size(self) -> int:
        """Bytes of its questions."""
        return sum(question.size for question in self.questions.values())


class Tickets:
    """Those of all services of the process: a client finds its call also where a reload has replaced the service."""

    def __init__(self, keychain: Keychain) -> None:
        self._keychain = keychain
        self._instance = secrets.token_urlsafe(_TICKET)
        self._parked: dict[str, Parked] = {}

    def issue(self, parked: Parked, service: str) -> str:
        """The token for the client of a call of that service."""
        self._parked[parked.ticket] = parked
        state = State(self._instance, parked.ticket, parked.digest, parked.expires)
        return self._keychain.seal(states.PURPOSE, states.pack(state), states.bound_to(parked.principal, service))

    def void(self, parked: Parked) -> None:
        """The token works no more."""
        del self._parked[parked.ticket]

    def find(self, principal: str, service: str, request: ClientRequest) -> Parked:
        """The call that a retry means, which stays parked. Raises `RpcError`, the same for everything that is wrong."""
        token = string(request.params.get(REQUEST_STATE, b"null"))
        payload = None
        if token is not None:
            payload = self._keychain.open(states.PURPOSE, token, states.bound_to(principal, service))
        state = None if payload is None else states.unpack(payload)
        parked = None if state is None or state.instance != self._instance else self._parked.get(state.ticket)
        if (
            state is None
            or parked is None
            or parked.principal != principal
            or not parked.digest == state.digest == states.digest(request)
            or trio.current_time() >= min(parked.expires, state.expires)
        ):
            raise RpcError(INVALID_PARAMS, "Invalid params: requestState is not valid any more; start again without it")
        return parked


class Parking:
    """The parked calls of one service, which is in use while there are any. `run` must be running."""

    def __init__(self, tickets: Tickets, service: str, usage: Usage, node: Node) -> None:
        """`node` is the service's; a call is shown under it, or under the session that it is kept in."""
        self._tickets = tickets
        self._service = service
        self._usage = usage
        self._node = node
        self._parked: OrderedDict[str, Parked] = OrderedDict()
        """By ticket, and in the order in which they expire."""
        self._count: Counter[str] = Counter()
        """By principal."""
        self._bytes = 0
        self._closed = False
        self._some = trio.Event()

    def __len__(self) -> int:
        return len(self._parked)

    def park(
        self, principal: str, request: ClientRequest, questions: Mapping[str, Question], live: LiveCall | None
    ) -> str | None:
        """Keep a call; returns the token for its client. None: there is no room, and the call is still the caller's."""
        now = trio.current_time()
        ticket = secrets.token_urlsafe(_TICKET)
        node = Node("parked", principal, parent=self._node if live is None else live.session.node, now=now)
        digest = states.digest(request)
        parked = Parked(ticket, principal, digest, now + PATIENCE, dict(questions), live, self, node)
        full = len(self._parked) >= MOST_PARKED or self._bytes + parked.size > MOST_BYTES
        if self._closed or full or self._count[principal] >= MOST_OF_ONE:
            log.warning("no room to park a call", service=self._service, parked=len(self._parked))
            return None
        self._parked[ticket] = parked
        self._count[principal] += 1
        self._bytes += parked.size
        self._usage.begin()
        node.__enter__()
        self._some.set()
        return self._tickets.issue(parked, self._service)

    def take(self, parked: Parked) -> None:
        """The call is the caller's now; its ticket is used up."""
        self._tickets.void(parked)
        parked.node.__exit__(None, None, None)
        self._usage.end()
        del self._parked[parked.ticket]
        self._bytes -= parked.size
        self._count[parked.principal] -= 1
        if not self._count[parked.principal]:
            del self._count[parked.principal]

    async def run(self) -> None:
        """Give up calls whose clients do not come back, until cancelled; then give up all of them."""
        try:
            async with trio.open_nursery() as nursery:
                while True:
                    await self._wait_due()
                    for parked in self._due():
                        self.take(parked)
                        nursery.start_soon(_give_up, parked)
        finally:
            self._closed = True
            with trio.move_on_after(GOODBYE, shield=True):
                async with trio.open_nursery() as nursery:
                    for parked in list(self._parked.values()):
                        self.take(parked)
                        nursery.start_soon(_close, parked)

    async def _wait_due(self) -> None:
        while not self._parked:
            self._some = trio.Event()
            await self._some.wait()
        await trio.sleep_until(next(iter(self._parked.values())).expires)

    def _due(self) -> list[Parked]:
        now = trio.current_time()
        return [parked for parked in self._parked.values() if parked.expires <= now]


async def _give_up(parked: Parked) -> None:
    """Tell the server that nobody answers, and that nobody waits for it."""
    if parked.live is None:
        return
    try:
        parked.live.replies.extend(unanswered(question) for question in parked.questions.values())
        with trio.move_on_after(GOODBYE):
            await parked.live.reply()
    except UpstreamError as error:
        log.debug("parked call given up", reason=error.reason)
    finally:
        await parked.live.aclose()


async def _close(parked: Parked) -> None:
    if parked.live is not None:
        await parked.live.aclose()
