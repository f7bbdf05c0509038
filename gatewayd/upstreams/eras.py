"""Which protocol era a service speaks: asked once, remembered, asked again after a while.

MCP 2026-07-28, versioning: a modern client probes with `server/discover`; any recognised modern error is proof of the
modern era as well, every other answer means that the service speaks revisions with sessions only.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from gatewayd import __version__
from gatewayd.protocol.codes import (
    HEADER_MISMATCH,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    MISSING_CLIENT_CAPABILITY,
    UNSUPPORTED_VERSION,
)
from gatewayd.protocol.jsonrpc import Failure, Request, Result
from gatewayd.protocol.jsontext import JsonError, encode_members, members, members_if_any, string, strings, text
from gatewayd.protocol.versions import (
    DISCOVER,
    LEGACY,
    META,
    META_CLIENT_CAPABILITIES,
    META_CLIENT_INFO,
    META_VERSION,
    MODERN,
    SUPPORTED,
)
from gatewayd.upstreams.channel import UpstreamBroke, UpstreamError, WrongEra

REMEMBER_LEGACY = 60.0
"""Seconds after which a service that was legacy is asked again: it may have been upgraded in place."""

MODERN_ERRORS = frozenset({HEADER_MISMATCH, MISSING_CLIENT_CAPABILITY, UNSUPPORTED_VERSION})

NO_VERDICT = frozenset({401, 403, 429})
"""Statuses that say nothing about the protocol era; neither do those from 500 on, which tell of an outage."""

PROBE_ID = 0
"""Id of the probe; ids of calls start at 1."""


Revisions = tuple[str, ...]
"""Protocol revisions that a service offers and we speak, the newest first: never empty."""

Probe = Callable[[], Awaitable[Revisions]]


class EraMemory:
    """What is known of one service's revisions."""

    def __init__(self) -> None:
        self._offered: Revisions | None = None
        self._asked = 0.0
        self._lock = trio.Lock()
        self._outages = 0
        self._outage: UpstreamError | None = None
        """What the last probe failed with."""

    async def require_modern(self, probe: Probe) -> None:
        """Return if the service speaks the modern era, else raise `WrongEra`. Raises what the probe raises."""
        if self._offered is None or not _modern(self._offered):
            offered = await self.revisions(probe)
            if not _modern(offered):
                raise WrongEra("the service speaks only protocol revisions with sessions", offered)

    async def require_legacy(self, probe: Probe) -> None:
        """Raise `WrongEra` if the service, which refused to open a session, speaks the modern era.

        A probe that fails says nothing.
        """
        try:
            offered = await self.revisions(probe)
        except UpstreamError:
            return
        if _modern(offered):
            raise WrongEra("the service speaks only revisions without sessions", offered)

    async def revisions(self, probe: Probe) -> Revisions:
        """What the service offers. One probe serves all who wait; a legacy verdict is asked again after a while.

        What the probe raises goes to all who waited for it, so that they do not wait in turn for a service that hangs.
        Who comes later asks again: an outage is no verdict. Who is cancelled leaves the asking to the next.
        """
        outages = self._outages
        async with self._lock:
            if self._outage is not None and self._outages > outages:
                raise self._outage.with_traceback(None)
            if self._offered is None or self._stale():
                self._offered = await self._ask(probe)
            return self._offered

    def doubt(self) -> None:
        """Ask again before the next call: the service contradicted what is known of it."""
        self._offered = None

    def doubt_legacy(self) -> None:
        """The same where it turned out to be modern; a modern verdict is only confirmed by that."""
        if self._offered is not None and not _modern(self._offered):
            self.doubt()

    def known(self) -> str:
        """For people: the revisions, or that nobody asked yet."""
        return "not asked yet" if self._offered is None else ", ".join(self._offered)

    def _stale(self) -> bool:
        assert self._offered is not None
        return not _modern(self._offered) and trio.current_time() - self._asked > REMEMBER_LEGACY

    async def _ask(self, probe: Probe) -> Revisions:
        try:
            offered = await probe()
        except UpstreamError as error:
            self._outages += 1
            self._outage = error
            raise
        self._asked = trio.current_time()
        return offered


def _modern(offered: Revisions) -> bool:
    return any(version in MODERN for version in offered)


def discover_request() -> Request:
    """The probe."""
    info = b'{"name":"gatewayd","version":%b}' % text(__version__)
    meta = {META_VERSION: text(MODERN[0]), META_CLIENT_INFO: info, META_CLIENT_CAPABILITIES: b"{}"}
    return Request(PROBE_ID, DISCOVER, encode_members({META: encode_members(meta)}))


def offered_in(answer: Result | Failure, status: int = 200) -> Revisions:
    """What the answer to the probe says; `status` is the HTTP status that came with it.

    A discover result that names no modern revision advertises legacy ones. `METHOD_NOT_FOUND` proves the modern era
    only together with HTTP 404, where that revision demands the body; legacy servers use it with other statuses.
    """
    if isinstance(answer, Result):
        named = versions_in(answer.result, "supportedVersions")
    elif answer.code in MODERN_ERRORS or (answer.code == METHOD_NOT_FOUND and status == 404):
        named = modern_versions_in(answer) or MODERN
    else:
        named = ()
    common = tuple(version for version in SUPPORTED if version in named)
    return common if _modern(common) else LEGACY


def no_verdict(status: int) -> bool:
    """Whether an HTTP status says nothing about the era."""
    return status >= 500 or status in NO_VERDICT


def only_modern(status: int, code: int) -> bool:
    """Whether an error is one that a modern service has for what it cannot read as a modern request.

    A legacy service has little reason to say the same with the same HTTP status, but it may.
    """
    return code in MODERN_ERRORS or (status, code) in {(404, METHOD_NOT_FOUND), (400, INVALID_PARAMS)}


def only_legacy(status: int, failure: Failure | None) -> bool:
    """Whether a modern request was refused as no modern service does: by one that misses its session, most likely."""
    if status < 400 or no_verdict(status):
        return False
    return failure is None or not only_modern(status, failure.code)


def modern_versions_in(failure: Failure) -> tuple[str, ...]:
    """The modern revisions that an answer to `initialize` names: then the service has no sessions."""
    if failure.code != UNSUPPORTED_VERSION or failure.data is None:
        return ()
    return tuple(version for version in versions_in(failure.data, "supported") if version in MODERN)


def chosen_version(answer: Result) -> str:
    """The legacy revision that an answer to `initialize` settles on.

    Raises `WrongEra` where it is a modern one, which has no sessions, and `UpstreamBroke` where it is none.
    """
    try:
        version = string(members(answer.result).get("protocolVersion", b"null"))
    except JsonError as error:
        raise UpstreamBroke("the service answered something that nobody can read", error.reason) from error
    if version in MODERN:
        raise WrongEra("the service speaks only revisions without sessions", MODERN)
    if version is None or version not in LEGACY:
        raise UpstreamBroke("the service chose a protocol revision that was not offered", str(version)[:100])
    return version


def versions_in(raw: bytes, member: str) -> tuple[str, ...]:
    """The list of strings under `member`; empty where it is something else."""
    return strings(members_if_any(raw).get(member, b"null"))
