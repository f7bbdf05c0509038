from __future__ import annotations

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from gatewayd.protocol.lines import LineReader, Overlong


def read(chunks: list[bytes], limit: int = 100) -> list[bytes | Overlong]:
    reader = LineReader(limit)
    return [line for chunk in chunks for line in reader.feed(chunk)]


def bytewise(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def test_lines_whole_and_in_pieces() -> None:
    data = b'{"a":1}\n\n\r\n  \t\r\n{"b":\r2}\r\n\xff\xfe\nunfinished'
    for chunks in ([data], bytewise(data), [data[:9], data[9:]]):
        assert read(chunks) == [b'{"a":1}', b'{"b":\r2}', b"\xff\xfe"]


def test_an_overlong_line_is_reported_once_and_the_next_line_is_read() -> None:
    data = b"a\n" + b"x" * 101 + b"\n" + b"y" * 100 + b"\n" + b"z" * 250 + b"\r\nb\n"
    for chunks in ([data], bytewise(data), [data[:50], data[50:150], data[150:]]):
        assert read(chunks) == [b"a", Overlong(101), b"y" * 100, Overlong(251), b"b"]


def test_a_huge_line_costs_no_more_than_the_limit() -> None:
    reader = LineReader(100_000)
    chunk = b"x" * 65_536
    tracemalloc.start()
    try:
        for _ in range(2048):
            assert reader.feed(chunk) == []
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert reader.feed(b"\nok\n") == [Overlong(128 * 1024 * 1024), b"ok"]
    assert peak < 500_000


@given(st.lists(st.sampled_from([b"a", b"\n", b"\r", b" ", b"long line", b"\0", b"\xff"])), st.data())
def test_chunks_never_matter(pieces: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(pieces)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
    chunks = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    found = read([stream], 20)
    assert found == read(chunks, 20) == read(bytewise(stream), 20)
    assert all(isinstance(line, Overlong) or (len(line) <= 20 and line.strip()) for line in found)
