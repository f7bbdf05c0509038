"""Invariant: any bytes are whole messages and at most one `HttpError`, the same however the bytes are cut.

What we take for a request, h11 takes for the same request.
"""

from __future__ import annotations

import sys

import h11

from gatewayd.protocol.http1 import (
    END,
    Fields,
    HttpError,
    RequestReader,
    ResponseReader,
    encode_request_head,
    encode_response_head,
)

MAX_HEAD = 4096
MAX_BODY = 16384
STEPS = (1 << 30, 1, 7)

TOKENS = (
    b"GET ", b"POST ", b"/", b"*", b" HTTP/1.1", b" HTTP/1.0", b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 100 C\r\n\r\n",
    b"\r\n", b"\r\n\r\n", b"\n", b"\r", b" ", b"\t", b"\0", b"\x0b", b"\xff", b":", b",", b";", b"#", b"?",
    b"Host: a\r\n", b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n", b"Connection: upgrade\r\n", b"Upgrade: h2c\r\n", b"Expect: 100-continue\r\n",
    b"chunked", b"identity", b"0\r\n\r\n", b"5\r\nhello\r\n", b"1\r\na\r\n", b"ffffffff\r\n",
    b";a=b", b"hello",
)  # fmt: skip

Message = tuple[str, str, Fields, bytes]


def target(data: bytes) -> None:
    """Read `data` as a client and as an upstream; raises where the invariant does not hold."""
    whole, *cut = (_requests(data, step) for step in STEPS)
    assert all(other == whole for other in cut), "requests depend on how the bytes are cut"
    assert whole[1] in {0, 400, 413, 414, 417, 431, 501, 505}
    for method, path, fields, _ in whole[0]:
        encode_request_head(method, path, fields)
    if whole[0]:
        assert _first_of_h11(data) == whole[0][0], "h11 reads another request"
    for method in ("POST", "HEAD"):
        first, *others = (_response(data, step, method) for step in STEPS)
        assert first[2] != "refused" or first[0] == 502
        assert all(other == first for other in others), "the answer depends on how the bytes are cut"


def _requests(data: bytes, step: int) -> tuple[list[Message], int]:
    reader = RequestReader(MAX_HEAD)
    found: list[Message] = []
    head = None
    try:
        for at in range(0, len(data), step):
            reader.feed(data[at : at + step])
            while head := head or reader.next_head():
                body = reader.next_body(MAX_BODY)
                if body is None:
                    break
                found.append((head.method, head.target, head.fields, body))
                head = None
    except HttpError as error:
        return found, error.status
    return found, 0


def _response(data: bytes, step: int, method: str) -> tuple[int, bytes, str]:
    """(status, body, how it ended); a body that has not ended counts as none."""
    reader = ResponseReader(MAX_HEAD)
    reader.expect(method)
    head, body = None, b""
    try:
        for at in range(0, len(data), step):
            reader.feed(data[at : at + step])
            head = head or reader.next_head()
            while head:
                part = reader.next_chunk()
                if part is None:
                    break
                if part is END:
                    encode_response_head(head.status, head.fields)
                    return head.status, body, "end"
                body += part
    except HttpError as error:
        return error.status, b"", "refused"
    return 0, b"", "waiting"


def _first_of_h11(data: bytes) -> Message:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD + 4)
    connection.receive_data(data.lstrip(b"\r\n"))  # h11 knows no empty lines before a request
    request = connection.next_event()
    assert isinstance(request, h11.Request), request
    body = b""
    while isinstance(event := connection.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage), event
    fields = tuple((bytes(name), bytes(value)) for name, value in request.headers)
    return request.method.decode(), request.target.decode(), fields, body


if __name__ == "__main__":
    from driver import run

    sys.exit(run("http1", target, TOKENS))
