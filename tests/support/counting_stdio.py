"""The stdio twin of `counting_server`: one MCP server process of both eras that counts and misbehaves on
request.

Started as `python -m tests.support.counting_stdio [--stats FILE] [--stubborn] [--eras ...]`. It ends with
its input.

Both eras cancel with `notifications/cancelled`. With `--stats` the counters, the pid, the log level and the
subscriptions are written to the file after every change, so that they can be read while a tool is stuck.
`--stubborn` ignores both the end of input and SIGTERM: only SIGKILL ends it. `fail` knows: `exit` (status 3,
at once), `stall` (stops reading for ever), `not-json` (a line that is none), `long-line` (8 MiB without an end
of line), `stderr` (1 MiB of noise), `close` (closes its output).
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NoReturn

import attrs
import trio

from tests.support.scripted import Json, ScriptedServer, acknowledgement, is_modern, tagged

NOISE = 8 * 1024 * 1024


@attrs.define(eq=False)
class CountingStdio:
    """The server over a pair of streams: memory streams in a test, the standard ones in a process."""

    incoming: trio.abc.ReceiveStream
    outgoing: trio.abc.SendStream
    stats: Path | None = None
    script: ScriptedServer = attrs.Factory(ScriptedServer)
    calls: dict[int | str, trio.CancelScope] = attrs.Factory(dict)
    listens: set[int | str] = attrs.Factory(set)
    questions: dict[str, trio.MemorySendChannel[Json]] = attrs.Factory(dict)
    writing: trio.Lock = attrs.Factory(trio.Lock)
    stalled: bool = False

    async def serve(self) -> None:
        """Serve until the input ends; what still runs then is cancelled."""
        self.script.announce = self.announce
        self.script.changed = self.note
        self.note()
        async with trio.open_nursery() as nursery:
            async for message in self._messages():
                if self.stalled:
                    await trio.sleep_forever()
                if "method" not in message:
                    self._take_answer(message)
                elif "id" not in message:
                    self._take_notification(message)
                else:
                    nursery.start_soon(self._serve_request, message)
                    await trio.lowlevel.checkpoint()  # so that a cancellation in the same read finds the call
            nursery.cancel_scope.cancel()

    async def send(self, message: Json) -> None:
        """Write one line."""
        await self.write(json.dumps(message).encode() + b"\n")

    async def write(self, data: bytes) -> None:
        """Write bytes, whole."""
        async with self.writing:
            await self.outgoing.send_all(data)

    async def announce(self, message: Json) -> None:
        """To the legacy client of the pipe, and to every subscription."""
        await self.send(message)
        for subscription in list(self.listens):
            await self.send(tagged(message, subscription))

    def note(self) -> None:
        """Write the counters where they can be read from outside."""
        if self.stats is not None:
            fresh = self.stats.with_suffix(".new")
            told = {"level": self.script.level, "subscribed": self.script.subscribed}
            fresh.write_text(json.dumps(self.script.counters.as_json() | told | {"pid": os.getpid()}))
            fresh.replace(self.stats)

    async def _messages(self) -> AsyncIterator[Json]:
        buffer = bytearray()
        async for data in self.incoming:
            buffer += data
            while (end := buffer.find(b"\n")) >= 0:
                line = bytes(buffer[:end])
                del buffer[: end + 1]
                yield json.loads(line)

    async def _serve_request(self, message: Json) -> None:
        with trio.CancelScope() as scope:
            self.calls[message["id"]] = scope
            try:
                if message["method"] == "subscriptions/listen" and is_modern(message):
                    await self._listen(message)
                await self.send(await self.script.answer(message, StdioWire(self)))
            finally:
                del self.calls[message["id"]]

    async def _listen(self, message: Json) -> None:
        await self.send(acknowledgement(message))
        self.listens.add(message["id"])
        self.script.counters.streams += 1
        self.note()
        try:
            await trio.sleep_forever()
        finally:
            self.script.counters.streams -= 1
            self.listens.remove(message["id"])
            self.note()

    def _take_notification(self, message: Json) -> None:
        if message["method"] == "notifications/cancelled":
            self.script.counters.cancel_notifications += 1
            scope = self.calls.get(message["params"]["requestId"])
            if scope is not None:
                self.script.counters.cancelled += 1
                scope.cancel()
        self.note()

    def _take_answer(self, message: Json) -> None:
        if (question := self.questions.get(message["id"])) is not None:
            question.send_nowait(message)


@attrs.frozen
class StdioWire:
    """The `scripted.Wire` of one request: everything shares one pipe."""

    server: CountingStdio

    async def send(self, message: Json) -> None:
        """A line of its own."""
        await self.server.send(message)

    async def ask(self, method: str, params: Json) -> Json:
        """A server request on the pipe."""
        sender, receiver = trio.open_memory_channel[Json](1)
        question = f"ask-{len(self.server.questions)}"
        self.server.questions[question] = sender
        try:
            await self.send({"jsonrpc": "2.0", "id": question, "method": method, "params": params})
            return await receiver.receive()
        finally:
            del self.server.questions[question]

    async def fail(self, how: str) -> NoReturn:
        """See the module. What does not end the process or its output leaves the call hanging."""
        match how:
            case "exit":
                os._exit(3)
            case "stall":
                self.server.stalled = True
            case "not-json":
                await self.server.write(b"{nope\n")
            case "long-line":
                await self.server.write(b"x" * NOISE)
            case "stderr":
                await trio.to_thread.run_sync(os.write, 2, b"noise\n" * (NOISE // 48))
            case "close":
                await self.server.outgoing.aclose()
            case _:
                raise ValueError(how)
        while True:
            await trio.sleep_forever()


async def _main(options: argparse.Namespace) -> None:
    server = CountingStdio(
        trio.lowlevel.FdStream(os.dup(0)),
        trio.lowlevel.FdStream(os.dup(1)),
        stats=options.stats,
        script=ScriptedServer(eras=options.eras),
    )
    if options.stubborn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    await server.serve()
    if options.stubborn:
        await trio.sleep_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--stats", type=Path)
    parser.add_argument("--stubborn", action="store_true")
    parser.add_argument("--eras", choices=("both", "legacy", "modern"), default="both")
    trio.run(_main, parser.parse_args())
    sys.exit(0)
