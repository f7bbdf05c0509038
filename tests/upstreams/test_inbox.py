from __future__ import annotations

import attrs
import pytest
from structlog.testing import capture_logs
from trio.testing import MockClock

from gatewayd.protocol.jsonrpc import Failure, Notification, Request, Result
from gatewayd.protocol.lines import Overlong
from gatewayd.upstreams.channel import UpstreamDied, UpstreamError, UpstreamTooLarge
from gatewayd.upstreams.inbox import MAILBOX, UNATTRIBUTED, Call, Inbox

PROGRESS = b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%d,"progress":1}}'
TAGGED = (
    b'{"jsonrpc":"2.0","method":"notifications/tools/list_changed",'
    b'"params":{"_meta":{"io.modelcontextprotocol/subscriptionId":%b}}}'
)
CANCELLED = b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":%d}}'


@attrs.frozen
class Sender:
    key: str


class Ward:
    """An inbox and what it wanted to have ended."""

    def __init__(self) -> None:
        self.inbox = Inbox(name="files", pid=1, limit=10_000, abandon=self.abandon)
        self.abandoned: list[tuple[Call, UpstreamError]] = []

    def abandon(self, call: Call, reason: str, error: UpstreamError) -> None:
        assert self.inbox.forget(call)
        self.abandoned.append((call, error))


async def test_answers_go_to_the_call_with_the_very_id() -> None:
    inbox = Ward().inbox
    one, text = inbox.open(Request(1, "a")), inbox.open(Request("1", "b"))
    inbox.take(b'{"jsonrpc":"2.0","id":"1","result":{}}')
    inbox.take(b'{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"no"}}')
    assert await text.mailbox.receive() == Result("1", b"{}")
    assert await one.mailbox.receive() == Failure(1, -1, "no")
    assert await one.mailbox.receive() is None
    assert inbox.calls == {}


async def test_an_id_that_is_in_use_is_a_bug() -> None:
    inbox = Ward().inbox
    call = inbox.open(Request(1, "a"))
    with pytest.raises(ValueError, match="pending already"):
        inbox.open(Request(1, "b"))
    assert inbox.forget(call)
    assert not inbox.forget(call)


async def test_progress_and_subscriptions_find_their_call() -> None:
    inbox = Ward().inbox
    tool, listen = inbox.open(Request(1, "tools/call")), inbox.open(Request(2, "subscriptions/listen"))
    for line in (PROGRESS % 1, TAGGED % b"2", TAGGED % b'"2"'):
        inbox.take(line)
    assert (len(tool.mailbox), len(listen.mailbox), len(inbox.unattributed)) == (1, 2, 0)


async def test_what_comes_too_late_is_counted_and_dropped() -> None:
    inbox = Ward().inbox
    with capture_logs() as logs:
        for line in (
            b'{"jsonrpc":"2.0","id":9,"result":{}}',
            b'{"jsonrpc":"2.0","error":{"code":-1,"message":"no"}}',
            PROGRESS % 9,
            TAGGED % b"9",
            b'{"jsonrpc":"2.0","method":"notifications/progress"}',
        ):
            inbox.take(line)
    assert inbox.late.total == 5
    assert len(inbox.unattributed) == 0
    assert len(logs) == 1


async def test_everything_else_is_for_whoever_reads_it() -> None:
    inbox = Ward().inbox
    inbox.take(b'{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage","params":{}}')
    inbox.take(b'{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}')
    assert await inbox.unattributed.receive() == Request(1, "sampling/createMessage", b"{}")
    assert await inbox.unattributed.receive() == Notification("notifications/tools/list_changed")


async def test_only_a_subscription_is_ended_by_the_servers_cancellation() -> None:
    inbox = Ward().inbox
    tool, listen = inbox.open(Request(1, "tools/call")), inbox.open(Request(2, "subscriptions/listen"))
    inbox.take(CANCELLED % 1)
    inbox.take(CANCELLED % 2)
    inbox.take(b'{"jsonrpc":"2.0","method":"notifications/cancelled"}')
    assert await listen.mailbox.receive() is None
    assert inbox.calls == {1: tool}
    assert len(inbox.unattributed) == 2


async def test_nobody_reads_and_the_newest_are_dropped_with_one_entry_per_burst(
    autojump_clock: MockClock,
) -> None:
    inbox = Ward().inbox
    with capture_logs() as logs:
        for number in range(UNATTRIBUTED + 50):
            inbox.take(b'{"jsonrpc":"2.0","method":"m%d"}' % number)
    assert inbox.dropped.total == 50
    assert len(logs) == 1
    assert await inbox.unattributed.receive() == Notification("m0")


async def test_a_call_that_is_too_far_behind_ends_and_its_neighbour_does_not() -> None:
    ward = Ward()
    slow, other = ward.inbox.open(Request(1, "tools/call")), ward.inbox.open(Request(2, "tools/call"))
    for _ in range(MAILBOX):
        ward.inbox.take(PROGRESS % 1)
    assert ward.abandoned == []
    ward.inbox.take(PROGRESS % 1)
    ((call, error),) = ward.abandoned
    assert call is slow
    assert isinstance(error, UpstreamTooLarge)
    assert ward.inbox.calls == {2: other}


async def test_a_line_that_is_too_long_ends_the_only_call_that_it_can_belong_to() -> None:
    ward = Ward()
    ward.inbox.take(Overlong(99))
    call = ward.inbox.open(Request(1, "tools/call"))
    ward.inbox.open(Request(2, "tools/call"))
    ward.inbox.take(Overlong(99))
    assert ward.abandoned == []
    ward.inbox.take(b'{"jsonrpc":"2.0","id":2,"result":{}}')
    ward.inbox.take(Overlong(99))
    assert [(c, type(e)) for c, e in ward.abandoned] == [(call, UpstreamTooLarge)]
    assert ward.inbox.garbage.total == 3


@pytest.mark.parametrize("line", [b"Server listening on stdio", b"[]", b"{}", b"\xff\xfe", b'{"jsonrpc":"2.0"}'])
async def test_what_is_not_json_rpc_is_skipped_and_never_logged(line: bytes) -> None:
    inbox = Ward().inbox
    call = inbox.open(Request(1, "tools/call"))
    with capture_logs() as logs:
        inbox.take(line)
    assert inbox.garbage.total == 1
    assert inbox.calls == {1: call}
    assert "listening" not in str(logs)


async def test_closing_fails_all_that_is_pending() -> None:
    inbox = Ward().inbox
    calls = [inbox.open(Request(number, "tools/call")) for number in range(3)]
    assert inbox.close(UpstreamDied("gone")) == 3
    for call in calls:
        with pytest.raises(UpstreamDied):
            await call.mailbox.receive()
    assert await inbox.unattributed.receive() is None


async def test_a_call_that_was_given_up_is_suspect_until_its_late_answer() -> None:
    inbox = Ward().inbox
    methods = {1: "tools/call", 2: "subscriptions/listen", 3: "tools/list"}
    calls = [inbox.open(Request(ident, method), Sender(f"k{ident}")) for ident, method in methods.items()]
    calls.append(inbox.open(Request(4, "server/discover")))
    for call in calls:
        inbox.forget(call)
        inbox.suspect(call)
    assert inbox.abandoned.principals() == {"k1", "k3"}
    inbox.take(PROGRESS % 1)
    inbox.take(b'{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"cancelled"}}')
    assert inbox.abandoned.principals() == {"k3"}
    inbox.take(b'{"jsonrpc":"2.0","id":3,"result":{}}')
    assert inbox.abandoned.principals() == set()
