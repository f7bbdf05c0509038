"""Where URIs lead to, and under which URI what is where is reached."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.catalog.definitions import LONGEST_URI
from gatewayd.routes.shaping import Shape, Shapes
from tests.virtual.uri_scene import found, hide, places


def test_what_is_listed_leads_to_who_lists_it() -> None:
    where = places({"a": ["x:1", "x:2"], "b": ["x:1", "x:3"]})
    assert found(where, "x:1") == ("a", "x:1")
    assert found(where, "gatewayd://b/x:1") == ("b", "x:1")
    assert found(where, "x:3") == ("b", "x:3")


def test_what_is_not_listed_may_fit_a_template() -> None:
    where = places({"a": [], "b": ["x:u/listed"]}, {"a": ["x:{id}"], "b": ["x:u/{id}", "x:{id}"]})
    assert found(where, "x:7") == ("a", "x:7")
    assert found(where, "x:u/7") == ("b", "x:u/7")
    assert found(where, "gatewayd://b/x:7") == ("b", "x:7")


def test_a_scheme_that_one_service_uses_alone_leads_there() -> None:
    where = places({"a": ["x:1", "y:1"], "b": ["y:2"]})
    assert found(where, "x:other") == ("a", "x:other")
    assert found(where, "y:other") is None
    assert found(where, "z:other") is None
    assert found(where, "none") is None


def test_a_service_that_is_alone_gets_everything() -> None:
    where = places({"a": []})
    assert found(where, "z:any") == ("a", "z:any")
    assert where.expose("a", "z:any") == "z:any"


@pytest.mark.parametrize(
    "uri",
    [
        "gatewayd://c/x:1",
        "gatewayd://A/x:1",
        "ui://gatewayd/c/x",
        "GATEWAYD://a/x:1",
        "Gatewayd://a/x:1",
        "UI://GATEWAYD/a/x",
        "ui://Gatewayd/a/x",
        "gatewayd://a",
        "gatewayd://a/",
        "gatewayd://",
        "ui://gatewayd/",
    ],
)
@pytest.mark.parametrize("template", [None, "{+any}", "gatewayd:{+any}", "gatewayd://{+any}", "GATEWAYD:{+any}"])
def test_a_carrier_of_nobody_leads_nowhere(uri: str, template: str | None) -> None:
    where = places({"a": ["x:1", "gatewayd://mine/x"], "b": []}, {"a": [] if template is None else [template]})
    assert found(where, uri) is None


def test_a_service_that_is_alone_has_our_scheme_as_well() -> None:
    assert found(places({"a": []}), "gatewayd://c/x:1") == ("a", "gatewayd://c/x:1")


@pytest.mark.parametrize("uri", ["GATEWAYD://b/x:1", "gatewayd://b/x:1", "gatewayd://b", "UI://gatewayd/b/x:1"])
def test_what_looks_like_the_uri_of_another_service_is_shown_as_that_of_its_own(uri: str) -> None:
    where = places({"a": [uri], "b": ["x:1"]})
    assert where.expose("a", uri) == f"gatewayd://a/{uri}"
    assert found(where, f"gatewayd://a/{uri}") == ("a", uri)
    assert found(where, uri) in (None, ("b", "x:1"))


def test_a_uri_that_fits_no_header_leads_nowhere_and_is_shown_with_its_service() -> None:
    where = places({"a": ["x:1"], "b": []}, {"a": ["x:{+any}"]})
    longest = "x:" + "1" * (LONGEST_URI - 2)
    assert found(where, longest) == ("a", longest)
    assert found(where, longest + "1") is None
    assert where.expose("a", longest) == longest
    assert where.expose("a", longest + "1") == f"gatewayd://a/{longest}1"
    assert found(where, f"gatewayd://a/{longest}") is None


@pytest.mark.parametrize("conflicts", ["first", "error"])
def test_what_a_conflict_keeps_back_cannot_be_reached_through_its_service(conflicts: Any) -> None:
    where = places(
        {"a": ["x:1"], "b": ["x:1", "x:2", "y:u/listed"]},
        {"a": ["y:u/{id}"], "b": ["y:u/{id}"]},
        conflicts=conflicts,
    )
    for uri in ("x:1", "y:u/7"):
        assert found(where, f"gatewayd://b/{uri}") is None
    assert found(where, "gatewayd://b/x:2") == ("b", "x:2")
    listed = None if conflicts == "first" else ("b", "y:u/listed")  # where nobody has the template, nobody claims it
    assert found(where, "gatewayd://b/y:u/listed") == listed
    expected = ("a", "x:1") if conflicts == "first" else None
    assert found(where, "gatewayd://a/x:1") == expected
    assert found(where, "x:1") == expected


def test_what_is_kept_back_of_one_service_says_nothing_of_another() -> None:
    where = places({"a": ["x:1"], "b": ["x:1"], "c": ["z:1"]}, {"a": [], "b": [], "c": ["z:{+any}"]}, conflicts="first")
    assert found(where, "gatewayd://c/x:1") == ("c", "x:1")


@pytest.mark.parametrize(
    "uri", ["x:secret/1", "x:secret/2", "gatewayd://a/x:secret/1", "X:secret/1", "gatewayd://a/X:secret/1"]
)
@pytest.mark.parametrize("by", ["route", "service"])
def test_what_is_hidden_cannot_be_reached_by_another_name(uri: str, by: str) -> None:
    shapes: dict[str, Any] = {"shapes": hide("x:secret/*")} if by == "route" else {"of": {"a": hide("x:secret/*")}}
    where = places({"a": ["x:secret/1", "x:open"], "b": ["y:1"]}, {"a": ["x:secret/{id}", "x:{+any}"]}, **shapes)
    assert found(where, uri) is None
    assert found(where, "x:open") == ("a", "x:open")


def test_what_is_chosen_is_reached_under_every_name_that_clients_are_told() -> None:
    where = places({"a": ["x:1", "x:2"], "b": ["x:1"]}, shapes=Shapes(resources=Shape(only=("x:*",))))
    exposed = where.expose("b", "x:unlisted")
    assert found(where, exposed) == ("b", "x:unlisted")


def test_what_is_renamed_is_reached_by_its_new_name_alone() -> None:
    shape = Shapes(resources=Shape(rename={"x:1": "docs:one"}))
    where = places({"a": ["x:1"], "b": ["y:1"]}, shapes=shape)
    assert found(where, "docs:one") == ("a", "x:1")
    assert where.expose("a", "x:1") == "docs:one"


def test_a_renamed_template_is_expanded_as_its_service_knows_it() -> None:
    shape = Shapes(resources=Shape(rename={"x:{id}": "docs:{id}"}))
    where = places({"a": [], "b": []}, {"a": ["x:{id}"]}, shapes=shape)
    assert found(where, "docs:7") == ("a", "x:7")


def test_templates_are_known_by_the_name_that_clients_see() -> None:
    where = places({"a": [], "b": []}, {"a": ["x:{id}"], "b": ["x:{id}"]})
    place = where.template("gatewayd://b/x:{id}")
    assert place is not None
    assert (place.member.service, place.own) == ("b", "x:{id}")
    assert where.template("x:{nothing}") is None


def test_what_clients_may_fetch_themselves_keeps_its_uri() -> None:
    where = places({"a": ["x:1"], "b": ["x:1"]})
    assert where.expose("b", "https://example.org/x") == "https://example.org/x"


URIS = st.builds(
    "{}{}".format,
    st.sampled_from(["x:", "y:", "z:", "ui://", "gatewayd://a/", "gatewayd://b/x:", "ui://gatewayd/a/", ""]),
    st.text("ab/1:", min_size=1, max_size=4),
)
LISTS = st.lists(URIS, max_size=4, unique=True)
TEMPLATE_LISTS = st.lists(st.sampled_from(["x:{a}", "x:a/{a}", "y:{+a}", "{a}:b", "z:a"]), max_size=2, unique=True)


@given(LISTS, LISTS, TEMPLATE_LISTS, TEMPLATE_LISTS, st.sampled_from("ab"), URIS)
def test_what_is_exposed_leads_back(
    a: list[str], b: list[str], of_a: list[str], of_b: list[str], service: str, uri: str
) -> None:
    where = places({"a": a, "b": b}, {"a": of_a, "b": of_b})
    assert found(where, where.expose(service, uri)) == (service, uri)


@given(LISTS, TEMPLATE_LISTS, URIS)
def test_what_a_service_that_is_alone_exposes_leads_back(listed: list[str], templates: list[str], uri: str) -> None:
    where = places({"a": listed}, {"a": templates})
    assert found(where, where.expose("a", uri)) == ("a", uri)
