"""Arrays keep the text of their elements."""

from __future__ import annotations

import pytest

from gatewayd.bridge.arrays import array, elements
from gatewayd.protocol.jsontext import JsonError


def test_elements_keep_their_text() -> None:
    assert elements(b'[1.0, {"a" : 1e999},"\\u0061" ]') == [b"1.0", b'{"a" : 1e999}', b'"\\u0061"']
    assert elements(b"[]") == []
    assert array([b"1.0", b"{}"]) == b"[1.0,{}]"
    assert array([]) == b"[]"


@pytest.mark.parametrize("raw", [b"{}", b"null", b'"[]"', b"7", b"["])
def test_anything_else_is_refused(raw: bytes) -> None:
    with pytest.raises(JsonError, match="not an array"):
        elements(raw)
