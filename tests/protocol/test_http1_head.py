"""Which heads are taken for what, and which are refused: every spelling of a framing attack that we know."""

from __future__ import annotations

import pytest

from gatewayd.protocol.http1 import HttpError, RequestHead, RequestReader, ResponseHead
from gatewayd.protocol.http1_head import parse_request_head, parse_response_head
from tests.protocol.http1_feeding import CANARY, STEPS, requests, response

BODY = b"Content-Length: 5\r\n\r\nhello"


def _with(fields: bytes, line: bytes = b"POST /mcp HTTP/1.1") -> bytes:
    """A request with Host, these field lines and a chunked body that is also five-and-more bytes long."""
    return line + b"\r\nHost: a\r\n" + fields + b"\r\n\r\n0\r\n\r\n"


FRAMING_ATTACKS: dict[str, tuple[bytes, int]] = {
    "length and coding": (_with(b"Content-Length: 5\r\nTransfer-Encoding: chunked"), 400),
    "coding and length": (_with(b"Transfer-Encoding: chunked\r\nContent-Length: 5"), 400),
    "length and unknown coding": (_with(b"Content-Length: 5\r\nTransfer-Encoding: x"), 400),
    "two lengths": (_with(b"Content-Length: 5\r\nContent-Length: 6"), 400),
    "two equal lengths": (_with(b"Content-Length: 5\r\nContent-Length: 5"), 400),
    "two lengths in other case": (_with(b"Content-Length: 5\r\ncontent-length: 0"), 400),
    "list of lengths": (_with(b"Content-Length: 5, 5"), 400),
    "signed length": (_with(b"Content-Length: +5"), 400),
    "negative length": (_with(b"Content-Length: -5"), 400),
    "hexadecimal length": (_with(b"Content-Length: 0x5"), 400),
    "length with underscore": (_with(b"Content-Length: 1_0"), 400),
    "length with a space inside": (_with(b"Content-Length: 5 0"), 400),
    "empty length": (_with(b"Content-Length:"), 400),
    "length of 16 digits": (_with(b"Content-Length: 0000000000000005"), 400),
    "length beyond 64 bits": (_with(b"Content-Length: 18446744073709551621"), 400),
    "length in other digits": (_with("Content-Length: \u0665".encode()), 400),
    "quoted length": (_with(b'Content-Length: "5"'), 400),
    "space before colon": (_with(b"Content-Length : 5"), 400),
    "tab before colon": (_with(b"Transfer-Encoding\t: chunked"), 400),
    "coding identity": (_with(b"Transfer-Encoding: identity"), 501),
    "coding gzip, chunked": (_with(b"Transfer-Encoding: gzip, chunked"), 501),
    "coding chunked, gzip": (_with(b"Transfer-Encoding: chunked, gzip"), 501),
    "coding xchunked": (_with(b"Transfer-Encoding: xchunked"), 501),
    "coding chunked twice in a list": (_with(b"Transfer-Encoding: chunked, chunked"), 400),
    "coding chunked in two fields": (_with(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), 400),
    "coding in two fields, one harmless": (_with(b"Transfer-Encoding: chunked\r\ntransfer-encoding: x"), 400),
    "empty coding": (_with(b"Transfer-Encoding:"), 400),
    "coding with leading comma": (_with(b"Transfer-Encoding: , chunked"), 400),
    "coding with trailing comma": (_with(b"Transfer-Encoding: chunked,"), 400),
    "coding with parameter": (_with(b"Transfer-Encoding: chunked;q=1"), 400),
    "quoted coding": (_with(b'Transfer-Encoding: "chunked"'), 400),
    "coding behind vertical tab": (_with(b"Transfer-Encoding: \x0bchunked"), 400),
    "coding behind no-break space": (_with(b"Transfer-Encoding: \xa0chunked"), 400),
    "coding folded": (_with(b"Transfer-Encoding:\r\n chunked"), 400),
    "coding in HTTP/1.0": (_with(b"Transfer-Encoding: chunked", b"POST / HTTP/1.0"), 400),
    "field folded": (_with(b"X: a\r\n b: c"), 400),
    "first field folded": (b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400),
    "field line without colon": (_with(b"Transfer-Encoding"), 400),
    "field without name": (_with(b": chunked"), 400),
    "field name in quotes": (_with(b'"Content-Length": 5'), 400),
    "field name with space": (_with(b"X Content-Length: 5"), 400),
    "field name not ASCII": (_with(b"Content-Length\xff: 5"), 400),
    "NUL in value": (_with(b"X: a\x00b"), 400),
    "NUL in name": (_with(b"X\x00: a"), 400),
    "DEL in value": (_with(b"X: a\x7fb"), 400),
    "bare CR in value": (_with(b"X: a\rTransfer-Encoding: chunked"), 400),
    "bare LF between fields": (_with(b"X: a\nTransfer-Encoding: chunked"), 400),
    "bare LF throughout": (b"POST / HTTP/1.1\nHost: a\nContent-Length: 5\n\nhello", 400),
    "LF ends the head": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\nhello", 400),
    "CR ends the head": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\rhello\r\n", 400),
    "CR CR LF": (b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", 400),
    "no Host": (b"POST / HTTP/1.1\r\n" + BODY, 400),
    "two Hosts": (_with(b"Host: b"), 400),
    "two equal Hosts": (_with(b"Host: a"), 400),
    "two Hosts in HTTP/1.0": (_with(b"Host: a", b"GET / HTTP/1.0"), 400),
    "empty Host": (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", 400),
    "Host with userinfo": (b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400),
    "Host with path": (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    "list of Hosts": (b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400),
    "Host with two ports": (b"GET / HTTP/1.1\r\nHost: a:1:2\r\n\r\n", 400),
    "HTTP/0.9": (b"GET /\r\n\r\n", 400),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "HTTP/1.2": (b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505),
    "HTTP/0.9 spelled out": (b"GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505),
    "version of three digits": (b"GET / HTTP/1.10\r\nHost: a\r\n\r\n", 400),
    "version in lower case": (b"GET / http/1.1\r\nHost: a\r\n\r\n", 400),
    "other protocol": (b"GET / RTSP/1.0\r\nHost: a\r\n\r\n", 400),
    "space behind version": (b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400),
    "two spaces": (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "tab for space": (b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "space in target": (b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "leading space": (b" GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "leading LF": (b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "leading CR": (b"\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "three empty lines": (b"\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "byte order mark": (b"\xef\xbb\xbfGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "target with fragment": (b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "target not ASCII": (b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "target without slash": (b"GET mcp HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "absolute-form": (b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "authority-form": (b"CONNECT b:443 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "CONNECT to a path": (b"CONNECT /mcp HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "asterisk of GET": (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "method is no token": (b"G(T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "method of 33 letters": (b"A" * 33 + b" / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "unknown method": (b"GETT / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
    "unknown method, no fields": (b"GETT / HTTP/1.0\r\n\r\n", 501),
    "method of another protocol": (b"PLAY / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "HTTP/2 preface in HTTP/1.1": (b"PRI / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "other expectation": (_with(b"Expect: 200-ok"), 417),
    "two expectations": (_with(b"Expect: 100-continue\r\nExpect: 100-continue"), 417),
    "TLS on a cleartext port": (b"\x16\x03\x01\x02\x00\x01\x00", 400),
    "endless target": (b"GET /" + b"a" * 5000, 414),
    "large head": (_with(b"X: " + b"a" * 5000), 431),
    "101 fields": (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"a:\r\n" * 100 + b"\r\n", 431),
}


@pytest.mark.parametrize("name", FRAMING_ATTACKS)
def test_a_framing_attack_is_refused_and_nothing_behind_it_is_read(name: str) -> None:
    attack, status = FRAMING_ATTACKS[name]
    outcomes = [requests(attack + CANARY, step) for step in STEPS]
    assert [(outcome.messages, outcome.status) for outcome in outcomes] == [((), status)] * len(STEPS)
    assert len({outcome.reason for outcome in outcomes}) == 1


def test_a_target_longer_than_its_bound_is_refused_within_a_larger_head() -> None:
    head = b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n"
    assert len(parse_request_head(head % (b"a" * 8191)).target) == 8192
    with pytest.raises(HttpError, match="too long") as refusal:
        parse_request_head(head % (b"a" * 8192))
    assert refusal.value.status == 414


def _head(fields: bytes = b"", line: bytes = b"POST /mcp?q=1 HTTP/1.1", host: bytes = b"Host: a\r\n") -> RequestHead:
    return parse_request_head(line + b"\r\n" + host + fields + b"\r\n")


def test_a_request_head_is_read_as_sent() -> None:
    head = _head(b"X-A:  b c\t\r\nx-a:\r\nUser-Agent: \xe9\r\n")
    assert (head.method, head.target, head.path) == ("POST", "/mcp?q=1", "/mcp")
    assert head.fields == ((b"host", b"a"), (b"x-a", b"b c"), (b"x-a", b""), (b"user-agent", b"\xe9"))
    assert (head.length, head.chunked, head.keep_alive, head.expect_continue) == (0, False, True, False)


def test_a_repeated_field_is_listed_but_is_no_single_value() -> None:
    head = _head(b"Accept: a\r\nAccept: b\r\nX: c\r\n")
    assert head.values(b"accept") == [b"a", b"b"]
    assert head.get(b"x") == b"c"
    assert head.get(b"y") is None
    with pytest.raises(HttpError) as refusal:
        head.get(b"accept")
    assert refusal.value.status == 400


def test_no_secret_is_in_the_repr() -> None:
    assert "secret" not in repr(_head(b"Authorization: secret\r\n", b"GET /?key=secret HTTP/1.1"))
    assert "secret" not in repr(parse_response_head(b"HTTP/1.1 200 OK\r\nSet-Cookie: secret\r\n\r\n", "GET"))


@pytest.mark.parametrize("host", [b"a", b"a.example:8080", b"a_b", b"127.0.0.1", b"[::1]:80", b"[::1]"])
def test_a_host_is_a_name_or_an_address(host: bytes) -> None:
    assert _head(host=b"Host: " + host + b"\r\n").get(b"host") == host


@pytest.mark.parametrize(
    ("fields", "line", "kept"),
    [
        (b"", b"GET / HTTP/1.1", True),
        (b"Connection: close\r\n", b"GET / HTTP/1.1", False),
        (b"Connection: Keep-Alive, Close\r\n", b"GET / HTTP/1.1", False),
        (b"Connection: x\r\nConnection: close\r\n", b"GET / HTTP/1.1", False),
        (b"Connection: x-close\r\n", b"GET / HTTP/1.1", True),
        (b"", b"GET / HTTP/1.0", False),
        (b"Connection: Keep-Alive\r\n", b"GET / HTTP/1.0", True),
        (b"Connection: keep-alive, close\r\n", b"GET / HTTP/1.0", False),
    ],
)
def test_a_connection_is_kept_as_the_client_asks(fields: bytes, line: bytes, *, kept: bool) -> None:
    assert _head(fields, line).keep_alive is kept


@pytest.mark.parametrize(
    ("fields", "line", "expects"),
    [
        (b"Expect: 100-Continue\r\nContent-Length: 5\r\n", b"POST / HTTP/1.1", True),
        (b"Expect: 100-continue\r\nTransfer-Encoding: Chunked\r\n", b"POST / HTTP/1.1", True),
        (b"Expect: 100-continue\r\nContent-Length: 0\r\n", b"POST / HTTP/1.1", False),
        (b"Expect: 100-continue\r\n", b"POST / HTTP/1.1", False),
        (b"Expect: whatever\r\nContent-Length: 5\r\n", b"POST / HTTP/1.0", False),
    ],
)
def test_only_a_body_can_be_held_back(fields: bytes, line: bytes, *, expects: bool) -> None:
    assert _head(fields, line).expect_continue is expects


def test_an_upgrade_is_ignored() -> None:
    wish = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
    assert _head(wish).keep_alive
    assert requests(b"GET / HTTP/1.1\r\nHost: a\r\n" + wish + b"\r\n" + CANARY).messages[1][0] == "GET /canary"


def test_asterisk_is_for_options_and_old_clients_need_no_host() -> None:
    assert _head(line=b"OPTIONS * HTTP/1.1").target == "*"
    assert _head(line=b"GET / HTTP/1.0", host=b"").values(b"host") == []


def test_the_largest_head_passes_and_one_byte_more_does_not() -> None:
    frame = b"GET / HTTP/1.1\r\nHost: a\r\nX: %b\r\n\r\n"
    exact = frame % (b"a" * (200 - len(frame) + 2))
    reader = RequestReader(max_head=len(exact))
    reader.feed(exact)
    assert reader.next_head() is not None
    smaller = RequestReader(max_head=len(exact) - 1)
    smaller.feed(exact)
    with pytest.raises(HttpError) as refusal:
        smaller.next_head()
    assert refusal.value.status == 431


OK = b"HTTP/1.1 200 OK\r\n"

BAD_ANSWERS: dict[str, bytes] = {
    "two lengths": OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "two equal lengths": OK + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na",
    "list of lengths": OK + b"Content-Length: 1, 1\r\n\r\na",
    "negative length": OK + b"Content-Length: -1\r\n\r\na",
    "length and coding": OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "unknown coding": OK + b"Transfer-Encoding: gzip\r\n\r\n0\r\n\r\n",
    "gzip, chunked": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked twice": OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "coding in HTTP/1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "bad chunk": OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "chunk longer than its size": OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
    "bare LF": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "folded field": OK + b"X: a\r\n b\r\nContent-Length: 0\r\n\r\n",
    "space before colon": OK + b"Content-Length : 0\r\n\r\n",
    "NUL": OK + b"X: a\x00\r\nContent-Length: 0\r\n\r\n",
    "101 without asking": b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
    "11 interim answers": b"HTTP/1.1 100 Continue\r\n\r\n" * 11,
    "interim answer with length": b"HTTP/1.1 103 Early\r\nContent-Length: 3\r\n\r\nabc",
    "interim answer with coding": b"HTTP/1.1 103 Early\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "interim answer of HTTP/1.0": b"HTTP/1.0 100 Continue\r\n\r\n",
    "status of two digits": b"HTTP/1.1 99 X\r\n\r\n",
    "status of four digits": b"HTTP/1.1 2000 X\r\n\r\n",
    "status 600": b"HTTP/1.1 600 X\r\n\r\n",
    "status with sign": b"HTTP/1.1 +20 X\r\n\r\n",
    "no status": b"HTTP/1.1 OK\r\n\r\n",
    "HTTP/2": b"HTTP/2 200 OK\r\n\r\n",
    "HTTP/1.2": b"HTTP/1.2 200 OK\r\n\r\n",
    "leading empty line": b"\r\n" + OK + b"Content-Length: 0\r\n\r\n",
    "another protocol": b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
    "101 fields": OK + b"a:\r\n" * 101 + b"\r\n",
    "large head": OK + b"X: " + b"a" * 5000,
    "length llhttp cannot count": OK + b"Content-Length: 99999999999999999999\r\n\r\n",
}


@pytest.mark.parametrize("name", BAD_ANSWERS)
def test_a_bad_answer_is_a_bad_gateway(name: str) -> None:
    outcomes = [response(BAD_ANSWERS[name] + OK + b"\r\n", step) for step in STEPS]
    assert {outcome.status for outcome in outcomes} == {502}
    assert len({outcome.reason for outcome in outcomes}) == 1


def _answer(fields: bytes, method: str = "POST", line: bytes = b"HTTP/1.1 200 OK") -> ResponseHead:
    return parse_response_head(line + b"\r\n" + fields + b"\r\n", method)


@pytest.mark.parametrize(
    ("line", "fields", "method", "length", "chunked", "kept"),
    [
        (b"HTTP/1.1 200 OK", b"Content-Length: 5\r\n", "POST", 5, False, True),
        (b"HTTP/1.1 200", b"Content-Length: 5\r\nConnection: close\r\n", "POST", 5, False, False),
        (b"HTTP/1.1 200 ", b"Transfer-Encoding: chunked\r\n", "POST", None, True, True),
        (b"HTTP/1.1 200 OK", b"", "POST", None, False, False),
        (b"HTTP/1.0 200 OK", b"Content-Length: 5\r\n", "POST", 5, False, False),
        (b"HTTP/1.0 200 OK", b"Content-Length: 5\r\nConnection: keep-alive\r\n", "POST", 5, False, True),
        (b"HTTP/1.1 200 OK", b"Content-Length: 5\r\n", "HEAD", 0, False, True),
        (b"HTTP/1.1 200 OK", b"", "HEAD", 0, False, True),
        (b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked\r\n", "HEAD", 0, False, False),
        (b"HTTP/1.1 304 Not Modified", b"Content-Length: 5\r\n", "GET", 0, False, True),
        (b"HTTP/1.1 204 No Content", b"", "DELETE", 0, False, True),
        (b"HTTP/1.1 204 No Content", b"Content-Length: 0\r\n", "DELETE", 0, False, True),
        (b"HTTP/1.1 204 No Content", b"Content-Length: 5\r\n", "DELETE", 0, False, False),
        (b"HTTP/1.1 204 No Content", b"Transfer-Encoding: chunked\r\n", "DELETE", 0, False, False),
    ],
)
def test_an_answer_is_framed_by_status_method_and_fields(
    line: bytes, fields: bytes, method: str, length: int | None, *, chunked: bool, kept: bool
) -> None:
    head = _answer(fields, method, line)
    assert (head.length, head.chunked, head.keep_alive) == (length, chunked, kept)


def test_a_repeated_field_of_an_answer_is_the_upstreams_fault() -> None:
    head = _answer(b"Content-Type: a\r\nContent-Type: b\r\nX: c\r\n")
    assert head.get(b"x") == b"c"
    assert head.values(b"content-type") == [b"a", b"b"]
    with pytest.raises(HttpError) as refusal:
        head.get(b"content-type")
    assert refusal.value.status == 502
