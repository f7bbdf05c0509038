"""The three ways to print diagnostics, and the line between source and screen."""

from __future__ import annotations

import json

from gatewayd.dsl import compile_text, render

BAD = """\
[gateway]
listen = "127.0.0.1:8080"
admin = "127.0.0.1:8080"
drian = "1s"
[log]
level = "\u202einfo"
[services.idle]
url = "http://idle"
[routes."/x"]
auth = "anonymous"
services = ["none"]
"""
FOUND = compile_text(BAD, environ={}).diagnostics


def test_nothing_to_say() -> None:
    assert render([]) == ""
    assert render([], "concise") == ""
    assert render([], "json") == "[]\n"


def test_concise_is_a_line_each() -> None:
    lines = render(FOUND, "concise").splitlines()
    assert "gateway.toml:3:9: GW161: port 8080 is taken by another listener" in lines
    assert len(lines) == len(FOUND)


def test_json_has_everything() -> None:
    clash = next(item for item in json.loads(render(FOUND, "json")) if item["code"] == "GW161")
    assert clash == {
        "code": "GW161",
        "severity": "error",
        "message": "port 8080 is taken by another listener",
        "hint": "give each listener a port",
        "file": "gateway.toml",
        "line": 3,
        "column": 9,
        "length": 16,
        "related": [{"message": "also here", "file": "gateway.toml", "line": 2, "column": 10, "length": 16}],
    }


def test_colour_only_adds_colour() -> None:
    coloured = render(FOUND, colour=True)
    assert "\x1b[1;31m" in coloured
    assert "\x1b" not in render(FOUND)
    plain = coloured.replace("\x1b[0m", "")
    for code in ("31", "33", "34", "32"):
        plain = plain.replace(f"\x1b[1;{code}m", "")
    assert plain == render(FOUND)


def test_a_file_cannot_draw_on_the_screen() -> None:
    shown = render(compile_text('[log]\nlevel = "a\x1b[2J"\n', environ={}).diagnostics)
    assert "\x1b" not in shown
    assert "\u202e" not in render(FOUND)
