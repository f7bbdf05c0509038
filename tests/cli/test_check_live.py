"""`gatewayd check --live`: what clients will see, before any of them does."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.cli.scene import Scene, tool
from tests.support.gateway import route

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("_logging_as_before")]

DEAD = '[services.dead]\nurl = "http://127.0.0.1:9/mcp"\n'


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """Two servers, and one that there is not, behind one route; one of them has a route to itself."""
    scene = Scene(tmp_path)
    heavy = tool("report", "Write a report. " * 100)
    page = {"uri": "page:1", "name": "page"}
    scene.offer("a", tool("search"), heavy, tool("b a d"), tool("search"), resources=[page])
    scene.offer(
        "b",
        tool("ec\u00adho", "Say it.\u202e"),
        tool("shout", "Say it so that everybody in the house can hear it.\u200b"),
        resources=[page],
    )
    services = json.dumps(["a", "b", "dead"])
    text = "".join(map(scene.service, ("a", "b"))) + DEAD
    scene.config.write_text(text + route("/mcp", "", services=services) + route("/a", "a"))
    return scene


REFUSED = "http://127.0.0.1:9/mcp: [Errno 111] Error connecting to ('127.0.0.1', 9): Connection refused"


def paragraph(out: str, path: str) -> list[str]:
    """What is said of one route, but for the number of tokens, which is an estimate, and the words of the system."""
    out = out.replace(REFUSED, "REFUSED")
    [found] = [part for part in out.split("\n\n") if part.startswith(f"{path}: ")]
    return re.sub(r"(about |    \w+ +)[1-9][\d,]*(?= token|$)", r"\1N", found, flags=re.MULTILINE).splitlines()


def test_a_route_is_shown_as_clients_see_it(run: Run, scene: Scene) -> None:
    status, out, complaints = run("check", scene.config, "--live")
    assert status == 0
    assert paragraph(out, "/mcp") == [
        "/mcp: 3 tools, about N tokens",
        "  a     ready: 2 tools, 1 resource",
        "  b     ready: 1 tool, 1 resource",
        "  dead  cannot be asked: the service cannot be reached (REFUSED)",
        "  most tokens:",
        "    a__report  N",
        "    b__shout   N",
        "    a__search  N",
        "  quarantined:",
        "    a: the tool b a d: its name is not 1 to 128 letters, digits and `_-./`",
        "    a: the tool search: is listed twice",
        r"    b: the tool ec\u00adho: its name has hidden characters",
        "  cleaned:",
        "    b: the tool shout: hidden characters were taken out",
        "  reported:",
        "    b: the resource page:1: its name is taken by that of a; it is shown as gatewayd://b/page:1",
    ]
    assert "gatewayd: warning: dead cannot be asked: the service cannot be reached" in complaints
    assert "`--verbose`" in complaints


def test_a_route_that_shows_its_service_as_it_is(run: Run, scene: Scene) -> None:
    lines = paragraph(run("check", scene.config, "--live")[1], "/a")
    assert "    search  N" in lines
    assert "  not fit for every client, and passed on as it is:" in lines
    assert not [line for line in lines if "quarantined" in line or "cleaned" in line]


def test_the_words_of_the_lock(run: Run, scene: Scene) -> None:
    scene.write("b", lock='"enforce"')
    lines = paragraph(run("check", scene.config, "--live")[1], "/mcp")
    assert lines[0] == "/mcp: 0 tools, about 0 tokens"
    assert lines[-2:] == ["  withheld:", "    b: the tool shout: lock: is new"]
    scene.write("b", lock='"warn"')
    lines = paragraph(run("check", scene.config, "--live")[1], "/mcp")
    assert lines[-2:] == ["  reported:", "    b: the tool shout: lock: is new"]


def test_a_list_that_is_too_long_for_models(run: Run, scene: Scene) -> None:
    scene.offer("a", *(tool(f"tool_{number}", "Write a report. " * 100) for number in range(60)))
    scene.write("a")
    lines = paragraph(run("check", scene.config, "--live")[1], "/mcp")
    assert lines[0] == "/mcp: 60 tools, about N tokens"
    assert len([line for line in lines if line.startswith("    tool_")]) == 5
    assert lines[-2].startswith("  hint: a list of more than 25,000 tokens")
    scene.write("a", discovery='"search"')
    lines = paragraph(run("check", scene.config, "--live")[1], "/mcp")
    assert lines[0].startswith("/mcp: 60 tools, about N tokens to be searched; clients are told about N tokens")
    assert "hint" not in lines[-2]


def test_many_lines_of_a_kind_are_counted(run: Run, scene: Scene) -> None:
    scene.offer("a", *(tool("search") for _ in range(30)))
    scene.write("a", conflicts='"prefix"')
    lines = paragraph(run("check", scene.config, "--live")[1], "/mcp")
    assert (lines.count("    a: the tool search: is listed twice"), lines[-1]) == (20, "    and 9 more")


def test_json_is_for_tools(run: Run, scene: Scene) -> None:
    status, out, _ = run("check", scene.config, "--live", "--format", "json")
    found = json.loads(out)
    assert (status, found["diagnostics"]) == (0, [])
    a, b, dead = found["services"]
    assert a["listed"] == {"tools": 2, "prompts": 0, "resources": 1, "templates": 0}
    assert {"kind": "tools", "name": "search", "reason": "is listed twice"} in a["quarantined"]
    assert [remark["name"] for remark in b["cleaned"]] == ["shout"]
    assert (dead["error"], dead["listed"]) == (f"the service cannot be reached ({REFUSED})", {})
    many, alone = found["routes"]
    assert [one["name"] for one in many["tools"]] == ["a__search", "a__report", "b__shout"]
    assert (many["virtual"], many["discovery"]) == (True, "list")
    assert many["tokens"] == many["told_tokens"] == sum(one["tokens"] for one in many["tools"]) > 100
    assert [report["withheld"] for report in many["reports"]] == [False]
    assert (alone["virtual"], alone["services"]) == (False, ["a"])


def test_a_broken_file_is_not_asked_about(run: Run, scene: Scene) -> None:
    scene.config.write_text("services = 1\n")
    status, out, complaints = run("check", scene.config, "--live", "--format", "json")
    assert (status, complaints) == (1, "")
    found = json.loads(out)
    assert (found["services"], found["routes"]) == ([], [])
    assert found["diagnostics"]
    assert run("check", scene.config, "--live")[:2] == (1, "")
