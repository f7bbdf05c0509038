"""JSON-RPC 2.0 messages as MCP uses them: bytes to values and back, with raw params.

What a message carries is never looked into here: `params`, `result` and `data` stay the text that the peer
wrote, so that unknown members, member order and number precision survive the way through the gateway.
"""

from __future__ import annotations

import attrs
import msgspec

from gatewayd.protocol.codes import INVALID_REQUEST, PARSE_ERROR
from gatewayd.protocol.jsontext import (
    JsonError,
    NotAnObject,
    checked_elements,
    checked_members,
    integer,
    is_array,
    is_object,
    members,
    one_line,
    string,
    text,
)
from gatewayd.protocol.limits import ID_BYTES, METHOD_CHARS

Id = int | str


class Request(msgspec.Struct, frozen=True, gc=False):
    """A request. `params` is the JSON text of an object, or None where there was none."""

    id: Id
    method: str
    params: bytes | None = None


class Notification(msgspec.Struct, frozen=True, gc=False):
    """A message that is never answered."""

    method: str
    params: bytes | None = None


class Result(msgspec.Struct, frozen=True, gc=False):
    """A successful answer. `result` is the JSON text of an object, as the answerer wrote it."""

    id: Id
    result: bytes


class Failure(msgspec.Struct, frozen=True, gc=False):
    """An error answer. `id` is None where the answerer could not read it."""

    id: Id | None
    code: int
    message: str
    data: bytes | None = None


Message = Request | Notification | Result | Failure


@attrs.define(eq=False)
class RpcError(Exception):
    """What a bad message is answered with. `message` is fit for the client; `data` is JSON text."""

    code: int
    message: str
    id: Id | None = None
    data: bytes | None = None
    status: int = 400
    """The HTTP status that fits, where HTTP carries the answer."""

    def failure(self) -> Failure:
        """The same as a message."""
        return Failure(self.id, self.code, self.message, self.data)


def decode(data: bytes) -> Message:
    """Read one message.

    Raises `RpcError`: `PARSE_ERROR` for what is not strict JSON (a member name of the envelope that occurs
    twice included: nobody can say what it means), `INVALID_REQUEST` for JSON that is not a message of MCP.
    Batches are among the latter; so are `params` of any other kind than an object, positional ones and null
    included. Unknown members of the envelope are dropped.
    """
    try:
        fields = checked_members(data)
    except NotAnObject:
        reason = "batches are not accepted here" if is_array(data) else "a message is a JSON object"
        raise RpcError(INVALID_REQUEST, f"Invalid request: {reason}") from None
    except JsonError as error:
        raise RpcError(PARSE_ERROR, f"Parse error: {error.reason}") from None
    return _message(fields)


def decode_batch(data: bytes, most: int) -> list[Message | RpcError]:
    """Read an array of messages; an element that is none is the error that it is answered with.

    Raises `RpcError` where the whole is no strict JSON, or has no elements, or more than `most`.
    """
    try:
        elements = checked_elements(data, most)
    except JsonError as error:
        raise RpcError(PARSE_ERROR, f"Parse error: {error.reason}") from None
    if not elements:
        raise RpcError(INVALID_REQUEST, "Invalid request: a batch holds at least one message")
    if len(elements) > most:
        raise RpcError(INVALID_REQUEST, f"Invalid request: a batch holds at most {most} messages")
    messages: list[Message | RpcError] = []
    for element in elements:
        try:
            messages.append(decode(element))
        except RpcError as error:
            messages.append(error)
    return messages


def encode(message: Message) -> bytes:
    """Write one message, compact and without CR or LF: it fits a line of stdio and of an event stream.

    A `Failure` without id has no `id` member: MCP's schema makes it optional and does not allow null. Raises
    `JsonError` where a string holds a lone surrogate, which no decoded message does.
    """
    match message:
        case Request(id=ident, method=method, params=params):
            line = b'{"jsonrpc":"2.0","id":%b,"method":%b%b}' % (
                _id_text(ident),
                text(method),
                _tail(b"params", params),
            )
        case Notification(method=method, params=params):
            line = b'{"jsonrpc":"2.0","method":%b%b}' % (text(method), _tail(b"params", params))
        case Result(id=ident, result=result):
            line = b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (_id_text(ident), result)
        case _:
            known = b"" if message.id is None else b'"id":%b,' % _id_text(message.id)
            data = _tail(b"data", message.data)
            error = b'{"code":%d,"message":%b%b}' % (message.code, text(message.message), data)
            line = b'{"jsonrpc":"2.0",%b"error":%b}' % (known, error)
    return one_line(line)


def identifier(raw: bytes) -> Id | None:
    """The id that this JSON text stands for; None when it is none: null, a fraction, over-long..."""
    if raw.startswith(b'"'):
        value = string(raw)
        return value if value is not None and len(value.encode()) <= ID_BYTES else None
    return integer(raw)


def _message(fields: dict[str, bytes]) -> Message:
    raw_id = fields.get("id")
    ident = None if raw_id is None else identifier(raw_id)
    try:
        version = fields.get("jsonrpc")
        if version != b'"2.0"' and (version is None or string(version) != "2.0"):
            raise JsonError('"jsonrpc" must be "2.0"')
        if raw_id is not None and ident is None and not (raw_id == b"null" and "error" in fields):
            raise JsonError("an id is a string or an integer of reasonable length")
        if len(fields.keys() & {"method", "result", "error"}) != 1:
            raise JsonError('exactly one of "method", "result" and "error" is required')
        if "method" in fields:
            return _call(fields, ident)
        return _answer(fields, ident)
    except JsonError as error:
        raise RpcError(INVALID_REQUEST, f"Invalid request: {error.reason}", ident) from None


def _call(fields: dict[str, bytes], ident: Id | None) -> Request | Notification:
    method = string(fields["method"])
    if not method or len(method) > METHOD_CHARS:
        raise JsonError(f"a method is a string of 1 to {METHOD_CHARS} characters")
    params = fields.get("params")
    if params is not None and not is_object(params):
        raise JsonError('"params" must be an object')
    return Notification(method, params) if ident is None else Request(ident, method, params)


def _answer(fields: dict[str, bytes], ident: Id | None) -> Result | Failure:
    if "error" in fields:
        return _failure(members(fields["error"]), ident)
    if ident is None:
        raise JsonError("a result needs an id")
    if not is_object(fields["result"]):
        raise JsonError('"result" must be an object')
    return Result(ident, fields["result"])


def _failure(error: dict[str, bytes], ident: Id | None) -> Failure:
    code = integer(error.get("code", b""))
    message = string(error.get("message", b""))
    if code is None or message is None:
        raise JsonError("an error has an integer code and a string message")
    return Failure(ident, code, message, error.get("data"))


def _id_text(ident: Id) -> bytes:
    return text(ident) if isinstance(ident, str) else b"%d" % ident


def _tail(name: bytes, raw: bytes | None) -> bytes:
    return b"" if raw is None else b',"%b":%b' % (name, raw)
