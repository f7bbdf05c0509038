"""What the configuration hides stays hidden, however a client spells it: servers take many spellings for the same."""

from __future__ import annotations

from typing import Any

import pytest

from gatewayd.routes.shaping import Shape, Shapes
from gatewayd.virtual import reach
from gatewayd.virtual.places import Places
from tests.virtual.uri_scene import found, hide, only, places

FILE = "file:///secret/key"
DOCS = "docs://host/secret/key"
SPELLINGS = [
    "file:///secret/key?x=1",
    "file:///secret/key#x",
    "file:///secret/key/",
    "file:///secret/key//",
    "file:////secret/key",
    "file:///secret//key",
    "file:/secret/key",
    "file:/secret//key/",
    "file://localhost/secret/key",
    "file://LOCALHOST/secret/key",
    "FILE:///secret/key",
    "File:/secret/key?",
    "file:///%73ecret/key",
    "file:///%2573ecret/key",
    "file:///%252573ecret/key",
    "file:///secret%2Fkey",
    "file:///secret/key%3Fx",
    "file:%2F%2F/secret/key",
    "file:///open/../secret/key",
    "file:///open/%2e%2e/secret/key",
    "file:///open/%252E%252e/secret/key",
    "file:///open\\..\\secret/key",
    "file:///./secret/key",
    "file:///secret/key/.",
    "docs://HOST/secret/key",
    "Docs://Host/secret//key/",
    "DOCS://host/%73ecret/key?a=b#c",
]


def hiding(by: str, *patterns: str) -> Places:
    shapes: dict[str, Any] = {"shapes": hide(*patterns)} if by == "route" else {"of": {"a": hide(*patterns)}}
    resources = {"a": [FILE, DOCS, "file:///open", "docs://host/open"], "b": ["y:1"]}
    return places(resources, {"a": ["file:{+path}", "docs:{+path}", "{+any}"]}, **shapes)


@pytest.mark.parametrize("uri", [FILE, DOCS, *SPELLINGS])
@pytest.mark.parametrize("by", ["route", "service"])
@pytest.mark.parametrize("patterns", [(FILE, DOCS), ("file:///secret/*", "docs://host/secret/*")])
def test_what_is_hidden_is_hidden_in_every_spelling(uri: str, by: str, patterns: tuple[str, ...]) -> None:
    where = hiding(by, *patterns)
    assert found(where, uri) is None
    assert found(where, f"gatewayd://a/{uri}") is None
    assert found(where, "file:///open") == ("a", "file:///open")
    assert found(where, "docs://HOST/open?x") == ("a", "docs://HOST/open?x")


@pytest.mark.parametrize(
    ("hidden", "uri"),
    [
        ("docs://Host/secret", "docs://host/secret"),
        ("docs://Host/secret", "docs://HOST/secret"),
        ("FILE:///secret", "file:///secret"),
        ("file:///secret/", "file:///secret"),
        ("file:///secret/", "file:////secret/"),
        ("file://localhost/secret", "file:///secret"),
        ("file:/secret", "file:///secret"),
        ("file:///my%20secret", "file:///my secret"),
        ("file:///my%20secret", "file:///%6dy%20secret"),
        ("db://q?table=secret", "db://q?table=secret#x"),
        ("db://q?table=secret", "db://Q?table=secret"),
        ("db://q?table=secret", "db://q/?table=secret"),
        ("x:secret#part", "x:secret#part?"),
    ],
)
@pytest.mark.parametrize("by", ["route", "service"])
def test_what_is_hidden_as_its_service_lists_it_is_hidden_in_every_spelling(hidden: str, uri: str, by: str) -> None:
    assert found(hiding(by, hidden), hidden) is None
    assert found(hiding(by, hidden), f"gatewayd://a/{hidden}") is None
    assert found(hiding(by, hidden), f"gatewayd://a/{uri}") is None


def test_a_route_hides_what_one_of_its_services_has_and_not_what_another_one_has() -> None:
    where = places({"a": ["x:1", "x:2"], "b": ["x:1"]}, shapes=hide("gatewayd://b/x:*"))
    assert found(where, "x:1") == ("a", "x:1")
    assert found(where, "gatewayd://a/x:1") == ("a", "x:1")
    for uri in ("x:1", "x:unlisted", "X:1"):
        assert found(where, f"gatewayd://b/{uri}") is None


def test_interfaces_are_hidden_under_the_uri_that_carries_them() -> None:
    where = places({"a": ["ui://w"], "b": ["ui://w", "y:1"]}, shapes=hide("ui://gatewayd/b/*"))
    assert found(where, "ui://w") == ("a", "ui://w")
    assert found(where, "ui://gatewayd/b/w") is None


@pytest.mark.parametrize(
    ("shapes", "reached"),
    [
        (only("gatewayd://b/x:*"), {"b"}),
        (only("gatewayd://b/x:1", "gatewayd://a/x:1"), {"a", "b"}),
        (only("x:1"), {"a", "b"}),
        (only("y:*"), set[str]()),
    ],
)
def test_what_a_route_chooses_by_service_is_reached_there_alone(shapes: Shapes, reached: set[str]) -> None:
    where = places({"a": ["x:9"], "b": ["x:8"]}, {"b": ["x:{id}"]}, shapes=shapes)
    led = {service for service in "ab" if found(where, f"gatewayd://{service}/x:1") == (service, "x:1")}
    assert led == reached


@pytest.mark.parametrize(
    "uri",
    [
        "file:///secret",
        "file:///open/../secret",
        "file:///open/%2e%2e/secret",
        "file:///open/%252e%252e/secret",
        "file:///open\\..\\secret",
        "file:/secret",
        "FILE:///secret",
    ],
)
@pytest.mark.parametrize("by", ["route", "service"])
def test_what_is_not_chosen_is_not_reached_by_another_spelling(uri: str, by: str) -> None:
    shape = only("file:///open/*")
    shapes: dict[str, Any] = {"shapes": shape} if by == "route" else {"of": {"a": shape}}
    where = places({"a": ["file:///open/1", "file:///secret"], "b": ["y:1"]}, {"a": ["file:{+path}"]}, **shapes)
    assert found(where, f"gatewayd://a/{uri}") is None
    assert found(where, "gatewayd://a/file:///open/2") == ("a", "file:///open/2")


def test_where_nothing_is_hidden_every_spelling_is_the_services_own_business() -> None:
    where = places({"a": ["file:///x"], "b": ["y:1"]})
    assert found(where, "file:///open/../x") == ("a", "file:///open/../x")


@pytest.mark.parametrize("uri", ["db://users", "db://users?x", "DB://users", "db://%75sers"])
@pytest.mark.parametrize("alone", [True, False])
def test_what_fits_a_hidden_template_is_reached_where_it_is_listed_alone(uri: str, alone: bool) -> None:
    resources = {"a": ["db://open"]} if alone else {"a": ["db://open"], "b": ["y:1"]}
    where = places(resources, {"a": ["db://{table}"]}, of={"a": hide("db://{table}")})
    assert found(where, "db://open") == ("a", "db://open")
    assert found(where, uri) is None


@pytest.mark.parametrize("uri", ["x:1", "X:1", "x:%31", "x:1#", "x:1/"])
def test_what_a_conflict_withholds_is_withheld_in_every_spelling(uri: str) -> None:
    where = places({"a": ["x:1"], "b": ["x:1", "x:2"]}, conflicts="first")
    assert found(where, f"gatewayd://b/{uri}") is None
    assert found(where, "gatewayd://b/x:3") == ("b", "x:3")


def test_of_a_service_with_very_many_withheld_templates_only_what_is_listed_is_reached(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reach, "MOST_TEMPLATES", 1)
    templates = ["x:{a}", "y:{b}"]
    where = places({"a": ["w:1"], "b": ["z:1"]}, {"a": templates, "b": templates}, conflicts="first")
    assert found(where, "gatewayd://a/z:2") == ("a", "z:2")
    assert found(where, "gatewayd://b/z:1") == ("b", "z:1")
    assert found(where, "gatewayd://b/z:2") is None


def test_where_something_is_hidden_a_uri_of_countless_queries_is_not_looked_at() -> None:
    strange = "docs://host/open" + 9 * "?"
    assert found(hiding("service", DOCS), f"gatewayd://a/{strange}") is None
    assert found(places({"a": ["y:1"], "b": ["y:2"]}), f"gatewayd://a/{strange}") == ("a", strange)
    withholding = places({"a": ["x:1"], "b": ["x:1"]}, conflicts="first")
    assert found(withholding, f"gatewayd://b/{strange}") is None


def test_a_route_hides_what_a_service_calls_otherwise() -> None:
    renamed = {"a": Shapes(resources=Shape(rename={"docs://host/key": "docs://host/chapter"}))}
    where = places({"a": ["docs://host/key"], "b": ["y:1"]}, of=renamed, shapes=hide("docs://host/chapter"))
    for uri in ("docs://host/key", "docs://HOST/key/", "docs://host/chapter"):
        assert found(where, f"gatewayd://a/{uri}") is None
