"""TOML values -> model. Every fault of a document is found in one pass, each with its key path.

What is faulty is then taken out and the rest built again, so that the checks across tables still see all
that is right; `Structured.broken` says what is missing, so that they do not complain about it a second time.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from functools import partial
from typing import Any, Generic, Literal, TypeVar, cast, get_args, get_origin

import attrs
from cattrs import (
    AttributeValidationNote,
    BaseValidationError,
    ClassValidationError,
    Converter,
    ForbiddenExtraKeysError,
    IterableValidationError,
    IterableValidationNote,
)
from cattrs.gen import make_dict_structure_fn

from gatewayd.dsl import later, model, model_gateway, terms, values
from gatewayd.dsl.addresses import Address, Url
from gatewayd.dsl.diagnostics import Code, Fault, quote
from gatewayd.dsl.spans import KeyPath
from gatewayd.dsl.suggest import did_you_mean

T = TypeVar("T")
M = TypeVar("M", bound=attrs.AttrsInstance)
Raw = dict[str, Any]
"""A TOML table as `tomllib` gives it."""

_BELONGS = {"args": "arguments belong in `command`, after the program"}


@attrs.frozen
class Structured(Generic[M]):
    """A model and what had to be left out of it."""

    model: M
    faults: tuple[tuple[KeyPath, Fault], ...]
    broken: frozenset[KeyPath]


def structure(raw: Mapping[str, Any], kind: type[M]) -> Structured[M]:
    """Build the model of one document. Never raises: what is wrong is in `faults`.

    Every key of `kind` itself has a default, so that something remains when all of the document is wrong.
    """
    rest: Raw = copy.deepcopy(dict(raw))
    faults: tuple[tuple[KeyPath, Fault], ...] | None = None
    broken: set[KeyPath] = set()
    while True:
        try:
            built = converter.structure(rest, kind)
        except BaseValidationError as error:
            found = tuple(_walk(error, (), kind))
            faults = found if faults is None else faults
            for path, fault in found:
                broken.add(_take_out(rest, path, fault))
        else:
            return Structured(built, faults or (), frozenset(broken))


def _take_out(rest: Raw, path: KeyPath, fault: Fault) -> KeyPath:
    """Remove a faulty value; a table that lacks a key goes as a whole, and so does an array."""
    whole = path[:-1] if fault.on == "table" else path
    keys = whole[: next((i for i, step in enumerate(whole) if isinstance(step, int)), len(whole))]
    table = rest
    for step in keys[:-1]:
        table = cast("Raw", table.get(cast("str", step), {}))
    table.pop(cast("str", keys[-1]), None)
    return keys


def _walk(error: BaseException, path: KeyPath, within: type) -> Iterator[tuple[KeyPath, Fault]]:
    if isinstance(error, BaseValidationError):
        within = error.cl if attrs.has(error.cl) else within
        for inner in error.exceptions:
            yield from _walk(inner, (*path, *_step(inner)), within)
    elif isinstance(error, ForbiddenExtraKeysError):
        for name in sorted(error.extra_fields):
            yield (*path, name), _unknown_key(name, within)
    elif isinstance(error, KeyError):
        yield (
            path,
            Fault(Code.MISSING_KEY, f"`{path[-1]}` is missing", _example(within, str(path[-1])), on="table"),
        )
    else:
        assert isinstance(error, Fault), error  # our hooks raise nothing else
        yield path, error


def _step(error: BaseException) -> KeyPath:
    notes: list[Any] = getattr(error, "__notes__", [])
    return tuple(note.name if isinstance(note, AttributeValidationNote) else note.index for note in notes)


def _unknown_key(name: str, within: type) -> Fault:
    if name in later.LATER_KEYS.get(within, ()):
        return Fault(Code.LATER, f"`{name}` is not part of this release", "take it out for now", on="key")
    choices = [field.name for field in attrs.fields(within)]
    hint = did_you_mean(name, choices) or _BELONGS.get(name)
    if hint is None:
        homes = [where for where, cls in _HOMES if cls is not within and name in attrs.fields_dict(cls)]
        hint = f"`{name}` belongs in {homes[0]}" if homes else "known keys: " + ", ".join(choices)
    return Fault(Code.UNKNOWN_KEY, f"unknown key {quote(name)}", hint, on="key")


_HOMES: tuple[tuple[str, type], ...] = (
    ("`[gateway]`", model_gateway.GatewayTable),
    ("`[log]`", model.LogTable),
    ("`[services.NAME]`", model.ServiceTable),
    ('`[routes."/path"]`', model.RouteTable),
    ("`[auth.NAME]`", model.AuthTable),
    ("the top level, before the first table", model.Config),
)


def _example(within: type, name: str) -> str:
    return f"add `{name} = {attrs.fields_dict(within)[name].metadata['example']}`"


def _each(pairs: Iterable[tuple[Any, object]], build: Callable[[object], T], kind: object) -> list[tuple[Any, T]]:
    """Build every element; the faults of all of them are raised together, as cattrs does it."""
    done: list[tuple[Any, T]] = []
    errors: list[Exception] = []
    for index, raw in pairs:
        try:
            done.append((index, build(raw)))
        except (Fault, BaseValidationError) as error:
            error.add_note(_note(IterableValidationNote, index, kind))
            errors.append(error)
    if errors:
        raise _group(IterableValidationError, errors, kind)
    return done


def _group(make: Any, errors: list[Exception], kind: object) -> BaseValidationError:
    return cast("BaseValidationError", make("faults below", errors, kind))


def _note(make: Any, step: str | int, kind: object) -> str:
    """A cattrs note: a string with a path step on it. Its constructor takes more than a checker sees."""
    return cast("str", make("here", step, kind))


def _table_hook(cls: type) -> Callable[[Any, Any], Any]:
    make = cast("Callable[..., Callable[[Raw, Any], Any]]", make_dict_structure_fn)
    inner = make(cls, converter, _cattrs_forbid_extra_keys=True)

    def build(raw: Any, _: Any) -> Any:
        if not isinstance(raw, dict):
            raise values.wrong_type("a table", raw)
        return inner(cast("Raw", raw), cls)

    return build


def _tuple_hook(kind: Any) -> Callable[[Any, Any], Any]:
    element = get_args(kind)[0]

    def one(item: object) -> Any:
        return converter.structure(item, element)

    def build(raw: Any, _: Any) -> Any:
        if not isinstance(raw, list):
            raise values.wrong_type("an array", raw, _in_brackets(raw, element))
        items = cast("list[object]", raw)
        return tuple(v for _, v in _each(enumerate(items), one, kind))

    return build


def _in_brackets(raw: object, element: object) -> str | None:
    """What was probably meant by one value instead of an array. A secret is not repeated."""
    if element is terms.SecretRef:
        return 'references go in brackets: `[{ env = "NAME" }]`'
    return f"did you mean `{values.toml_list([raw])}`?" if isinstance(raw, str) else None


def _mapping_hook(kind: Any) -> Callable[[Any, Any], Any]:
    element = get_args(kind)[1]

    def one(item: object) -> Any:
        return converter.structure(item, element)

    def build(raw: Any, _: Any) -> Any:
        if not isinstance(raw, dict):
            raise values.wrong_type("a table", raw)
        items = cast("Raw", raw).items()
        return dict(_each(items, one, kind))

    return build


def _literal_hook(kind: Any) -> Callable[[Any, Any], Any]:
    return lambda raw, _: values.choice(raw, get_args(kind))


def _listener(raw: object) -> model_gateway.Listener:
    if isinstance(raw, str):
        return model_gateway.Listener(values.address(raw))
    return converter.structure(raw, model_gateway.Listener)


def _listeners(raw: object, _: object) -> model_gateway.Listeners:
    if isinstance(raw, str):
        return model_gateway.Listeners((_listener(raw),))
    if not isinstance(raw, list):
        raise values.wrong_type("an address or an array", raw, "a table goes in brackets: `listen = [{ ... }]`")
    if not raw:
        raise Fault(Code.ADDRESS, "without an address nobody can connect", 'write `listen = "127.0.0.1:8080"`')
    return model_gateway.Listeners(tuple(v for _, v in _each(enumerate(cast("list[object]", raw)), _listener, list)))


def _service_auth(raw: object, _: object) -> model.ServiceAuth | None:
    if isinstance(raw, str):
        values.credential_word(raw)
        return None
    return converter.structure(raw, model.ServiceAuth)


def _auth_table(raw: object, _: object) -> model.AuthTable:
    kind = cast("Raw", raw).get("type") if isinstance(raw, dict) else None
    if isinstance(kind, str) and kind in later.LATER_STRATEGIES:
        fault = Fault(Code.LATER, f'`type = "{kind}"` is not part of this release', 'write `type = "api_key"`')
        fault.add_note(_note(AttributeValidationNote, "type", str))
        raise _group(ClassValidationError, [fault], model.AuthTable)
    return cast("model.AuthTable", _plain_auth_table(raw, model.AuthTable))


_HOOKS: tuple[tuple[Any, Callable[[Any, Any], Any]], ...] = (
    (terms.Count, values.count),
    (terms.Duration, values.duration),
    (terms.Size, values.size),
    (terms.TrustedHost, values.trusted_host),
    (terms.Origin, values.origin),
    (terms.Command, values.command),
    (terms.SecretRef, values.secret),
    (terms.EnvValue, values.env_value),
    (terms.AuthNames | None, values.auth_names),
    (terms.Command | None, values.command),
    (terms.Prefix | None, values.prefix),
    (terms.ToolName, values.tool_name),
    (terms.ResourceName, values.resource_name),
    (terms.Priority, values.priority),
    (Url | None, values.url),
    (Address, values.address),
    (Address | None, values.admin),
    (model_gateway.Listeners, _listeners),
    (model.ServiceAuth | None, _service_auth),
    (model.AuthTable, _auth_table),
    (terms.KeyHash, values.key_hash),
    (terms.PinHash, values.pin_hash),
    (terms.Text, values.text),
    (datetime, values.moment),
)


def _is_made_of(origin: object, kind: Any) -> bool:
    return cast("object", get_origin(kind)) is origin


def _make_converter() -> Converter:
    made = Converter(forbid_extra_keys=True, detailed_validation=True)
    made.register_structure_hook_factory(partial(_is_made_of, tuple), _tuple_hook)
    made.register_structure_hook_factory(partial(_is_made_of, Mapping), _mapping_hook)
    made.register_structure_hook_factory(partial(_is_made_of, Literal), _literal_hook)
    made.register_structure_hook_factory(attrs.has, _table_hook)
    made.register_structure_hook(str, values.string)
    made.register_structure_hook(bool, values.boolean)
    for kind, hook in _HOOKS:
        made.register_structure_hook_func(partial(operator.eq, kind), hook)
    return made


converter = _make_converter()
_plain_auth_table = _table_hook(model.AuthTable)
