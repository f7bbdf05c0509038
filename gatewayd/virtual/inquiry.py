"""What the parts of a virtual server share, and one request to it, read once."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import attrs

from gatewayd.auth.keychain import Keychain
from gatewayd.bridge.modern_client.client_request import ClientRequest, bridgeable, read_request
from gatewayd.catalog.catalogs import Audience
from gatewayd.protocol.jsonrpc import Request
from gatewayd.protocol.jsontext import encode_members
from gatewayd.upstreams.service import Caller
from gatewayd.virtual.roster import Roster


@attrs.define(eq=False)
class Shared:
    """Of one virtual server. The roster is replaced whole when the configuration changes."""

    path: str
    """Of the route."""
    roster: Roster
    keychain: Keychain
    ids: itertools.count[int]

    def holder(self, principal: str) -> str:
        """Whom a sealed cursor or task id is good for: one principal, on this route."""
        return f"{self.path}\n{principal}"


@attrs.frozen(eq=False)
class Inquiry:
    """A checked modern request under our id, and who it comes from."""

    request: ClientRequest
    version: str
    caller: Caller
    audience: Audience
    roster: Roster
    """In force when it came."""

    def changed(self, parts: Mapping[str, bytes]) -> Request:
        """The request as a member gets it, with some of its params exchanged."""
        return Request(self.request.id, self.request.method, encode_members({**self.request.params, **parts}))


def read_inquiry(message: Request, version: str, caller: Caller, roster: Roster) -> Inquiry:
    """Read a request that `check_modern` has passed. Raises `RpcError` for a bad log level."""
    request = read_request(message)
    audience = roster.audience(caller, bridgeable(request.capabilities))
    return Inquiry(request, version, caller, audience, roster)
