"""Questions of a legacy server, as entries of an `input_required` result, and what clients answer them with. Pure.

MCP 2026-07-28, multi round-trip requests: an entry is a method and params, without the envelope of JSON-RPC; the answer
is the bare result. Legacy revisions send real requests.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from gatewayd.bridge.asking import ELICIT, INPUT_REQUESTS, INPUT_RESPONSES, REQUEST_STATE, ROOTS, SAMPLE, URL
from gatewayd.bridge.modern_client.client_request import ClientRequest
from gatewayd.bridge.modern_client.upgrade import Greeting, identified
from gatewayd.protocol.codes import INTERNAL_ERROR, INVALID_PARAMS, MISSING_CLIENT_CAPABILITY
from gatewayd.protocol.jsonrpc import Failure, Id, Request, Result, RpcError
from gatewayd.protocol.jsontext import JsonError, elements, encode_members, is_array, is_object, members, string, text
from gatewayd.protocol.versions import LEGACY, META, META_RELATED_TASK, PROGRESS_TOKEN

_ACTIONS: Final = frozenset({"accept", "decline", "cancel"})
_NOT_ASKED: Final = frozenset({"task", "elicitationId"})
"""Members of params that mean nothing to a modern client."""
_NOT_TOLD: Final = frozenset({PROGRESS_TOKEN, META_RELATED_TASK})
"""Keys of `_meta` that a modern client could do nothing with."""
_USER_REFUSED: Final = -1
"""What clients of legacy revisions answer when their user does not want a model to be sampled."""


class Question(msgspec.Struct, frozen=True):
    """Something that a server wants to know from the client."""

    id: Id | None
    """Of the server's request; None: it comes from an error, and nobody waits for an answer."""
    method: str
    """One of `ASKING`."""
    params: bytes | None
    """Without what means nothing to a modern client."""

    @property
    def size(self) -> int:
        """Bytes that it takes to remember it, or a little more."""
        return 256 + len(self.params or b"")


def read_question(request: Request) -> Question:
    """The question that a server's request asks; its method is one of `ASKING`. Raises `JsonError`."""
    if request.params is None:
        return Question(request.id, request.method, None)
    params = {name: raw for name, raw in members(request.params).items() if name not in _NOT_ASKED}
    if META in params:
        meta = {name: raw for name, raw in members(params.pop(META)).items() if name not in _NOT_TOLD}
        if meta:
            params[META] = encode_members(meta)
    return Question(request.id, request.method, encode_members(params))


def input_required(questions: Mapping[str, Question], state: str, greeting: Greeting) -> bytes:
    """The result that asks a modern client, by key. `state` must come back with the answers."""
    parts = {
        "resultType": b'"input_required"',
        INPUT_REQUESTS: encode_members({key: _entry(question) for key, question in questions.items()}),
        REQUEST_STATE: text(state),
    }
    return encode_members(identified(parts, greeting))


def read_responses(request: ClientRequest) -> dict[str, bytes]:
    """The answers in a request, by key. Raises `RpcError` where they are no object."""
    try:
        return members(request.params.get(INPUT_RESPONSES, b"{}"))
    except JsonError as error:
        raise _malformed(error.reason) from None


def answer(question: Question, response: bytes, version: str) -> Result:
    """What to send a server of that revision. Raises `RpcError` for what cannot be an answer to the question."""
    try:
        parts = members(response)
    except JsonError as error:
        raise _malformed(error.reason) from None
    if not _SHAPES[question.method](parts):
        raise _malformed(f"no result of {question.method}")
    parts.pop("resultType", None)
    if question.method == SAMPLE and version != LEGACY[0]:
        parts["content"] = _single(parts["content"])
    assert question.id is not None
    return Result(question.id, encode_members(parts))


def unanswered(question: Question) -> Result | Failure:
    """What to tell a server whose question nobody answered in time."""
    assert question.id is not None
    if question.method == ELICIT:
        return Result(question.id, b'{"action":"cancel"}')
    if question.method == SAMPLE:
        return Failure(question.id, _USER_REFUSED, "User rejected sampling request")
    return Failure(question.id, INTERNAL_ERROR, "The client did not answer")


def url_questions(failure: Failure) -> list[Question]:
    """What an error -32042 (MCP 2025-11-25, URL elicitation required) asks for; empty where it cannot be read."""
    try:
        raw = members(failure.data or b"{}").get("elicitations", b"[]")
        asked = [members(each) for each in elements(raw)]
    except JsonError:
        return []
    if not all({"url", "message"} <= params.keys() for params in asked):
        return []
    for params in asked:
        params.pop("elicitationId", None)
    return [Question(None, ELICIT, encode_members({**params, "mode": text(URL)})) for params in asked]


def lacking(request: ClientRequest, capabilities: bytes) -> Failure:
    """The error for a call that failed because the client cannot do what the server needs."""
    data = encode_members({"requiredCapabilities": capabilities})
    message = "The service needs a capability that the client did not declare"
    return Failure(request.id, MISSING_CLIENT_CAPABILITY, message, data)


def _entry(question: Question) -> bytes:
    params = {} if question.params is None else {"params": question.params}
    return encode_members({"method": text(question.method), **params})


def _is_elicited(parts: Mapping[str, bytes]) -> bool:
    return string(parts.get("action", b"")) in _ACTIONS and is_object(parts.get("content", b"{}"))


def _is_sampled(parts: Mapping[str, bytes]) -> bool:
    content = parts.get("content", b"")
    worded = string(parts.get("role", b"")) is not None and string(parts.get("model", b"")) is not None
    return worded and (is_object(content) or is_array(content))


def _are_roots(parts: Mapping[str, bytes]) -> bool:
    return is_array(parts.get("roots", b""))


_SHAPES: Final = {ELICIT: _is_elicited, SAMPLE: _is_sampled, ROOTS: _are_roots}


def _single(content: bytes) -> bytes:
    """Content for revisions that know no arrays of it: its one element, if it has just one."""
    if is_array(content):
        blocks = elements(content)
        if len(blocks) == 1:
            return blocks[0]
    return content


def _malformed(reason: str) -> RpcError:
    return RpcError(INVALID_PARAMS, f"Invalid params: {INPUT_RESPONSES}: {reason}")
