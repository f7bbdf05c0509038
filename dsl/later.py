"""What a later release is to understand: refused today, but not as if it were misspelt."""

from __future__ import annotations

from collections.abc import Mapping

from gatewayd.dsl.model import AuthTable, Config, KeyEntry, RouteTable, ServiceTable
from gatewayd.dsl.model_gateway import GatewayTable

LATER_KEYS: Mapping[type, frozenset[str]] = {
    Config: frozenset({"audit", "roles", "limits", "breakers", "masks", "policies"}),
    GatewayTable: frozenset({"workers", "state"}),
    ServiceTable: frozenset({"issuer", "breaker", "retry", "balance", "health", "targets"}),
    RouteTable: frozenset({"limits", "masks", "policies"}),
    KeyEntry: frozenset({"role", "roles"}),
    AuthTable: frozenset({"issuer", "audience", "claims"}),
}
"""Keys, by table."""

LATER_STRATEGIES = frozenset({"oidc"})
LATER_CREDENTIALS = frozenset({"passthrough", "obo_preferred", "obo_required"})
