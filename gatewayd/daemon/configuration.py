"""The configuration file of a running daemon: compiled at start and again on every reload."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import attrs
import structlog
import trio

from gatewayd.dsl import Diagnostic, Outcome, compile_file

log = structlog.get_logger("gatewayd.daemon")


@attrs.frozen
class Configuration:
    """Where the configuration is, and the environment that its secrets may come from."""

    path: Path
    environ: Mapping[str, str] = attrs.field(repr=False)

    async def compile(self) -> Outcome:
        """Compile the file in a thread, so that calls go on meanwhile. Logs the diagnostics."""
        outcome = await trio.to_thread.run_sync(lambda: compile_file(self.path, environ=self.environ))
        for diagnostic in outcome.diagnostics:
            note(diagnostic)
        return outcome


def note(diagnostic: Diagnostic) -> None:
    """Log one diagnostic."""
    label = diagnostic.label
    write = log.error if diagnostic.severity == "error" else log.warning
    write(
        "configuration",
        code=str(diagnostic.code),
        at=f"{label.file}:{label.line}:{label.column}",
        message=diagnostic.message,
        hint=diagnostic.hint,
    )
