"""Feeding an HTTP/1.1 reader a stream cut in pieces, and writing down all that came of it."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from gatewayd.protocol.http1 import END, Fields, HttpError, RequestReader, ResponseReader

MAX_HEAD = 4096
MAX_BODY = 1000
STEPS = (1_000_000, 1, 7)  # whole, byte by byte, and cut at odd places

CANARY = b"GET /canary HTTP/1.1\r\nHost: a\r\n\r\n"
CHUNKED = b"POST /mcp HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


@attrs.frozen
class Received:
    """What a peer's bytes came to: whole messages as (first line, fields, body), then perhaps a refusal."""

    messages: tuple[tuple[str, Fields, bytes], ...]
    status: int | None = None
    reason: str = ""
    waiting: int = 0


def pieces(data: bytes, step: int) -> Iterator[bytes]:
    return (data[at : at + step] for at in range(0, len(data), step))


def requests(data: bytes, step: int = STEPS[0]) -> Received:
    """The requests in a client's bytes."""
    reader = RequestReader(MAX_HEAD)
    found: list[tuple[str, Fields, bytes]] = []
    head = None
    try:
        for piece in pieces(data, step):
            reader.feed(piece)
            while head := head or reader.next_head():
                body = reader.next_body(MAX_BODY)
                if body is None:
                    break
                found.append((f"{head.method} {head.target}", head.fields, body))
                head = None
    except HttpError as error:
        return Received(tuple(found), error.status, error.reason)
    return Received(tuple(found), waiting=reader.buffered)


def response(data: bytes, step: int = STEPS[0], *, method: str = "POST", eof: bool = False) -> Received:
    """The one answer in an upstream's bytes; `waiting` is -1 where the connection may be used again."""
    reader = ResponseReader(MAX_HEAD)
    reader.expect(method)
    head, body, done = None, b"", False
    try:
        for piece in [*pieces(data, step), None] if eof else pieces(data, step):
            if piece is None:
                reader.feed_eof()
            else:
                reader.feed(piece)
            head = head or reader.next_head()
            while head and not done:
                part = reader.next_chunk()
                if part is None:
                    break
                if part is END:
                    done = True
                else:
                    body += part
    except HttpError as error:
        return Received((), error.status, error.reason)
    if head is None or not done:
        return Received((), waiting=reader.buffered)
    return Received(((str(head.status), head.fields, body),), waiting=-1 if reader.complete else reader.buffered)
