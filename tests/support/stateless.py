"""What an `Upstream` of a test has beside requests, where it has no sessions and nothing to show."""

from __future__ import annotations

from gatewayd.observe.metrics import Processes
from gatewayd.protocol.jsonrpc import Request
from gatewayd.upstreams.channel import LegacyPeer
from gatewayd.upstreams.service import Caller, Opened


class Stateless:
    """To be inherited from."""

    async def open_legacy(self, message: Request, caller: Caller) -> Opened:
        """See `Upstream.open_legacy`."""
        raise NotImplementedError

    def resume_legacy(self, session: str, version: str, caller: Caller) -> LegacyPeer | None:
        """See `Upstream.resume_legacy`."""
        raise NotImplementedError

    def processes(self) -> Processes:
        """See `Upstream.processes`."""
        return Processes()

    def statistics(self) -> dict[str, object]:
        """See `Upstream.statistics`."""
        return {}
