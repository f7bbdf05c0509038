"""Several lists as one: what is in it, under which name, and what is said of the rest."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.catalog.definitions import Item
from gatewayd.catalog.kinds import PROMPTS, RESOURCES, TEMPLATES, TOOLS, Kind
from gatewayd.catalog.listing import Listing
from gatewayd.routes.lock import pin
from gatewayd.routes.shaping import Override, Shape, Shapes
from gatewayd.routes.virtual import Conflicts, Member, Virtual
from gatewayd.virtual import merge as module
from gatewayd.virtual.merge import Part, View, merge

Raw = dict[str, Any]


def listing(kind: Kind, *items: str | Raw) -> Listing:
    raws: list[Raw] = [item if isinstance(item, dict) else {kind.key: item} for item in items]
    return Listing(kind, tuple(Item(raw[kind.key], json.dumps(raw).encode()) for raw in raws), ())


def merged(kind: Kind, lists: dict[str, list[Any]], prefixed: bool = True, **changes: Any) -> View:
    of: dict[str, Shapes] = changes.pop("of", {})
    pins, expose = changes.pop("pins", {}), changes.pop("expose", None)
    members = tuple(Member(name, name if prefixed else "", of.get(name, Shapes())) for name in lists)
    gone: tuple[str, ...] = changes.pop("gone", ())
    parts = [Part(one, listing(kind, *lists[one.service]), one.service in gone) for one in members]
    return merge(kind, parts, attrs.evolve(Virtual(members), **changes), pins, expose)


def seen(view: View) -> list[tuple[str, str, str]]:
    return [(entry.name, entry.member.service, entry.own) for entry in view.entries]


def names(view: View) -> list[str]:
    for entry in view.entries:
        assert json.loads(entry.raw)[view.kind.key] == entry.name
    return [entry.name for entry in view.entries]


def withheld(view: View) -> list[tuple[str, str]]:
    return [(report.service, report.name) for report in view.reports if report.withheld]


def test_the_order_is_that_of_the_configuration_then_of_the_service() -> None:
    view = merged(TOOLS, {"b": ["y", "x"], "a": ["x"]})
    assert seen(view) == [("b__y", "b", "y"), ("b__x", "b", "x"), ("a__x", "a", "x")]
    assert view.names["a__x"].member.service == "a"
    assert view.shown_as["b", "x"] == "b__x"


@pytest.mark.parametrize("conflicts", ["prefix", "first", "error"])
def test_the_names_of_a_service_that_is_gone_stay_its_own(conflicts: Any) -> None:
    view = merged(TOOLS, {"a": ["x"], "b": ["x", "y"]}, prefixed=False, conflicts=conflicts, gone=("a",))
    assert "x" not in names(view)
    assert names(view) == (["b__x", "y"] if conflicts == "prefix" else ["y"])
    uris = merged(RESOURCES, {"a": ["x:1"], "b": ["x:1"]}, conflicts=conflicts, gone=("a",))
    assert names(uris) == (["gatewayd://b/x:1"] if conflicts == "prefix" else [])


def test_what_a_gateway_behind_us_has_renamed_is_renamed_once_more() -> None:
    uri = "gatewayd://files/file:///x"
    assert names(merged(RESOURCES, {"a": [uri], "b": [uri]})) == [f"gatewayd://a/{uri}", f"gatewayd://b/{uri}"]
    assert names(merged(RESOURCES, {"a": [uri]})) == [uri]


def test_definitions_that_do_not_change_keep_every_byte() -> None:
    raw = b'{ "name" : "x" , "n":1.0 }'
    view = merge(TOOLS, [Part(Member("a"), Listing(TOOLS, (Item("x", raw),), ()))], Virtual((Member("a"),)), {})
    assert view.entries[0].raw is raw


def test_names_become_what_every_host_accepts() -> None:
    for name in names(merged(TOOLS, {"a": ["x/y.z", "x" * 128], "b": ["x_y"]})):
        assert len(name) <= 64
        assert name.replace("_", "").replace("-", "").isalnum()


def test_uris_get_no_prefix() -> None:
    assert names(merged(RESOURCES, {"a": ["x:1"], "b": ["x:2"]})) == ["x:1", "x:2"]


def test_services_hide_under_their_own_names_and_routes_under_those_of_clients() -> None:
    of = {"a": Shapes(tools=Shape(hide=("x",)))}
    view = merged(TOOLS, {"a": ["x", "y"], "b": ["x", "y"]}, of=of, shapes=Shapes(tools=Shape(hide=("b__y",))))
    assert names(view) == ["a__y", "b__x"]
    assert view.reports == ()


def test_names_are_exchanged_by_the_service_first_and_then_by_the_route() -> None:
    of = {"a": Shapes(tools=Shape(rename={"x": "z"}))}
    view = merged(TOOLS, {"a": ["x"], "b": ["x"]}, of=of, shapes=Shapes(tools=Shape(rename={"a__z": "best"})))
    assert seen(view) == [("best", "a", "x"), ("b__x", "b", "x")]


def test_the_route_has_the_last_word_on_what_is_said() -> None:
    said = Override(title="A", description="first", annotations=(("readOnlyHint", True), ("tags", ("p", "q"))))
    of = {"a": Shapes(tools=Shape(override={"x": said}))}
    shapes = Shapes(tools=Shape(override={"a__x": Override(description="last")}))
    raw = {"name": "x", "description": "own", "annotations": {"readOnlyHint": False, "openWorldHint": True}, "z": 1}
    (entry,) = merged(TOOLS, {"a": [raw]}, of=of, shapes=shapes).entries
    assert json.loads(entry.raw) == {
        "name": "a__x",
        "title": "A",
        "description": "last",
        "annotations": {"readOnlyHint": True, "openWorldHint": True, "tags": ["p", "q"]},
        "z": 1,
    }


@pytest.mark.parametrize(
    ("conflicts", "expected", "kept_back"),
    [
        ("prefix", ["x", "y", "b__x", "c__x"], []),
        ("first", ["x", "y"], [("b", "x"), ("c", "x")]),
        ("error", ["y"], [("a", "x"), ("b", "x"), ("c", "x")]),
    ],
)
def test_names_that_are_taken(conflicts: Conflicts, expected: list[str], kept_back: list[tuple[str, str]]) -> None:
    lists: dict[str, list[Any]] = {"a": ["x"], "b": ["y", "x"], "c": ["x"]}
    view = merged(TOOLS, lists, prefixed=False, conflicts=conflicts)
    assert names(view) == expected
    assert withheld(view) == kept_back
    assert {(report.service, report.name) for report in view.reports} >= {("b", "x"), ("c", "x")}


@pytest.mark.parametrize(
    ("conflicts", "expected"),
    [("prefix", ["x:{a}", "gatewayd://b/x:{a}"]), ("first", ["x:{a}"]), ("error", [])],
)
def test_uris_that_are_taken(conflicts: Conflicts, expected: list[str]) -> None:
    assert names(merged(TEMPLATES, {"a": ["x:{a}"], "b": ["x:{a}"]}, conflicts=conflicts)) == expected


def test_a_prefix_that_is_taken_as_well_or_hidden_is_no_way_out() -> None:
    uris: dict[str, list[Any]] = {"a": ["x:1", "gatewayd://b/x:1"], "b": ["x:1", "gatewayd://b/x:1"]}
    assert len(names(merged(RESOURCES, uris))) == len(set(names(merged(RESOURCES, uris))))
    hidden = Shapes(tools=Shape(hide=("b__*",)))
    assert withheld(merged(TOOLS, {"a": ["x"], "b": ["x"]}, prefixed=False, shapes=hidden)) == [("b", "x")]


def test_a_service_cannot_take_a_name_with_the_prefix_of_another() -> None:
    view = merged(TOOLS, {"a": ["b__x"], "b": ["x"], "a-b": ["x"]})
    assert seen(view) == [("a__b__x", "a", "b__x"), ("b__x", "b", "x"), ("a-b__x", "a-b", "x")]


@pytest.mark.parametrize("order", [("bank", "evil"), ("evil", "bank")])
def test_a_service_without_a_prefix_cannot_take_names_of_one_that_has_one(order: tuple[str, str]) -> None:
    bank, evil = Member("bank", "b"), Member("evil")
    of = {
        "bank": Part(bank, listing(TOOLS, "transfer")),
        "evil": Part(evil, listing(TOOLS, "b__transfer", "bank__x", "x")),
    }
    virtual = Virtual((bank, evil))
    assert set(names(merge(TOOLS, [of[name] for name in order], virtual, {}))) == {"b__transfer", "x"}
    gone = merge(TOOLS, [of["evil"]], virtual, {})
    assert names(gone) == ["x"]
    assert withheld(gone) == [("evil", "b__transfer"), ("evil", "bank__x")]
    shape = Shapes(tools=Shape(rename={"x": "b__x"}))
    named = merge(TOOLS, [of["bank"], of["evil"]], attrs.evolve(virtual, shapes=shape), {})
    assert "b__x" in names(named)  # the configuration may


def test_no_service_takes_the_prefix_of_another_by_a_name_of_the_configuration_for_itself() -> None:
    of = {"evil": Shapes(tools=Shape(rename={"x": "bank__x"}))}
    view = merged(TOOLS, {"bank": ["x"], "evil": ["x", "y"]}, prefixed=False, of=of)
    assert names(view) == ["x", "y"]
    assert withheld(view) == [("evil", "x")]


def test_prompts_cannot_begin_like_those_of_another_service_and_uris_may() -> None:
    lists: dict[str, list[Any]] = {"bank": ["x"], "evil": ["bank__y", "bank_y", "bank"]}
    assert names(merged(PROMPTS, lists, prefixed=False)) == ["x", "bank_y", "bank"]
    assert names(merged(RESOURCES, {"bank": ["x:1"], "evil": ["bank__y:1"]}, prefixed=False)) == ["x:1", "bank__y:1"]


def test_a_service_that_is_alone_may_use_any_name() -> None:
    assert names(merged(TOOLS, {"a": ["a__x"]}, prefixed=False)) == ["a__x"]


def test_the_expressions_of_a_template_cannot_be_renamed() -> None:
    shape = Shape(rename={"x:{id}": "docs:{number}", "y:{id}": "docs:{id}"})
    view = merged(TEMPLATES, {"a": ["x:{id}", "y:{id}"]}, shapes=Shapes(resources=shape))
    assert names(view) == ["x:{id}", "docs:{id}"]
    assert [(r.name, r.reason, r.withheld) for r in view.reports] == [
        ("x:{id}", "its expressions cannot be renamed", False)
    ]


def test_the_weight_of_a_long_list_is_estimated_from_its_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    tools = [{"name": f"tool{number:02}", "description": "what it does, in some words"} for number in range(40)]
    exact = merged(TOOLS, {"a": list(tools)}).tokens
    monkeypatch.setattr(module, "SAMPLE", 10)
    long = merged(TOOLS, {"a": list(tools)})
    assert long.tokens == exact
    assert long.size == sum(len(entry.raw) for entry in long.entries)
    part = merged(TOOLS, {"a": list(tools[:10])})
    assert long.tokens == pytest.approx(4 * part.tokens, abs=2)


def test_an_empty_list_weighs_nothing() -> None:
    view = merged(TOOLS, {"a": []})
    assert (view.tokens, view.size) == (0, 0)


PINS = {"a": {"same": pin({"description": "d"}), "other": pin({"description": "d"})}}
LOCKED: dict[str, list[Any]] = {
    "a": [{"name": "same", "description": "d"}, {"name": "other", "description": "e"}, {"name": "new"}],
    "b": [{"name": "same", "description": "d"}],
}


def test_an_enforced_lock_keeps_back_what_was_not_approved() -> None:
    view = merged(TOOLS, LOCKED, pins=PINS, lock="enforce")
    assert names(view) == ["a__same"]
    assert [(r.service, r.name, r.reason) for r in view.reports] == [
        ("a", "other", "lock: has changed: description"),
        ("a", "new", "lock: is new"),
        ("b", "same", "lock: is new, and shadows that of a"),
    ]


def test_a_lock_that_warns_keeps_nothing_back() -> None:
    view = merged(TOOLS, LOCKED, pins=PINS, lock="warn")
    assert len(view.entries) == 4
    assert len(view.reports) == 3
    assert not withheld(view)


def test_a_lock_is_about_tools_alone() -> None:
    assert names(merged(PROMPTS, {"a": ["x"]}, pins=PINS, lock="enforce")) == ["a__x"]
    assert not merged(TOOLS, LOCKED, pins=PINS, lock="off").reports


def test_interfaces_are_found_under_the_uri_that_clients_reach() -> None:
    ui = {"name": "x", "_meta": {"ui": {"resourceUri": "ui://w", "csp": 1}, "v": 2}}
    other = {"name": "y", "_meta": {"ui": {"resourceUri": 7}}, "description": "resourceUri"}
    view = merged(TOOLS, {"a": [ui, other]}, prefixed=False, expose=lambda service, uri: f"{uri}-{service}")
    assert json.loads(view.entries[0].raw) == {
        "name": "x",
        "_meta": {"ui": {"resourceUri": "ui://w-a", "csp": 1}, "v": 2},
    }
    assert json.loads(view.entries[1].raw) == other
    same = merged(TOOLS, {"a": [ui]}, prefixed=False, expose=lambda service, uri: uri)
    assert json.loads(same.entries[0].raw) == ui


def test_lists_in_which_clients_see_the_same_have_one_digest() -> None:
    one, other = merged(TOOLS, {"a": ["x", "y"]}), merged(TOOLS, {"a": ["x", "y"]})
    assert one.digest == other.digest
    assert one.digest != merged(TOOLS, {"a": ["y", "x"]}).digest
    assert one.digest != merged(TOOLS, {"a": ["x"]}).digest


NAMES = st.lists(st.sampled_from(["x", "y", "a__x", "b__x", "b", "_x", "a"]), unique=True, max_size=5)


@given(NAMES, NAMES, st.booleans(), st.sampled_from(["prefix", "first", "error"]))
def test_a_name_means_one_thing_and_everything_is_shown_or_reported(
    a: list[str], b: list[str], prefixed: bool, conflicts: Conflicts
) -> None:
    view = merged(TOOLS, {"a": list(a), "b": list(b)}, prefixed=prefixed, conflicts=conflicts)
    assert len(set(names(view))) == len(view.entries)
    shown = [(entry.member.service, entry.own) for entry in view.entries]
    every = [("a", name) for name in a] + [("b", name) for name in b]
    assert sorted(shown + withheld(view)) == sorted(every)
    if prefixed:
        assert not withheld(view)
