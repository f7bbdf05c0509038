"""The table: immutable, comparable, and easy to read in a log."""

from __future__ import annotations

from typing import cast

import pytest

from gatewayd.routes.table import ApiKey, HttpTarget, Listen, Route, Service, Table, Tls


def test_listeners_read_as_urls() -> None:
    assert str(Listen("127.0.0.1", 8080)) == "http://127.0.0.1:8080"
    assert str(Listen("::1", 8443, Tls("c", "k"))) == "https://[::1]:8443"


def test_tables_are_equal_by_content_and_cannot_be_changed() -> None:
    service = Service("web", HttpTarget("http://a/", "http", "a", 80, "/"))
    routes = {"/mcp": Route("/mcp", ("web",))}
    table = Table(services={"web": service}, routes=routes)
    assert table == Table(services={"web": service}, routes={"/mcp": Route("/mcp", ("web",))})
    assert table != Table(services={"web": service})
    routes.clear()
    assert set(table.routes) == {"/mcp"}
    with pytest.raises(TypeError):
        cast("dict[str, Route]", table.routes)["/x"] = Route("/x", ("web",))


def test_key_hashes_are_not_shown() -> None:
    assert "feed" not in repr(ApiKey("alice", bytes.fromhex("feed" * 16)))
    assert "\\xfe" not in repr(ApiKey("alice", bytes.fromhex("feed" * 16)))
