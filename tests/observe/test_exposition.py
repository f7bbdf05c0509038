"""What Prometheus reads, parsed by the parser of its own client library."""

from __future__ import annotations

import trio
from prometheus_client.parser import text_string_to_metric_families

from gatewayd.observe.exposition import CONTENT_TYPE, UNTIMED, render
from gatewayd.observe.metrics import Metrics, Processes


def _samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(render(metrics).decode())
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def _value(metrics: Metrics, name: str, **labels: str) -> float:
    return _samples(metrics)[name, tuple(sorted(labels.items()))]


async def test_a_call_becomes_a_counter_and_a_histogram() -> None:
    metrics = Metrics({"tools/call"}, started=0.0)
    metrics.call("/mcp", "echo", "tools/call", "ok", 0.003)
    metrics.call("/mcp", "echo", "tools/call", "error", 0.03)
    labels = {"route": "/mcp", "service": "echo"}
    assert _value(metrics, "gatewayd_calls_total", method="tools/call", outcome="ok", **labels) == 1
    assert _value(metrics, "gatewayd_call_duration_seconds_bucket", le="0.005", **labels) == 1
    assert _value(metrics, "gatewayd_call_duration_seconds_bucket", le="+Inf", **labels) == 2
    assert _value(metrics, "gatewayd_call_duration_seconds_count", **labels) == 2
    assert _value(metrics, "gatewayd_call_duration_seconds_sum", **labels) == 0.033


async def test_a_subscription_is_counted_but_not_timed() -> None:
    metrics = Metrics({UNTIMED}, started=0.0)
    metrics.call("/mcp", "echo", UNTIMED, "ok", 3600.0)
    assert _value(metrics, "gatewayd_calls_total", route="/mcp", service="echo", method=UNTIMED, outcome="ok")
    assert not [name for name, _ in _samples(metrics) if name.startswith("gatewayd_call_duration")]


async def test_hostile_requests_make_few_series() -> None:
    metrics = Metrics({"tools/call"}, started=0.0)
    before = len(_samples(metrics))
    for n in range(300):
        metrics.call("/mcp", "echo", f"{n}", "error", 0.1)
        metrics.call("/mcp", "echo", "tools/call", "refused", 0.1)
        metrics.refuse("bad_request")
    assert len(_samples(metrics)) - before <= 60


async def test_gauges_and_processes_show_their_current_value() -> None:
    metrics = Metrics((), started=0.0, version="1.2.3")
    metrics.in_flight, metrics.streams, metrics.sessions, metrics.connections = 1, 2, 3, 4
    metrics.use_table(7, "abc")
    metrics.processes = {"files": Processes(running=1, restarts=1)}
    assert _value(metrics, "gatewayd_calls_in_flight") == 1
    assert _value(metrics, "gatewayd_streams_open") == 2
    assert _value(metrics, "gatewayd_sessions_open") == 3
    assert _value(metrics, "gatewayd_connections_open") == 4
    assert _value(metrics, "gatewayd_table_generation") == 7
    assert _value(metrics, "gatewayd_table_info", digest="abc") == 1
    assert _value(metrics, "gatewayd_processes_running", service="files") == 1
    assert _value(metrics, "gatewayd_process_restarts_total", service="files") == 1


async def test_every_reason_is_there_from_the_start() -> None:
    assert _value(Metrics((), started=0.0), "gatewayd_refusals_total", reason="too_large") == 0
    assert _value(Metrics((), started=0.0), "gatewayd_reloads_total", result="rejected") == 0


async def test_the_process_is_described() -> None:
    metrics = Metrics((), started=trio.current_time() - 5)
    assert _value(metrics, "gatewayd_uptime_seconds") >= 5
    assert _value(metrics, "gatewayd_trio_tasks") >= 1
    assert _value(metrics, "gatewayd_open_descriptors") >= 3
    assert _value(metrics, "gatewayd_resident_memory_bytes") > 1_000_000
    assert _value(metrics, "gatewayd_cpu_seconds_total") > 0


async def test_open_descriptors_follow_what_is_open() -> None:
    metrics = Metrics((), started=0.0)
    before = _value(metrics, "gatewayd_open_descriptors")
    with open("/dev/null", "rb"):  # noqa: ASYNC230
        assert _value(metrics, "gatewayd_open_descriptors") == before + 1


async def test_every_name_has_our_prefix_and_a_help_text() -> None:
    lines = render(Metrics((), started=0.0)).decode().splitlines()
    assert all(line.startswith("gatewayd_") for line in lines if not line.startswith("#"))
    assert all(len(line.split(" ", 3)[3]) > 10 for line in lines if line.startswith("# HELP"))
    assert CONTENT_TYPE.startswith("text/plain; version=0.0.4")
