"""What a list of tools costs a model that has to read it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from gatewayd.protocol.jsontext import encode_members, members_if_any

READ: Final = ("name", "description", "inputSchema")
"""What clients hand to their models of a definition."""
_PIECE: Final = re.compile(r"[A-Za-z]+|[0-9]{1,3}|[^\sA-Za-z0-9]+")
_LETTERS: Final = 6
"""Of a word that are one token on the average; of punctuation it is two or three."""


def tokens(text: str) -> int:
    """About how many tokens a text takes. Every model counts in its own way, with differences of a tenth or two."""
    return sum(
        1 + (len(piece) - 1) // (_LETTERS if piece[0].isascii() and piece[0].isalpha() else 3)
        for piece in _PIECE.findall(text)
    )


def weight(definitions: Iterable[bytes]) -> int:
    """About how many tokens some definitions of tools take, given as JSON texts."""
    return sum(tokens(_read(raw)) for raw in definitions)


def _read(raw: bytes) -> str:
    parts = members_if_any(raw)
    return encode_members({name: parts[name] for name in READ if name in parts}).decode()
