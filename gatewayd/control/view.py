"""What the admin plane may see of the gateway: numbers and names, never payloads or secrets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol


class View(Protocol):
    """Read-only, synchronous and quick: it is asked in the same thread that serves calls."""

    def ready(self) -> tuple[bool, str]:
        """Whether new calls are welcome, and why (not), in a word or two for people."""
        ...

    def services(self) -> Sequence[Mapping[str, object]]:
        """One entry for each service of the table: name, where it is, how it does. Fit for JSON."""
        ...

    def routes(self) -> Sequence[Mapping[str, object]]:
        """One entry for each route over several services: its members, what is listed, and what is kept back."""
        ...

    def tree(self) -> Mapping[str, object]:
        """`Node.snapshot` of the root."""
        ...

    def metrics(self) -> bytes:
        """`exposition.render` of the gateway's counters."""
        ...

    def table(self) -> Mapping[str, object]:
        """Which table is in force: `generation`, `digest`, and `loaded_at` as a text."""
        ...
