"""What a choice shows; and that nobody can change it afterwards."""

from __future__ import annotations

from typing import cast

import pytest

from gatewayd.routes.shaping import Override, Shape, Shapes


@pytest.mark.parametrize(
    ("shape", "shown"),
    [
        (Shape(), {"get", "delete", "delete_all"}),
        (Shape(only=("get", "delete*")), {"get", "delete", "delete_all"}),
        (Shape(only=("get",)), {"get"}),
        (Shape(only=()), set()),
        (Shape(hide=("delete*",)), {"get"}),
        (Shape(only=("delete*",), hide=("*_all",)), {"delete"}),
        (Shape(rename={"get": "fetch"}), {"get", "delete", "delete_all"}),
    ],
)
def test_what_is_shown(shape: Shape, shown: set[str]) -> None:
    assert {name for name in ("get", "delete", "delete_all") if shape.shows(name)} == shown


def test_each_kind_has_its_choice() -> None:
    shapes = Shapes(Shape(hide=("a",)), Shape(hide=("b",)), Shape(hide=("c",)))
    assert [shapes.of("tools").hide, shapes.of("prompts").hide, shapes.of("resources").hide] == [("a",), ("b",), ("c",)]


def test_shapes_are_equal_by_content_and_cannot_be_changed() -> None:
    names, overrides = {"a": "b"}, {"a": Override(title="A")}
    shape = Shape(rename=names, override=overrides)
    assert shape == Shape(rename={"a": "b"}, override={"a": Override(title="A")})
    names.clear()
    overrides.clear()
    assert dict(shape.rename) == {"a": "b"}
    assert dict(shape.override) == {"a": Override(title="A")}
    with pytest.raises(TypeError):
        cast("dict[str, str]", shape.rename)["x"] = "y"
