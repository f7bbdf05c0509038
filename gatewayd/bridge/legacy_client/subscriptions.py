"""What a legacy client wants to be told unasked, in terms of `subscriptions/listen` (MCP 2026-07-28); pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import attrs

from gatewayd.bridge.changes import LIST_CHANGED, LISTS, RESOURCES, UPDATED, WANTED, covers
from gatewayd.bridge.legacy_client.downgrade import without_meta
from gatewayd.bridge.legacy_client.envelopes import Promises
from gatewayd.protocol.jsonrpc import Notification
from gatewayd.protocol.jsontext import JsonError, encode_elements, encode_members, members, string, strings, text
from gatewayd.protocol.versions import META_SERVER_INFO, META_SUBSCRIPTION_ID

MOST_URIS: Final = 1000
MOST_URI_BYTES: Final = 256 * 1024
"""For all subscriptions of one session together."""

_LISTS: Final = {method: name for name, method in LIST_CHANGED.items()}


@attrs.define
class Subscriptions:
    """What one session wants: changes of the lists that its server promised to announce, and of some resources."""

    promises: Promises
    uris: frozenset[str] = frozenset()

    def fits(self, uri: str) -> bool:
        """Whether there is room for one more."""
        size = sum(len(known.encode()) for known in self.uris) + len(uri.encode())
        return len(self.uris) < MOST_URIS and size <= MOST_URI_BYTES

    def params(self, uris: Iterable[str]) -> bytes | None:
        """The member `notifications` of the request that listens to these resources; None: to nothing at all."""
        wanted = {WANTED[name]: b"true" for name in LISTS if name in self.promises.lists}
        named = sorted(uris)
        if named:
            wanted[RESOURCES] = encode_elements(map(text, named))
        return encode_members(wanted) if wanted else None

    def shown(self, message: Notification) -> Notification | None:
        """A notification of the stream as the client may see it; None where the client did not ask for it."""
        if message.method == UPDATED:
            return self._updated(message)
        return Notification(message.method) if _LISTS.get(message.method) in self.promises.lists else None

    def missed(self) -> Iterator[Notification]:
        """What may have happened while nobody listened."""
        for name, method in LIST_CHANGED.items():
            if name in self.promises.lists:
                yield Notification(method)
        for uri in sorted(self.uris):
            yield Notification(UPDATED, encode_members({"uri": text(uri)}))

    def _updated(self, message: Notification) -> Notification | None:
        try:
            params = members(message.params or b"{}")
            uri = string(params.get("uri", b"null"))
            if uri is None or not any(covers(known, uri) for known in self.uris):
                return None
            without_meta(params, META_SUBSCRIPTION_ID, META_SERVER_INFO)
        except JsonError:
            return None
        return Notification(UPDATED, encode_members(params))


def acknowledged(message: Notification) -> frozenset[str]:
    """The resources that an acknowledgement names. Raises `JsonError` where it cannot be read."""
    honoured = members(members(message.params or b"{}").get("notifications", b"{}"))
    return frozenset(strings(honoured.get(RESOURCES, b"[]")))
