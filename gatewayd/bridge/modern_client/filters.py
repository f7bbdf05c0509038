"""What a modern client listens for, and the frames that it gets (MCP 2026-07-28, subscriptions). Pure."""

from __future__ import annotations

from typing import Final

import msgspec

from gatewayd.bridge.changes import ACKNOWLEDGED, LIST_CHANGED, LISTS, RESOURCES, UPDATED, WANTED, covers
from gatewayd.bridge.modern_client.client_request import ClientRequest
from gatewayd.bridge.modern_client.questions import lacking
from gatewayd.protocol.codes import INVALID_PARAMS
from gatewayd.protocol.jsonrpc import Notification, RpcError
from gatewayd.protocol.jsontext import JsonError, encode_elements, encode_members, members, members_if_any, string, text
from gatewayd.protocol.versions import META, META_SUBSCRIPTION_ID

TASKS: Final = "io.modelcontextprotocol/tasks"
MOST_URIS: Final = 100
"""Resources that one listen is subscribed to: each costs the service a request. Others are not acknowledged."""


class Filter(msgspec.Struct, frozen=True):
    """What is wanted, or what of it is honoured."""

    lists: tuple[str, ...] = ()
    """Some of `LISTS`, of which changes are told."""
    uris: tuple[str, ...] = ()
    """Without repetition, at most `MOST_URIS`."""

    def passes(self, message: Notification) -> bool:
        """Whether the client wants this notification of a legacy server."""
        if message.method == UPDATED:
            uri = updated_uri(message)
            return uri is not None and any(covers(subscribed, uri) for subscribed in self.uris)
        return any(LIST_CHANGED[name] == message.method for name in self.lists)


def read_filter(request: ClientRequest) -> Filter:
    """What a `subscriptions/listen` asks for.

    Raises `RpcError`: `INVALID_PARAMS` where that cannot be read, `MISSING_CLIENT_CAPABILITY` for tasks where the
    client did not declare the extension.
    """
    try:
        wanted = members(request.params.get("notifications", b"null"))
        uris = msgspec.json.decode(wanted.get(RESOURCES, b"[]"), type=list[str])
    except JsonError:
        raise _invalid('the object "notifications" is missing') from None
    except msgspec.ValidationError:
        raise _invalid(f'"{RESOURCES}" is no array of strings') from None
    if "taskIds" in wanted and not _has_tasks(request.capabilities):
        extension = encode_members({"extensions": encode_members({TASKS: b"{}"})})
        failure = lacking(request, extension)
        raise RpcError(failure.code, failure.message, None, failure.data)
    lists = tuple(name for name in LISTS if wanted.get(WANTED[name]) == b"true")
    return Filter(lists, tuple(dict.fromkeys(uris))[:MOST_URIS])


def acknowledgement(honoured: Filter, ident: int) -> Notification:
    """The first frame of a subscription."""
    told = {WANTED[name]: b"true" for name in honoured.lists}
    if honoured.uris:
        told[RESOURCES] = encode_elements(map(text, honoured.uris))
    return tagged(Notification(ACKNOWLEDGED, encode_members({"notifications": encode_members(told)})), ident)


def tagged(message: Notification, ident: int) -> Notification:
    """A frame of the subscription `ident`."""
    parts = members_if_any(message.params)
    meta = {**members_if_any(parts.get(META)), META_SUBSCRIPTION_ID: b"%d" % ident}
    return Notification(message.method, encode_members({**parts, META: encode_members(meta)}))


def updated_uri(message: Notification) -> str | None:
    """The resource that `notifications/resources/updated` names."""
    return string(members_if_any(message.params).get("uri", b""))


def _has_tasks(capabilities: bytes) -> bool:
    return TASKS in members_if_any(members_if_any(capabilities).get("extensions"))


def _invalid(reason: str) -> RpcError:
    return RpcError(INVALID_PARAMS, f"Invalid params: {reason}")
