"""What the exchange may ask of an upstream, whatever the transport: the contract of this folder.

Ids on this side are the gateway's own: integers from one counter of the process, so that they are unique on every hop
and double as progress token and subscription id (each hop is a protocol relationship of its own).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from gatewayd.protocol.jsonrpc import Failure, Message, Notification, Request, Result


class UpstreamError(Exception):
    """An upstream failed one call. `reason` is fit for the client; `detail` is for the log only."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail
        self.service: str | None = None
        """Which service it was, where several serve the route."""


class UpstreamUnreachable(UpstreamError):
    """No connection could be made, or the process could not be started: the call was certainly not processed."""


class UpstreamDied(UpstreamError):
    """The connection or process ended after the request was sent: whether it was processed is unknown."""


class UpstreamTimedOut(UpstreamError):
    """A deadline of the service passed."""


class UpstreamBroke(UpstreamError):
    """The upstream answered something that the protocol does not allow."""


class UpstreamTooLarge(UpstreamError):
    """An answer exceeded the size limit of the service."""


class SessionLost(UpstreamError):
    """The upstream does not know our legacy session any more: the message was certainly not processed."""


class WrongEra(UpstreamError):
    """The service does not speak the era of the client. `supported` lists the revisions that it does speak."""

    def __init__(self, reason: str, supported: Sequence[str]) -> None:
        super().__init__(reason)
        self.supported = tuple(supported)


class Refused(UpstreamError):
    """The service answered the opening of a session with an error of its own, which is the client's to see."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = Failure(None, failure.code, failure.message, failure.data)
        """Without the id, which was ours."""


class Paused(msgspec.Struct, frozen=True):
    """The upstream closed its stream to go on later (MCP 2025-11-25, polling): the next `receive` waits and resumes."""

    retry: int
    """Milliseconds that the upstream asked its client to stay away."""


class Answer(Protocol):
    """The messages that belong to one request: notifications (and, legacy, server requests), then one final answer.

    Open until `aclose`, which is idempotent, never blocks for longer than a named bound, and means "abandon" before
    the final message was received: an HTTP connection is closed, a process is sent `notifications/cancelled`.
    """

    async def receive(self) -> Message | Paused | None:
        """The next message; None after the end. A `Result` or `Failure` is the last one and carries our id.

        `Paused` is for who may want to pause, too; everybody else just receives again. Safe to cancel and to call
        again. Raises `UpstreamError` when the upstream fails.
        """
        ...

    async def aclose(self) -> None:
        """Give the request up, or give back what it used when it is finished."""
        ...


class LegacyPeer(Protocol):
    """One legacy session with an upstream, already initialized or about to be."""

    @property
    def session(self) -> str | None:
        """The id by which the upstream would know the session again after a restart of ours; None: it would not."""
        ...

    async def request(self, message: Request) -> Answer:
        """Send a request. Raises `UpstreamError`."""
        ...

    async def send(self, message: Notification | Result | Failure) -> None:
        """Send a client's notification, or its answer to a server request. Raises `UpstreamError`."""
        ...

    async def listen(self) -> Answer | None:
        """The messages that belong to no request, with no final one; None where the upstream has no such stream.

        At most one at a time. Raises `UpstreamError`.
        """
        ...

    async def aclose(self) -> None:
        """End the session upstream, within a named bound. Idempotent."""
        ...
