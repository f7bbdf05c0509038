"""Which era a request belongs to, and the checks that a modern request passes before policy sees it.

Both are pure: the caller hands in the header values and the decoded message. Headers may be read by others on
the way (load balancers, firewalls), the body is what is carried out; so the two must say the same, or nothing
is done.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from gatewayd.protocol.codes import (
    HEADER_MISMATCH,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    UNSUPPORTED_VERSION,
)
from gatewayd.protocol.headers import HeaderValueError, decode_value
from gatewayd.protocol.jsonrpc import Id, Message, Notification, Request, RpcError
from gatewayd.protocol.jsontext import JsonError, encode_elements, is_object, members, string, text
from gatewayd.protocol.versions import (
    LEGACY,
    META,
    META_CLIENT_CAPABILITIES,
    META_VERSION,
    MODERN,
    NAMED,
    PROGRESS_TOKEN,
    REQUESTS,
    SUPPORTED,
    Era,
)

_ERAS: Final[Mapping[bytes, Era]] = {
    **{version.encode(): "modern" for version in MODERN},
    **{version.encode(): "legacy" for version in LEGACY},
}
_SUPPORTED_TEXT: Final = encode_elements(map(text, SUPPORTED))


class Modern(msgspec.Struct, frozen=True):
    """A modern request that passed `check_modern`. `params` and `meta` are decoded by one level.

    To send it on with another `_meta`: `encode_members({**params, META: encode_members({**meta, ...})})`.
    """

    version: str
    method: str
    name: str | None
    """What the request is about, for the methods in `NAMED`: a tool, a prompt, a URI or a task."""
    progress_token: bytes | None
    """As JSON text."""
    params: Mapping[str, bytes]
    meta: Mapping[str, bytes]


def classify(http_method: str, version: bytes | None, *, session: bool, message: Message | None) -> Era:
    """The era of an HTTP request (MCP 2026-07-28, backward compatibility).

    `version` is the header `MCP-Protocol-Version`, `session` whether `Mcp-Session-Id` is present, `message`
    the body of a POST, as `decode` gave it, and None for the rest.

    =========  ==============  ============================================  ====================
    method     version header  and                                           outcome
    =========  ==============  ============================================  ====================
    POST       modern                                                        modern
    POST       legacy          the body's `_meta` names another version      400, header mismatch
    POST       legacy                                                        legacy
    POST       none            the body's `_meta` names a version            400, header mismatch
    POST       none            (a session id, `initialize`, or neither)      legacy
    GET        modern                                                        405
    GET        legacy or none  a session id                                  legacy
    GET        legacy or none  no session id                                 400
    any other  any                                                           405
    any above  anything else                                                 400, with `supported`
    =========  ==============  ============================================  ====================

    DELETE is treated as GET. Whether a legacy POST without session is served is a matter of the sessions.
    Raises `RpcError` with the HTTP status and, where there is one, the id of the request.
    """
    if http_method not in ("POST", "GET", "DELETE"):
        raise RpcError(INVALID_REQUEST, "Invalid request: this HTTP method is not allowed here", status=405)
    ident = message.id if isinstance(message, Request) else None
    era: Era = "legacy"
    if version is not None:
        known = _ERAS.get(version)
        if known is None:
            raise _unsupported(version.decode("ascii", "replace"), ident)
        era = known
    if http_method == "POST":
        if era == "legacy" and isinstance(message, Request | Notification):
            _check_no_modern_envelope(message, version, ident)
        return era
    if era == "modern":
        reason = "Invalid request: this protocol version knows POST only"
        raise RpcError(INVALID_REQUEST, reason, status=405)
    if not session:
        raise RpcError(INVALID_REQUEST, "Invalid request: a session id is required")
    return era


def check_modern(request: Request, *, version: bytes | None, method: bytes | None, name: bytes | None) -> Modern:
    """Pass a modern request of which the body and the mirroring headers agree.

    `version`, `method` and `name` are the header values, None where a header is absent. In this order:
    `_meta` is complete (-32602), the headers say what the body says (-32020), the version is supported
    (-32022), the method exists (-32601, HTTP status 404). Raises `RpcError` for the first that does not hold.
    A header `Mcp-Name` on a method that has no name is ignored.
    """
    ident = request.id
    params, meta, wanted = _modern_parts(request)
    if version != wanted.encode():
        raise _mismatch("MCP-Protocol-Version", ident)
    if method != request.method.encode():
        raise _mismatch("Mcp-Method", ident)
    subject = _subject(request, params, name)
    if wanted not in MODERN:
        raise _unsupported(wanted, ident)
    if request.method not in REQUESTS["modern"]:
        raise RpcError(METHOD_NOT_FOUND, "Method not found", ident, status=404)
    if subject is None and request.method in NAMED:
        raise _invalid(f'the string "{NAMED[request.method]}" is missing', ident)
    return Modern(wanted, request.method, subject, meta.get(PROGRESS_TOKEN), params, meta)


def _modern_parts(request: Request) -> tuple[dict[str, bytes], dict[str, bytes], str]:
    """Params, `_meta` and the version that `_meta` names."""
    try:
        params = members(request.params or b"{}")
        meta = members(params.get(META, b"{}"))
    except JsonError as error:
        raise _invalid(f'"params" or "_meta": {error.reason}', request.id) from None
    wanted = string(meta.get(META_VERSION, b""))
    if wanted is None:
        raise _invalid(f'_meta lacks the string "{META_VERSION}"', request.id)
    if not is_object(meta.get(META_CLIENT_CAPABILITIES, b"")):
        raise _invalid(f'_meta lacks the object "{META_CLIENT_CAPABILITIES}"', request.id)
    return params, meta, wanted


def _subject(request: Request, params: Mapping[str, bytes], header: bytes | None) -> str | None:
    """The name in body and header, which must be the same; None where neither has one."""
    member = NAMED.get(request.method)
    if member is None:
        return None
    subject = string(params.get(member, b""))
    try:
        mirrored = None if header is None else decode_value(header)
    except HeaderValueError:
        raise _mismatch("Mcp-Name", request.id) from None
    if subject != mirrored:
        raise _mismatch("Mcp-Name", request.id)
    return subject


def _check_no_modern_envelope(message: Request | Notification, version: bytes | None, ident: Id | None) -> None:
    params = message.params
    # Without its literal spelling and without any escape the key cannot be there: almost always the case.
    if params is None or not (META_VERSION.encode() in params or b"\\" in params):
        return
    try:
        meta = members(params).get(META)
        named = members(meta).get(META_VERSION) if meta is not None and is_object(meta) else None
    except JsonError as error:
        raise _invalid(error.reason, ident) from None
    if named is not None and (version is None or string(named) != version.decode()):
        raise _mismatch("MCP-Protocol-Version", ident)


def _invalid(reason: str, ident: Id | None) -> RpcError:
    return RpcError(INVALID_PARAMS, f"Invalid params: {reason}", ident)


def _mismatch(header: str, ident: Id | None) -> RpcError:
    reason = f"Header mismatch: {header} is missing or differs from the body"
    return RpcError(HEADER_MISMATCH, reason, ident)


def _unsupported(requested: str, ident: Id | None) -> RpcError:
    data = b'{"supported":%b,"requested":%b}' % (_SUPPORTED_TEXT, text(requested))
    return RpcError(UNSUPPORTED_VERSION, "Unsupported protocol version", ident, data)
