"""Calls that run while the configuration is reloaded again and again."""

from __future__ import annotations

import attrs
import trio

from tests.support import wire
from tests.support.gateway import Gateway, route

PATIENCE = 120.0

BROKEN = '[services.broken]\nurl = "gopher://nowhere"\nno_such_key = 1\n'
"""What makes any file a bad one."""


@attrs.define
class Calls:
    """Calls that take their time: how many came back whole, and what the other ones said."""

    good: int = 0
    bad: list[str] = attrs.Factory(list)

    async def make(self, address: wire.Address, path: str, number: int, steps: int, delay: float) -> None:
        """One call with progress, on a connection of its own."""
        params = wire.call("progress", steps=steps, delay=delay)
        try:
            async with wire.connect(address) as client:
                await client.send(wire.modern("tools/call", params, id=number, path=path, progress=number))
                await client.head()
                messages = [message async for message in client.events()]
        except (OSError, trio.BrokenResourceError) as error:
            self.bad.append(repr(error))
            return
        answer = messages[-1] if messages else {}
        if len(messages) == steps + 1 and answer.get("id") == number and "result" in answer:
            self.good += 1
        else:
            self.bad.append(str(messages))


async def reload_under_load(
    gateway: Gateway,
    text: str,
    paths: tuple[str, ...],
    service: str,
    calls: int,
    reloads: int,
    seconds: float,
) -> Calls:
    """Run `calls` over the paths while SIGHUP is sent `reloads` times in about `seconds`.

    Every second time the file is broken; the others it gains a route `/extra-N` to `service`. Returns when
    all calls have ended and the last good file is in force.
    """
    made = Calls()
    steps = 10
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            for number in range(calls):
                path = paths[number % len(paths)]
                nursery.start_soon(made.make, gateway.address, path, number, steps, 1.2 * seconds / steps)
            for number in range(reloads):
                await trio.sleep(seconds / reloads)
                extra = route(f"/extra-{number}", service)
                gateway.reload(text + (extra if number % 2 else BROKEN))
        await wait_route(gateway, f"/extra-{reloads - 1}")
    return made


async def wait_route(gateway: Gateway, path: str) -> None:
    """Wait until a call on the path succeeds."""
    while True:
        async with wire.connect(gateway.address) as client:
            request = wire.modern("tools/call", wire.call("echo", text="x"), path=path)
            if (await client.ask(request)).status == 200:
                return
        await trio.sleep(0.05)
