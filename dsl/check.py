"""Rules on the whole configuration: one generator per rule. Rules on one kind of table are in `check_*`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs

from gatewayd.dsl import literals, terms
from gatewayd.dsl.check_gateway import GATEWAY_RULES
from gatewayd.dsl.check_routes import ROUTE_RULES
from gatewayd.dsl.check_services import SERVICE_RULES
from gatewayd.dsl.check_virtual import VIRTUAL_RULES
from gatewayd.dsl.diagnostics import Code, Finding, quote
from gatewayd.dsl.masking import clear_secrets
from gatewayd.dsl.model import TABLES
from gatewayd.dsl.world import Owned, World

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


def check(world: World, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Everything that is wrong, or unwise, about tables that are well-formed one by one."""
    for rule in _RULES:
        yield from rule(world)
    for service_rule in SERVICE_RULES:
        for name, owned in world.services.items():
            yield from service_rule(name, owned, environ)


def names(world: World) -> Iterator[Finding]:
    """Services and strategies have names that fit into logs, metrics and headers."""
    for group in (world.services, world.auth):
        for name, owned in group.items():
            if not NAME.fullmatch(name):
                fixed = re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-_")[:63]
                hint = f"did you mean `{fixed}`?" if NAME.fullmatch(fixed) else None
                message = f"{quote(name)} is not a name: lower-case letters, digits, `_` and `-`, at most 63"
                yield Finding(Code.BAD_NAME, message, owned.key(), hint)


def ranges(world: World) -> Iterator[Finding]:
    """Numbers are within what the model says of their keys."""
    for owned in (world.gateway, *world.services.values(), *world.routes.values()):
        if owned is not None:
            yield from _ranges(owned, owned.table, ())


def _ranges(owned: Owned[Any], table: attrs.AttrsInstance, steps: tuple[str, ...]) -> Iterator[Finding]:
    for field in attrs.fields(type(table)):
        value, path = getattr(table, field.name), (*steps, field.name)
        low, high = field.metadata["low"], field.metadata["high"]
        if low is not None and not low <= value <= high:
            spell: Callable[[Any], object] = _SPELL.get(field.type, str)
            message = f"{quote(spell(value))} is out of range: expected {spell(low)} to {spell(high)}"
            yield Finding(Code.RANGE, message, owned.value(*path))
        elif type(value) in TABLES:
            yield from _ranges(owned, value, path)


_SPELL: Mapping[Any, Callable[[Any], str]] = {
    terms.Duration: literals.spell_duration,
    terms.Size: literals.spell_size,
}


def clear(world: World) -> Iterator[Finding]:
    """Secrets do not stand in the configuration."""
    documents = {owned.document: None for owned in world.services.values()}
    if world.gateway is not None:
        documents[world.gateway.document] = None
    for document in documents:
        yield from clear_secrets(document)


def unused(world: World) -> Iterator[Finding]:
    """What nobody uses was probably meant to be used."""
    if not (world.complete and world.routes) or not all(
        r.sound("services") and r.sound("auth") for r in world.routes.values()
    ):
        return
    served = {name for route in world.routes.values() for name in route.table.services}
    asked = {name for route in world.routes.values() for name in route.table.auth or ()}
    for name, service in world.services.items():
        if name not in served:
            hint = f'add `services = ["{name}"]` to a route'
            yield Finding(Code.UNUSED_SERVICE, f"no route leads to the service {quote(name)}", service.place, hint)
    for name, strategy in world.auth.items():
        if name not in asked:
            hint = f'add `auth = ["{name}"]` to a route'
            yield Finding(Code.UNUSED_STRATEGY, f"no route uses the strategy {quote(name)}", strategy.place, hint)


_RULES: tuple[Callable[[World], Iterator[Finding]], ...] = (
    names,
    ranges,
    clear,
    unused,
    *GATEWAY_RULES,
    *ROUTE_RULES,
    *VIRTUAL_RULES,
)
