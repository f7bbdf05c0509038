"""Invariant: any bytes are read as events or raise `EventTooLarge`, in one chunk and byte by byte alike.

And what was read survives being written and read again.
"""

from __future__ import annotations

import sys

from gatewayd.protocol.eventstream import Event, EventReader, EventTooLarge, encode_event

TOKENS = (
    b"data: {}\n\n", b"data:", b"data", b"event: message\n", b"id: 1\n", b"id: \0\n", b"retry: 10\n",
    b"retry: -1\n", b": comment\n", b"\n", b"\r", b"\r\n", b"\n\n", b"\r\r", b"\r\n\r\n", b"\xef\xbb\xbf",
    b"\xe2\x80\xa8", b"\xc2\x85", b"\0", b" ", b":", b"x" * 300,
)  # fmt: skip
LIMIT = 512


def target(data: bytes) -> None:
    """Read it whole, byte by byte and in halves; write what was read, and read that."""
    whole = _read([data])
    single = _read([data[at : at + 1] for at in range(len(data))])
    half = _read([data[: len(data) // 2], data[len(data) // 2 :]])
    assert whole == single == half
    if whole is not None:
        wire = b"".join(map(_write, whole))
        reader = EventReader(2 * LIMIT)
        assert reader.feed(wire) == whole


def _read(chunks: list[bytes]) -> list[Event] | None:
    reader = EventReader(LIMIT)
    try:
        found = [event for chunk in chunks for event in reader.feed(chunk)]
    except EventTooLarge:
        return None
    reader.finish()
    return found


def _write(event: Event) -> bytes:
    return encode_event(event.data, event=event.event, id=event.id, retry=event.retry)


if __name__ == "__main__":
    from driver import run

    sys.exit(run("eventstream", target, TOKENS))
