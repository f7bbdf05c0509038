from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from gatewayd.protocol.codes import HEADER_MISMATCH
from gatewayd.protocol.jsonrpc import Request, Result, RpcError
from gatewayd.routes.table import Bounds, Service, StdioTarget, Timeouts
from gatewayd.upstreams import paging
from gatewayd.upstreams.service import Caller
from gatewayd.upstreams.stdio_service import StdioUpstream, open_stdio_upstream
from gatewayd.upstreams.tool_headers import AGAIN, REMEMBER
from tests.support.annotated_stdio import annotated, tool, write

META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": dict[str, Any](),
}
IDS = itertools.count(1)
CONNECT = 0.5
LIMIT = 100_000


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    return tmp_path / "pages.json"


@pytest.fixture
async def upstream(pages: Path) -> AsyncIterator[StdioUpstream]:
    target = StdioTarget(annotated(pages))
    service = Service("files", target, Timeouts(connect=CONNECT), Bounds(response=LIMIT), per="shared")
    async with open_stdio_upstream(service) as opened:
        yield opened


async def call(
    upstream: StdioUpstream,
    name: str = "deploy",
    region: str | None = "eu",
    header: str | None = None,
    field: str = "region",
) -> list[int]:
    """Call a tool; returns the ids of the lists that the server was asked for so far."""
    arguments = {} if region is None else {"region": region}
    params = json.dumps({"name": name, "arguments": arguments, "_meta": META})
    fields = () if header is None else ((f"mcp-param-{field}".encode(), header.encode()),)
    request = Request(next(IDS), "tools/call", params.encode())
    with trio.fail_after(10):
        answer = await upstream.request(request, "2026-07-28", name, Caller("alice", fields))
        try:
            message = await answer.receive()
        finally:
            await answer.aclose()
    assert isinstance(message, Result)
    listed: list[int] = json.loads(message.result)["listed"]
    return listed


async def refused(upstream: StdioUpstream, header: str | None = None, name: str = "deploy", **more: Any) -> None:
    with pytest.raises(RpcError) as caught:
        await call(upstream, name, header=header, **more)
    assert (caught.value.code, caught.value.status) == (HEADER_MISMATCH, 400)


async def test_header_and_argument_must_agree(pages: Path, upstream: StdioUpstream, mock_clock: MockClock) -> None:
    write(pages, first={"tools": [tool("deploy", "Region"), tool("plain")]})
    assert await call(upstream, header="eu") == [-1]
    await refused(upstream, "us")
    await refused(upstream, None)
    await refused(upstream, "=?base64?ZXU?=")
    await refused(upstream, "eu", region=None)
    assert await call(upstream, region=None) == [-1]
    assert await call(upstream, "plain", header="us") == [-1]
    assert await call(upstream, header="=?base64?ZXU=?=") == [-1]


async def test_only_calls_of_tools_ask_for_the_list(pages: Path, upstream: StdioUpstream) -> None:
    write(pages, first={"tools": [tool("deploy", "Region")]})
    answer = await upstream.request(Request(next(IDS), "tools/list", b"{}"), "2026-07-28", None, Caller("alice"))
    while not isinstance(await answer.receive(), Result):
        pass
    await answer.aclose()
    listed = await call(upstream, header="eu")
    assert [ident for ident in listed if ident < 0] == [-1]


async def test_all_pages_are_read_and_an_empty_cursor_is_a_cursor(pages: Path, upstream: StdioUpstream) -> None:
    first = {"tools": [tool("one")], "nextCursor": "b"}
    write(pages, first=first, b={"tools": [], "nextCursor": "c"}, c={"tools": [tool("deploy", "Region")]})
    await refused(upstream, "us")
    assert await call(upstream, header="eu") == [-1, -2, -3]


async def test_one_list_serves_all_who_wait(pages: Path, upstream: StdioUpstream, mock_clock: MockClock) -> None:
    write(pages, first={"tools": [tool("deploy", "Region")]})
    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(refused, upstream, "us")
            nursery.start_soon(call, upstream, "unknown")
    assert await call(upstream, header="eu") == [-1]


async def test_who_is_cancelled_leaves_the_asking_to_the_next(pages: Path, upstream: StdioUpstream) -> None:
    write(pages)
    with trio.move_on_after(CONNECT / 2) as scope:
        await call(upstream)
    assert scope.cancelled_caught
    write(pages, first={"tools": [tool("deploy", "Region")]})
    await refused(upstream, "us")
    assert await call(upstream, header="eu") == [-1, -2]


async def test_an_unknown_tool_is_looked_for_once_per_second(
    pages: Path, upstream: StdioUpstream, mock_clock: MockClock
) -> None:
    write(pages, first={"tools": [tool("deploy")]})
    assert await call(upstream, header="us") == [-1]
    write(pages, first={"tools": [tool("deploy"), tool("late", "Region")]})
    mock_clock.jump(AGAIN / 2)
    assert await call(upstream, "late", header="us") == [-1]
    mock_clock.jump(AGAIN)
    await refused(upstream, "us", "late")
    for _ in range(3):
        assert await call(upstream, "unknown", header="us") == [-1, -2]
    mock_clock.jump(AGAIN)
    assert await call(upstream, "unknown", header="us") == [-1, -2, -3]


async def test_known_tools_are_listed_again_after_a_minute(
    pages: Path, upstream: StdioUpstream, mock_clock: MockClock
) -> None:
    write(pages, first={"tools": [tool("deploy")]})
    assert await call(upstream, header="us") == [-1]
    write(pages, first={"tools": [tool("deploy", "Region")]})
    mock_clock.jump(REMEMBER - 1)
    assert await call(upstream, header="us") == [-1]
    mock_clock.jump(1)
    await refused(upstream, "us")
    assert await call(upstream, header="eu") == [-1, -2]


async def test_a_client_that_knows_the_tools_better_is_not_refused(
    pages: Path, upstream: StdioUpstream, mock_clock: MockClock
) -> None:
    write(pages, first={"tools": [tool("deploy", "Region")]})
    assert await call(upstream, header="eu") == [-1]
    write(pages, first={"tools": [tool("deploy", "Zone")]})
    mock_clock.jump(AGAIN)
    assert await call(upstream, header="eu", field="zone") == [-1, -2]
    await refused(upstream, "eu")


@pytest.mark.parametrize(
    "results",
    [
        {"first": -32601},
        {"first": {"tools": "none"}},
        {"first": {"tools": [7]}},
        {"first": {}},
        {"first": {"tools": [tool("deploy", "Region")], "nextCursor": "b"}, "b": -32602},
        {"first": {"tools": [tool("deploy", "Region")], "nextCursor": "b"}, "b": {"tools": [], "nextCursor": "b"}},
        {"first": {"tools": [tool("deploy", "Region")], "nextCursor": ""}, "": {"tools": [], "nextCursor": ""}},
        {
            "first": {"tools": [tool("deploy", "Region"), tool("x" * (LIMIT - 1000))], "nextCursor": "b"},
            "b": {"tools": [tool("x" * 2000)]},
        },
        {"first": {"tools": [tool("deploy", "Region"), tool("x" * LIMIT)]}},
    ],
    ids=["refused", "no array", "no tools", "nothing", "half", "cycle", "empty cursor", "too large", "line too long"],
)
async def test_a_service_without_a_proper_list_is_not_checked_and_left_in_peace(
    pages: Path, upstream: StdioUpstream, mock_clock: MockClock, results: dict[str, Any]
) -> None:
    write(pages, **results)
    listed = await call(upstream, header="us")
    assert listed
    mock_clock.jump(REMEMBER - 1)
    assert await call(upstream, header="us") == listed
    write(pages, first={"tools": [tool("deploy", "Region")]})
    mock_clock.jump(1)
    await refused(upstream, "us")


async def test_a_list_without_end_is_given_up(
    pages: Path, upstream: StdioUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "MOST_PAGES", 5)
    write(
        pages,
        **{
            cursor: {"tools": [], "nextCursor": following}
            for cursor, following in itertools.pairwise(("first", *"abcdefgh"))
        },
    )
    assert await call(upstream, header="us") == [-1, -2, -3, -4, -5]


async def test_a_list_of_very_many_tools_is_given_up(
    pages: Path, upstream: StdioUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "MOST_ITEMS", 2)
    write(pages, first={"tools": [tool("deploy", "Region"), tool("a"), tool("b")]})
    assert await call(upstream, header="us") == [-1]


async def test_a_list_that_never_comes_delays_the_first_call_alone(pages: Path, upstream: StdioUpstream) -> None:
    write(pages)
    assert await call(upstream, header="us") == [-1]
    began = trio.current_time()
    assert await call(upstream, header="us") == [-1]
    assert trio.current_time() - began < CONNECT


async def test_what_was_known_outlives_a_list_that_fails(
    pages: Path, upstream: StdioUpstream, mock_clock: MockClock
) -> None:
    write(pages, first={"tools": [tool("deploy", "Region")]})
    assert await call(upstream, header="eu") == [-1]
    write(pages, first=-32603)
    mock_clock.jump(REMEMBER)
    await refused(upstream, "us")
    assert await call(upstream, header="eu") == [-1, -2]


@pytest.mark.parametrize(
    "faulty",
    [
        tool("deploy", "not a token"),
        tool("deploy", inputSchema={"properties": {"region": {"type": "number", "x-mcp-header": "Region"}}}),
        tool("deploy", inputSchema=None),
        {"name": "deploy"},
    ],
)
async def test_a_tool_with_invalid_annotations_is_not_checked_but_others_are(
    pages: Path, upstream: StdioUpstream, faulty: dict[str, Any]
) -> None:
    write(pages, first={"tools": [faulty, {}, tool("other", "Region")]})
    assert await call(upstream, header="us") == [-1]
    await refused(upstream, "us", "other")


async def test_a_process_that_ends_while_it_lists_is_no_verdict(
    pages: Path, upstream: StdioUpstream, mock_clock: MockClock
) -> None:
    write(pages, first=None)
    with pytest.raises(Exception, match="ended"):
        await call(upstream, header="us")
    write(pages, first={"tools": [tool("deploy", "Region")]})
    mock_clock.jump(AGAIN)
    await refused(upstream, "us")
    assert await call(upstream, header="eu") == [-2]
