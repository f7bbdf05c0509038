"""A virtual server: one route over several services, or over one that is shaped."""

from __future__ import annotations

from typing import Literal

import attrs

from gatewayd.routes.shaping import Shapes

Conflicts = Literal["prefix", "first", "error"]
"""What becomes of a second thing with a name that is taken: it gets the name of its service as a prefix, it is left
out, or both are."""
LockMode = Literal["off", "warn", "enforce"]
"""Whether tools that are not as the lock file has them are served, served and reported, or withheld."""
Discovery = Literal["list", "search"]
"""Whether clients get the list of all tools, or two tools: one that searches and one that calls."""


@attrs.frozen
class Member:
    """One service in a virtual server."""

    service: str
    prefix: str = ""
    """Before the names of its tools and prompts; empty: they stay as they are."""
    shapes: Shapes = attrs.field(default=Shapes())
    """The service's own; names are those that the service uses."""


@attrs.frozen
class Virtual:
    """What a virtual server is made of."""

    members: tuple[Member, ...]
    """In the order of the configuration, which is the order of its lists."""
    shapes: Shapes = attrs.field(default=Shapes())
    """The route's; names are those that clients would see without it."""
    conflicts: Conflicts = "prefix"
    lock: LockMode = "off"
    discovery: Discovery = "list"
    patience: float = 3.0
    """Seconds that a list waits for a service which has not been late before."""
