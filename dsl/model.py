"""What may be written: these classes are the grammar. Their texts are the reference page and the schema.

A class is a TOML table, an attribute is a key, its type what may stand there. Values are judged one by one
when the model is built (`structure`), together in `check`, and turned into the routing table in `compile`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal, NewType

import attrs

from gatewayd.dsl.addresses import Address, Url
from gatewayd.dsl.terms import (
    AuthNames,
    Command,
    Count,
    Duration,
    EnvValue,
    KeyHash,
    Origin,
    SecretRef,
    Size,
    TrustedHost,
    about,
)


@attrs.frozen
class ListenTls:
    """Certificate of a listener; with it the listener speaks HTTPS."""

    cert: str = attrs.field(metadata=about("PEM file with the certificate chain.", '"/etc/gatewayd/tls.crt"'))
    key: str = attrs.field(metadata=about("PEM file with the private key.", '"/etc/gatewayd/tls.key"'))


@attrs.frozen
class Listener:
    """One address that clients connect to, in its long form."""

    address: Address = attrs.field(metadata=about("`host:port`; IPv6 in brackets.", '"0.0.0.0:8443"'))
    tls: ListenTls | None = attrs.field(
        default=None,
        metadata=about("Serve HTTPS with this certificate.", '{ cert = "tls.crt", key = "tls.key" }'),
    )


Listeners = NewType("Listeners", tuple[Listener, ...])
"""Written as one address, or as an array of addresses and listener tables."""


@attrs.frozen
class GatewayTimeouts:
    """How patient the gateway is with clients."""

    head: Duration = attrs.field(
        default=Duration(10.0),
        metadata=about("From the first byte of a request to the end of its head.", '"10s"', 0.001, 3600),
    )
    body: Duration = attrs.field(
        default=Duration(10.0),
        metadata=about("From the end of the head to the end of the body.", '"10s"', 0.001, 3600),
    )
    idle: Duration = attrs.field(
        default=Duration(75.0),
        metadata=about("Between two requests of one connection.", '"75s"', 0.001, 86400),
    )
    write: Duration = attrs.field(
        default=Duration(30.0),
        metadata=about("How long one write may wait for a client that does not read.", '"30s"', 0.001, 3600),
    )


@attrs.frozen
class GatewayMax:
    """How much the gateway takes from clients."""

    connections: Count = attrs.field(
        default=Count(10_000), metadata=about("Client connections at once.", "10000", 1, 1_000_000)
    )
    calls: Count = attrs.field(
        default=Count(100),
        metadata=about("Calls at once on one connection or in one session.", "100", 1, 100_000),
    )
    sessions: Count = attrs.field(
        default=Count(10_000), metadata=about("Sessions of older clients at once.", "10000", 1, 10_000_000)
    )
    principal_sessions: Count = attrs.field(
        default=Count(1000),
        metadata=about(
            "Of these, sessions of one authenticated principal at once. Anonymous callers share the bound for all.",
            "1000",
            1,
            10_000_000,
        ),
    )
    buffered: Size = attrs.field(
        default=Size(64 * 1024**2),
        metadata=about(
            "Size of the events that are kept for clients that return, of all sessions together.",
            '"64MiB"',
            1024,
            64 * 1024**3,
        ),
    )
    head: Size = attrs.field(
        default=Size(32 * 1024), metadata=about("Size of a request head.", '"32KiB"', 1024, 1024 * 1024)
    )


@attrs.frozen
class GatewaySession:
    """How long the session of an older client lives, and what is kept of it."""

    idle: Duration = attrs.field(
        default=Duration(1800.0), metadata=about("Without any request.", '"30m"', 0.001, 30 * 86400)
    )
    ttl: Duration = attrs.field(default=Duration(86400.0), metadata=about("Altogether.", '"24h"', 0.001, 365 * 86400))
    resume: Duration = attrs.field(
        default=Duration(30.0),
        metadata=about(
            "How long a call or stream whose client went away is kept for its return; `0s` is not at all.",
            '"30s"',
            0,
            3600,
        ),
    )
    buffer: Size = attrs.field(
        default=Size(256 * 1024),
        metadata=about(
            "Size of the events that one session keeps for its client's return, the oldest are dropped first.",
            '"256KiB"',
            1024,
            64 * 1024**2,
        ),
    )
    keys: tuple[SecretRef, ...] = attrs.field(
        default=(),
        metadata=about(
            "What session ids are sealed with, each at least 32 bytes: the first one seals, all of them open. "
            "Default: a key that the gateway makes and keeps in a file.",
            '[{ env = "SESSION_KEY" }, { file = "old.key" }]',
        ),
    )


@attrs.frozen
class GatewayTable:
    """What holds for the whole daemon."""

    listen: Listeners = attrs.field(
        default=Listeners((Listener(Address("127.0.0.1", 8080)),)),
        metadata=about(
            "Where clients connect: an address, or an array of addresses and listener tables.",
            '"127.0.0.1:8080"',
        ),
    )
    admin: Address | None = attrs.field(
        default=None,
        metadata=about(
            "Where health, metrics and the live tree are served; `false` for nowhere. "
            "It has no authentication: keep it on loopback or on a management network.",
            '"127.0.0.1:9090"',
        ),
    )
    drain: Duration = attrs.field(
        default=Duration(30.0), metadata=about("How long calls may finish after SIGTERM.", '"30s"', 0, 3600)
    )
    hosts: tuple[TrustedHost, ...] = attrs.field(
        default=(),
        metadata=about(
            "Trusted `Host` values, with or without port. Loopback names are implied on a loopback listener.",
            '["gw.example.com"]',
        ),
    )
    origins: tuple[Origin, ...] = attrs.field(
        default=(),
        metadata=about("Browser origins that may call the gateway.", '["https://app.example.com"]'),
    )
    keepalive: Duration = attrs.field(
        default=Duration(15.0),
        metadata=about("Silence on a stream after which a comment line is sent.", '"15s"', 0.001, 3600),
    )
    timeouts: GatewayTimeouts = attrs.field(
        default=GatewayTimeouts(), metadata=about("Patience with clients.", '{ head = "10s", body = "10s" }')
    )
    max: GatewayMax = attrs.field(
        default=GatewayMax(), metadata=about("Bounds on what clients may take.", "{ connections = 10000 }")
    )
    session: GatewaySession = attrs.field(
        default=GatewaySession(),
        metadata=about("Sessions of older clients.", '{ idle = "30m", ttl = "24h", resume = "30s" }'),
    )


@attrs.frozen
class LogTable:
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = attrs.field(
        default="info", metadata=about("The least severe events that are logged.", '"info"')
    )
    format: Literal["json", "console"] = attrs.field(
        default="json", metadata=about("One JSON object per line, or lines for people.", '"json"')
    )


@attrs.frozen
class ServiceAuth:
    """The gateway's own credential for a service."""

    bearer: SecretRef = attrs.field(
        metadata=about("Sent as `Authorization: Bearer`.", '{ env = "SEARCH_TOKEN" }'),
    )


@attrs.frozen
class ServiceTimeout:
    """Deadlines of one service."""

    call: Duration = attrs.field(
        default=Duration(60.0),
        metadata=about(
            "From sending a request to its final answer; does not bound listening streams.",
            '"60s"',
            0.001,
            86400,
        ),
    )
    connect: Duration = attrs.field(
        default=Duration(5.0),
        metadata=about("To open a connection, or to start a process and greet it.", '"5s"', 0.001, 600),
    )
    idle: Duration = attrs.field(
        default=Duration(60.0),
        metadata=about("How long a process that nobody uses is kept.", '"60s"', 0.001, 86400),
    )


@attrs.frozen
class ServiceMax:
    """Size limits of one service."""

    request: Size = attrs.field(default=Size(4 * 1024**2), metadata=about("Size of one request.", '"4MiB"', 1, 1024**3))
    response: Size = attrs.field(
        default=Size(16 * 1024**2),
        metadata=about(
            "Size of a whole JSON answer, of one event of a stream, of one line of a process.",
            '"16MiB"',
            1,
            1024**3,
        ),
    )


@attrs.frozen
class ServiceTable:
    """An MCP server behind the gateway: reached at a `url`, or started with a `command`.

    With both, the gateway starts the command and talks HTTP to the URL. Names are lower-case letters, digits,
    `_` and `-`.
    """

    url: Url | None = attrs.field(
        default=None,
        metadata=about("Streamable HTTP endpoint, `http` or `https`.", '"https://mcp.example.com/mcp"'),
    )
    command: Command | None = attrs.field(
        default=None,
        metadata=about(
            "Program and arguments, started without a shell. Without `url` it is spoken to over its standard streams.",
            '["npx", "-y", "@modelcontextprotocol/server-filesystem", "/srv/data"]',
        ),
    )
    env: Mapping[str, EnvValue] = attrs.field(
        factory=dict[str, EnvValue],
        metadata=about(
            "Environment of the command. "
            "Nothing else is inherited but `PATH`, `HOME`, `LANG`, `LC_ALL`, `TZ`, `TMPDIR`.",
            '{ LOG_LEVEL = "warn", API_TOKEN = { file = "token" } }',
        ),
    )
    cwd: str | None = attrs.field(
        default=None,
        metadata=about("Working directory of the command. Default: the directory of this file.", '"/srv/data"'),
    )
    per: Literal["session", "principal", "shared", "call"] | None = attrs.field(
        default=None,
        metadata=about(
            "Who shares one process of a command without `url`: each client session has its own, "
            'each principal its own, or everybody shares one. Default: `"principal"`. It is also how a client without '
            'sessions meets a service that has sessions, over HTTP too: `"principal"` is one session for each '
            'principal, `"call"` one for each call (and for each session of an older client). '
            "With `url` only these two.",
            '"principal"',
        ),
    )
    timeout: ServiceTimeout = attrs.field(
        default=ServiceTimeout(),
        metadata=about("Deadlines.", '{ call = "60s", connect = "5s", idle = "60s" }'),
    )
    max: ServiceMax = attrs.field(
        default=ServiceMax(), metadata=about("Size limits.", '{ request = "4MiB", response = "16MiB" }')
    )
    auth: ServiceAuth | None = attrs.field(
        default=None,
        metadata=about(
            'The credential that goes out: `"none"`, or a table with `bearer`. '
            "What clients present is never passed on.",
            '{ bearer = { env = "SEARCH_TOKEN" } }',
        ),
    )
    trust: str | None = attrs.field(
        default=None,
        metadata=about(
            "PEM file with the certificate authorities to trust for `https`. Default: the system's.",
            '"internal-ca.pem"',
        ),
    )


@attrs.frozen
class RouteTable:
    """A URL path on the gateway and what serves it. The path is matched exactly, as the request has it."""

    services: tuple[str, ...] = attrs.field(
        default=(), metadata=about("The service behind this route: one name.", '["files"]', required=True)
    )
    auth: AuthNames | None = attrs.field(
        default=None,
        metadata=about(
            'Who may come in: names of `[auth.*]` strategies, tried in order, or the word `"anonymous"`. '
            "Nobody comes in by default.",
            '["keys"]',
            required=True,
        ),
    )
    public: bool = attrs.field(
        default=False,
        metadata=about("Allow `anonymous` also where others than this machine can connect.", "false"),
    )
    errors: Literal["jsonrpc", "http"] = attrs.field(
        default="jsonrpc",
        metadata=about(
            "How a refusal of a call reaches an older client: HTTP 200 with a JSON-RPC error, "
            "or the fitting HTTP status.",
            '"jsonrpc"',
        ),
    )
    sse: bool = attrs.field(
        default=False,
        metadata=about(
            "Serve the HTTP+SSE transport of 2024-11-05 on this path, too, for clients that know no other.", "false"
        ),
    )


@attrs.frozen
class AuthTable:
    """A way to find out who is calling."""

    type: Literal["api_key"] = attrs.field(
        metadata=about("`api_key`: a secret key per client, sent as `Authorization: Bearer`.", '"api_key"')
    )
    file: str = attrs.field(
        metadata=about("The key file, as `gatewayd keys add ID --file FILE` writes it.", '"keys.toml"')
    )


@attrs.frozen
class Config:
    """The configuration file. Paths in it are relative to the file that names them."""

    include: tuple[str, ...] = attrs.field(
        default=(),
        metadata=about("Further files that are read as if they were part of this one.", '["conf.d/*.toml"]'),
    )
    gateway: GatewayTable = attrs.field(default=GatewayTable(), metadata=about("The daemon."))
    log: LogTable = attrs.field(default=LogTable(), metadata=about("Logging."))
    services: Mapping[str, ServiceTable] = attrs.field(
        factory=dict[str, ServiceTable], metadata=about("MCP servers, by name.")
    )
    routes: Mapping[str, RouteTable] = attrs.field(
        factory=dict[str, RouteTable], metadata=about("Paths on the gateway.")
    )
    auth: Mapping[str, AuthTable] = attrs.field(factory=dict[str, AuthTable], metadata=about("Strategies, by name."))


@attrs.frozen
class KeyEntry:
    """One client key. The table's name is the principal that the key stands for."""

    hash: KeyHash = attrs.field(metadata=about("`sha256:` and 64 hexadecimal digits.", '"sha256:..."'))
    created: datetime | None = attrs.field(
        default=None, metadata=about("When the key was made.", "2026-01-31T12:00:00Z")
    )
    note: str | None = attrs.field(default=None, metadata=about("For people.", '"laptop of alice"'))


@attrs.frozen
class KeyFile:
    """The file of an `api_key` strategy, written by `gatewayd keys`."""

    keys: Mapping[str, KeyEntry] = attrs.field(factory=dict[str, KeyEntry], metadata=about("Client keys, by id."))


TABLES: tuple[type[attrs.AttrsInstance], ...] = (
    Config,
    GatewayTable,
    Listener,
    ListenTls,
    GatewayTimeouts,
    GatewayMax,
    GatewaySession,
    LogTable,
    ServiceTable,
    ServiceTimeout,
    ServiceMax,
    ServiceAuth,
    RouteTable,
    AuthTable,
    KeyFile,
    KeyEntry,
)
for _table in TABLES:
    attrs.resolve_types(_table)
