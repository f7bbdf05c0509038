"""What the service manager is told of us: the protocol of sd_notify(3), without a library."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping, MutableMapping

import structlog
import trio

log = structlog.get_logger("gatewayd.daemon")

MOST_STATUS = 512
"""Characters of a status text; the manager ignores very long ones."""


def take_notifier(environ: MutableMapping[str, str]) -> Notifier:
    """The notifier for the address in `NOTIFY_SOCKET`, which is removed: no child shall speak in our name."""
    return Notifier(environ.pop("NOTIFY_SOCKET", None))


class Notifier:
    """Tells the service manager how we are. Without one, all methods do nothing.

    Never blocks and never raises: the daemon serves on when its manager does not listen. What could not be
    sent is lost, and the first such loss is logged. Owned by the root, which calls `close`.
    """

    def __init__(self, address: str | None) -> None:
        """`address`: an absolute path, or `@` and an abstract name. None or another kind: nobody is told."""
        self._address: str | None = None
        self._complained = False
        if not address:
            return
        if address[0] not in "/@":
            log.warning("notify address not supported", address=address)
            return
        self._address = "\0" + address[1:] if address[0] == "@" else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)

    def __repr__(self) -> str:
        return f"<Notifier to {self._address!r}>"

    def send(self, **fields: str | int) -> None:
        """Send one message of `KEY=value` lines. A value is one line: its line breaks become blanks."""
        if self._address is None:
            return
        lines = [f"{key}={' '.join(str(value).splitlines())}" for key, value in fields.items()]
        try:
            self._socket.sendto("\n".join(lines).encode("utf-8", "replace"), self._address)
        except OSError as error:
            if not self._complained:
                self._complained = True
                log.warning("cannot notify service manager", error=error)

    def ready(self, status: str = "") -> None:
        """Start-up or a reload is finished, also when the new configuration was refused and the old stays."""
        self.send(READY=1, STATUS=status[:MOST_STATUS])

    def reloading(self) -> None:
        """A reload begins; `ready` ends it. The time tells the manager that it began after its signal."""
        self.send(RELOADING=1, MONOTONIC_USEC=time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000)

    def stopping(self, status: str = "") -> None:
        """We drain and end."""
        self.send(STOPPING=1, STATUS=status[:MOST_STATUS])

    def status(self, text: str) -> None:
        """What `systemctl status` shows: one line for people."""
        self.send(STATUS=text[:MOST_STATUS])

    def close(self) -> None:
        """Nothing is sent from here on. May be called more than once."""
        if self._address is not None:
            self._address = None
            self._socket.close()


def watchdog_interval(environ: Mapping[str, str]) -> float | None:
    """Seconds between two signs of life, half of what the manager allows; None where it wants none."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    limit = environ.get("WATCHDOG_USEC", "")
    if not (limit.isascii() and limit.isdigit()) or int(limit) == 0:
        return None
    return int(limit) / 2_000_000


async def feed_watchdog(notifier: Notifier, interval: float) -> None:
    """Send a sign of life every `interval` seconds until cancelled: it shows that the scheduler turns."""
    while True:
        notifier.send(WATCHDOG=1)
        await trio.sleep(interval)
