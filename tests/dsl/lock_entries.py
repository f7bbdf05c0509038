"""Entries of a lock file for tools that were never looked at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gatewayd.dsl.lockfile import Entries
from gatewayd.dsl.locktext import entry


def described(listed: Mapping[str, Mapping[str, Any]]) -> Entries:
    """By service and tool, as they are now."""
    return {service: {name: entry(tool) for name, tool in tools.items()} for service, tools in listed.items()}
