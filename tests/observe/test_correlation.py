"""Correlation: what a client may name, and what it may not."""

from __future__ import annotations

import re

import pytest

from gatewayd.observe.correlation import from_headers

TRACE = b"0af7651916cd43dd8448eb211c80319c"
SPAN = b"b7ad6b7169203331"
NEW_TRACE = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01")


@pytest.mark.parametrize("name", [b"a", b"0F-1e_2.3", b"x" * 64])
def test_a_fit_request_id_is_kept(name: bytes) -> None:
    assert from_headers(name, None).request_id == name.decode()


@pytest.mark.parametrize(
    "name", [None, b"", b"x" * 65, b"a b", b"a\nb", b"a\n", b"\x1b[31m", b"\xc3\xa9", b'"', b"a,b"]
)
def test_an_unfit_request_id_is_replaced(name: bytes | None) -> None:
    assert re.fullmatch(r"[0-9a-f]{16}", from_headers(name, None).request_id)


def test_made_names_do_not_repeat() -> None:
    made = [from_headers(None, None) for _ in range(5000)]
    assert len({one.request_id for one in made}) == 5000
    assert len({one.traceparent for one in made}) == 5000


@pytest.mark.parametrize(("flags", "sent"), [(b"00", "00"), (b"01", "01"), (b"03", "03"), (b"ff", "03")])
def test_a_trace_is_continued_with_a_span_of_our_own(flags: bytes, sent: str) -> None:
    version, trace, span, sent_flags = from_headers(None, b"-".join([b"00", TRACE, SPAN, flags])).traceparent.split("-")
    assert (version, trace, sent_flags) == ("00", TRACE.decode(), sent)
    assert re.fullmatch(r"[0-9a-f]{16}", span)
    assert span != SPAN.decode()


@pytest.mark.parametrize(
    "header",
    [
        None,
        b"",
        b"01-" + TRACE + b"-" + SPAN + b"-01",
        b"ff-" + TRACE + b"-" + SPAN + b"-01",
        b"00-" + b"0" * 32 + b"-" + SPAN + b"-01",
        b"00-" + TRACE + b"-" + b"0" * 16 + b"-01",
        b"00-" + TRACE.upper() + b"-" + SPAN + b"-01",
        b"00-" + TRACE + b"-" + SPAN + b"-01-more",
        b"00-" + TRACE + b"-" + SPAN + b"-01\n",
        b"00-" + TRACE[:-1] + b"-" + SPAN + b"-01",
    ],
)
def test_anything_else_starts_a_new_trace(header: bytes | None) -> None:
    made = from_headers(None, header).traceparent
    assert NEW_TRACE.fullmatch(made)
    assert TRACE.decode() not in made
