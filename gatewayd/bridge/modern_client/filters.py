"""What a modern client listens for, and the frames that it gets (MCP 2026-07-28, subscriptions). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from gatewayd.bridge.arrays import array
from gatewayd.bridge.legacy_client.subscriptions import ACKNOWLEDGED, UPDATED
from gatewayd.bridge.modern_client.client_request import ClientRequest
from gatewayd.bridge.modern_client.questions import lacking
from gatewayd.protocol.codes import INVALID_PARAMS
from gatewayd.protocol.jsonrpc import Notification, RpcError
from gatewayd.protocol.jsontext import JsonError, encode_members, members, string, text
from gatewayd.protocol.versions import META, META_SUBSCRIPTION_ID

CHANGES: Final[Mapping[str, tuple[str, str]]] = {
    "toolsListChanged": ("notifications/tools/list_changed", "tools"),
    "promptsListChanged": ("notifications/prompts/list_changed", "prompts"),
    "resourcesListChanged": ("notifications/resources/list_changed", "resources"),
}
"""Member of the filter to notification, and the server capability with `listChanged` that it takes."""

TASKS: Final = "io.modelcontextprotocol/tasks"
MOST_URIS: Final = 100
"""Resources that one listen is subscribed to: each costs the service a request. Others are not acknowledged."""

_BOUNDARIES: Final = ("/", "?", "#")


class Filter(msgspec.Struct, frozen=True):
    """What is wanted, or what of it is honoured."""

    changes: tuple[str, ...] = ()
    """Keys of `CHANGES`."""
    uris: tuple[str, ...] = ()
    """Without repetition, at most `MOST_URIS`."""

    def passes(self, message: Notification) -> bool:
        """Whether the client wants this notification of a legacy server."""
        if message.method == UPDATED:
            uri = updated_uri(message)
            return uri is not None and any(covers(subscribed, uri) for subscribed in self.uris)
        return any(CHANGES[change][0] == message.method for change in self.changes)


def read_filter(request: ClientRequest) -> Filter:
    """What a `subscriptions/listen` asks for.

    Raises `RpcError`: `INVALID_PARAMS` where that cannot be read, `MISSING_CLIENT_CAPABILITY` for tasks where the
    client did not declare the extension.
    """
    try:
        wanted = members(request.params.get("notifications", b"null"))
        uris = msgspec.json.decode(wanted.get("resourceSubscriptions", b"[]"), type=list[str])
    except JsonError:
        raise _invalid('the object "notifications" is missing') from None
    except msgspec.ValidationError:
        raise _invalid('"resourceSubscriptions" is no array of strings') from None
    if "taskIds" in wanted and not _has_tasks(request.capabilities):
        extension = encode_members({"extensions": encode_members({TASKS: b"{}"})})
        failure = lacking(request, extension)
        raise RpcError(failure.code, failure.message, None, failure.data)
    changes = tuple(change for change in CHANGES if wanted.get(change) == b"true")
    return Filter(changes, tuple(dict.fromkeys(uris))[:MOST_URIS])


def acknowledgement(honoured: Filter, ident: int) -> Notification:
    """The first frame of a subscription."""
    told = dict.fromkeys(honoured.changes, b"true")
    if honoured.uris:
        told["resourceSubscriptions"] = array(map(text, honoured.uris))
    return tagged(Notification(ACKNOWLEDGED, encode_members({"notifications": encode_members(told)})), ident)


def tagged(message: Notification, ident: int) -> Notification:
    """A frame of the subscription `ident`."""
    parts = _object(message.params)
    meta = {**_object(parts.get(META)), META_SUBSCRIPTION_ID: b"%d" % ident}
    return Notification(message.method, encode_members({**parts, META: encode_members(meta)}))


def updated_uri(message: Notification) -> str | None:
    """The resource that `notifications/resources/updated` names."""
    return string(_object(message.params).get("uri", b""))


def covers(subscribed: str, uri: str) -> bool:
    """Whether `uri` is the subscribed resource or a part of it.

    MCP lets an update name a sub-resource without saying what that is: here what extends the URI at a boundary.
    """
    if not uri.startswith(subscribed):
        return False
    rest = uri[len(subscribed) :]
    return not rest or subscribed.endswith("/") or rest.startswith(_BOUNDARIES)


def _has_tasks(capabilities: bytes) -> bool:
    return TASKS in _object(_object(capabilities).get("extensions"))


def _object(raw: bytes | None) -> dict[str, bytes]:
    try:
        return members(raw or b"{}")
    except JsonError:
        return {}


def _invalid(reason: str) -> RpcError:
    return RpcError(INVALID_PARAMS, f"Invalid params: {reason}")
