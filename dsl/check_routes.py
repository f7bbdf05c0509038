"""Rules on `[routes."/path"]`: where they lead, and who may come in."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from gatewayd.dsl.check_gateway import listeners
from gatewayd.dsl.diagnostics import Code, Finding, quote
from gatewayd.dsl.model import RouteTable
from gatewayd.dsl.suggest import did_you_mean
from gatewayd.dsl.world import Owned, World

_PATH = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,;=-]+)+|/")
_RESERVED = "/.well-known"
_ALLOWED = "letters, digits and `-._~!$&'()*+,;=` between slashes"


def some_route(world: World) -> Iterator[Finding]:
    """A gateway without routes serves nobody."""
    if world.complete and not world.known["routes"]:
        hint = 'add `[routes."/mcp"]` with `services = ["NAME"]` and `auth`'
        yield Finding(Code.NO_ROUTES, "there are no routes: nothing would be served", world.root, hint)


def paths(world: World) -> Iterator[Finding]:
    """Every route can be matched."""
    for path, route in world.routes.items():
        if path == _RESERVED or path.startswith(_RESERVED + "/"):
            message = f"paths below `{_RESERVED}` are the gateway's own"
            yield Finding(Code.ROUTE_PATH, message, route.key(), "choose another path")
        elif (fault := path_fault(path)) is not None:
            yield Finding(Code.ROUTE_PATH, f"{quote(path)} can never match: {fault[0]}", route.key(), fault[1])


def path_fault(path: str) -> tuple[str, str | None] | None:
    """Why no request can have this path, and a hint; None for a good path."""
    steps = path.split("/")
    if not path.startswith("/"):
        return "a path begins with `/`", _better("/" + path)
    for sign, what in (("?", "the query is not part of the path"), ("#", "a fragment is never sent")):
        if sign in path:
            return what, _better(path.partition(sign)[0])
    if "%" in path:
        return "percent-encoded paths are refused", f"use {_ALLOWED}"
    if "*" in steps or "**" in steps:
        return "paths are matched exactly, there are no wildcards", "name each path"
    if "." in steps or ".." in steps:
        return "paths with `.` or `..` are refused", None
    if "//" in path or (path != "/" and path.endswith("/")):
        return "empty steps are refused, one at the end too", _better(re.sub("/+", "/", path).rstrip("/") or "/")
    return None if _PATH.fullmatch(path) else (f"a path has {_ALLOWED}", None)


def _better(path: str) -> str | None:
    return f'did you mean "{path}"?' if _PATH.fullmatch(path) else None


def services(world: World) -> Iterator[Finding]:
    """A route leads to services that exist."""
    for route in world.routes.values():
        names = route.table.services
        if not names and route.sound("services"):
            if route.written("services"):
                yield Finding(Code.MISSING_KEY, "a route needs a service", route.value("services"))
            else:
                yield Finding(Code.MISSING_KEY, "`services` is missing", route.place, 'add `services = ["NAME"]`')
        yield from _repeated(route, "services", names, "service")
        yield from _unknown(world, route, "services", names, "service")


def strategies(world: World) -> Iterator[Finding]:
    """Every route says who may come in, by strategies that exist."""
    for path, route in world.routes.items():
        if route.table.auth is None and route.sound("auth"):
            hint = 'add `auth = ["STRATEGY"]`, or `auth = "anonymous"` to let everybody in'
            yield Finding(Code.NO_AUTH, f"the route {quote(path)} does not say who may come in", route.place, hint)
        names = route.table.auth or ()
        yield from _repeated(route, "auth", names, "strategy")
        yield from _unknown(world, route, "auth", names, "strategy")


def _repeated(route: Owned[RouteTable], key: str, names: tuple[str, ...], what: str) -> Iterator[Finding]:
    for index, name in enumerate(names):
        if name in names[:index]:
            also = ((route.value(key, names.index(name)), "first here"),)
            message = f"the {what} {quote(name)} is listed twice"
            yield Finding(Code.REPEATED_NAME, message, route.value(key, index), "keep one of them", also)


def _unknown(world: World, route: Owned[RouteTable], key: str, names: tuple[str, ...], what: str) -> Iterator[Finding]:
    known = world.known[key]
    for index, name in enumerate(names):
        if world.complete and name not in known:
            hint = did_you_mean(name, known) or f"define it: `[{key}.{name}]`"
            yield Finding(Code.UNKNOWN_NAME, f"unknown {what} {quote(name)}", route.value(key, index), hint)


def anonymous(world: World) -> Iterator[Finding]:
    """Everybody may come in from this machine alone, unless the route says that it is public."""
    outside = [place for address, place in listeners(world) if not address.loopback]
    for path, route in world.routes.items():
        if route.table.auth == () and outside and not route.table.public and route.sound("public"):
            message = f"the route {quote(path)} lets everybody in, and not only this machine can connect"
            hint = "name a strategy in `auth`, or add `public = true` if everybody it shall be"
            also = ((outside[0], "reachable from elsewhere"),)
            yield Finding(Code.PUBLIC, message, route.value("auth"), hint, also)


ROUTE_RULES: tuple[Callable[[World], Iterator[Finding]], ...] = (
    some_route,
    paths,
    services,
    strategies,
    anonymous,
)
