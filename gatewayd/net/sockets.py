"""Listening sockets, opened by us, so that what is wrong with an address is said in our words."""

from __future__ import annotations

import ipaddress
import os
import socket
from errno import EADDRINUSE, EADDRNOTAVAIL

from gatewayd.routes.table import Listen

BACKLOG = 1024
"""Connections that the kernel holds for us while we are busy: a storm of clients arrives faster than we accept."""


class CannotListen(Exception):
    """An address or its certificate cannot be used. The text is for people, and says what to do."""


def is_loopback(host: str) -> bool:
    """Whether a listener on this host is reachable from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def open_socket(listen: Listen, *, patience: float | None = None, backlog: int = BACKLOG) -> socket.socket:
    """A listening TCP socket; the caller closes it. Raises `CannotListen`.

    `patience`: seconds after which the kernel gives up a connection whose peer does not read, or acknowledge,
    what we sent: Hypercorn shields its writes, so this alone ends one to a silent peer. None: never. An IPv6 address
    is only that: it takes no IPv4 clients. May look a host name up, so it is for start-up only.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            listen.host, listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        opened = socket.socket(family, kind, protocol)
    except OSError as error:
        raise CannotListen(_advice(listen, error)) from error
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if patience is not None:
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(patience * 1000))
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        opened.bind(address)
        opened.listen(backlog)
        opened.setblocking(False)
    except OSError as error:
        opened.close()
        raise CannotListen(_advice(listen, error)) from error
    return opened


def _advice(listen: Listen, error: OSError) -> str:
    match error:
        case socket.gaierror():
            advice = f"the host name {listen.host!r} has no address here"
        case PermissionError():
            advice = "not permitted; ports below 1024 need CAP_NET_BIND_SERVICE, any other port does not"
        case OSError(errno=code) if code == EADDRINUSE:
            advice = "another process listens there already; `ss -ltnp` shows which, port 0 takes a free one"
        case OSError(errno=code) if code == EADDRNOTAVAIL:
            advice = "no interface of this machine has that address"
        case _:
            advice = os.strerror(error.errno) if error.errno else str(error)
    return f"cannot listen on {listen}: {advice}"
