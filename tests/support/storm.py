"""Clients that disappear in the middle of a call, and what must be at rest afterwards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack

import attrs
import trio

from tests.support import wire
from tests.support.gateway import Gateway

PATIENCE = 30.0
"""Seconds for anything to come to rest on a busy machine."""

LOOK_AGAIN = 0.002


@attrs.frozen
class AtRest:
    """What a gateway holds while nobody calls."""

    descriptors: int
    nodes: Counter[str]
    """Of the tree, by kind."""
    children: tuple[int, ...]


async def wait_until(true: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Look again and again. Raises `trio.TooSlowError`."""
    with trio.fail_after(seconds):
        while not true():
            await trio.sleep(LOOK_AGAIN)


async def storm(
    address: wire.Address, in_flight: Callable[[], int], calls: int, at_once: int = 1, path: str = "/mcp"
) -> list[float]:
    """Modern calls of `hang` whose clients close: seconds until the upstream noticed, one per wave.

    A wave is `at_once` connections with a call each, closed together when all calls are at the upstream;
    what `in_flight` says must then fall to 0.
    """
    delays: list[float] = []
    for _ in range(calls // at_once):
        async with AsyncExitStack() as stack:
            for number in range(at_once):
                client = await stack.enter_async_context(wire.connect(address))
                await client.send(wire.modern("tools/call", wire.call("hang"), id=number, path=path))
            await wait_until(lambda: in_flight() == at_once)
        closed = trio.current_time()
        await wait_until(lambda: in_flight() == 0)
        delays.append(trio.current_time() - closed)
    return delays


async def at_rest(gateway: Gateway) -> AtRest:
    """What the gateway holds now; the question itself is not counted."""
    tree = (await gateway.ask_admin("/api/v1/tree")).json()
    nodes = Counter(kinds(tree))
    return AtRest(gateway.measured.descriptors(), nodes, tuple(gateway.measured.children()))


async def wait_at_rest(gateway: Gateway, before: AtRest) -> AtRest:
    """Wait until it is as before. After `PATIENCE`: whatever it is then, for an assertion to show."""
    now = await at_rest(gateway)
    with trio.move_on_after(PATIENCE):
        while now != before:
            await trio.sleep(0.1)
            now = await at_rest(gateway)
    return now


def kinds(node: wire.Json) -> list[str]:
    """The kinds of all nodes of a tree."""
    return [node["kind"], *(kind for child in node.get("children", ()) for kind in kinds(child))]
