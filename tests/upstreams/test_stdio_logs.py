"""Log messages on a pipe have no address: they go where they can only belong to."""

from __future__ import annotations

import pytest

from gatewayd.protocol.jsonrpc import Request
from gatewayd.upstreams.inbox import Call
from gatewayd.upstreams.mailbox import Mailbox
from gatewayd.upstreams.service import Caller
from gatewayd.upstreams.stdio_logs import asker, logging

ASKS = b'{"name":"t","_meta":{"io.modelcontextprotocol/logLevel":"info"}}'


def pending(ident: int, key: str = "alice", params: bytes | None = ASKS, method: str = "tools/call") -> Call:
    owner = asker(Request(ident, method, params), Caller(key))
    return Call(ident, method, Mailbox(1, 1), owner)


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        ([], None),
        ([pending(1)], 1),
        ([pending(1, params=b"{}")], None),
        ([pending(1, params=None), pending(2), pending(3, params=b"{}")], 2),
        ([pending(1), pending(2)], None),
        ([pending(1), pending(2, key="bob", method="subscriptions/listen")], 1),
        ([pending(1, method="subscriptions/listen")], None),
        ([Call(1, "server/discover", Mailbox(1, 1)), pending(2)], 2),
    ],
)
def test_the_only_call_that_asked_has_logged(calls: list[Call], expected: int | None) -> None:
    found = logging(calls)
    assert (found and found.id) == expected


def test_a_server_is_not_trusted_to_log_for_one_principal_alone() -> None:
    assert logging([pending(1), pending(2, key="bob", params=b"{}")]) is None


def test_who_abandoned_a_call_may_be_who_is_logged_about() -> None:
    assert logging([pending(1)], {"bob"}) is None
    assert logging([pending(1)], {"alice", "bob"}) is None
    own = pending(1)
    assert logging([own], {"alice"}) is own
