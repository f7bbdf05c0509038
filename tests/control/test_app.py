"""The admin application, spoken to as an ASGI server would."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import pytest
from starlette.types import ASGIApp, Message

from gatewayd.control.app import PATHS, SECURITY_HEADERS, build_app


@attrs.define
class Gateway:
    """A view of a gateway that says what the test wants."""

    state: tuple[bool, str] = (True, "serving")
    broken: bool = False

    def ready(self) -> tuple[bool, str]:
        return self.state

    def services(self) -> Sequence[Mapping[str, object]]:
        if self.broken:
            raise RuntimeError("internal detail")
        return [{"name": "echo"}]

    def routes(self) -> Sequence[Mapping[str, object]]:
        return [{"path": "/mcp"}]

    def tree(self) -> Mapping[str, object]:
        return {"kind": "daemon", "children": []}

    def metrics(self) -> bytes:
        return b"gatewayd_up 1\n"

    def table(self) -> Mapping[str, object]:
        return {"generation": 1, "digest": "abc", "loaded_at": "2026-01-02T03:04:05Z"}


@attrs.frozen
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


async def ask(app: ASGIApp, path: str, method: str = "GET", hosts: Sequence[str] = ("127.0.0.1:9090",)) -> Answer:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(dict(message))

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "headers": [(b"host", host.encode("latin-1")) for host in hosts] + [(b"origin", b"https://evil.example")],
    }
    await app(scope, receive, send)
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return Answer(sent[0]["status"], headers, b"".join(part.get("body", b"") for part in sent[1:]))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_every_path_answers(path: str, method: str) -> None:
    answer = await ask(build_app(Gateway()), path, method)
    assert answer.status == 200
    assert {name.encode() for name in answer.headers} >= {name for name, _ in SECURITY_HEADERS}
    assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_the_index_lists_the_paths_and_the_table() -> None:
    index = (await ask(build_app(Gateway()), "/")).json()
    assert set(index["paths"]) == set(PATHS)
    assert index["table"]["generation"] == 1


async def test_what_the_paths_say() -> None:
    app = build_app(Gateway())
    assert (await ask(app, "/healthz")).body == b"ok\n"
    assert (await ask(app, "/readyz")).json() == {"ready": True, "reason": "serving"}
    assert (await ask(app, "/services")).json()["services"] == [{"name": "echo"}]
    assert (await ask(app, "/api/v1/tree")).json()["kind"] == "daemon"
    metrics = await ask(app, "/metrics")
    assert metrics.body == b"gatewayd_up 1\n"
    assert metrics.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"


async def test_not_ready_is_503_with_the_reason_while_healthy() -> None:
    app = build_app(Gateway(state=(False, "draining")))
    answer = await ask(app, "/readyz")
    assert (answer.status, answer.json()) == (503, {"ready": False, "reason": "draining"})
    assert (await ask(app, "/healthz")).status == 200


@pytest.mark.parametrize("path", ["/nothing", "/metrics/", "//metrics", "/metrics/../readyz", "/METRICS", "/api/v1"])
async def test_other_paths_are_404_in_json(path: str) -> None:
    answer = await ask(build_app(Gateway()), path)
    assert (answer.status, answer.json()) == (404, {"error": "Not Found"})
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
async def test_other_methods_are_405_and_told_which_are_allowed(method: str) -> None:
    answer = await ask(build_app(Gateway()), "/metrics", method)
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9090", "127.0.0.1", "127.0.0.1:9090", "[::1]", "[::1]:9090"])
async def test_names_of_the_listener_are_served(host: str) -> None:
    app = build_app(Gateway(), {"localhost", "127.0.0.1", "::1"})
    assert (await ask(app, "/healthz", hosts=[host])).status == 200


@pytest.mark.parametrize(
    "hosts",
    [
        ["evil.example"],
        ["localhost.evil.example"],
        ["localhost."],
        ["evil.example:80@localhost"],
        ["localhost:80@evil.example"],
        ["localhost", "evil.example"],
        ["[::1"],
        ["localh\xf6st"],
        [""],
        [],
    ],
)
async def test_a_rebound_name_is_refused_before_anything_is_shown(hosts: list[str]) -> None:
    app = build_app(Gateway(), {"localhost", "127.0.0.1", "::1"})
    answer = await ask(app, "/services", hosts=hosts)
    assert answer.status == 421
    assert b"echo" not in answer.body
    assert answer.headers["cache-control"] == "no-store"


async def test_any_name_is_served_where_names_are_not_ours() -> None:
    assert (await ask(build_app(Gateway()), "/healthz", hosts=["gateway.internal"])).status == 200


async def test_a_failing_view_is_a_plain_500_without_details() -> None:
    app = build_app(Gateway(broken=True))
    with pytest.raises(RuntimeError) as caught:
        await ask(app, "/services")
    assert "internal detail" in str(caught.value)
