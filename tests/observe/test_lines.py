"""One entry, one line, whatever it says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.observe.lines import (
    MOST_CHARACTERS,
    MOST_ITEMS,
    MOST_TRACE_CHARACTERS,
    console_line,
    json_line,
    plain,
    trace,
)
from gatewayd.routes.secret import Secret

HEAD = {"timestamp": "2026-01-02T03:04:05.678Z", "level": "info", "logger": "gatewayd.x", "event": "hello"}


class Unspeakable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, None),
        (True, True),
        (7, 7),
        (-(2**70), "<integer of 71 bits>"),
        (1.5, 1.5),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        ("text", "text"),
        (b"a\xff\n", "a\\xff\n"),
        (bytearray(b"x"), "x"),
        (Secret("hunter2"), "***"),
        ({"key": Secret("hunter2")}, {"key": "***"}),
        ((1, [2]), [1, [2]]),
        (ValueError("bad"), "ValueError: bad"),
        (object, "<class 'object'>"),
        (Unspeakable(), "<Unspeakable without text: RuntimeError>"),
        ({7: 1}.keys(), "dict_keys([7])"),
    ],
)
def test_values_become_plain(value: object, shown: object) -> None:
    assert plain(value) == shown


def test_long_values_are_cut_and_say_so() -> None:
    assert plain("x" * 5000) == "x" * MOST_CHARACTERS + "... (5000 characters)"
    assert len(plain(b"\xff" * 100_000)) < MOST_CHARACTERS + 50
    assert plain(list(range(100))) == [*range(MOST_ITEMS), "... 36 more"]
    assert plain(dict.fromkeys(range(100), 0))["..."] == 36


def test_integers_that_python_refuses_to_print_are_described() -> None:
    assert plain(10**5000) == "<integer of 16610 bits>"


def test_deep_and_endless_values_end() -> None:
    endless: list[Any] = []
    endless.append(endless)
    assert plain(endless) == [[[["[[...]]"]]]]


def test_a_traceback_keeps_its_end() -> None:
    try:
        raise ValueError("x" * 50_000 + " the end")
    except ValueError as error:
        text = trace(error)
    assert len(text) == MOST_TRACE_CHARACTERS + 3
    assert text.endswith("the end\n")


@given(st.text(), st.text())
def test_no_value_forges_a_line_of_json(event: str, value: str) -> None:
    line = json_line({**HEAD, "event": plain(event), "value": plain(value)})
    assert line.isascii()
    assert line[:-1].isprintable()
    assert line.endswith("\n")
    assert json.loads(line)["value"] == value


@given(st.text(), st.text(), st.booleans())
def test_no_value_forges_a_line_of_the_console(event: str, value: str, colour: bool) -> None:
    line = console_line({**HEAD, "event": event, "value": value}, colour)
    body = line[:-1]
    if colour:
        assert body.count("\x1b") == 2
        body = body.replace("\x1b", "")
    assert body.isprintable()


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("plain", "plain"),
        ("two words", '"two words"'),
        ("a=b", '"a=b"'),
        ("", '""'),
        ("\x1b[31mred", '"\\u001b[31mred"'),
        ("\u2028\x85", '"\\u2028\\u0085"'),
        ("\u202eright to left", '"\\u202eright to left"'),
        ("grün", "grün"),
        (7, "7"),
    ],
)
def test_the_console_says_it_readably(value: object, shown: str) -> None:
    assert console_line({**HEAD, "key": value}, False) == f"03:04:05.678 info     gatewayd.x hello key={shown}\n"


def test_the_console_indents_a_traceback() -> None:
    line = console_line({**HEAD, "exception": "Traceback\n  forged\x1b\n"}, False)
    assert line.splitlines()[1:] == ["    Traceback", '    "  forged\\u001b"']
