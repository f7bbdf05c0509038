"""What may be written: these classes are the grammar. Their texts are the reference page and the schema.

A class is a TOML table, an attribute is a key, its type what may stand there. Values are judged one by one
when the model is built (`structure`), together in `check`, and turned into the routing table in `compile`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

import attrs

from gatewayd.dsl.addresses import Url
from gatewayd.dsl.model_gateway import (
    GatewayMax,
    GatewaySession,
    GatewayTable,
    GatewayTimeouts,
    Listener,
    ListenTls,
)
from gatewayd.dsl.model_lock import LockEntry, LockFile, LockService
from gatewayd.dsl.model_virtual import (
    PromptOverride,
    PromptShape,
    ResourceAnnotations,
    ResourceOverride,
    ResourceShape,
    ToolAnnotations,
    ToolOverride,
    ToolShape,
)
from gatewayd.dsl.terms import AuthNames, Command, Duration, EnvValue, KeyHash, Prefix, SecretRef, Size, about


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
            'With `url` there is no `"shared"`, and `"session"` is for routes with several services: there each client '
            "session has its own session with the server.",
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
    prefix: Prefix | None = attrs.field(
        default=None,
        metadata=about(
            "What stands, with `__`, before the names of its tools and prompts in routes with several services; "
            '`false` or `""` for nothing. Default: the name of the service.',
            '"gh"',
        ),
    )
    fresh: Duration = attrs.field(
        default=Duration(10.0),
        metadata=about(
            "How long its lists are taken for true where it neither says how long nor announces changes.",
            '"10s"',
            0,
            86400,
        ),
    )
    tools: ToolShape = attrs.field(
        default=ToolShape(), metadata=about("Which of its tools are shown, and how.", '{ hide = ["delete_*"] }')
    )
    prompts: PromptShape = attrs.field(
        default=PromptShape(), metadata=about("Which of its prompts are shown, and how.", '{ only = ["review_*"] }')
    )
    resources: ResourceShape = attrs.field(
        default=ResourceShape(), metadata=about("Which of its resources are shown, and how.", '{ hide = ["*.key"] }')
    )


@attrs.frozen
class RouteTable:
    """A URL path on the gateway and what serves it. The path is matched exactly, as the request has it.

    Several services behind one route are one server to its clients: a virtual server, with the tools, prompts and
    resources of all of them. So is one service where the route says what of it is shown.
    """

    services: tuple[str, ...] = attrs.field(
        default=(),
        metadata=about(
            "The services behind this route, by name. Of several, names of tools and prompts get prefixes.",
            '["files", "github"]',
            required=True,
        ),
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
    tools: ToolShape = attrs.field(
        default=ToolShape(),
        metadata=about("Which tools are shown, and how.", '{ only = ["github__*", "files__read"] }'),
    )
    prompts: PromptShape = attrs.field(
        default=PromptShape(), metadata=about("Which prompts are shown, and how.", '{ hide = ["*__draft_*"] }')
    )
    resources: ResourceShape = attrs.field(
        default=ResourceShape(), metadata=about("Which resources are shown, and how.", '{ hide = ["*.key"] }')
    )
    conflicts: Literal["prefix", "first", "error"] = attrs.field(
        default="prefix",
        metadata=about(
            "What becomes of a second thing with a name that is taken: it gets the name of its service as a prefix, "
            "it is left out, or both are.",
            '"prefix"',
        ),
    )
    lock: Literal["off", "warn", "enforce"] = attrs.field(
        default="off",
        metadata=about(
            "Whether tools that are not as the lock file has them are served, served and reported, or withheld.",
            '"enforce"',
        ),
    )
    discovery: Literal["list", "search"] = attrs.field(
        default="list",
        metadata=about("Clients get a list of all tools, or two tools: one that searches, one that calls.", '"list"'),
    )
    patience: Duration = attrs.field(
        default=Duration(3.0),
        metadata=about("How long a list waits for a service that has not been late before.", '"3s"', 0, 60),
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
    ToolShape,
    ToolOverride,
    ToolAnnotations,
    PromptShape,
    PromptOverride,
    ResourceShape,
    ResourceOverride,
    ResourceAnnotations,
    AuthTable,
    KeyFile,
    KeyEntry,
    LockFile,
    LockService,
    LockEntry,
)
for _table in TABLES:
    attrs.resolve_types(_table)
