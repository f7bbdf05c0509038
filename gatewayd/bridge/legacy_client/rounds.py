"""One request of a legacy client as several of the modern era: who is asked what, and what is sent next.

MCP 2026-07-28, multi round-trip requests. Values in, values out: what takes time is elsewhere.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Final

import attrs

from gatewayd.bridge.asking import INPUT_REQUESTS, INPUT_RESPONSES, REQUEST_STATE
from gatewayd.bridge.changes import ACKNOWLEDGED
from gatewayd.bridge.legacy_client.downgrade import downgraded_failure, downgraded_result
from gatewayd.bridge.legacy_client.entries import Entry, Unanswerable, answered, read_entries
from gatewayd.bridge.legacy_client.envelopes import Client, modern_params
from gatewayd.protocol.codes import HEADER_MISMATCH, INTERNAL_ERROR, UNSUPPORTED_VERSION
from gatewayd.protocol.jsonrpc import Failure, Notification, Request, Result
from gatewayd.protocol.jsontext import JsonError, encode_members, is_object, members, string
from gatewayd.protocol.versions import MAY_ASK, PROGRESS_TOKEN, REPEATABLE

MOST_ROUNDS: Final = 10
"""How often a service may answer with `input_required`; the official SDKs stop there, too."""
FIRST_WAIT: Final = 0.05
MOST_WAIT: Final = 1.0
"""Seconds before a service is asked again that only said "not yet"."""

_NOT_FOR_CLIENTS: Final = frozenset({"notifications/cancelled", ACKNOWLEDGED})
"""In the modern era both are about subscriptions, which a legacy client has none of."""


@attrs.frozen
class Done:
    """The call is over."""

    message: Result | Failure


@attrs.frozen
class Ask:
    """The client has to answer these first; none, where all was answered in its place."""

    requests: tuple[Request, ...]


@attrs.frozen
class Again:
    """Send again, after so many seconds; `relearn`: what the gateway knows of the service may be out of date."""

    wait: float = 0.0
    relearn: bool = False


@attrs.frozen
class Broken:
    """The service does not keep to the protocol. `reason` is for the client, `detail` for the log."""

    reason: str
    detail: str


Verdict = Done | Ask | Again | Broken


@attrs.define(eq=False)
class Rounds:
    """The state of one request. `request` is as the exchange made it: its id, ours, is the progress token as well."""

    request: Request
    parts: Mapping[str, bytes]
    """Its params."""
    client: Client
    strict_headers: bool = False
    """See `downgraded_result`."""
    _round: int = attrs.field(default=0, init=False)
    _sent: int = attrs.field(default=0, init=False)
    """The id of what was sent last."""
    _corrected: bool = attrs.field(default=False, init=False)
    _repeated: bool = attrs.field(default=False, init=False)
    _wait: float = attrs.field(default=FIRST_WAIT, init=False)
    _state: bytes | None = attrs.field(default=None, init=False)
    _responses: dict[str, bytes] | None = attrs.field(default=None, init=False)
    _open: dict[int, Entry] = attrs.field(factory=dict[int, Entry], init=False)
    _refusal: str | None = attrs.field(default=None, init=False)
    _progress: float = attrs.field(default=float("-inf"), init=False)
    _floor: float = attrs.field(default=float("-inf"), init=False)
    """Progress only ever grows, for a client that knows nothing of rounds."""

    @property
    def started(self) -> bool:
        """Whether anything was sent."""
        return self._sent != 0

    @property
    def settled(self) -> bool:
        """Whether there is nothing to wait for: all questions were answered, or one of them cannot be."""
        return not self._open or self._refusal is not None

    def next_request(self, ids: itertools.count[int], level: str | None) -> Request:
        """What to send now. The first has the id of the client's request, later ones their own. Raises `JsonError`."""
        self._sent = next(ids) if self.started else int(self.request.id)
        self._floor = self._progress
        params = modern_params(self.parts, self.client, level, self._sent)
        if self._responses is not None:
            params[INPUT_RESPONSES] = encode_members(self._responses)
        if self._state is not None:
            params[REQUEST_STATE] = self._state
        return Request(self._sent, self.request.method, encode_members(params))

    def judge(self, message: Result | Failure, ids: itertools.count[int], mint: Callable[[], str]) -> Verdict:
        """What the answer to a round means."""
        if isinstance(message, Failure):
            return self._failed(message)
        try:
            parts = members(message.result)
            kind = string(parts["resultType"]) if "resultType" in parts else "complete"
            if kind == "input_required" and self.request.method in MAY_ASK:
                return self._ask(parts, ids, mint)
            if kind == "complete":
                return Done(Result(self.request.id, self._downgraded(parts)))
        except JsonError as error:
            return Broken("the service answered something that nobody can read", error.reason)
        except Unanswerable as error:
            return Done(self._failure(error.reason))
        return Broken("the service answered with a kind of result that was not offered", str(kind)[:100])

    def may_repeat(self) -> bool:
        """Whether the last round, which was lost, may be sent once more, because it only reads; once at most."""
        if self._repeated or self.request.method not in REPEATABLE:
            return False
        self._repeated = True
        return True

    def answer(self, message: Result | Failure) -> None:
        """What the client says to one of the questions; anything else is ignored."""
        question = self._open.pop(message.id, None) if isinstance(message.id, int) else None
        if question is None or self._responses is None:
            return
        try:
            self._responses[question.key] = answered(question, message)
        except Unanswerable as error:
            self._refusal = error.reason

    def conclude(self) -> tuple[Notification | Failure, ...]:
        """Once settled: what ends the call, after the questions that are withdrawn; nothing: the next round."""
        if self._refusal is None:
            return ()
        withdrawn = [Notification("notifications/cancelled", b'{"requestId":%d}' % ident) for ident in self._open]
        self._open.clear()
        return (*withdrawn, self._failure(self._refusal))

    def notification(self, message: Notification) -> Notification | None:
        """A notification of the last round, as one of the request; None: not for the client."""
        if message.method in _NOT_FOR_CLIENTS:
            return None
        if message.method != "notifications/progress":
            return message
        try:
            params = members(message.params or b"{}")
            progress = float(params.get("progress", b"0"))
        except (JsonError, ValueError):
            return None
        if params.get(PROGRESS_TOKEN) != b"%d" % self._sent or progress <= self._floor:
            return None
        self._progress = max(self._progress, progress)
        params[PROGRESS_TOKEN] = b"%d" % int(self.request.id)
        return Notification(message.method, encode_members(params))

    def _failed(self, message: Failure) -> Verdict:
        if message.code in (HEADER_MISMATCH, UNSUPPORTED_VERSION) and not self._corrected:
            self._corrected = True
            return Again(relearn=True)
        answer = downgraded_failure(self.request.method, message)
        return Done(Failure(self.request.id, answer.code, answer.message, answer.data))

    def _ask(self, parts: Mapping[str, bytes], ids: itertools.count[int], mint: Callable[[], str]) -> Verdict:
        self._round += 1
        if self._round > MOST_ROUNDS:
            raise Unanswerable(f"the service asks more than {MOST_ROUNDS} times")
        self._corrected = False
        self._state = parts.get(REQUEST_STATE)
        if self._state is not None and string(self._state) is None:
            raise JsonError(f'"{REQUEST_STATE}" must be a string')
        asked = parts.get(INPUT_REQUESTS, b"{}")
        if not is_object(asked):
            raise JsonError(f'"{INPUT_REQUESTS}" must be an object')
        entries = read_entries(asked, self.client, mint)
        if not entries:
            if self._state is None:
                raise JsonError("nothing is asked for")
            self._responses = None
            wait, self._wait = self._wait, min(MOST_WAIT, 2 * self._wait)
            return Again(wait)
        self._responses = {entry.key: entry.answer for entry in entries if entry.answer is not None}
        self._open = {next(ids): entry for entry in entries if entry.answer is None}
        return Ask(tuple(Request(ident, entry.method, entry.params) for ident, entry in self._open.items()))

    def _downgraded(self, parts: Mapping[str, bytes]) -> bytes:
        return downgraded_result(self.request.method, self.client.version, parts, strict_headers=self.strict_headers)

    def _failure(self, reason: str) -> Failure:
        return Failure(self.request.id, INTERNAL_ERROR, f"Internal error: {reason}")
