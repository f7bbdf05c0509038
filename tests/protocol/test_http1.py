"""Readers over whole connections: pipelining, prefixes, refusals that last, reuse, and garbage."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayd.protocol.http1 import END, HttpError, RequestReader, ResponseReader
from tests.protocol.http1_feeding import CANARY, CHUNKED, MAX_BODY, STEPS, requests, response

SIZED = b"POST /mcp HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def test_pipelined_requests_come_out_one_by_one() -> None:
    stream = CANARY + SIZED + b"\r\n" + CHUNKED + b"2\r\nhi\r\n0\r\n\r\n" + b"\r\n\r\n" + CANARY
    for step in STEPS:
        found = requests(stream, step)
        assert [(line, body) for line, _, body in found.messages] == [
            ("GET /canary", b""),
            ("POST /mcp", b"hello"),
            ("POST /mcp", b"hi"),
            ("GET /canary", b""),
        ]
        assert (found.status, found.waiting) == (None, 0)


@pytest.mark.parametrize("request_bytes", [CANARY, SIZED, CHUNKED + b"5;x\r\nhello\r\n0\r\nX: y\r\n\r\n"])
def test_no_prefix_of_a_request_is_a_request(request_bytes: bytes) -> None:
    for end in range(len(request_bytes)):
        for step in STEPS:
            found = requests(request_bytes[:end], step)
            assert (found.messages, found.status) == ((), None)
    assert len(requests(request_bytes).messages) == 1


def test_bytes_that_wait_are_counted() -> None:
    reader = RequestReader(max_head=1000)
    assert (reader.started, reader.buffered) == (False, 0)
    reader.feed(b"\r\n")
    assert reader.next_head() is None
    assert (reader.started, reader.buffered) == (False, 0)
    reader.feed(SIZED[:-5])
    assert reader.started
    assert reader.next_head() is not None
    reader.feed(b"hell")
    assert reader.next_body(100) is None
    assert (reader.started, reader.buffered) == (False, 4)
    reader.feed(b"o" + CANARY)
    assert reader.next_body(100) == b"hello"
    assert (reader.started, reader.buffered) == (True, len(CANARY))


def test_a_request_without_body_has_an_empty_one() -> None:
    reader = RequestReader(max_head=1000)
    reader.feed(CANARY + CANARY)
    assert reader.next_head() is not None
    assert reader.next_body(0) == b""
    assert reader.next_body(0) == b""
    assert reader.next_head() is not None


def test_a_body_must_be_taken_before_the_next_head() -> None:
    reader = RequestReader(max_head=1000)
    reader.feed(SIZED)
    assert reader.next_head() is not None
    with pytest.raises(RuntimeError):
        reader.next_head()


def test_a_declared_body_over_the_limit_is_refused_before_it_comes() -> None:
    reader = RequestReader(max_head=1000)
    reader.feed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 999999999999999\r\n\r\n")
    assert reader.next_head() is not None
    with pytest.raises(HttpError) as refusal:
        reader.next_body(MAX_BODY)
    assert refusal.value.status == 413
    reader.feed(b"a" * 100)
    assert reader.buffered == 0, "what comes after a refusal is not kept"
    with pytest.raises(HttpError) as again:
        reader.next_body(10**15)
    assert again.value.status == 413


def test_a_refused_connection_stays_refused() -> None:
    reader = RequestReader(max_head=1000)
    reader.feed(b"GET / HTTP/1.1\r\n\r\n" + CANARY)
    for _ in range(2):
        with pytest.raises(HttpError) as refusal:
            reader.next_head()
        assert refusal.value.status == 400
        reader.feed(CANARY)


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (OK, b"ok"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 10 + OK, b"ok"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\nX: y\r\n\r\n",
            b"ok",
        ),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
    ],
)
def test_a_framed_answer_ends_where_it_says_and_leaves_the_connection_usable(answer: bytes, body: bytes) -> None:
    for step in STEPS:
        found = response(answer, step)
        assert [message[2] for message in found.messages] == [body]
        assert found.waiting == -1
        cut = response(answer[:-1], step, eof=True)
        assert (cut.messages, cut.status) == ((), 502), "an answer cut short is never taken for a whole one"


def test_an_answer_without_framing_ends_with_the_connection() -> None:
    answer = b"HTTP/1.1 200 OK\r\n\r\nok"
    for step in STEPS:
        assert response(answer, step).messages == ()
        found = response(answer, step, eof=True)
        assert [message[2] for message in found.messages] == [b"ok"]
        assert found.waiting == 0


def test_an_answer_to_head_has_no_body() -> None:
    assert response(OK[:-2], method="HEAD").waiting == -1


def test_bytes_behind_an_answer_spoil_the_connection() -> None:
    for step in (len(OK), 1000):
        reader = ResponseReader(max_head=1000)
        reader.expect("POST")
        reader.feed((OK + b"HTTP/1.1 200 OK\r\n\r\n")[:step])
        assert reader.next_head() is not None
        assert reader.next_chunk() == b"ok"
        assert reader.next_chunk() is END
        reader.feed(b"x")
        assert not reader.complete
        with pytest.raises(HttpError) as refusal:
            reader.expect("POST")
        assert refusal.value.status == 502


@pytest.mark.parametrize("closing", [b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"])
def test_a_connection_that_the_upstream_ends_is_not_used_again(closing: bytes) -> None:
    assert response(closing).waiting == 0
    assert response(OK, eof=True).waiting == 0


def test_answers_follow_each_other_on_one_connection() -> None:
    reader = ResponseReader(max_head=1000)
    assert reader.complete
    for _ in range(3):
        reader.expect("POST")
        assert not reader.complete
        assert not reader.started
        assert reader.next_head() is None
        reader.feed(OK[:20])
        assert reader.started
        assert reader.next_head() is None
        reader.feed(OK[20:-1])
        assert reader.next_head() is not None
        assert reader.next_chunk() == b"o"
        assert reader.next_chunk() is None
        reader.feed(OK[-1:])
        assert reader.buffered == 1
        assert reader.next_chunk() == b"k"
        assert reader.next_chunk() is END
        assert reader.complete


def test_an_upstream_that_closes_before_its_answer_is_a_bad_gateway() -> None:
    reader = ResponseReader(max_head=1000)
    reader.expect("POST")
    reader.feed_eof()
    assert not reader.started
    for _ in range(2):
        with pytest.raises(HttpError) as refusal:
            reader.next_head()
        assert refusal.value.status == 502
    reader.feed(OK)
    assert reader.buffered == 0
    assert not reader.complete


def test_calls_out_of_order_are_bugs_of_the_caller() -> None:
    reader = ResponseReader(max_head=1000)
    with pytest.raises(RuntimeError):
        reader.next_head()
    with pytest.raises(RuntimeError):
        reader.next_chunk()
    reader.expect("POST")
    with pytest.raises(RuntimeError):
        reader.expect("POST")


_FRAGMENTS = st.sampled_from(
    [
        *(
            b"GET ",
            b"POST ",
            b"/",
            b"/mcp?a",
            b"*",
            b" HTTP/1.1",
            b" HTTP/1.0",
            b" HTTP/2.0",
            b"HTTP/1.1 200 OK",
            b"HTTP/1.1 100 ",
        ),
        *(b"\r\n", b"\r\n\r\n", b"\n", b"\r", b" ", b"\t", b"\x00", b"\xff", b":", b";a=b", b","),
        *(b"Host: a\r\n", b"Host: ", b"Content-Length: 5\r\n", b"content-length:0\r\n", b"Content-Length:"),
        *(b"Transfer-Encoding: chunked\r\n", b"transfer-encoding: ", b"chunked", b"Connection: close\r\n"),
        *(b"Expect: 100-continue\r\n", b"Upgrade: h2c\r\n", b"Connection: upgrade\r\n"),
        *(
            b"0\r\n\r\n",
            b"5\r\nhello\r\n",
            b"1\r\na\r\n",
            b"fffffff\r\n",
            b"hello",
            CANARY,
            SIZED,
            CHUNKED,
            OK,
        ),
    ]
)
_STREAMS = st.lists(_FRAGMENTS | st.binary(max_size=8), max_size=14).map(b"".join)


@settings(max_examples=400, deadline=None)
@given(data=_STREAMS)
def test_any_bytes_of_a_client_are_requests_or_one_refusal(data: bytes) -> None:
    whole, *cut = (requests(data, step) for step in STEPS)
    assert all(other == whole for other in cut)
    assert whole.status in {None, 400, 413, 414, 417, 431, 501, 505}


@settings(max_examples=400, deadline=None)
@given(data=_STREAMS, method=st.sampled_from(["POST", "HEAD"]), eof=st.booleans())
def test_any_bytes_of_an_upstream_are_an_answer_or_a_bad_gateway(data: bytes, method: str, *, eof: bool) -> None:
    for prefix in (b"", b"HTTP/1.1 200 OK\r\n"):
        whole, *cut = (response(prefix + data, step, method=method, eof=eof) for step in STEPS)
        assert all(other == whole for other in cut)
        assert whole.status in {None, 502}
