"""The passes in order, all or nothing: text -> documents -> model -> checks -> table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs

from gatewayd.dsl import secrets
from gatewayd.dsl import source as disk
from gatewayd.dsl.check import check
from gatewayd.dsl.diagnostics import Diagnostic, Fault, Finding, Place
from gatewayd.dsl.dump import digest
from gatewayd.dsl.keyfile import Ring, read_ring
from gatewayd.dsl.load import Loaded, load, unreadable
from gatewayd.dsl.lockfile import Lock, lock_path, read_lock
from gatewayd.dsl.masking import Masks, masks_of, masks_of_text, show
from gatewayd.dsl.model import LogTable, RouteTable, ServiceTable
from gatewayd.dsl.model_gateway import GatewayTable
from gatewayd.dsl.source import Source, Span
from gatewayd.dsl.terms import SecretRef
from gatewayd.dsl.virtual import virtual
from gatewayd.dsl.world import Owned, World, build
from gatewayd.routes.secret import Secret
from gatewayd.routes.table import (
    ApiKeyStrategy,
    Bounds,
    ClientBounds,
    ClientTimeouts,
    Gateway,
    HttpTarget,
    Launch,
    Listen,
    Log,
    Route,
    Service,
    SessionLife,
    StdioTarget,
    Table,
    Target,
    Timeouts,
    Tls,
)


@attrs.frozen
class Outcome:
    """What came of a configuration."""

    table: Table | None
    """None exactly when one of the diagnostics is an error."""
    diagnostics: tuple[Diagnostic, ...]
    """Sorted by file (in the order of reading) and position."""
    lock: Path | None = None
    """Where the tool lock is or would be; None where the configuration cannot be read."""


def compile_file(path: Path, *, environ: Mapping[str, str]) -> Outcome:
    """Compile a configuration file with all that it includes. Never raises for what is in the files.

    `environ` is asked for secrets, for the program search path, and for $CREDENTIALS_DIRECTORY.
    """
    try:
        source = disk.read_source(path)
    except disk.Unreadable as error:
        return Outcome(None, (show(unreadable(path, str(error)), {}),))
    return _compile(source, environ)


def compile_text(text: str, *, environ: Mapping[str, str], path: Path = Path("gateway.toml")) -> Outcome:
    """Compile a text as if it were the content of `path`, which need not exist."""
    return _compile(disk.make_source(path, text), environ)


def _compile(source: Source, environ: Mapping[str, str]) -> Outcome:
    loaded = load(source)
    world, findings = build(loaded)
    findings = [*loaded.findings, *findings, *check(world, environ)]
    rings = {name: read_ring(strategy) for name, strategy in world.auth.items()}
    lock = read_lock(world)
    builder = _Builder(world, environ, rings, lock)
    table = builder.table()
    findings += [*lock.findings, *builder.findings]
    diagnostics = _shown(loaded, rings, findings)
    broken = any(diagnostic.severity == "error" for diagnostic in diagnostics)
    return Outcome(None if broken else table, diagnostics, lock_path(world))


def _shown(loaded: Loaded, rings: Mapping[str, Ring], findings: list[Finding]) -> tuple[Diagnostic, ...]:
    """Findings in the order of the files, one of each, with masked source lines."""
    masks: dict[Source, list[Span]] = {source: masks_of_text(source) for source in loaded.sources}
    masks |= {document.source: masks_of(document) for document in loaded.documents}
    order = {str(source.path): index for index, source in enumerate(loaded.sources)}
    everything: list[tuple[Finding, Masks]] = [(finding, masks) for finding in findings]
    for ring in rings.values():
        hidden: Masks = {**masks, ring.source: list(ring.masks)} if ring.source else masks
        everything += [(finding, hidden) for finding in ring.findings]
    shown = {show(finding, hidden): None for finding, hidden in everything}
    return tuple(
        sorted(
            shown,
            key=lambda d: (
                order.get(d.label.file, len(order)),
                d.label.file,
                d.label.line,
                d.label.column,
                d.code,
            ),
        )
    )


class _Builder:
    """Model -> table; what secrets turn out to be missing is found on the way."""

    def __init__(self, world: World, environ: Mapping[str, str], rings: Mapping[str, Ring], lock: Lock) -> None:
        self.world = world
        self.environ = environ
        self.rings = rings
        self.lock = lock
        self.findings: list[Finding] = []

    def table(self) -> Table:
        world = self.world
        table = Table(
            Gateway() if world.gateway is None else _gateway(world.gateway, self.session(world.gateway)),
            _log(world.log),
            {name: self.service(name, owned) for name, owned in world.services.items()},
            {path: self.route(path, owned) for path, owned in world.routes.items() if owned.table.services},
            {name: ApiKeyStrategy(name, ring.keys) for name, ring in self.rings.items()},
            self.lock.pins(),
        )
        return attrs.evolve(table, digest=digest(table))

    def service(self, name: str, owned: Owned[ServiceTable]) -> Service:
        table = owned.table
        bearer = self.secret(secrets.bearer, table.auth.bearer, owned, "auth", "bearer") if table.auth else None
        trust = None if table.trust is None else str(owned.document.source.resolve(table.trust))
        return Service(
            name,
            self.target(owned),
            Timeouts(table.timeout.call, table.timeout.connect, table.timeout.idle),
            Bounds(table.max.request, table.max.response),
            bearer,
            trust,
            table.per or "principal",
            table.fresh,
        )

    def route(self, path: str, owned: Owned[RouteTable]) -> Route:
        table = owned.table
        made = virtual(owned, self.world.services)
        return Route(path, table.services, table.auth or (), table.errors, table.sse, made)

    def target(self, owned: Owned[ServiceTable]) -> Target:
        table = owned.table
        launch = self.launch(owned)
        if table.url is None:
            return StdioTarget(launch or Launch(()))
        url = table.url
        return HttpTarget(url.text, url.scheme, url.host, url.port, url.target, launch)

    def launch(self, owned: Owned[ServiceTable]) -> Launch | None:
        table, source = owned.table, owned.document.source
        if table.command is None:
            return None
        program, *arguments = table.command
        env: list[tuple[str, str | Secret]] = []
        for name, value in table.env.items():
            known = value if isinstance(value, str) else self.secret(secrets.resolve, value, owned, "env", name)
            env.append((name, known))
        if "/" in program:
            program = str(source.resolve(program))
        return Launch((program, *arguments), tuple(env), str(source.resolve(table.cwd or ".")))

    def session(self, owned: Owned[GatewayTable]) -> SessionLife:
        table, find = owned.table.session, secrets.sealing_key
        keys = tuple(self.secret(find, ref, owned, "session", "keys", i) for i, ref in enumerate(table.keys))
        return SessionLife(table.idle, table.ttl, table.resume, table.buffer, keys)

    def secret(self, find: Finder, ref: SecretRef, owned: Owned[Any], *steps: str | int) -> Secret:
        try:
            return find(ref, owned.document.source, self.environ)
        except Fault as fault:
            place: Place = owned.value(*steps)
            self.findings.append(Finding(fault.code, fault.message, place, fault.hint))
            return Secret("")


Finder = Callable[[SecretRef, Source, Mapping[str, str]], Secret]


def _gateway(owned: Owned[GatewayTable], session: SessionLife) -> Gateway:
    table, source = owned.table, owned.document.source
    listen = tuple(
        Listen(
            item.address.host,
            item.address.port,
            Tls(str(source.resolve(item.tls.cert)), str(source.resolve(item.tls.key))) if item.tls else None,
        )
        for item in table.listen
    )
    patience, most = table.timeouts, table.max
    return Gateway(
        listen=listen,
        admin=Listen(table.admin.host, table.admin.port) if table.admin else None,
        drain=table.drain,
        hosts=tuple(table.hosts),
        origins=tuple(table.origins),
        keepalive=table.keepalive,
        timeouts=ClientTimeouts(patience.head, patience.body, patience.idle, patience.write),
        max=ClientBounds(
            most.connections, most.calls, most.sessions, most.head, most.principal_sessions, most.buffered
        ),
        session=session,
    )


def _log(owned: Owned[LogTable] | None) -> Log:
    return Log(owned.table.level, owned.table.format) if owned is not None else Log()
