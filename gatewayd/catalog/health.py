"""How a service does, in the eyes of those who would wait for its lists."""

from __future__ import annotations

import attrs
import structlog

from gatewayd.catalog.kinds import KindName

log = structlog.get_logger("gatewayd.catalog")


@attrs.define
class Health:
    """Of one service, whoever asks. One that is in trouble is not waited for, nor is what came late once."""

    service: str
    trouble: str | None = None
    """Why it cannot be asked: what clients may know."""
    detail: str = ""
    """The rest."""
    late: set[KindName | None] = attrs.field(factory=set["KindName | None"])
    """What somebody waited for in vain, and has not come since: a list, or (None) what it says of itself."""
    asked: bool = False
    """Whether anybody ever asked."""

    def hopeful(self, kind: KindName | None) -> bool:
        """Whether it may be worth to wait for a list (None: what it says of itself)."""
        return self.trouble is None and not {kind, None} & self.late

    @property
    def state(self) -> str:
        """In a word, for people."""
        if self.trouble is not None:
            return "failing"
        return "late" if self.late else "ready" if self.asked else "not asked yet"

    @property
    def cause(self) -> str | None:
        """Why it cannot be asked, for administrators."""
        return f"{self.trouble} ({self.detail})" if self.trouble is not None and self.detail else self.trouble

    def failed(self, reason: str, detail: str) -> None:
        """It could not be asked."""
        if self.trouble is None:
            log.warning("service left out", service=self.service, reason=reason, detail=detail)
        self.trouble, self.detail, self.asked = reason, detail, True

    def is_late(self, kind: KindName | None) -> None:
        """Nobody waits for this any longer."""
        if kind not in self.late and self.trouble is None:
            log.warning("service left out", service=self.service, reason="it is late", kind=kind or "discover")
        self.late.add(kind)

    def answered(self, kind: KindName | None) -> None:
        """It answered."""
        if self.trouble is not None or kind in self.late:
            log.info("service is back", service=self.service, kind=kind or "discover")
        self.trouble, self.asked = None, True
        self.late.discard(kind)
        self.late.discard(None)
