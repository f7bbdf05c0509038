"""The routing table: what the configuration means, frozen.

Every object here is immutable and comparable by value, so that a reload can ask of each service "is this the
same definition?" and keep what runs when the answer is yes. Durations are seconds, sizes are bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

import attrs

from gatewayd.routes.lock import Pin
from gatewayd.routes.secret import Secret
from gatewayd.routes.virtual import Virtual

Sharing = Literal["session", "principal", "shared", "call"]
"""Who shares one session of a service, which over stdio is one process.

Each client session has its own, each principal its own, or everybody one. `call` is `session` with another word on
clients that have no sessions: theirs is opened for a single call, where otherwise it would be that of their principal.
"""

ErrorStyle = Literal["jsonrpc", "http"]
"""How a refusal with an id reaches a legacy client: HTTP 200 with a JSON-RPC error, or a fitting status."""


@attrs.frozen
class Launch:
    """How a child process is started. No shell is involved."""

    command: tuple[str, ...]
    """Program and arguments. A relative program with a slash is relative to the configuration file."""
    env: tuple[tuple[str, str | Secret], ...] = ()
    """Added to the minimal environment of every child (`PATH`, `HOME`, `LANG`, `LC_ALL`, `TZ`, `TMPDIR`)."""
    cwd: str | None = None
    """Absolute; None: the directory of the configuration file (or ours, where there is none)."""


@attrs.frozen
class HttpTarget:
    """An MCP server reached over Streamable HTTP."""

    url: str
    """As written: for logs, dumps and people. Never contains credentials."""
    scheme: Literal["http", "https"]
    host: str
    """Lower case; an IPv6 address without brackets."""
    port: int
    path: str
    """The request target: path and query, at least `/`."""
    launch: Launch | None = None
    """Where the gateway also runs the server: started and restarted with the service, its output logged."""


@attrs.frozen
class StdioTarget:
    """An MCP server started as a child process and spoken to over its standard streams."""

    launch: Launch


@attrs.frozen
class Members:
    """No server of its own, but those of other services."""

    services: tuple[str, ...]


Target = HttpTarget | StdioTarget | Members


@attrs.frozen
class Timeouts:
    """Deadlines of one service, in seconds."""

    call: float = 60.0
    """From sending a request to its final answer. Does not bound `subscriptions/listen` and GET streams."""
    connect: float = 5.0
    """To open a connection, or to start a process and finish its handshake."""
    idle: float = 60.0
    """How long an idle process is kept when nobody uses it."""


@attrs.frozen
class Bounds:
    """Size limits of one service, in bytes."""

    request: int = 4 * 1024 * 1024
    response: int = 16 * 1024 * 1024
    """For a whole JSON answer, and for each single event of a stream or line of a process."""


@attrs.frozen
class Service:
    """A named upstream MCP server."""

    name: str
    target: Target
    timeouts: Timeouts = Timeouts()
    max: Bounds = Bounds()
    bearer: Secret | None = None
    """A static credential that is sent to this service as `Authorization: Bearer`."""
    trust: str | None = None
    """PEM file of the certificate authorities to trust for `https`; None: the system's."""
    per: Sharing = "principal"
    """Over HTTP never `shared`: how clients without sessions meet a service that has them, and, in a virtual server,
    whose sessions the server sees."""
    fresh: float = 10.0
    """Seconds for which its lists are taken for true where it neither says how long nor announces changes."""


@attrs.frozen
class ApiKey:
    """One client key, as the key file holds it."""

    id: str
    """The principal that the key stands for."""
    digest: bytes = attrs.field(repr=False)
    """SHA-256 of the key. Keys carry at least 128 bits, so a fast hash is the right one."""


@attrs.frozen
class ApiKeyStrategy:
    """`type = "api_key"`: who presents a key of this ring is its principal."""

    name: str
    keys: tuple[ApiKey, ...] = ()


AuthStrategy = ApiKeyStrategy


@attrs.frozen
class Route:
    """A URL path on the gateway and what serves it."""

    path: str
    """Exact, as in the request target: no percent-decoding, no normalisation, no trailing-slash games."""
    services: tuple[str, ...]
    """Names of the services behind this route: one, unless it is virtual."""
    auth: tuple[str, ...] = ()
    """Names of strategies, tried in order. Empty: anonymous, because the file says so."""
    errors: ErrorStyle = "jsonrpc"
    sse: bool = False
    """Also serve the HTTP+SSE transport of MCP 2024-11-05 on this path."""
    virtual: Virtual | None = None
    """What is made of the services; None: the one service is shown as it is."""


@attrs.frozen
class Tls:
    """Certificate and key files of a listener."""

    cert: str
    key: str


@attrs.frozen
class Listen:
    """One address that clients connect to."""

    host: str
    port: int
    """0: the system chooses, and the log says what it chose."""
    tls: Tls | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"


@attrs.frozen
class ClientTimeouts:
    """How patient we are with clients, in seconds."""

    head: float = 10.0
    """From the first byte of a request to the end of its head."""
    body: float = 10.0
    """From the end of the head to the end of the body."""
    idle: float = 75.0
    """Between two requests of one connection."""
    write: float = 30.0
    """How long one write may wait for a client that does not read."""


@attrs.frozen
class ClientBounds:
    """How much we take from clients."""

    connections: int = 10_000
    calls: int = 100
    """Calls at once on one connection (HTTP/2 streams) or in one legacy session."""
    sessions: int = 10_000
    """Legacy sessions at once."""
    head: int = 32 * 1024
    """Bytes of a request head."""
    principal_sessions: int = 1000
    """Legacy sessions of one authenticated principal at once. Anonymous callers share the bound for all."""
    buffered: int = 64 * 1024 * 1024
    """Bytes of the events that are kept for clients that come back, of all sessions together."""


@attrs.frozen
class SessionLife:
    """How long a legacy session lives, in seconds, and what it keeps."""

    idle: float = 1800.0
    ttl: float = 86_400.0
    resume: float = 30.0
    """How long a call or stream is kept for a client that went away; 0: not at all."""
    buffer: int = 256 * 1024
    """Bytes of the events that one session keeps for its client's return."""
    keys: tuple[Secret, ...] = ()
    """What session ids are sealed with: the first seals, all open. Empty: the gateway makes a key of its own."""


@attrs.frozen
class Gateway:
    """What holds for the whole daemon."""

    listen: tuple[Listen, ...] = (Listen("127.0.0.1", 8080),)
    admin: Listen | None = None
    drain: float = 30.0
    hosts: tuple[str, ...] = ()
    """Trusted `Host` values (lower case, with or without port). Loopback listeners imply their own names."""
    origins: tuple[str, ...] = ()
    """Browser origins that may call us, as browsers send them."""
    keepalive: float = 15.0
    """Silence on a stream after which a comment line is sent."""
    timeouts: ClientTimeouts = ClientTimeouts()
    max: ClientBounds = ClientBounds()
    session: SessionLife = SessionLife()


@attrs.frozen
class Log:
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "console"] = "json"


def _frozen_map(value: Mapping[str, Any]) -> Mapping[str, Any]:
    return MappingProxyType(dict(value))


def _frozen_pins(value: Mapping[str, Mapping[str, Pin]]) -> Mapping[str, Mapping[str, Pin]]:
    return _frozen_map({service: _frozen_map(tools) for service, tools in value.items()})


@attrs.frozen
class Table:
    """The immutable result of compiling a configuration."""

    gateway: Gateway = Gateway()
    log: Log = Log()
    services: Mapping[str, Service] = attrs.field(factory=dict[str, Service], converter=_frozen_map)
    routes: Mapping[str, Route] = attrs.field(factory=dict[str, Route], converter=_frozen_map)
    """By exact path."""
    strategies: Mapping[str, AuthStrategy] = attrs.field(factory=dict[str, AuthStrategy], converter=_frozen_map)
    pins: Mapping[str, Mapping[str, Pin]] = attrs.field(factory=dict[str, Mapping[str, Pin]], converter=_frozen_pins)
    """What the lock file says of tools, by service and by their own name there."""
    digest: str = ""
    """Content hash over everything above, secrets included in hashed form only; equal digest, equal table."""
