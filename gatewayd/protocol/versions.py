"""Protocol revisions and the two eras, as data.

Legacy revisions open a session with `initialize`; modern ones are stateless and carry version and
capabilities in every request. Revisions are names: they are looked up, never compared by order.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

Era = Literal["legacy", "modern"]

LEGACY: Final = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
"""Newest first."""
MODERN: Final = ("2026-07-28",)
SUPPORTED: Final = MODERN + LEGACY
"""What an unsupported-version error and a discover result list: modern revisions first."""

NAMED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "tools/call": "name",
        "prompts/get": "name",
        "resources/read": "uri",
        "tasks/get": "taskId",
        "tasks/update": "taskId",
        "tasks/cancel": "taskId",
    }
)
"""Which member of `params` the header `Mcp-Name` mirrors.

The `tasks/` methods are those of the tasks extension.
"""

DISCOVER: Final = "server/discover"
LISTEN: Final = "subscriptions/listen"
"""Requests that only the modern era has."""

BOTH: Final = frozenset(
    {
        "tools/list",
        "tools/call",
        "resources/list",
        "resources/templates/list",
        "resources/read",
        "prompts/list",
        "prompts/get",
        "completion/complete",
    }
)
"""Requests of a client that mean the same in both eras. Tasks of the same name are another thing in each of them."""

REQUESTS: Final[Mapping[Era, frozenset[str]]] = MappingProxyType(
    {
        "legacy": BOTH
        | {
            "initialize",
            "ping",
            "resources/subscribe",
            "resources/unsubscribe",
            "logging/setLevel",
            "tasks/get",
            "tasks/cancel",
            "tasks/list",
            "tasks/result",
        },
        "modern": BOTH | {DISCOVER, LISTEN, "tasks/get", "tasks/update", "tasks/cancel"},
    }
)
"""Requests of a client, over all revisions of an era; modern: with those of the tasks extension."""

NOTIFICATIONS: Final[Mapping[Era, frozenset[str]]] = MappingProxyType(
    {
        "legacy": frozenset(
            {
                "notifications/initialized",
                "notifications/cancelled",
                "notifications/progress",
                "notifications/roots/list_changed",
                "notifications/tasks/status",
            }
        ),
        "modern": frozenset({"notifications/cancelled"}),
    }
)
"""Notifications that a client may send. Modern: over stdio only; over HTTP a closed stream says the same."""

MAY_ASK: Final = frozenset({"tools/call", "prompts/get", "resources/read"})
"""Requests during which a server may ask a modern client (MCP 2026-07-28, multi round-trip requests)."""

REPEATABLE: Final = frozenset(
    {
        DISCOVER,
        "ping",
        "tools/list",
        "resources/list",
        "resources/templates/list",
        "resources/read",
        "prompts/list",
        "prompts/get",
        "completion/complete",
        "tasks/get",
        "tasks/list",
    }
)
"""Requests that only read: sending one again, after it may have been processed, does no harm."""

CACHEABLE: Final = frozenset(
    {DISCOVER, "tools/list", "prompts/list", "resources/list", "resources/templates/list", "resources/read"}
)
"""Requests whose results must have caching hints (MCP 2026-07-28, caching)."""

LOG_LEVELS: Final = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
"""Of log messages, the least severe first (RFC 5424)."""

META: Final = "_meta"
"""The member of `params` and `result` that holds what follows."""
PROGRESS_TOKEN: Final = "progressToken"  # noqa: S105 (not that kind of token)
META_VERSION: Final = "io.modelcontextprotocol/protocolVersion"
META_CLIENT_CAPABILITIES: Final = "io.modelcontextprotocol/clientCapabilities"
META_CLIENT_INFO: Final = "io.modelcontextprotocol/clientInfo"
META_LOG_LEVEL: Final = "io.modelcontextprotocol/logLevel"
META_SERVER_INFO: Final = "io.modelcontextprotocol/serverInfo"
META_SUBSCRIPTION_ID: Final = "io.modelcontextprotocol/subscriptionId"
META_RELATED_TASK: Final = "io.modelcontextprotocol/related-task"
