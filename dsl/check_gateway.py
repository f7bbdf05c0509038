"""Rules on `[gateway]`: addresses and certificates."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations

from gatewayd.dsl import source as disk
from gatewayd.dsl.addresses import Address
from gatewayd.dsl.diagnostics import Code, Finding, Place, quote
from gatewayd.dsl.model_gateway import GatewayTable
from gatewayd.dsl.world import Owned, World

WILDCARDS = frozenset({"0.0.0.0", "::"})


def listeners(world: World) -> list[tuple[Address, Place]]:
    """Client addresses and where they stand; the default one stands at the beginning."""
    owned = world.gateway
    if owned is None:
        return [(item.address, world.root) for item in GatewayTable().listen]
    return [(item.address, owned.value("listen", i, "address")) for i, item in enumerate(owned.table.listen)]


def clashes(world: World) -> Iterator[Finding]:
    """No two listeners want the same socket."""
    owned = world.gateway
    if owned is None or not owned.sound("listen"):
        return
    all_of_them = [(address, place, "also here") for address, place in listeners(world)]
    if not owned.written("listen"):
        all_of_them = [(a, place, "no `listen` here: the default is 127.0.0.1:8080") for a, place, _ in all_of_them]
    if owned.table.admin is not None:
        all_of_them.append((owned.table.admin, owned.value("admin"), ""))
    for (first, first_place, word), (second, place, _) in combinations(all_of_them, 2):
        if first.clashes(second):
            message = f"port {second.port} is taken by another listener"
            yield Finding(Code.ADDRESS_CLASH, message, place, "give each listener a port", ((first_place, word),))


def certificates(world: World) -> Iterator[Finding]:
    """Certificate files are there."""
    owned = world.gateway
    for index, listener in enumerate(owned.table.listen if owned is not None else ()):
        for key in ("cert", "key"):
            if owned is not None and listener.tls is not None:
                place = owned.value("listen", index, "tls", key)
                yield from missing_file(getattr(listener.tls, key), place, "")


def missing_file(name: str, place: Place, hint: str) -> Iterator[Finding]:
    """A finding unless the file, relative to the one that names it, can be read."""
    reason = disk.fault_of_file(place.source.resolve(name))
    if reason is not None:
        message = f"cannot read {quote(name)}: {reason}"
        yield Finding(Code.FILE_MISSING, message, place, hint or "paths are relative to the file that names them")


def open_admin(world: World) -> Iterator[Finding]:
    """The admin listener asks nobody who they are."""
    owned: Owned[GatewayTable] | None = world.gateway
    if owned is not None and owned.table.admin is not None and not owned.table.admin.loopback:
        message = "the admin listener has no authentication, and others than this machine can reach it"
        hint = "bind it to 127.0.0.1, or see to it that only a management network reaches it"
        yield Finding(Code.OPEN_ADMIN, message, owned.value("admin"), hint)


def nameless(world: World) -> Iterator[Finding]:
    """A wildcard address implies no name, and a request for a name that is not ours is refused."""
    owned = world.gateway
    if owned is None or owned.written("hosts"):
        return
    for address, place in listeners(world):
        if address.host in WILDCARDS:
            message = f"no host name is served here: every request to port {address.port} will be refused"
            yield Finding(Code.NO_HOSTS, message, place, 'say what clients call it: hosts = ["gw.example.com"]')


GATEWAY_RULES: tuple[Callable[[World], Iterator[Finding]], ...] = (clashes, certificates, open_admin, nameless)
