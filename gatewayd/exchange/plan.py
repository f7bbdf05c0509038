"""A route, opened: the compiled table's route together with what runs it."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from gatewayd.auth.gate import Gate
from gatewayd.routes.table import Gateway, Route
from gatewayd.upstreams.service import Upstream


@attrs.frozen(eq=False)
class Plan:
    """What a call on one route needs, looked up once."""

    route: Route
    upstream: Upstream
    gate: Gate
    max_request: int
    """Bytes of a request body."""
    max_calls: int
    """Calls at once in one legacy session."""


@attrs.frozen(eq=False)
class Plans:
    """All routes of one generation. Replaced whole by a reload; a call keeps the one it began with."""

    gateway: Gateway
    routes: Mapping[str, Plan]
    """By exact path."""
    hosts: frozenset[bytes]
    """Further `Host` values to serve, in lower case, with a port or for any port."""
    origins: frozenset[bytes]
    """Browser origins that may call."""
