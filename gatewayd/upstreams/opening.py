"""How a legacy session over Streamable HTTP is opened, and what it means when it is not."""

from __future__ import annotations

import re
from contextlib import suppress

import attrs

from gatewayd.protocol.http1 import HttpError, ResponseHead
from gatewayd.protocol.jsonrpc import Failure, Request
from gatewayd.upstreams.answer import HttpAnswer, final_answer
from gatewayd.upstreams.channel import Refused, UpstreamBroke, UpstreamError, WrongEra
from gatewayd.upstreams.eras import chosen_version, modern_versions_in, no_verdict, only_modern
from gatewayd.upstreams.http_session import HttpLegacyPeer
from gatewayd.upstreams.origin import Fields, HttpOrigin
from gatewayd.upstreams.service import Opened
from gatewayd.upstreams.session_wire import SessionWire

SESSION = re.compile(rb"[\x21-\x7e]{1,2048}")
"""MCP 2025-11-25, session management: visible ASCII. The length is what fits into a header beside others."""


@attrs.frozen
class Denial:
    """The service said no to `initialize`; perhaps it speaks another era or another transport."""

    error: UpstreamError
    """What to tell if it turns out that it does not."""
    status: int
    modern: bool
    """Whether it said so as modern services do."""


async def open_streamable(origin: HttpOrigin, message: Request, fields: Fields) -> Opened | Denial:
    """Send `initialize`. A session that is opened but cannot be used, or that nobody waits for any more, is ended.

    Raises `UpstreamError`: `WrongEra` where the service names modern revisions, `Refused` where its error says nothing
    about the era.
    """
    answer = await origin.post(message, fields)
    opened = False
    try:
        try:
            outcome = await _read(origin, answer)
        finally:
            await answer.aclose()
        opened = isinstance(outcome, Opened)
        return outcome
    except UpstreamBroke as error:
        status = 0 if answer.head is None else answer.head.status
        if status < 400 or no_verdict(status):
            raise
        return Denial(error, status, modern=False)
    finally:
        if not opened and answer.head is not None:
            with suppress(UpstreamBroke):
                await SessionWire(origin, _session_in(answer.head), None).end()


async def _read(origin: HttpOrigin, answer: HttpAnswer) -> Opened | Denial:
    head = await answer.read_head()
    session = _session_in(head)
    result = await final_answer(answer)
    if isinstance(result, Failure):
        return _denial(result, head.status)
    version = chosen_version(result)
    return Opened(HttpLegacyPeer(SessionWire(origin, session, version)), version, result.result)


def _session_in(head: ResponseHead) -> str | None:
    try:
        session = head.get(b"mcp-session-id")
    except HttpError as error:
        raise UpstreamBroke("the service does not speak proper HTTP", error.reason) from error
    if not session:
        return None
    if SESSION.fullmatch(session) is None:
        raise UpstreamBroke("the service named its session in a way that MCP does not allow")
    return session.decode("ascii")


def _denial(failure: Failure, status: int) -> Denial:
    supported = modern_versions_in(failure)
    if supported:
        raise WrongEra("the service speaks only revisions without sessions", supported)
    if no_verdict(status):
        raise Refused(failure)
    return Denial(Refused(failure), status, only_modern(status, failure.code))
