"""One request on its two hops: ids and tokens are the client's on one side and ours on the other, never mixed.

Our id is an integer that is unique in this process. It also serves as the progress token and names the subscription,
so that whatever an upstream sends back can be traced to one call, whoever else uses the same upstream.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from gatewayd.protocol.codes import INVALID_PARAMS
from gatewayd.protocol.jsonrpc import Failure, Id, Notification, Request, Result, RpcError
from gatewayd.protocol.jsontext import JsonError, encode_members, members, members_if_any, text
from gatewayd.protocol.versions import META, META_SUBSCRIPTION_ID, PROGRESS_TOKEN

_ESCAPE = b"\\"
"""A member name may be spelled with escapes; without any, searching the text finds it."""


class Hop(msgspec.Struct, frozen=True, gc=False):
    """What is needed to translate the messages of one request between client and upstream."""

    client_id: Id
    our_id: int
    client_token: bytes | None = None
    """The client's progress token as JSON text; None: it did not ask for progress."""

    def progress(self, message: Notification) -> Notification | None:
        """A progress notification with the client's token; None when it belongs to nobody."""
        params = members_if_any(message.params)
        if self.client_token is None or params.get(PROGRESS_TOKEN) != b"%d" % self.our_id:
            return None
        return Notification(message.method, encode_members({**params, PROGRESS_TOKEN: self.client_token}))

    def notification(self, message: Notification) -> Notification | None:
        """Any notification of the upstream as the client may see it, or None to drop it."""
        if message.method == "notifications/progress":
            return self.progress(message)
        if message.params is not None and _may_hold(message.params, META_SUBSCRIPTION_ID):
            return Notification(message.method, self._retag(message.params))
        return message

    def final(self, message: Result | Failure) -> Result | Failure:
        """The final answer with the client's id; a subscription that it ends is named by that id, too."""
        if isinstance(message, Failure):
            return Failure(self.client_id, message.code, message.message, message.data)
        if _may_hold(message.result, META_SUBSCRIPTION_ID):
            return Result(self.client_id, self._retag(message.result))
        return Result(self.client_id, message.result)

    def _retag(self, raw: bytes) -> bytes:
        parts = members(raw)
        meta = members_if_any(parts.get(META))
        if META_SUBSCRIPTION_ID not in meta:
            return raw
        own = text(self.client_id) if isinstance(self.client_id, str) else b"%d" % self.client_id
        return encode_members({**parts, META: encode_members({**meta, META_SUBSCRIPTION_ID: own})})


def modern_hop(
    request: Request, our_id: int, params: Mapping[str, bytes], meta: Mapping[str, bytes]
) -> tuple[Hop, Request]:
    """The hop of a modern request, and the request to send. `params` and `meta` are the checked parts of it."""
    token = meta.get(PROGRESS_TOKEN)
    if token is not None:
        meta = {**meta, PROGRESS_TOKEN: b"%d" % our_id}
    raw = encode_members({**params, META: encode_members(meta)})
    return Hop(request.id, our_id, token), Request(our_id, request.method, raw)


def legacy_hop(request: Request, our_id: int) -> tuple[Hop, Request]:
    """The hop of a legacy request, and the request to send. Raises `RpcError` where `_meta` is not an object."""
    raw = request.params
    if raw is None or not _may_hold(raw, PROGRESS_TOKEN):
        return Hop(request.id, our_id), Request(our_id, request.method, raw)
    try:
        params = members(raw)
        meta = members(params.get(META, b"{}"))
    except JsonError as error:
        raise RpcError(INVALID_PARAMS, f"Invalid params: {error.reason}", request.id) from None
    if PROGRESS_TOKEN not in meta:
        return Hop(request.id, our_id), Request(our_id, request.method, raw)
    changed = encode_members({**params, META: encode_members({**meta, PROGRESS_TOKEN: b"%d" % our_id})})
    return Hop(request.id, our_id, meta[PROGRESS_TOKEN]), Request(our_id, request.method, changed)


def _may_hold(raw: bytes, name: str) -> bool:
    return name.encode() in raw or _ESCAPE in raw
