"""What nobody sees is found, taken out of JSON, and nothing else is."""

from __future__ import annotations

import json
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.routes.suspicion import confusable, hidden, spell, strip_hidden_json

SEEN = {*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD}
"""Signs of the category Cf that are drawn around or under what follows them."""
CATEGORIES = {"Cf", "Co", "Cs", "Cc"}

sneaky = st.text(alphabet=st.sampled_from('ab1#\\"/u\t\n\b\f\x7f\u200b\u200d\ufe0f\u20e3😀❤\U000e0041\ud800\udc00é'))


def test_every_character_of_the_categories_is_hidden() -> None:
    wanted = {n for n in range(sys.maxunicode + 1) if unicodedata.category(chr(n)) in CATEGORIES}
    found = {int(name.partition("+")[2], 16) for name in hidden(" ".join(map(chr, range(sys.maxunicode + 1))))}
    assert wanted - found == {*SEEN, *map(ord, "\t\n\r")}
    fillers = {0x115F, 0x1160, 0x3164, 0xFFA0, *range(0xFE00, 0xFE10), *range(0xE0000, 0xE01F0)}
    assert fillers <= found
    assert not {n for n in found - wanted if unicodedata.category(chr(n)) not in ("Cn", "Mn", "Lo")}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("plain text, with\ttabs\r\nand lines", ()),
        ("Grüße, 検索, поиск, بحث, 😀", ()),
        ("a\u200bb\u200bc\u202ed", ("U+200B", "U+202E")),
        ("\U000e0041\U000e0042", ("U+E0041", "U+E0042")),
        ("a\x00\x1b[31m\x7f", ("U+0000", "U+001B", "U+007F")),
        ("👩\u200d❤\ufe0f\u200d👨 ♥\ufe0e 👍🏽", ()),
        ("1\ufe0f\u20e3 #\ufe0f\u20e3", ()),
        ("1\ufe0f 2\ufe0f", ("U+FE0F",)),
        ("\ufe0f", ("U+FE0F",)),
        ("\u200d👩", ("U+200D",)),
        ("👩\u200d", ("U+200D",)),
        ("a\u200db", ("U+200D",)),
        ("a\ufe0f\u200d👩", ("U+FE0F", "U+200D")),
        ("👩\u200d\u200d👩", ("U+200D",)),
        ("👩\ufe0f\ufe0f\ufe0f", ("U+FE0F",)),
        ("‼\ufe0f", ()),
        ("+\ufe0f", ("U+FE0F",)),
    ],
)
def test_hidden_characters(text: str, found: tuple[str, ...]) -> None:
    assert hidden(text) == found


def test_hidden_characters_are_spelled_out() -> None:
    assert spell("a\u200bb\U000e0041 \\u200b é\n👩\u200d👩") == "a\\u200bb\\U000e0041 \\u200b é\n👩\u200d👩"


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        (rb'{"a": "x\u200by"}', rb'{"a": "xy"}'),
        (rb'{"a": "x\u200By"}', rb'{"a": "xy"}'),
        ('{"a": "x\u200by"}'.encode(), rb'{"a": "xy"}'),
        (rb'"x\udb40\udc41y"', rb'"xy"'),
        ('"x\U000e0041y"'.encode(), rb'"xy"'),
        (rb'"\u0000\u001b\u0008\b\f"', rb'""'),
        (b'"\x7f"', b'""'),
        (rb'"\ud83d y \udc00"', rb'" y "'),
        (rb'"\\\u200bu200b"', rb'"\\u200b"'),
        (rb'{"na\u200bme": 1}', rb'{"name": 1}'),
        (b'"\xff\xed\xa0\x80 caf\xc3\xa9"', b'" caf\xc3\xa9"'),
        (rb'"\u12 \u200b', rb'"\u12 '),
        (rb'"\ud83dabcd\udc00"', rb'"abcd"'),
        (rb'"\ud8zz\udczz\u200b"', rb'"\ud8zz\udczz"'),
        (rb'"\u200b\u0022\u005c\u000a\u000d\u0009\ufe0f\u20e3"', b'"\\"\\\\\\n\\r\\t\xe2\x83\xa3"'),
        (rb'"\ufeff\ufeff\u0031\ufe0f\u20e3"', '"1\ufe0f\u20e3"'.encode()),
    ],
)
def test_hidden_characters_are_taken_out_of_json(raw: bytes, clean: bytes) -> None:
    assert strip_hidden_json(raw) == clean


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a": "plain"}',
        rb'{"a": "\\u200b"}',
        rb'{"a": "C:\\bin\\file"}',
        rb'{"a": "\u0009\u000a\u000D\t\u00e9\ud83d\ude00"}',
        rb'"\ud83d\udc69\u200d\ud83d\udc69"',
        '{"a": "Grüße 😀"}'.encode(),
        '"👩\u200d❤\ufe0f\u200d👨"'.encode(),
        b"",
    ],
)
def test_what_hides_nothing_is_the_same_object(raw: bytes) -> None:
    assert strip_hidden_json(raw) is raw


@given(sneaky, st.booleans())
def test_what_is_left_hides_nothing_however_it_is_written(text: str, escaped: bool) -> None:
    raw = json.dumps({text: [text]}, ensure_ascii=escaped).encode("utf-8", "replace")
    clean = strip_hidden_json(raw)
    assert strip_hidden_json(clean) is clean
    [(key, [value])] = json.loads(clean).items()
    assert key == value
    assert hidden(value) == ()
    assert set(value) <= set(next(iter(json.loads(raw))))


@given(st.text(alphabet=st.characters(exclude_categories=["C", "M", "Lo"])), st.booleans())
def test_what_is_seen_stays(text: str, escaped: bool) -> None:
    raw = json.dumps(text, ensure_ascii=escaped).encode()
    assert json.loads(strip_hidden_json(raw)) == text


@given(st.lists(st.sampled_from([b'"', b"\\", b"u", b"200b", b"d83d", b"\xe2\x80\x8b", b"\xff", b"a", b"\n"])))
def test_no_bytes_break_it(parts: list[bytes]) -> None:
    clean = strip_hidden_json(b"".join(parts))
    assert len(clean) <= len(b"".join(parts))


def test_it_takes_no_time_even_where_quotes_never_end() -> None:
    raw = b'"' + rb"\"\u200b" * 200_000
    assert strip_hidden_json(raw) == b'"' + rb"\"" * 200_000


@pytest.mark.parametrize(
    "name",
    [
        "search",
        "",
        "größe",
        "Łódź_straße",
        "поиск",
        "検索",
        "PDF変換",
        "문서search",
        "αναζήτηση",
        "rechercher_été",
        "123_٣",
    ],
)
def test_names_that_are_what_they_seem(name: str) -> None:
    assert not confusable(name)


@pytest.mark.parametrize(
    "name",
    [
        "se\u0430rch",
        "\u0441\u043e\u0440\u0443",
        "\uff53earch",
        "\U0001d42c\U0001d41e",
        "s\u0435\u0430rch_issues",
        "f\u0131le",
        "\u0251dd",
        "\u039f\u03a1\u0395\u039d",
        "cafe\u0301",
        "\ufb01le",
    ],
)
def test_names_that_seem_to_be_others(name: str) -> None:
    assert confusable(name)
