"""How a service does, in the eyes of those who would wait for its lists."""

from __future__ import annotations

import attrs
import structlog

log = structlog.get_logger("gatewayd.catalog")


@attrs.define
class Health:
    """Of one service, whoever asks. A service that is in trouble, or was late once, is not waited for."""

    service: str
    trouble: str | None = None
    """Why it cannot be asked."""
    late: bool = False
    """Whether it let a list wait in vain, and has not answered since."""
    asked: bool = False
    """Whether anybody ever asked."""

    @property
    def good(self) -> bool:
        """Whether there is hope that it answers soon."""
        return self.trouble is None and not self.late

    @property
    def state(self) -> str:
        """In a word, for people."""
        if self.trouble is not None:
            return "failing"
        return "late" if self.late else "ready" if self.asked else "not asked yet"

    def failed(self, reason: str, detail: str) -> None:
        """It could not be asked."""
        if self.trouble is None:
            log.warning("service left out", service=self.service, reason=reason, detail=detail)
        self.trouble, self.asked = reason, True

    def is_late(self) -> None:
        """A list did not wait for it any longer."""
        if not self.late and self.trouble is None:
            log.warning("service left out", service=self.service, reason="it is late")
        self.late = True

    def answered(self) -> None:
        """It answered."""
        if self.trouble is not None or self.late:
            log.info("service is back", service=self.service)
        self.trouble, self.late, self.asked = None, False, True
