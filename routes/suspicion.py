"""Characters that nobody sees and names that look like others: what a server may slip past people, not past models."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Final

_CONTROLS: Final = r"\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"
"""Category Cc without tab, line feed and carriage return."""
_UNSEEN: Final = (
    r"\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ud800-\uf8ff"
    r"\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    r"\U000e0000-\U000e0fff\U000f0000-\U0010ffff"
)
"""Format characters, surrogates, private use, fillers, variation selectors, tags: the categories Cf, Cs and Co and the
property Default_Ignorable_Code_Point, without the signs of Cf that are seen (U+0600 and its like)."""
_HIDDEN: Final = re.compile(f"[{_CONTROLS}{_UNSEEN}]")
_SUSPECT: Final = re.compile(rf"\\[ubf]|[{_CONTROLS}{_UNSEEN}]")
"""What JSON text has where something may be hidden in its strings."""

_JOINER: Final = "\u200d"
_STYLES: Final = ("\ufe0e", "\ufe0f")
_KEYCAP: Final = "\u20e3"
_SYMBOLS: Final = frozenset({"So", "Sk", "Sm"})
_PICTURES: Final = "‼⁉〰"
"""Emoji of other categories."""

_ESCAPES: Final = re.compile(r"(?:\\u[0-9A-Fa-f]{4})+|\\.", re.DOTALL)
"""Runs of escaped characters, so that pairs of surrogates are together."""
_SHORT: Final = str.maketrans({'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"})
"""Characters that are not hidden and still cannot stand in a JSON string."""
_CONTROL_ESCAPES: Final = {"\\b": "\b", "\\f": "\f"}

_BESIDE_LATIN: Final = frozenset({"LATIN", "CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO"})
"""Scripts that are written together with Latin letters, and have none that look like those (UTS 39, 5.2)."""
_EUROPEAN: Final = frozenset("ßæœøðþłđħÆŒØÐÞŁĐĦ")
"""Latin letters without an ASCII letter in them that alphabets in use have."""
_LOOKALIKES: Final = frozenset("авеіјкмнорсѕтухһӏԁԛԝѵАВЕЅІЈКМНОРСТУХҮԌԚԜαγικνορυχωΑΒΕΖΗΙΚΜΝΟΡΤΥΧϲϳօսոհցԼՍՏᎪᎬᏞᏢ")
"""Letters of other scripts that look like ASCII letters."""


def hidden(text: str) -> tuple[str, ...]:
    """The hidden characters of a text, each once, as `U+200B`. What holds an emoji together is none."""
    return tuple(dict.fromkeys(f"U+{ord(text[at]):04X}" for at in _places(text)))


def spell(text: str) -> str:
    r"""The text with its hidden characters written out: `\u200b`, `\U000e0041`."""
    places = set(_places(text))
    return "".join(_spelled(character) if at in places else character for at, character in enumerate(text))


def _spelled(character: str) -> str:
    number = ord(character)
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"


def _places(text: str) -> Iterator[int]:
    for match in _HIDDEN.finditer(text):
        if not _in_emoji(text, match.start()):
            yield match.start()


def _in_emoji(text: str, at: int) -> bool:
    """Whether the character belongs to an emoji: a joiner between two of them, or the style after one."""
    before, after = text[max(at - 1, 0) : at], text[at + 1 : at + 2]
    if text[at] == _JOINER:
        styled = before in _STYLES and _is_symbol(text[max(at - 2, 0) : at - 1])
        return (styled or _is_symbol(before)) and _is_symbol(after)
    if text[at] in _STYLES:
        return _is_symbol(before) or (before != "" and before in "0123456789#*" and after == _KEYCAP)
    return False


def _is_symbol(character: str) -> bool:
    if not character or character.isascii():
        return False
    return unicodedata.category(character) in _SYMBOLS or character in _PICTURES


def strip_hidden_json(raw: bytes) -> bytes:
    """JSON text (UTF-8) without the hidden characters of its strings, whether they stand there or are escaped.

    The very same object where there are none; otherwise other escapes may be written in another way. Names of members
    are cleaned, too, so that two of them may be one afterwards. What is no UTF-8 goes with the rest. Linear, and never
    raises; the worst case, an escape in every few bytes, takes up to half a second for each megabyte.
    """
    if raw.isascii() and not any(sign in raw for sign in (b"\\u", b"\\b", b"\\f", b"\x7f")):
        return raw
    text = raw.decode("utf-8", "surrogateescape")
    if not _SUSPECT.search(text):
        return raw
    plain = _ESCAPES.sub(_unescaped, text)
    clean = _HIDDEN.sub(lambda match: match[0] if _in_emoji(plain, match.start()) else "", plain)
    return raw if clean == plain else clean.encode("utf-8", "surrogateescape")


def _unescaped(match: re.Match[str]) -> str:
    """Escapes as the characters themselves, but for those that need one."""
    escape = match[0]
    if len(escape) < len("\\u0000"):
        return _CONTROL_ESCAPES.get(escape, escape)
    units = escape.encode().decode("unicode_escape").encode("utf-16-le", "surrogatepass")
    return units.decode("utf-16-le", "surrogatepass").translate(_SHORT)


def confusable(name: str) -> bool:
    """Whether people may take the name for another one: its letters are of scripts that look alike, or of odd forms."""
    if name.isascii():
        return False
    if unicodedata.normalize("NFKC", name) != name:
        return True
    letters = [character for character in name if character.isalpha()]
    foreign = [character for character in letters if not _is_latin(character)]
    if any(_script(character) == "LATIN" for character in foreign):
        return True
    if len(foreign) < len(letters):
        return any(_script(character) not in _BESIDE_LATIN for character in foreign)
    return bool(foreign) and _LOOKALIKES.issuperset(foreign)


def _is_latin(letter: str) -> bool:
    """A letter of ASCII, with or without accents, or of a European alphabet."""
    return unicodedata.normalize("NFD", letter)[0].isascii() or letter in _EUROPEAN


def _script(letter: str) -> str:
    return unicodedata.name(letter, "").partition(" ")[0]
