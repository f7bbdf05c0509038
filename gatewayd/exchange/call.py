"""One call: what is known about it, and the scope that ends it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, Literal

import attrs
import trio

from gatewayd.auth.principal import Principal
from gatewayd.exchange.plan import Plan
from gatewayd.exchange.reply import Field, Reply, RpcReply
from gatewayd.observe.correlation import Correlation
from gatewayd.observe.tree import Node
from gatewayd.protocol.http1 import RequestHead
from gatewayd.protocol.jsonrpc import Id
from gatewayd.protocol.versions import Era
from gatewayd.upstreams.service import Upstream

End = Literal["disconnected", "timed out", "not reading", "cancelled by client", "session ended", "drained"]
"""Why a call was ended before its answer."""
GONE: Final = frozenset({"disconnected", "not reading"})
"""Nobody takes an answer any more."""


@attrs.define(eq=False)
class Call:
    """The life of one HTTP request after it was admitted.

    The exchange runs it inside `scope`; whoever wants it to end calls `end` with the reason. A front starts watching
    the client, the clock and the keep-alive only for calls that turn out to wait (`settle`), because most do not.
    """

    plan: Plan
    """The route's program, of the table that the call began with, or (standing streams) goes on with."""
    head: RequestHead
    principal: Principal
    correlation: Correlation
    http: Reply
    node: Node
    started: float
    """Trio time."""
    reply: RpcReply = attrs.field(init=False)
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    deadline: float = math.inf
    """Trio time at which the answer must be complete; takes effect when the call settles."""
    settled: bool = False
    ended: End | None = None
    method: str = "other"
    """The JSON-RPC method, for metrics and logs; `other` until it is known."""
    rpc_id: Id | None = None
    """The client's id, once the body was read and has one."""
    era: Era = "legacy"
    version: str | None = None
    """The revision that the client named in its header."""
    resumable: bool = True
    """Whether a stream of its own carries the answer, which the client may ask for again."""
    parent: Call | None = None
    """The call that carries the answers of several ones."""
    members: int = 0
    """How many calls run now whose answers it carries."""
    answered: bool = False
    """Whether the upstream's final answer has arrived."""
    paused: float = 0.0
    """Seconds after which the client will come back for the answer, where the connection was given back before it."""
    listening: bool = False
    """Whether this is a standing stream: no deadline, and a drain ends it politely at once."""
    follow: Callable[[Upstream], None] | None = None
    """How a standing stream goes on with another service, if it can."""

    def __attrs_post_init__(self) -> None:
        self.reply = RpcReply(self.http)

    @property
    def abandoned(self) -> bool:
        """Whether nobody is there to take an answer now, which in the legacy eras is no cancellation."""
        return self.ended in GONE or (self.parent is not None and self.parent.abandoned)

    def member(self, http: Reply, now: float, carrier: Call | None = None) -> Call:
        """A call for a message that came with this one, of which `carrier` carries the answer: this one, if None."""
        member = Call(self.plan, self.head, self.principal, self.correlation, http, self.node, now)
        member.parent, member.resumable, member.version = carrier or self, False, self.version
        member.settled = True
        return member

    def move(self, plan: Plan) -> None:
        """Go on under another plan, with the service that it has: for standing streams that can."""
        if self.follow is not None:
            self.plan.upstream.usage.end()
            self.plan = plan
            plan.upstream.usage.begin()
            self.follow(plan.upstream)

    def trace_fields(self) -> list[Field]:
        """What tells the upstream which request of ours this is."""
        fields = [
            (b"x-request-id", self.correlation.request_id.encode()),
            (b"traceparent", self.correlation.traceparent.encode()),
        ]
        if self.correlation.continued:
            fields += [(b"tracestate", value) for value in self.head.values(b"tracestate")]
        return fields

    def end(self, reason: End) -> None:
        """Cancel the call's work. Only the first reason counts.

        An answer on its way is cut for no reason but a client that does not take it: half an answer helps nobody.
        """
        if self.ended is None and (not self.reply.finished or reason in GONE):
            self.ended = reason
            self.scope.cancel()

    def set_deadline(self, deadline: float) -> None:
        """Set when the answer must be complete; `inf` for standing streams."""
        self.deadline = deadline
        if self.settled:
            self.scope.deadline = deadline

    def settle(self) -> None:
        """Arm the deadline: from here on the call is one that waits."""
        self.settled = True
        self.scope.deadline = self.deadline
