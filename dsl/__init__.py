"""How it is written: TOML text to diagnostics or a routing table; reads configuration files, nothing else."""

from gatewayd.dsl.compile import Outcome, compile_file, compile_text
from gatewayd.dsl.diagnostics import Code, Diagnostic, Label
from gatewayd.dsl.dump import dump
from gatewayd.dsl.render import Style, render

__all__ = [
    "Code",
    "Diagnostic",
    "Label",
    "Outcome",
    "Style",
    "compile_file",
    "compile_text",
    "dump",
    "render",
]
