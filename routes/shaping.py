"""What of a service's tools, prompts and resources is shown, and how: chosen, renamed, described anew."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import attrs

from gatewayd.routes.globs import any_matches

ShapedKind = Literal["tools", "prompts", "resources"]
Annotation = bool | str | float | tuple[str, ...]
"""Value of an annotation; a tuple is an array in JSON."""


def _frozen_names(value: Mapping[str, str]) -> Mapping[str, str]:
    return MappingProxyType(dict(value))


@attrs.frozen
class Override:
    """What is said of one thing in the place of what its server says."""

    title: str | None = None
    description: str | None = None
    annotations: tuple[tuple[str, Annotation], ...] = ()
    """Name and value; what is not named here stays as the server has it."""


def _frozen_overrides(value: Mapping[str, Override]) -> Mapping[str, Override]:
    return MappingProxyType(dict(value))


@attrs.frozen
class Shape:
    """A choice. Names are those before `rename`; of resources they are URIs and URI templates."""

    only: tuple[str, ...] | None = None
    """Patterns of what is shown; None: everything."""
    hide: tuple[str, ...] = ()
    """Patterns of what is not, whatever `only` says."""
    rename: Mapping[str, str] = attrs.field(factory=dict[str, str], converter=_frozen_names)
    override: Mapping[str, Override] = attrs.field(factory=dict[str, Override], converter=_frozen_overrides)

    def chooses(self, name: str) -> bool:
        """Whether `only` lets it through."""
        return self.only is None or any_matches(self.only, name)

    def hides(self, name: str) -> bool:
        """Whether `hide` keeps it back."""
        return any_matches(self.hide, name)

    def shows(self, name: str) -> bool:
        """Whether the thing may be seen and used."""
        return self.chooses(name) and not self.hides(name)


@attrs.frozen
class Shapes:
    """One choice for each kind."""

    tools: Shape = Shape()
    prompts: Shape = Shape()
    resources: Shape = Shape()

    def of(self, kind: ShapedKind) -> Shape:
        """The choice among things of that kind."""
        shape: Shape = getattr(self, kind)
        return shape
