"""Lets principals in: the strategies of one route, ready to be asked."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from gatewayd.auth.keyring import Keyring
from gatewayd.auth.principal import ANONYMOUS, Principal


@attrs.frozen(eq=False)
class Gate:
    """The strategies of one route in order. None at all means anonymous: the file says so, the compiler made sure."""

    keyrings: Sequence[tuple[str, Keyring]]

    def admit(self, authorization: bytes | None, api_key: bytes | None) -> Principal | None:
        """The principal that the `Authorization` or `X-API-Key` field proves, or None.

        Two credentials in one request are refused: whoever decides later might look at the other one.
        """
        if not self.keyrings:
            return ANONYMOUS
        if authorization is not None and api_key is not None:
            return None
        key = api_key if api_key is not None else _bearer(authorization)
        if key is None:
            return None
        text = key.decode("latin-1")
        for name, ring in self.keyrings:
            found = ring.authenticate(text)
            if found is not None:
                return Principal(found, name)
        return None

    def knows(self, principal: Principal) -> bool:
        """Whether the principal could still come in today: asked of standing streams after a reload."""
        if not self.keyrings:
            return principal.anonymous
        return any(name == principal.strategy and principal.id in ring for name, ring in self.keyrings)


def _bearer(authorization: bytes | None) -> bytes | None:
    if authorization is None:
        return None
    scheme, _, token = authorization.partition(b" ")
    return token.strip() if scheme.lower() == b"bearer" and token else None
