"""Where a client is in which list: for it alone, and only as long as there is that list."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayd.auth.keychain import Keychain
from gatewayd.catalog.kinds import PROMPTS, TOOLS
from gatewayd.protocol.jsonrpc import RpcError
from gatewayd.routes.virtual import Member
from gatewayd.virtual.cursors import MOST_BYTES, MOST_ENTRIES, PURPOSE, Position, make_cursor, page, read_cursor
from gatewayd.virtual.merge import Entry, View

KEYCHAIN = Keychain([b"k" * 32])
PLACE = Position("tools", b"digest", 7)


def view(*sizes: int) -> View:
    return View(
        TOOLS,
        tuple(Entry(str(n), Member("a"), str(n), b'"%d%b"' % (n, b"x" * size)) for n, size in enumerate(sizes)),
        (),
    )


def raw(token: object) -> bytes:
    return json.dumps(token).encode()


def test_a_cursor_leads_back_to_its_place() -> None:
    assert read_cursor(KEYCHAIN, raw(make_cursor(KEYCHAIN, PLACE, "alice")), TOOLS, "alice") == PLACE


@pytest.mark.parametrize(
    "cursor",
    [
        raw("made up"),
        raw(7),
        raw(None),
        raw(""),
        raw(make_cursor(KEYCHAIN, PLACE, "bob")),
        raw(make_cursor(KEYCHAIN, Position("prompts", b"", 0), "alice")),
        raw(make_cursor(Keychain([b"o" * 32]), PLACE, "alice")),
        raw(KEYCHAIN.seal("task", msgspec.msgpack.encode(PLACE), "alice")),
        raw(KEYCHAIN.seal(PURPOSE, msgspec.msgpack.encode(["tools", 7]), "alice")),
        raw(KEYCHAIN.seal(PURPOSE, b"\xc1", "alice")),
    ],
)
def test_every_other_cursor_is_refused_in_the_same_words(cursor: bytes) -> None:
    with pytest.raises(RpcError) as caught:
        read_cursor(KEYCHAIN, cursor, TOOLS, "alice")
    assert (caught.value.code, caught.value.message) == (
        -32602,
        "Invalid params: the cursor is not valid any more; list again from the start",
    )


def test_a_cursor_of_one_list_is_none_of_another() -> None:
    with pytest.raises(RpcError):
        read_cursor(KEYCHAIN, raw(make_cursor(KEYCHAIN, PLACE, "alice")), PROMPTS, "alice")


SIZES = st.lists(st.sampled_from([0, 10, MOST_BYTES // 3, MOST_BYTES + 1]), max_size=8)


@given(SIZES, st.sampled_from([0, MOST_ENTRIES, MOST_ENTRIES + 5]))
@settings(max_examples=40, deadline=None)
def test_pages_have_every_entry_once_and_in_order(sizes: list[int], more: int) -> None:
    whole = view(*sizes, *([1] * more))
    found: list[str] = []
    start: int | None = 0
    while start is not None:
        text, start = page(whole, start)
        entries = json.loads(text)
        assert len(entries) <= MOST_ENTRIES
        assert len(text) <= MOST_BYTES + 3 * MOST_ENTRIES or len(entries) == 1
        assert entries or not whole.entries
        found += [entry.rstrip("x") for entry in entries]
    assert found == [entry.name for entry in whole.entries]
