"""Chunked coding: exact, bounded, linear."""

from __future__ import annotations

import pytest

from gatewayd.protocol.http1 import LAST_CHUNK, HttpError, RequestReader, chunk
from gatewayd.protocol.http1_body import ChunkedBody
from tests.protocol.http1_feeding import CANARY, CHUNKED, MAX_BODY, STEPS, requests

CHUNKING_ATTACKS: dict[str, tuple[bytes, int]] = {
    "no size": (b"\r\nhello\r\n0\r\n\r\n", 400),
    "size is no number": (b"g\r\nhello\r\n0\r\n\r\n", 400),
    "size with prefix": (b"0x5\r\nhello\r\n0\r\n\r\n", 400),
    "signed size": (b"+5\r\nhello\r\n0\r\n\r\n", 400),
    "negative size": (b"-5\r\nhello\r\n0\r\n\r\n", 400),
    "size with underscore": (b"0_5\r\nhello\r\n0\r\n\r\n", 400),
    "space before size": (b" 5\r\nhello\r\n0\r\n\r\n", 400),
    "space behind size": (b"5 \r\nhello\r\n0\r\n\r\n", 400),
    "tab behind size": (b"5\t\r\nhello\r\n0\r\n\r\n", 400),
    "size of 9 digits": (b"000000005\r\nhello\r\n0\r\n\r\n", 400),
    "size beyond 64 bits": (b"10000000000000005\r\nhello\r\n0\r\n\r\n", 400),
    "size in other digits": ("\u0665\r\nhello\r\n0\r\n\r\n".encode(), 400),
    "size ends in LF": (b"5\nhello\r\n0\r\n\r\n", 400),
    "size ends in CR": (b"5\rhello\r\n0\r\n\r\n", 400),
    "space before extension": (b"5 ;a=b\r\nhello\r\n0\r\n\r\n", 400),
    "LF in extension": (b"5;a\nb\r\nhello\r\n0\r\n\r\n", 400),
    "CR in extension": (b"5;a\rb\r\nhello\r\n0\r\n\r\n", 400),
    "NUL in extension": (b"5;a\x00b\r\nhello\r\n0\r\n\r\n", 400),
    "endless extension": (b"5;" + b"a" * 300, 400),
    "long extensions on little data": (b"1;" + b"a" * 200 + b"\r\na\r\n", 400),
    "data shorter than its size": (b"6\r\nhello\r\n0\r\n\r\n", 400),
    "data longer than its size": (b"4\r\nhello\r\n0\r\n\r\n", 400),
    "data ends in LF": (b"5\r\nhello\n0\r\n\r\n", 400),
    "data ends in two letters": (b"5\r\nhelloXX0\r\n\r\n", 400),
    "data ends in CR and a letter": (b"5\r\nhello\rX0\r\n\r\n", 400),
    "data without an end": (b"5\r\nhello0\r\n\r\n", 400),
    "last chunk ends in LF": (b"0\n\n", 400),
    "body ends in LF": (b"0\r\n\n", 400),
    "body ends in CR": (b"0\r\n\rX", 400),
    "a request for a trailer": (b"0\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "trailer with space before colon": (b"0\r\nX : a\r\n\r\n", 400),
    "folded trailer": (b"0\r\nX: a\r\n b\r\n\r\n", 400),
    "trailer in bare LF": (b"0\r\nX: a\nY: b\r\n\r\n", 400),
    "length as trailer": (b"0\r\nContent-Length: 9\r\n\r\n", 400),
    "coding as trailer": (b"0\r\nX: a\r\ntransfer-encoding: chunked\r\n\r\n", 400),
    "Host as trailer": (b"0\r\nHost: b\r\n\r\n", 400),
    "large trailers": (b"0\r\nX: " + b"a" * 5000, 431),
    "one chunk too large": (b"3e9\r\n", 413),
    "chunks too large together": (chunk(b"a" * MAX_BODY) + b"1\r\n", 413),
    "4 GiB announced": (b"ffffffff\r\n", 413),
}


@pytest.mark.parametrize("name", CHUNKING_ATTACKS)
def test_a_chunking_attack_is_refused_and_nothing_behind_it_is_read(name: str) -> None:
    attack, status = CHUNKING_ATTACKS[name]
    repeats = 100 if name == "long extensions on little data" else 1
    outcomes = [requests(CHUNKED + attack * repeats + CANARY, step) for step in STEPS]
    assert [(outcome.messages, outcome.status) for outcome in outcomes] == [((), status)] * len(STEPS)
    assert len({outcome.reason for outcome in outcomes}) == 1


@pytest.mark.parametrize(
    "body",
    [
        chunk(b"hello") + LAST_CHUNK,
        b"".join(chunk(b"%c" % letter) for letter in b"hello") + LAST_CHUNK,
        b"00000005\r\nhello\r\n00000000\r\n\r\n",
        b'5;a="b;c";d\r\nhello\r\n0;e\r\n\r\n',
        b"2\r\nhe\r\n3\r\nllo\r\n0\r\nX: a\r\nY: b\r\n\r\n",
    ],
)
def test_a_chunked_body_is_put_together_and_trailers_are_dropped(body: bytes) -> None:
    for step in STEPS:
        first, second = requests(CHUNKED + body + CANARY, step).messages
        assert first[2] == b"hello"
        assert b"x" not in dict(first[1])
        assert second[0] == "GET /canary"


def test_data_may_look_like_framing() -> None:
    data = b"0\r\n\r\n" + CANARY
    for step in STEPS:
        assert requests(CHUNKED + chunk(data) + LAST_CHUNK, step).messages[0][2] == data


def test_size_digits_may_be_of_either_case() -> None:
    assert requests(CHUNKED + b"A\r\n0123456789\r\nb\r\n0123456789a\r\n0\r\n\r\n").messages[0][2][-1:] == b"a"


def test_a_body_of_tiny_chunks_is_accepted_in_any_pieces() -> None:
    body = b"1\r\na\r\n" * MAX_BODY + LAST_CHUNK
    for step in STEPS:
        assert requests(CHUNKED + body, step).messages[0][2] == b"a" * MAX_BODY


def test_the_limit_is_enforced_before_the_data_comes() -> None:
    reader = RequestReader(max_head=4096)
    reader.feed(CHUNKED + b"10\r\n")
    assert reader.next_head() is not None
    with pytest.raises(HttpError) as refusal:
        reader.next_body(15)
    assert refusal.value.status == 413


def test_bytes_behind_the_body_stay_and_a_finished_body_reads_nothing() -> None:
    body = ChunkedBody(max_trailers=100)
    buffer = bytearray(b"1\r\na\r\n0\r\n\r\nrest")
    assert body.read(buffer) == b"a"
    assert body.done
    assert body.read(buffer) == b""
    assert buffer == b"rest"


def test_nothing_is_no_chunk() -> None:
    assert chunk(b"") == b""
    assert chunk(b"a" * 16) == b"10\r\n" + b"a" * 16 + b"\r\n"
