"""The admin plane's listener: Hypercorn on a socket that we opened ourselves."""

from __future__ import annotations

import logging
from functools import partial
from typing import cast

import attrs
import trio
from hypercorn.config import Config
from hypercorn.trio import serve  # pyright: ignore[reportUnknownVariableType]
from hypercorn.typing import ASGIFramework
from starlette.types import ASGIApp

from gatewayd.net.sockets import CannotListen, is_loopback, open_socket
from gatewayd.net.tls import server_context
from gatewayd.routes.table import Listen

GRACE = 1.0
"""Seconds that requests get to finish when the gateway ends."""

PATIENCE = 1.0
"""Seconds that an admin client may leave our bytes unacknowledged."""

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


def host_names(listen: Listen) -> frozenset[str] | None:
    """The names under which an admin listener may be addressed, for `build_app`; None: any."""
    return LOOPBACK_NAMES | {listen.host} if is_loopback(listen.host) else None


async def serve_admin(
    listen: Listen,
    app: ASGIApp,
    *,
    task_status: trio.TaskStatus[Listen] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve `app` on one address until cancelled; `nursery.start` gets the address with its real port.

    Cancellation takes effect within about two seconds, also while a client does not read: no write outlives
    `PATIENCE`. Raises `CannotListen` before anything is served.
    """
    opened = open_socket(listen, patience=PATIENCE)
    try:
        config = _settings(listen, opened.fileno())
    except CannotListen:
        opened.close()
        raise
    bound = attrs.evolve(listen, port=opened.getsockname()[1])
    opened.detach()  # the descriptor is Hypercorn's from here on; it closes it when it ends
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve, cast("ASGIFramework", app), config, mode="asgi"))
        task_status.started(bound)


def _settings(listen: Listen, descriptor: int) -> Config:
    config = Config()
    config.bind = [f"fd://{descriptor}"]
    config.errorlog = logging.getLogger("hypercorn.error")  # anything else prints past our log's rules
    config.include_server_header = False
    config.graceful_timeout = GRACE
    config.alpn_protocols = ["http/1.1"]
    if listen.tls is not None:
        server_context(listen, listen.tls, config.alpn_protocols)  # whose refusal says why; Hypercorn makes its own
        config.certfile, config.keyfile = listen.tls.cert, listen.tls.key
    return config
