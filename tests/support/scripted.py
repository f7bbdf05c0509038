"""A scripted MCP server without a transport: what `counting_server` and `counting_stdio` have in common.

Its tools are the situations that a gateway must survive, and everything that happens is counted:

======== ========================= ==================================================================
tool     arguments                 what it does
======== ========================= ==================================================================
echo     text                      answers the text
hang                               never answers: ends when it is cancelled, and not before
progress steps, delay              sends `steps` progress notifications, `delay` seconds apart
ask      message                   elicits a form; answers what the client answered
notify                             a list change on every standing stream (GET, `subscriptions/listen`)
big      bytes                     answers so many letters
fail     how                       does what its transport calls `how`: see there
stats                              answers the counters
======== ========================= ==================================================================
"""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable
from typing import Any, Literal, NoReturn, Protocol

import attrs
import trio

MODERN = "2026-07-28"
LEGACY = ("2025-11-25", "2025-06-18", "2025-03-26")
VERSION_KEY = "io.modelcontextprotocol/protocolVersion"
SUBSCRIPTION_KEY = "io.modelcontextprotocol/subscriptionId"

Json = dict[str, Any]
Eras = Literal["both", "legacy", "modern"]

TOOLS = ("echo", "hang", "progress", "ask", "notify", "big", "fail", "stats")

CAPABILITIES: Json = {"tools": {"listChanged": True}, "resources": {}}


@attrs.define
class Counters:
    """What happened so far. At rest, `in_flight` and `streams` are 0 and the other ones add up."""

    started: int = 0
    """Tool calls that began."""
    finished: int = 0
    """Tool calls that were answered, with an error too."""
    cancelled: int = 0
    """Tool calls that ended because the client cancelled as its era and transport want it."""
    abandoned: int = 0
    """Legacy HTTP calls whose connection was lost, which is not a cancellation."""
    failed: int = 0
    """Tool calls that `fail` broke."""
    in_flight: int = 0
    cancel_notifications: int = 0
    """`notifications/cancelled` received, whether they met a running call or not."""
    initialized: int = 0
    """`initialize` requests answered."""
    sessions: int = 0
    """Legacy sessions that are open now."""
    connections: int = 0
    """Connections that are open now."""
    accepted: int = 0
    """Connections accepted since the start."""
    streams: int = 0
    """GET and `subscriptions/listen` streams that are open now."""

    def as_json(self) -> Json:
        """The counters by name."""
        return attrs.asdict(self)


class Refused(Exception):
    """The request is answered with a JSON-RPC error."""

    def __init__(self, code: int, message: str, data: Json | None = None) -> None:
        super().__init__(code, message)
        self.error: Json = {"code": code, "message": message}
        if data is not None:
            self.error["data"] = data


class Wire(Protocol):
    """How the messages of one running request travel."""

    async def send(self, message: Json) -> None:
        """Send a message that precedes the answer."""
        ...

    async def ask(self, method: str, params: Json) -> Json:
        """Legacy only: send a request to the client, wait for its answer, return the whole answer."""
        ...

    async def fail(self, how: str) -> NoReturn:
        """Misbehave. Does not return: the request is never answered properly."""
        ...


@attrs.define
class ScriptedServer:
    """Answers requests. One instance per server, shared by its connections."""

    counters: Counters = attrs.Factory(Counters)
    announce: Callable[[Json], Awaitable[None]] | None = None
    """How the transport sends a message on every standing stream."""
    eras: Eras = "both"
    changed: Callable[[], None] | None = None
    """Called when a tool call began or ended, or the client said what it wants to hear of."""
    level: str | None = None
    """The log level that a legacy client set last."""
    subscribed: list[str] = attrs.Factory(list)
    """The URIs that legacy clients subscribed to, in order."""
    capabilities: Json = attrs.Factory(CAPABILITIES.copy)
    """What it says that it can do."""
    page: int = 0
    """How many tools a page of `tools/list` has; 0: all."""

    async def answer(self, request: Json, wire: Wire) -> Json:
        """The response to a request, or to what only looks like one: never raises but `Cancelled`."""
        modern = is_modern(request)
        try:
            result = await self._result(request, modern, wire)
        except Refused as refused:
            return {"jsonrpc": "2.0", "id": request["id"], "error": refused.error}
        if modern:
            result.setdefault("resultType", "complete")
        return {"jsonrpc": "2.0", "id": request["id"], "result": result}

    async def _result(self, request: Json, modern: bool, wire: Wire) -> Json:
        params: Json = request.get("params") or {}
        if self.eras == ("legacy" if modern else "modern"):
            raise self.wrong_era(params)
        match request["method"]:
            case "initialize" if not modern:
                return self._initialize(params)
            case "server/discover" if modern:
                return self._discover()
            case "ping" if not modern:
                return {}
            case "tools/list":
                return self._tools(params, modern)
            case "resources/list":
                return {"resources": []} | (_hints() if modern else {})
            case "logging/setLevel" if not modern:
                self.level = params["level"]
                self._notify()
                return {}
            case "resources/subscribe" | "resources/unsubscribe" if not modern:
                self._subscribe(params["uri"], request["method"] == "resources/subscribe")
                return {}
            case "tools/call":
                return await self._counted_call(params, modern, wire)
        raise Refused(-32601, "no such method")

    def wrong_era(self, params: Json) -> Refused:
        """What a client of the era hears that is not served."""
        if self.eras == "legacy":
            return Refused(-32601, "no such method")
        data = {"supported": [MODERN], "requested": params.get("protocolVersion", "")}
        return Refused(-32022, "unsupported protocol version", data)

    def _initialize(self, params: Json) -> Json:
        self.counters.initialized += 1
        wanted = params.get("protocolVersion")
        return {
            "protocolVersion": wanted if wanted in LEGACY else LEGACY[0],
            "capabilities": self.capabilities,
            "serverInfo": {"name": "counting", "version": "1"},
        }

    def _discover(self) -> Json:
        versions = [MODERN] if self.eras == "modern" else [MODERN, *LEGACY]
        return {"supportedVersions": versions, "capabilities": self.capabilities} | _hints()

    def _tools(self, params: Json, modern: bool) -> Json:
        first = int(params.get("cursor") or 0)
        last = first + self.page if self.page else len(TOOLS)
        tools = [{"name": name, "inputSchema": {"type": "object"}} for name in TOOLS[first:last]]
        result: Json = {"tools": tools} | (_hints() if modern else {})
        if last < len(TOOLS):
            result["nextCursor"] = str(last)
        return result

    def _subscribe(self, uri: str, wanted: bool) -> None:
        self.subscribed = [other for other in self.subscribed if other != uri] + [uri] * wanted
        self._notify()

    async def _counted_call(self, params: Json, modern: bool, wire: Wire) -> Json:
        self.counters.started += 1
        self.counters.in_flight += 1
        self._notify()
        try:
            result = await self._call(params, modern, wire)
            self.counters.finished += 1
            return result
        except Refused:
            self.counters.finished += 1
            raise
        except Exception:
            self.counters.failed += 1
            raise
        finally:
            self.counters.in_flight -= 1
            self._notify()

    def _notify(self) -> None:
        if self.changed is not None:
            self.changed()

    async def _call(self, params: Json, modern: bool, wire: Wire) -> Json:
        arguments: Json = params.get("arguments") or {}
        match params.get("name"):
            case "echo":
                return text(arguments["text"])
            case "hang":
                await trio.sleep_forever()
            case "progress":
                return await self._progress(params, arguments, wire)
            case "ask":
                return await self._ask(params, arguments, modern, wire)
            case "notify":
                if self.announce is not None:
                    await self.announce({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
                return text("told")
            case "big":
                return text("x" * int(arguments["bytes"]))
            case "fail":
                await wire.fail(arguments["how"])
            case "stats":
                return text(json.dumps(self.counters.as_json()))
        raise Refused(-32602, "no such tool")

    async def _progress(self, params: Json, arguments: Json, wire: Wire) -> Json:
        steps = int(arguments.get("steps", 3))
        token = (params.get("_meta") or {}).get("progressToken")
        for step in range(1, steps + 1):
            await trio.sleep(float(arguments.get("delay", 0.01)))
            if token is not None:
                await wire.send(
                    {
                        "jsonrpc": "2.0",
                        "method": "notifications/progress",
                        "params": {"progressToken": token, "progress": step, "total": steps},
                    }
                )
        return text(f"{steps} steps")

    async def _ask(self, params: Json, arguments: Json, modern: bool, wire: Wire) -> Json:
        question: Json = {
            "mode": "form",
            "message": arguments.get("message", "Well?"),
            "requestedSchema": {"type": "object", "properties": {"answer": {"type": "string"}}},
        }
        if modern:
            return self._ask_modern(params, question)
        answer = await wire.ask("elicitation/create", question)
        if "error" in answer:
            return text(json.dumps(answer["error"])) | {"isError": True}
        return text(json.dumps(answer["result"]))

    def _ask_modern(self, params: Json, question: Json) -> Json:
        state = base64.b64encode(question["message"].encode()).decode()
        if "inputResponses" not in params:
            return {
                "resultType": "input_required",
                "inputRequests": {"q": {"method": "elicitation/create", "params": question}},
                "requestState": state,
            }
        if params.get("requestState") != state:
            raise Refused(-32602, "that is not the state I gave")
        return text(json.dumps(params["inputResponses"]["q"]))


def text(value: str) -> Json:
    """A tool result of one text block."""
    return {"content": [{"type": "text", "text": value}], "isError": False}


def is_modern(request: Json) -> bool:
    """Whether the request carries the per-request metadata of the modern era."""
    return VERSION_KEY in ((request.get("params") or {}).get("_meta") or {})


def acknowledgement(request: Json) -> Json:
    """The first frame of a `subscriptions/listen` stream: everything that was asked for is honoured."""
    return {
        "jsonrpc": "2.0",
        "method": "notifications/subscriptions/acknowledged",
        "params": {
            "_meta": {SUBSCRIPTION_KEY: request["id"]},
            "notifications": request["params"]["notifications"],
        },
    }


def tagged(message: Json, subscription: int | str) -> Json:
    """The message as a frame of that subscription."""
    return message | {"params": {"_meta": {SUBSCRIPTION_KEY: subscription}}}


def _hints() -> Json:
    return {"ttlMs": 0, "cacheScope": "private"}
