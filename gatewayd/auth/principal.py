"""Who is calling."""

from __future__ import annotations

import attrs


@attrs.frozen
class Principal:
    """An authenticated identity. Comparable: equal principals may share what belongs to a principal."""

    id: str
    strategy: str
    """The strategy that vouched for it; empty for anonymous callers."""

    @property
    def anonymous(self) -> bool:
        """Whether nobody vouched: two anonymous callers are not the same person."""
        return not self.strategy

    @property
    def key(self) -> str:
        """Different for different principals: a strategy's name holds no colon."""
        return f"{self.strategy}:{self.id}"


ANONYMOUS = Principal("anonymous", "")
