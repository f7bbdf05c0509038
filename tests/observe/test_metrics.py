"""Counting: bounded label sets, whatever clients send."""

from __future__ import annotations

from gatewayd.observe.metrics import BUCKETS, OTHER, Metrics


def test_calls_are_counted_by_route_service_method_and_outcome() -> None:
    metrics = Metrics({"tools/call"}, started=0.0)
    metrics.call("/mcp", "echo", "tools/call", "ok", 0.001)
    metrics.call("/mcp", "echo", "tools/call", "ok", 61.0)
    metrics.call("/mcp", "echo", "tools/call", "timeout", 1.0)
    cell = metrics.calls["/mcp", "echo", "tools/call", "ok"]
    assert (cell.count, cell.seconds) == (2, 61.001)
    assert cell.buckets == [1, *[0] * (len(BUCKETS) - 1), 1]
    assert len(metrics.calls) == 2


def test_hostile_methods_share_one_label() -> None:
    metrics = Metrics({"tools/call"}, started=0.0)
    for n in range(300):
        metrics.call("/mcp", "echo", f'x{n}"}}\n', "error", 0.1)
    assert list(metrics.calls) == [("/mcp", "echo", OTHER, "error")]


def test_two_gateways_have_nothing_in_common() -> None:
    one, other = Metrics((), started=0.0), Metrics((), started=0.0)
    one.refuse("draining")
    one.reload("rejected")
    assert (one.refusals["draining"], one.reloads["rejected"]) == (1, 1)
    assert (other.refusals["draining"], other.reloads["rejected"]) == (0, 0)
