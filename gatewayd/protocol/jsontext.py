"""Strict JSON text (RFC 8259) without building the values: one level of an object at a time.

`msgspec` skips over a value with full syntax checking, lone surrogate escapes included. But it looks at UTF-8
only in what it decodes, recurses until Python stops it, and lets the last of several equal names win. Those
three gaps are closed here. Each test is preceded by one at C speed that the common small message passes.

Numbers are never converted, so they have no size or precision that could be lost.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from itertools import accumulate
from typing import Final

import msgspec

from gatewayd.protocol.limits import ID_DIGITS, JSON_DEPTH

_TEXT = msgspec.json.Decoder(msgspec.Raw)
_LEVEL = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ELEMENTS = msgspec.json.Decoder(list[msgspec.Raw])
_STRING = msgspec.json.Decoder(str)
_ENCODER = msgspec.json.Encoder()
_REFUSALS: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


_INTEGER: Final = re.compile(rb"0|-?[1-9][0-9]{0,%d}" % (ID_DIGITS - 1))
_SPACE: Final = b" \t\r\n"
_STRUCTURE: Final = b'"[]{}:'
_NOT_STRUCTURE: Final = bytes(set(range(256)) - set(_STRUCTURE))
_STEPS: Final = bytes.maketrans(b"[{]}:", b"\x01\x01\xff\xff\x00")


class JsonError(ValueError):
    """The text is not what we accept as JSON. `reason` is fit for the peer that sent it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NotAnObject(JsonError):
    """The text is strict JSON, but its value is not an object."""


def check(data: bytes) -> None:
    """Pass strict JSON: valid syntax and UTF-8 all the way down, no BOM, no lone surrogates, bounded depth.

    Raises `JsonError` for everything else, and nothing but that. Duplicate names are a matter of `members`.
    """
    try:
        _TEXT.decode(data)
    except _REFUSALS as error:
        raise _refusal(error) from None
    _check_text(data)


def checked_members(data: bytes) -> dict[str, bytes]:
    """`check` and `members` in one pass: the door for an object that comes from outside.

    Raises `NotAnObject` for other strict JSON, `JsonError` for what is not strict JSON.
    """
    try:
        level = _LEVEL.decode(data)
    except msgspec.ValidationError:
        check(data)
        raise NotAnObject("the JSON value is not an object") from None
    except _REFUSALS as error:
        raise _refusal(error) from None
    _check_text(data)
    return _unique(data, level)


def checked_elements(data: bytes, most: int) -> list[bytes]:
    """The elements of an array that comes from outside; of more than `most` the first `most` + 1.

    What comes behind these is checked, but takes no memory: two million small ones fit into a body of 4 MiB.
    Raises `JsonError` for what is not strict JSON, or no array.
    """
    check(data)
    try:
        found = _first_elements(most + 1).decode(data)
    except _REFUSALS:
        raise JsonError("the JSON value is not an array") from None
    return [bytes(element) for element in msgspec.structs.astuple(found) if element is not None]


@cache
def _first_elements(count: int) -> msgspec.json.Decoder[msgspec.Struct]:
    fields = [(f"element_{number}", msgspec.Raw, None) for number in range(count)]
    return msgspec.json.Decoder(msgspec.defstruct("FirstElements", fields, array_like=True))


def elements(data: bytes) -> list[bytes]:
    """The elements of an array, each with its exact text. Raises `JsonError` where the text is no array."""
    try:
        return [bytes(element) for element in _ELEMENTS.decode(data)]
    except _REFUSALS:
        raise JsonError("the JSON value is not an array") from None


def members(data: bytes) -> dict[str, bytes]:
    """The members of one object, each with the exact text of its value, in the order of the text.

    `data` is text, or a part of text, that `check` or `checked_members` has passed: of other text only the
    structure of this level can be relied on. Raises `NotAnObject`, and `JsonError` where a name occurs twice,
    however it is escaped.
    """
    try:
        level = _LEVEL.decode(data)
    except msgspec.ValidationError:
        raise NotAnObject("the JSON value is not an object") from None
    except _REFUSALS as error:
        raise _refusal(error) from None
    return _unique(data, level)


def members_if_any(data: bytes | None) -> dict[str, bytes]:
    """What `members` returns; empty where there is no text, no object, or a name that occurs twice."""
    try:
        return members(data or b"{}")
    except JsonError:
        return {}


def encode_members(parts: Mapping[str, bytes]) -> bytes:
    """The object with these members; each value is JSON text already.

    Raises `JsonError` for a lone surrogate.
    """
    try:
        return _ENCODER.encode({name: msgspec.Raw(raw) for name, raw in parts.items()})
    except UnicodeEncodeError:
        raise JsonError("a member name holds a lone surrogate") from None


def encode_elements(parts: Iterable[bytes]) -> bytes:
    """The array of these elements; each is JSON text already."""
    return b"[%b]" % b",".join(parts)


def text(value: str) -> bytes:
    """The JSON string of `value`. Raises `JsonError` for a lone surrogate."""
    try:
        return _ENCODER.encode(value)
    except UnicodeEncodeError:
        raise JsonError("a string holds a lone surrogate") from None


def string(raw: bytes) -> str | None:
    """The value of a JSON string; None when the text is anything else."""
    try:
        return _STRING.decode(raw)
    except _REFUSALS:
        return None


def integer(raw: bytes) -> int | None:
    """The exact value of an integer of at most `ID_DIGITS` digits; None when the text is anything else.

    `1.0`, `1e0` and `-0` are not integers here: they could not be given back as they came.
    """
    return int(raw) if _INTEGER.fullmatch(raw) else None


def is_object(raw: bytes) -> bool:
    """Whether this JSON text is an object."""
    return raw.startswith(b"{") or raw.lstrip(_SPACE).startswith(b"{")


def is_array(raw: bytes) -> bool:
    """Whether this JSON text is an array."""
    return raw.lstrip(_SPACE).startswith(b"[")


def one_line(raw: bytes) -> bytes:
    """The same JSON without CR and LF, which can only be white space in it: strings have them escaped."""
    if b"\n" in raw or b"\r" in raw:
        return raw.replace(b"\n", b" ").replace(b"\r", b" ")
    return raw


def _refusal(error: Exception) -> JsonError:
    if isinstance(error, RecursionError):
        return JsonError(f"JSON is nested deeper than {JSON_DEPTH} levels")
    if isinstance(error, UnicodeDecodeError):
        return JsonError("JSON is not valid UTF-8")
    return JsonError(f"not valid JSON: {error}")


def _check_text(data: bytes) -> None:
    """Close the gaps in text of which the syntax is known to be right."""
    if not data.isascii():
        try:
            data.decode()
        except UnicodeDecodeError:
            raise JsonError("JSON is not valid UTF-8") from None
    # A text that is too deep has an opening and a closing bracket for each level.
    if len(data) > 2 * JSON_DEPTH and _depth(data) > JSON_DEPTH:
        raise JsonError(f"JSON is nested deeper than {JSON_DEPTH} levels")


def _depth(data: bytes) -> int:
    """How deep the text is nested, or less than `JSON_DEPTH` where it cannot be deeper than that."""
    openers = data.count(b"[") + data.count(b"{")
    if openers <= JSON_DEPTH:
        return openers
    steps = memoryview(_structure(data).translate(_STEPS)).cast("b")
    return max(accumulate(steps), default=0)


def _structure(data: bytes) -> bytes:
    """The brackets and colons outside of strings, in order; linear, and C speed throughout.

    Removing two adjacent quotes changes for no other byte whether an odd number of quotes stands before it.
    """
    if b"\\" in data:
        data = data.replace(rb"\\", b"").replace(rb"\"", b"")
    bare = data.translate(None, _NOT_STRUCTURE).replace(b'""', b"")
    return b"".join(bare.split(b'"')[::2]) if b'"' in bare else bare


def _unique(data: bytes, level: dict[str, msgspec.Raw]) -> dict[str, bytes]:
    """The members of a level, refused if a name occurs twice: the decoder has kept only the last one.

    Each member has a colon of its own. The values are parts of `data` to the letter, so what is left after taking off
    the colons of values and names are those of the members, the lost ones included. Escapes in names could hide or
    make a colon: then the structure is looked at.
    """
    parts = {name: bytes(raw) for name, raw in level.items()}
    if b"\\" in data and data.count(b"\\") != sum([raw.count(b"\\") for raw in parts.values()]):
        inner = sum(_structure(raw).count(b":") for raw in parts.values())
        members_seen = _structure(data).count(b":") - inner
    else:
        members_seen = data.count(b":") - sum([raw.count(b":") for raw in parts.values()])
        members_seen -= sum([name.count(":") for name in parts])
    if members_seen != len(parts):
        raise JsonError("a JSON object has the same member name twice")
    return parts


def strings(raw: bytes) -> tuple[str, ...]:
    """The strings of a JSON array; empty where it is anything else than an array of strings."""
    try:
        return msgspec.json.decode(raw, type=tuple[str, ...])
    except _REFUSALS:
        return ()
