"""Which call a message on a shared channel belongs to (MCP, stdio: one channel, correlated by ids)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from gatewayd.protocol.jsonrpc import Id, Notification, identifier
from gatewayd.protocol.jsontext import members_if_any
from gatewayd.protocol.versions import META, META_SUBSCRIPTION_ID, PROGRESS_TOKEN

DIGITS = 19
"""Our ids are a counter; nothing longer is one of them."""
BURST = 0.1
"""Seconds within which a server that has several questions at once asks all of them."""
ABANDONED = 100
"""Abandoned calls of one process that are told apart; of older ones it is only known whose they were."""

T = TypeVar("T")


def progress_token(notification: Notification) -> int | None:
    """The token of `notifications/progress`; None when it is none of ours, which are integers."""
    return _number(members_if_any(notification.params).get(PROGRESS_TOKEN))


def subscription(notification: Notification) -> int | None:
    """The listen request that the notification is tagged with.

    A string with the same digits counts: MCP 2026-07-28 asks for the type of the request's id, but servers
    that keep their subscriptions in maps with string keys are in the field.
    """
    meta = members_if_any(notification.params).get(META)
    return _number(members_if_any(meta).get(META_SUBSCRIPTION_ID))


def cancelled(notification: Notification) -> Id | None:
    """The request that `notifications/cancelled` names."""
    raw = members_if_any(notification.params).get("requestId")
    return None if raw is None else identifier(raw)


def culprit(calls: Iterable[tuple[T, float | None]], now: float) -> T | None:
    """The one of these calls that a question without an address comes from; None where nobody can say.

    Each comes with the time of its last question that is not answered yet. A call that waits for an answer does not
    ask on, unless it has just begun to ask, so the only call that does not wait is the one. Of use among the calls of
    one principal alone: the answer reaches the right call in any case, but the question might be shown with another.
    """
    running, waiting = list[T](), list[tuple[T, float]]()
    for call, asked in calls:
        if asked is None:
            running.append(call)
        else:
            waiting.append((call, asked))
    if not running:
        running = [call for call, asked in waiting if len(waiting) == 1 or now - asked <= BURST]
    return running[0] if len(running) == 1 else None


class Abandoned:
    """Whose calls were given up and are not answered yet.

    A process may ignore a cancellation, or be about to ask when it comes, so it may still speak for such a call.
    """

    def __init__(self) -> None:
        self._keys: dict[Id, str] = {}
        """The principal of each, the newest last."""
        self._lost: set[str] = set()
        """Principals of calls that were too many to keep. Never forgotten; two are enough to trust nobody."""

    def add(self, ident: Id, key: str) -> None:
        """A call of principal `key` was given up."""
        self._keys[ident] = key
        if len(self._keys) > ABANDONED:
            oldest = self._keys.pop(next(iter(self._keys)))
            if len(self._lost) < 2:
                self._lost.add(oldest)

    def answered(self, ident: Id) -> None:
        """The process is done with a call, if it was one of these."""
        self._keys.pop(ident, None)

    def principals(self) -> set[str]:
        """Whom the process may still speak for."""
        return {*self._keys.values(), *self._lost}


def _number(raw: bytes | None) -> int | None:
    if raw is None:
        return None
    value = identifier(raw)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= DIGITS:
        return int(value)
    return value if isinstance(value, int) else None
