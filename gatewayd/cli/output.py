"""What all commands say alike."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from gatewayd.dsl import Diagnostic, Style, render
from gatewayd.routes.suspicion import spell


def complain(text: str) -> None:
    """Say on standard error what is not well. Hidden characters are spelled out."""
    print(f"gatewayd: {spell(text)}", file=sys.stderr)


def tell(text: str) -> None:
    """Say on standard error what is well."""
    print(spell(text), file=sys.stderr)


def print_diagnostics(diagnostics: Sequence[Diagnostic], style: Style = "full") -> None:
    """Print them on standard error, and how many there are; nothing where there are none."""
    if not diagnostics:
        return
    colour = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    print(render(diagnostics, style, colour=colour), file=sys.stderr)
    errors = sum(diagnostic.severity == "error" for diagnostic in diagnostics)
    warnings = len(diagnostics) - errors
    print(f"{count(errors, 'error')}, {count(warnings, 'warning')}", file=sys.stderr)


def count(number: int, noun: str) -> str:
    """`1 tool`, `2 tools`, `1,000 tools`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
