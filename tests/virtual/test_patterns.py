"""Templates of several services: whose an unlisted URI is, and whose a listed one was already."""

from __future__ import annotations

import pytest

from gatewayd.catalog.kinds import RESOURCES, TEMPLATES
from gatewayd.routes.shaping import Shape, Shapes
from gatewayd.virtual import patterns as module
from gatewayd.virtual.merge import View
from gatewayd.virtual.patterns import MOST_TEMPLATES, Patterns
from tests.virtual.uri_scene import Lists, found, merged, patterns, places, virtual_of


def led(where: Patterns, uri: str) -> tuple[str, str] | None:
    place = where.find(uri)
    return None if place is None else (place[0].service, place[1])


def shown(resources: Lists, templates: Lists, conflicts: str = "prefix") -> View:
    virtual = virtual_of(resources, conflicts=conflicts)
    claiming = Patterns(virtual, merged(TEMPLATES, templates, virtual))
    return merged(RESOURCES, resources, virtual, claiming)


def names(view: View) -> list[str]:
    return [entry.name for entry in view.entries]


def test_no_service_takes_from_one_before_it_by_being_more_specific() -> None:
    where = patterns({"bank": ["x:{+any}"], "evil": ["x:accounts/{id}"]})
    assert led(where, "x:accounts/7") == ("bank", "x:accounts/7")
    other = patterns({"evil": ["x:accounts/{id}"], "bank": ["x:{+any}"]})
    assert led(other, "x:accounts/7") == ("evil", "x:accounts/7")
    assert led(other, "x:7") == ("bank", "x:7")


def test_of_one_service_the_most_specific_template_is_meant() -> None:
    shapes = Shapes(resources=Shape(rename={"x:{+any}": "docs:{+any}", "x:u/{id}": "docs:u/{id}"}))
    for order in (["x:{+any}", "x:u/{id}"], ["x:u/{id}", "x:{+any}"]):
        where = patterns({"a": order, "b": []}, shapes=shapes)
        assert led(where, "docs:u/7") == ("a", "x:u/7")
        assert led(where, "docs:7/8") == ("a", "x:7/8")


def test_what_fits_nothing_is_nobodys() -> None:
    where = patterns({"a": ["x:{id}"], "b": []})
    assert led(where, "x:1/2") is None
    assert where.find_wild("x:1/2") is None


def test_a_template_that_says_nothing_of_the_beginning_is_asked_last() -> None:
    where = places({"a": [], "b": ["y:1"], "c": []}, {"a": ["{+any}"], "c": ["z:{id}"]})
    assert found(where, "z:7") == ("c", "z:7")
    assert found(where, "y:other") == ("b", "y:other")
    assert found(where, "w:other") == ("a", "w:other")
    assert found(where, "gatewayd://b/w:other") == ("b", "w:other")


def test_a_template_that_says_nothing_of_the_beginning_takes_nothing_that_is_listed() -> None:
    assert names(shown({"a": [], "b": ["y:1"]}, {"a": ["{+any}"]})) == ["y:1"]


def test_of_very_many_templates_the_first_ones_are_asked() -> None:
    flood = [f"x:{number}/{{id}}" for number in range(MOST_TEMPLATES + 1)]
    where = patterns({"evil": flood, "bank": ["y:{id}"]})
    assert led(where, f"x:{MOST_TEMPLATES - 1}/a") == ("evil", f"x:{MOST_TEMPLATES - 1}/a")
    assert led(where, f"x:{MOST_TEMPLATES}/a") is None
    assert led(where, "y:7") == ("bank", "y:7")


def test_what_a_service_lists_may_be_what_one_before_it_has_a_template_for() -> None:
    bank, evil = "x:accounts/{id}", "x:accounts/7"
    view = shown({"bank": [], "evil": [evil, "x:other"]}, {"bank": [bank]})
    assert names(view) == ["gatewayd://evil/x:accounts/7", "x:other"]
    (report,) = view.reports
    assert (report.service, report.name, report.withheld) == ("evil", evil, False)
    where = places({"bank": [], "evil": [evil]}, {"bank": [bank]})
    assert found(where, evil) == ("bank", evil)
    assert found(where, f"gatewayd://evil/{evil}") == ("evil", evil)
    assert where.expose("evil", evil) == f"gatewayd://evil/{evil}"


@pytest.mark.parametrize("conflicts", ["first", "error"])
def test_what_a_service_before_it_has_a_template_for_is_kept_back_where_names_are_not_changed(conflicts: str) -> None:
    view = shown({"bank": [], "evil": ["x:accounts/7", "x:other"]}, {"bank": ["x:accounts/{id}"]}, conflicts)
    assert names(view) == ["x:other"]
    assert [(report.service, report.name, report.withheld) for report in view.reports] == [
        ("evil", "x:accounts/7", True)
    ]


@pytest.mark.parametrize("conflicts", ["prefix", "first", "error"])
def test_no_template_takes_what_a_service_before_it_lists_or_its_own_does(conflicts: str) -> None:
    view = shown({"bank": ["x:accounts/7"], "evil": ["x:accounts/8"]}, {"evil": ["x:accounts/{id}"]}, conflicts)
    assert names(view) == ["x:accounts/7", "x:accounts/8"]
    assert not view.reports


def test_what_would_take_too_long_to_find_out_is_another_services(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_CHECKS", 3)
    templates = {"a": ["x:1/{id}", "x:2/{id}"]}
    assert names(shown({"a": ["y:1", "y:2"], "b": ["z:1", "z:2", "z:3"]}, templates)) == [
        "y:1",
        "y:2",
        "z:1",
        "gatewayd://b/z:2",
        "gatewayd://b/z:3",
    ]


@pytest.mark.parametrize("conflicts", ["prefix", "first", "error"])
def test_who_lists_very_much_takes_nothing_from_those_after_it(conflicts: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_CHECKS", 10)
    flood = [f"e:{number}" for number in range(100)]
    view = shown({"alpha": [], "evil": flood, "bank": ["y:1"]}, {"alpha": ["x:{id}"]}, conflicts)
    assert [entry.name for entry in view.entries if entry.member.service == "bank"] == ["y:1"]


@pytest.mark.parametrize(
    ("own", "name", "uri", "expanded"),
    [
        ("x:{id}", "docs:{id}", "docs:7", "x:7"),
        ("x:{id}/raw", "docs://long/er/{id}/raw", "docs://long/er/7/raw", "x:7/raw"),
        ("x://very/long/{a}/{b}", "d:{a}/{b}", "d:1/2", "x://very/long/1/2"),
        ("x:one", "docs:one", "docs:one", "x:one"),
    ],
)
def test_what_fits_a_renamed_template_is_asked_for_in_the_words_of_its_service(
    own: str, name: str, uri: str, expanded: str
) -> None:
    where = patterns({"a": [own], "b": []}, shapes=Shapes(resources=Shape(rename={own: name})))
    assert led(where, uri) == ("a", expanded)
    assert led(where, expanded) is None


def test_what_fits_a_template_that_carries_its_service_is_asked_for_without_that() -> None:
    where = patterns({"a": ["x:{id}"], "b": ["x:{id}"]})
    assert led(where, "gatewayd://b/x:7") == ("b", "x:7")
