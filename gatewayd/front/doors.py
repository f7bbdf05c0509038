"""What the address of a listener implies for the requests that come in by it."""

from __future__ import annotations

import ipaddress

from gatewayd.exchange.admission import Door
from gatewayd.net.sockets import is_loopback
from gatewayd.routes.table import Listen

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")


def door_of(listen: Listen) -> Door:
    """The door of an address, with its real port. Wildcard addresses imply no name: `hosts` has to say them."""
    names: tuple[str, ...] = ()
    if is_loopback(listen.host):
        names = LOOPBACK_NAMES
    elif (address := _address(listen.host)) is None or not address.is_unspecified:
        names = (f"[{listen.host}]" if ":" in listen.host else listen.host,)
    hosts = {f"{name}:{listen.port}" for name in names}
    if listen.port == (443 if listen.tls else 80):
        hosts |= set(names)
    return Door("https" if listen.tls else "http", frozenset(host.lower().encode() for host in hosts))


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
