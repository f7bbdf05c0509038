"""Finding the end of a head: in linear time, whatever the pieces."""

from __future__ import annotations

import time

from gatewayd.protocol.http1 import RequestReader
from gatewayd.protocol.http1_syntax import HeadScanner


def _cost_of_dribbling(size: int) -> float:
    head = b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * size + b"\r\n\r\n"
    reader = RequestReader(max_head=1 << 20)
    start = time.process_time()
    for at in range(len(head)):
        assert reader.next_head() is None
        reader.feed(head[at : at + 1])
    assert reader.next_head() is not None
    return time.process_time() - start


def test_a_dribbled_head_costs_linear_time() -> None:
    small = min(_cost_of_dribbling(8 * 1024) for _ in range(3))
    large = min(_cost_of_dribbling(64 * 1024) for _ in range(2))
    assert large < 24 * small, "eight times the bytes may cost eight times as much; quadratic would be 64 times"


def test_a_scanner_can_be_used_for_head_after_head() -> None:
    scanner = HeadScanner(limit=100)
    buffer = bytearray(b"one\r\ntwo\r\n")
    assert scanner.find(buffer) == 0
    buffer += b"\r\nnext\r\n\r\n"
    assert scanner.find(buffer) == 12
    del buffer[:12]
    assert scanner.find(buffer) == 8
