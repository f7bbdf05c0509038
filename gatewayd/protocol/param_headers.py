"""`Mcp-Param-*`: tool arguments that a client mirrors into HTTP headers, and whether both say the same.

MCP 2026-07-28, Streamable HTTP, custom headers: a property of a tool's input schema with `x-mcp-header: "Region"`
travels as `Mcp-Param-Region` as well, so that others on the way can route by it. They must not be led to believe
something that the body does not say.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal, cast

import attrs
import msgspec

from gatewayd.protocol.codes import HEADER_MISMATCH
from gatewayd.protocol.headers import PARAM_PREFIX, HeaderValueError, decode_value, encode_value
from gatewayd.protocol.jsonrpc import RpcError
from gatewayd.protocol.jsontext import JsonError, NotAnObject, elements, encode_elements, members, string
from gatewayd.protocol.limits import ID_DIGITS

Kind = Literal["string", "integer", "boolean"]
Path = tuple[str, ...]

_KEY: Final = "x-mcp-header"
_KINDS: Final[Mapping[str, Kind]] = {"string": "string", "integer": "integer", "boolean": "boolean"}
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
"""RFC 9110 section 5.6.2."""
_DECIMAL: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?")
_NUMBER: Final = re.compile(r"(-?)([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]{1,18}))?")

_NOT_MIRRORED: Final = (b"{", b"[")
"""What a value begins with that has no form in a header."""

_SUBSCHEMAS: Final = frozenset(
    {
        *("items", "contains", "unevaluatedItems", "additionalItems", "additionalProperties", "propertyNames"),
        *("unevaluatedProperties", "not", "if", "then", "else", "contentSchema"),
        *("allOf", "anyOf", "oneOf", "prefixItems"),
    }
)
"""Keywords of JSON Schema with a schema, or an array of schemas. Under others there is data, not schemas."""
_NAMED_SUBSCHEMAS: Final = frozenset({"patternProperties", "dependentSchemas", "dependencies", "$defs", "definitions"})
"""Keywords with an object of schemas, besides `properties`."""


class AnnotationError(ValueError):
    """An `x-mcp-header` that the specification does not allow; it makes all of the tool's annotations void."""


@attrs.frozen
class Annotation:
    """One argument that is mirrored."""

    header: bytes
    """Lower case, without the prefix `Mcp-Param-`."""
    path: Path
    """Names of the properties that lead to the argument; at least one."""
    kind: Kind
    """The type that the schema gives it."""


def read_annotations(input_schema: bytes) -> tuple[Annotation, ...]:
    """What a tool's input schema says about headers; empty for nearly every tool.

    `input_schema` is text that `jsontext.check` has passed, as a part of some message. Raises `AnnotationError` where
    an annotation is no token, occurs twice (case does not count), stands on anything but a string, an integer or a
    boolean, or cannot be reached through `properties` alone.
    """
    if not may_annotate(input_schema):
        return ()
    try:
        schema = msgspec.json.decode(input_schema)
    except msgspec.DecodeError as error:  # a number that has no value here
        raise AnnotationError(f"the schema cannot be read: {error}") from None
    found: dict[bytes, Annotation] = {}
    for path, position in _positions(schema):
        if _KEY in position:
            annotation = _annotation(path, position)
            if annotation.header in found:
                raise AnnotationError(f"{_KEY} {annotation.header.decode()!r} occurs twice")
            found[annotation.header] = annotation
    return tuple(found.values())


def check(wanted: Sequence[Annotation], arguments: bytes | None, fields: Sequence[tuple[bytes, bytes]]) -> None:
    """Pass a `tools/call` of which arguments and header fields say the same about what is annotated.

    `arguments` is the JSON text of that member of `params`, None where it is absent; `fields` have lower-case names.
    null is as good as absent. A value that no client can mirror, an array or an object, must have no header; what
    the tool does not annotate may have any. Raises `RpcError`: `HEADER_MISMATCH`, without id, with status 400.
    """
    body = _Body(arguments)
    for annotation in wanted:
        name = PARAM_PREFIX + annotation.header
        mirrored = [value for field, value in fields if field == name]
        if len(mirrored) > 1:
            raise _mismatch(name, "is repeated")
        try:
            value = body.value(annotation.path)
        except JsonError as error:
            raise _mismatch(name, f"cannot be compared: {error.reason}") from None
        if value is None or value == b"null" or value.startswith(_NOT_MIRRORED):
            if mirrored:
                raise _mismatch(name, "is present, but there is no such argument")
        elif not mirrored:
            raise _mismatch(name, "is missing, but the argument is not")
        elif not _equal(annotation.kind, value, _decoded(name, mirrored[0])):
            raise _mismatch(name, "differs from the argument")


def may_annotate(text: bytes) -> bool:
    """Whether there may be an annotation in some JSON text: for nearly all there is none, and this is quick."""
    return _KEY.encode() in text or b"\\u" in text


def callable_tools(tools: bytes) -> bytes:
    """An array of tools without those that a client over HTTP must not show, because their annotations are void.

    The same text where there are none. Raises `JsonError` where it is no array of objects.
    """
    if not may_annotate(tools):
        return tools
    found = elements(tools)
    kept = [tool for tool in found if _callable(tool)]
    return tools if len(kept) == len(found) else encode_elements(kept)


def mirror(wanted: Sequence[Annotation], arguments: bytes | None) -> tuple[tuple[bytes, bytes], ...]:
    """The header fields that make `check` pass: what a client sends with these arguments.

    A value that has no form in a header, null, an array or an object, gets none. Raises `JsonError` where a name on
    the way to a value occurs twice.
    """
    body = _Body(arguments)
    fields: list[tuple[bytes, bytes]] = []
    for annotation in wanted:
        value = body.value(annotation.path)
        if value is None or value == b"null" or value.startswith(_NOT_MIRRORED):
            continue
        said = string(value)
        if said is None:
            said = _plain(value.decode()) if annotation.kind == "integer" else value.decode()
        fields.append((PARAM_PREFIX + annotation.header, encode_value(said)))
    return tuple(fields)


def _callable(tool: bytes) -> bool:
    try:
        read_annotations(members(tool).get("inputSchema", b"{}"))
    except AnnotationError:
        return False
    return True


class _Body:
    """The arguments, looked into no further than needed, and at no object twice."""

    def __init__(self, arguments: bytes | None) -> None:
        self._arguments = arguments
        self._levels: dict[Path, Mapping[str, bytes]] = {}

    def value(self, path: Path) -> bytes | None:
        """The JSON text of one value; None where there is none. Raises `JsonError`: a name on the way occurs twice."""
        return self._level(path[:-1]).get(path[-1])

    def _level(self, path: Path) -> Mapping[str, bytes]:
        level = self._levels.get(path)
        if level is None:
            raw = self.value(path) if path else self._arguments
            try:
                level = {} if raw is None else members(raw)
            except NotAnObject:
                level = {}
            self._levels[path] = level
        return level


def _positions(schema: object) -> Iterator[tuple[Path | None, Mapping[str, Any]]]:
    """Every place where a schema stands; the path is None where it cannot be reached through `properties` alone."""
    waiting: list[tuple[Path | None, object]] = [((), schema)]
    while waiting:
        path, node = waiting.pop()
        if isinstance(node, list):
            waiting += [(None, element) for element in cast(list[object], node)]
        elif isinstance(node, dict):
            position = cast(dict[str, Any], node)
            yield path, position
            for keyword, value in position.items():
                if keyword in _SUBSCHEMAS:
                    waiting.append((None, value))
                elif isinstance(value, dict) and keyword == "properties":
                    named = cast(dict[str, object], value)
                    waiting += [(None if path is None else (*path, name), sub) for name, sub in named.items()]
                elif isinstance(value, dict) and keyword in _NAMED_SUBSCHEMAS:
                    waiting += [(None, sub) for sub in cast(dict[str, object], value).values()]


def _annotation(path: Path | None, position: Mapping[str, Any]) -> Annotation:
    if not path:
        raise AnnotationError(f"an {_KEY} cannot be reached through properties alone")
    header, kind = position[_KEY], position.get("type")
    if not isinstance(header, str) or not _TOKEN.fullmatch(header):
        raise AnnotationError(f"an {_KEY} is not a token")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise AnnotationError(f"{_KEY} {header!r} stands on something else than a string, an integer or a boolean")
    return Annotation(header.lower().encode(), path, _KINDS[kind])


def _decoded(name: bytes, value: bytes) -> str:
    try:
        return decode_value(value)
    except HeaderValueError as error:
        raise _mismatch(name, f"cannot be read: {error}") from None


def _equal(kind: Kind, value: bytes, mirrored: str) -> bool:
    """Whether a header says what the JSON text `value` says. What is no string is mirrored as its JSON text."""
    said = string(value)
    if said is None:
        said = value.decode()
        if kind == "integer" and _DECIMAL.fullmatch(mirrored) and (number := _number(said)) is not None:
            return number == _number(mirrored)
    return said == mirrored


def _number(text: str) -> tuple[str, str, int] | None:
    """Sign, digits and the exponent of the last one, equal for equal numbers, any size, exact; None: no number."""
    found = _NUMBER.fullmatch(text)
    if found is None:
        return None
    sign, whole, fraction, exponent = found.groups(default="")
    digits = (whole + fraction).lstrip("0")
    kept = digits.rstrip("0")
    if not kept:
        return "", "", 0
    return sign, kept, int(exponent or "0") - len(fraction) + len(digits) - len(kept)


def _plain(text: str) -> str:
    """A number as a decimal integer where it is one of reasonable length, as the header of an integer should be."""
    number = _number(text)
    if number is None:
        return text
    sign, digits, exponent = number
    if exponent < 0 or len(digits) + exponent > ID_DIGITS:
        return text
    return sign + digits + "0" * exponent if digits else "0"


def _mismatch(name: bytes, reason: str) -> RpcError:
    return RpcError(HEADER_MISMATCH, f"Header mismatch: {name.decode()} {reason}")
