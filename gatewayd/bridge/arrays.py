"""JSON arrays as texts of their elements, which stay as the peer wrote them."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from gatewayd.protocol.jsontext import JsonError

_ELEMENTS = msgspec.json.Decoder(list[msgspec.Raw])


def elements(raw: bytes) -> list[bytes]:
    """The texts of the elements. `raw` is text that `jsontext.check` has passed. Raises `JsonError`: no array."""
    try:
        return [bytes(element) for element in _ELEMENTS.decode(raw)]
    except msgspec.DecodeError:
        raise JsonError("the JSON value is not an array") from None


def array(parts: Iterable[bytes]) -> bytes:
    """The array of these elements."""
    return b"[%b]" % b",".join(parts)
