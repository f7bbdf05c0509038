"""A server that the gateway runs but speaks to over HTTP: kept running, its output logged."""

from __future__ import annotations

from typing import NoReturn

import attrs
import structlog
import trio

from gatewayd.routes.secret import Secret
from gatewayd.routes.table import Launch
from gatewayd.upstreams.backoff import Backoff
from gatewayd.upstreams.channel import UpstreamUnreachable
from gatewayd.upstreams.loglines import LogLines, log_lines
from gatewayd.upstreams.process import open_child

log = structlog.get_logger("gatewayd.upstreams")


@attrs.define
class Launched:
    """How the server does."""

    running: bool = False
    starts: int = 0


async def supervise(launch: Launch, *, name: str, launched: Launched) -> NoReturn:
    """Run the server of service `name` until cancelled, and start it again whenever it ends; `launched` tells how.

    Cancelling it shuts the process down, which takes as long as `open_child` says. Raises nothing: a server
    that cannot be started is logged and tried again.
    """
    backoff = Backoff()
    while True:
        began = trio.current_time()
        try:
            await _run(launch, name, launched)
        except UpstreamUnreachable as error:
            log.warning("start failed", service=name, reason=error.reason, detail=error.detail)
        now = trio.current_time()
        launched.running = False
        backoff.ended(now, now - began)
        log.warning("server ended", service=name, retry_in=round(backoff.remaining(now), 1))
        await trio.sleep_until(backoff.retry_at)


async def _run(launch: Launch, name: str, launched: Launched) -> None:
    """One life of the server. Its input stays open and empty; closing it means nothing to an HTTP server."""
    lines = LogLines(value.reveal() for _, value in launch.env if isinstance(value, Secret))
    async with open_child(launch, name=name, eof_grace=0.0) as child:
        entry = log.bind(service=name, pid=child.pid)
        launched.running = True
        launched.starts += 1

        def emit(text: str) -> None:
            entry.info("stdout", line=text)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(log_lines, child.stdout, lines, emit)
            await child.wait_exited()
            # Something that left the process group may hold the other end of the pipe for ever.
            nursery.cancel_scope.deadline = trio.current_time() + 1.0
