from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.protocol.eventstream import Event, EventReader, EventTooLarge, comment, encode_event

STREAMS: tuple[tuple[bytes, list[Event]], ...] = (
    (b"", []),
    (b"\n\n\n", []),
    (b"data: a\n\n", [Event(b"a")]),
    (b"data:a\n\n", [Event(b"a")]),
    (b"data:  a\n\n", [Event(b" a")]),
    (b"data: a\ndata: b\ndata\ndata:\n\n", [Event(b"a\nb\n\n")]),
    (b"data\n\n", [Event(b"")]),
    (b"data: a:b: c\n\n", [Event(b"a:b: c")]),
    (b"event: x\ndata: 1\n\ndata: 2\n\n", [Event(b"1", "x"), Event(b"2")]),
    (b"event:\ndata: 1\n\n", [Event(b"1")]),
    (b"event: x\n\ndata: 1\n\n", [Event(b"1")]),
    (b"id: 7\ndata: 1\n\ndata: 2\n\n", [Event(b"1", id="7"), Event(b"2")]),
    (b"id: 7\n\n", [Event(b"", id="7")]),
    (b"id: 7\ndata:\n\n", [Event(b"", id="7")]),
    (b"id\ndata: 1\n\n", [Event(b"1", id="")]),
    (b"id: a\0b\ndata: 1\n\n", [Event(b"1")]),
    (b"retry: 1500\n\n", [Event(b"", retry=1500)]),
    (b"retry: 007\ndata: 1\n\n", [Event(b"1", retry=7)]),
    (b"retry: 1.5\nretry: -1\nretry: +1\nretry: \nretry: \xd9\xa1\nretry: 1 \ndata: 1\n\n", [Event(b"1")]),
    (b"retry: %b\ndata: 1\n\n" % (b"9" * 5000), [Event(b"1")]),
    (b": comment\n\n:\n\n:data: 1\n\n", []),
    (b"data: 1\n: in between\ndata: 2\n\n", [Event(b"1\n2")]),
    (b"what: ever\nDATA: 1\n data: 1\ndata : 1\n\n", []),
    (
        b"data: a\r\rdata: b\r\n\r\ndata: c\n\r\ndata: d\r\r\n",
        [Event(b"a"), Event(b"b"), Event(b"c"), Event(b"d")],
    ),
    (b"data: a\r\n\ndata: b\n\r", [Event(b"a"), Event(b"b")]),
    (b"\xef\xbb\xbfdata: a\n\n", [Event(b"a")]),
    (b"\n\xef\xbb\xbfdata: a\n\n", []),
    (b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\n", []),
    (b"data: \xef\xbb\xbfa\n\n", [Event(b"\xef\xbb\xbfa")]),
    ("data: a\u2028b\u0085c\x0bd\n\n".encode(), [Event("a\u2028b\u0085c\x0bd".encode())]),
    (b"data: \xff\nid: \xff\nevent: \xff\n\n", [Event(b"\xff", "\ufffd", "\ufffd")]),
    (b"data: whole\n\ndata: cut off\n", [Event(b"whole")]),
    (b"data: whole\n\ndata: cut", [Event(b"whole")]),
)


def read(chunks: list[bytes], limit: int = 10_000) -> list[Event]:
    reader = EventReader(limit)
    found = [event for chunk in chunks for event in reader.feed(chunk)]
    reader.finish()
    return found


def bytewise(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


@pytest.mark.parametrize(("data", "events"), STREAMS)
def test_streams_whole_and_in_pieces(data: bytes, events: list[Event]) -> None:
    assert read([data]) == events
    assert read(bytewise(data)) == events
    assert read([piece for byte in bytewise(data) for piece in (byte, b"")]) == events
    for cut in range(len(data)):
        assert read([data[:cut], data[cut:]]) == events


@given(
    st.lists(
        st.sampled_from([b"data", b":", b" ", b"\n", b"\r", b"id", b"event: e", b"retry: 1", b"x", b"\0", b"\xff"])
    ),
    st.data(),
)
def test_chunks_never_matter(pieces: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(pieces)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
    chunks = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert read([stream]) == read(chunks) == read(bytewise(stream))


@given(st.binary(max_size=200), st.integers(0, 50))
def test_garbage_is_read_or_too_large_but_nothing_else(data: bytes, limit: int) -> None:
    for chunks in ([data], bytewise(data)):
        with contextlib.suppress(EventTooLarge):
            assert all(len(event.data) <= limit for event in read(chunks, limit))


one_line_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0"))


@given(
    st.binary(),
    st.none() | one_line_text.filter(bool),
    st.none() | one_line_text,
    st.none() | st.integers(0, 10**10 - 1),
)
def test_what_we_write_is_read_back(data: bytes, event: str | None, ident: str | None, retry: int | None) -> None:
    wire = encode_event(data, event=event, id=ident, retry=retry) + comment("x") + comment()
    seen = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    assert read([wire], 10**6) == [Event(seen, event or "message", ident, retry)]


def test_the_bytes_of_an_event() -> None:
    assert encode_event(b"{}") == b"data: {}\n\n"
    assert (
        encode_event(b"a\nb", event="message", id="1", retry=5)
        == b"event: message\nid: 1\nretry: 5\ndata: a\ndata: b\n\n"
    )
    assert encode_event(b"", id="1") == b"id: 1\ndata: \n\n"
    assert comment() == b":\n\n"
    assert comment("keep-alive") == b": keep-alive\n\n"


FORGERIES = ("\n", "\r", "\r\n", "a\ndata: x", "a\n\ndata: x\n\n", "a\rid: 9", "\nevent: x", "x\r\n\r\n")


@pytest.mark.parametrize("value", FORGERIES)
def test_no_value_can_forge_a_field(value: str) -> None:
    with pytest.raises(ValueError, match="line end"):
        encode_event(b"{}", event=value)
    with pytest.raises(ValueError, match="line end"):
        encode_event(b"{}", id=value)
    with pytest.raises(ValueError, match="line end"):
        comment(value)
    events = read([encode_event(value.encode(), event="e", id="i")])
    assert [(event.event, event.id, event.retry) for event in events] == [("e", "i", None)]


def test_other_bad_values() -> None:
    with pytest.raises(ValueError, match="NUL"):
        encode_event(b"", id="a\0")
    with pytest.raises(ValueError, match="negative"):
        encode_event(b"", retry=-1)
    with pytest.raises(ValueError, match="surrogates"):
        comment("\ud800")


@pytest.mark.parametrize(
    "stream",
    [
        b"data: " + b"x" * 200,
        b"x" * 200,
        b": " + b"x" * 200,
        b"data: x\n" * 20,
        b"data\n" * 40,
        b"id: x\n" * 40,
        b"unknown: x\n" * 40,
        b"data: 1\n\n: " + b"x" * 200 + b"\n\n",
        b"data: " + b"x" * 60 + b"\ndata: " + b"x" * 60,
    ],
)
def test_an_endless_event_is_cut(stream: bytes) -> None:
    for chunks in ([stream], bytewise(stream), [stream + b"\n\n"]):
        with pytest.raises(EventTooLarge, match="100 bytes"):
            read(chunks, 100)


def test_the_limit_is_for_one_event_and_comments_do_not_add_up() -> None:
    stream = (b"data: " + b"x" * 90 + b"\n\n") * 50 + b"data: 1\n" + b": still here\n" * 100 + b"\n"
    for chunks in ([stream], bytewise(stream)):
        assert read(chunks, 100) == [Event(b"x" * 90)] * 50 + [Event(b"1")]


def test_a_large_event_in_many_chunks() -> None:
    data = b"x" * 2_000_000
    chunks = [b"data: ", *([b"x" * 1000] * 2000), b"\n", b"\n"]
    assert read(chunks, 3_000_000) == [Event(data)]
