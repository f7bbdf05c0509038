"""Task ids of several services in one name space (tasks extension of MCP 2026-07-28). Pure.

A client gets a sealed token, which only its principal can use: who holds a task id may read what the task did.
"""

from __future__ import annotations

import msgspec

from gatewayd.auth.keychain import Keychain
from gatewayd.protocol.jsontext import encode_members, members, string, text
from gatewayd.virtual.rewriting import Rewrite, rewritten_result

PURPOSE = "task"
TASK_ID = "taskId"
_SIGNS = (b'"taskId"', b"\\u")
"""What a result has that may be a task; the second one spells the name in another way."""


def seal_task(keychain: Keychain, service: str, task: str, holder: str) -> str:
    """The id under which `holder` knows a task of a service."""
    return keychain.seal(PURPOSE, msgspec.msgpack.encode((service, task)), holder)


def open_task(keychain: Keychain, token: str, holder: str) -> tuple[str, str] | None:
    """The service and its own id; None for what is no task of this holder."""
    payload = keychain.open(PURPOSE, token, holder)
    try:
        return None if payload is None else msgspec.msgpack.decode(payload, type=tuple[str, str])
    except msgspec.DecodeError:  # of another version of the gateway
        return None


def with_task(raw: bytes, seal: Rewrite, rewrite: Rewrite) -> bytes:
    """A result that is, or tells of, a task. Raises `JsonError` where it cannot be read."""
    if not any(sign in raw for sign in _SIGNS):
        return raw
    parts = members(raw)
    task = string(parts.get(TASK_ID, b"null"))
    if task is None:
        return raw
    parts[TASK_ID] = text(seal(task))
    if "result" in parts:
        parts["result"] = rewritten_result("tools/call", parts["result"], rewrite)
    return encode_members(parts)
