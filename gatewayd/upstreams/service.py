"""One service, opened: what the exchange talks to, whatever the transport."""

from __future__ import annotations

from typing import Protocol

import attrs
import msgspec
import trio

from gatewayd.observe.metrics import Processes
from gatewayd.protocol.jsonrpc import Request
from gatewayd.routes.table import Service
from gatewayd.upstreams.channel import Answer, LegacyPeer


class Caller(msgspec.Struct, frozen=True):
    """What an upstream may know about who is behind a request."""

    key: str
    """Equal for equal principals; what `per = "principal"` shares a process by."""
    fields: tuple[tuple[bytes, bytes], ...] = ()
    """HTTP fields to send along: trace context, request id, `Mcp-Param-*`."""
    mixed: bool = False
    """Whether a session of the gateway's own is opened, which carries the calls of clients that cannot be asked for
    one another: what the service says unasked must be traced to one call for sure, or be nobody's."""
    session: str = ""
    """The client's session, where it has one and the request is made on behalf of it as a stateless one."""


@attrs.frozen
class Opened:
    """A legacy session that an upstream agreed to."""

    peer: LegacyPeer
    version: str
    result: bytes
    """The `initialize` result, as JSON text."""


class Usage:
    """Who uses a service: calls and sessions. A replaced service is closed when there are none left."""

    def __init__(self) -> None:
        self.count = 0
        self._unused = trio.Event()
        self._unused.set()

    def begin(self) -> None:
        """One more."""
        self.count += 1
        if self.count == 1:
            self._unused = trio.Event()

    def end(self) -> None:
        """One less."""
        self.count -= 1
        if not self.count:
            self._unused.set()

    async def wait_unused(self) -> None:
        """Wait until nobody uses it."""
        await self._unused.wait()


class Upstream(Protocol):
    """A running service. Opened by the daemon, which also closes it when no call uses it any more."""

    @property
    def usage(self) -> Usage:
        """Who uses it."""
        ...

    @property
    def service(self) -> Service:
        """Its definition."""
        ...

    async def request(self, message: Request, version: str, name: str | None, caller: Caller) -> Answer:
        """Send a modern request of revision `version` about `name` (tool, prompt, URI; None where there is none).

        Raises `UpstreamError`; `WrongEra` when the service speaks legacy revisions only; `RpcError`, with nothing sent,
        when `Mcp-Param-*` and arguments disagree and the transport has no headers for the service to see it itself.
        """
        ...

    async def open_legacy(self, message: Request, caller: Caller) -> Opened:
        """Send `initialize`. Raises `UpstreamError`, `WrongEra`, or `Refused` with the service's own error."""
        ...

    def resume_legacy(self, session: str, version: str, caller: Caller) -> LegacyPeer | None:
        """The session that an earlier process of ours opened (`LegacyPeer.session`), of revision `version`.

        Sends nothing: whether the upstream still knows it shows at the first use. None where sessions do not outlive
        their connection.
        """
        ...

    def processes(self) -> Processes:
        """How many child processes it has, and had to start again."""
        ...

    def statistics(self) -> dict[str, object]:
        """What `/services` shows."""
        ...
