"""Counters as Prometheus families: built at scrape time, from the plain numbers of `Metrics`."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import Any

import trio
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from gatewayd.observe.metrics import BUCKETS, Metrics

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
"""Of what `render` returns: the Prometheus text format."""

UNTIMED = "subscriptions/listen"
"""Lasts as long as the client wants, so its duration says nothing about how fast we are."""


def render(metrics: Metrics) -> bytes:
    """Everything in the Prometheus text format, see `CONTENT_TYPE`. Needs a running Trio loop, for its clock.

    There is no registry, so that two gateways in one process have nothing in common.
    """
    return generate_latest(Exposition(metrics))


class Exposition(Collector):
    """Reads the numbers of one gateway and changes nothing."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        """All families, in the order in which a person would look for them."""
        yield from self._calls()
        yield from self._open_things()
        yield from self._events()
        yield from self._processes()
        yield from self._configuration()
        yield from self._resources()

    def _calls(self) -> Iterator[Metric]:
        calls = CounterMetricFamily(
            "gatewayd_calls",
            "Finished MCP calls by route, service, JSON-RPC method and outcome.",
            labels=("route", "service", "method", "outcome"),
        )
        for key, cell in self._metrics.calls.items():
            calls.add_metric(key, cell.count)
        yield calls
        yield self._durations()

    def _durations(self) -> Metric:
        """By route and service only: every further label would multiply sixteen buckets."""
        bounds = [*map(str, BUCKETS), "+Inf"]
        buckets: dict[tuple[str, str], list[int]] = {}
        seconds: dict[tuple[str, str], float] = {}
        for (route, service, method, _), cell in self._metrics.calls.items():
            if method == UNTIMED:
                continue
            key = (route, service)
            so_far = buckets.get(key, [0] * len(bounds))
            buckets[key] = [a + b for a, b in zip(so_far, cell.buckets, strict=True)]
            seconds[key] = seconds.get(key, 0.0) + cell.seconds
        family = HistogramMetricFamily(
            "gatewayd_call_duration_seconds",
            f"Time from a call's arrival to the end of its answer, in seconds; without {UNTIMED}.",
            labels=("route", "service"),
        )
        for key, counts in buckets.items():
            family.add_metric(key, list(zip(bounds, accumulate(counts), strict=True)), seconds[key])
        return family

    def _open_things(self) -> Iterator[Metric]:
        now = self._metrics
        yield _gauge("gatewayd_calls_in_flight", "Calls being processed now.", now.in_flight)
        yield _gauge("gatewayd_streams_open", "Event streams open towards clients now.", now.streams)
        yield _gauge("gatewayd_sessions_open", "Live sessions of legacy clients now.", now.sessions)
        yield _gauge("gatewayd_connections_open", "Client connections open now.", now.connections)

    def _events(self) -> Iterator[Metric]:
        yield _counter(
            "gatewayd_refusals",
            "Requests turned away before they became a call, by reason.",
            "reason",
            self._metrics.refusals,
        )
        yield _counter(
            "gatewayd_reloads",
            "Attempts to load the configuration again; rejected: the file had errors and the old one stays.",
            "result",
            self._metrics.reloads,
        )

    def _processes(self) -> Iterator[Metric]:
        by_service = self._metrics.processes.items()
        running = GaugeMetricFamily(
            "gatewayd_processes_running", "Child processes running now, by service.", labels=("service",)
        )
        for service, processes in by_service:
            running.add_metric((service,), processes.running)
        yield running
        yield _counter(
            "gatewayd_process_restarts",
            "Child processes started in place of one that died, by service.",
            "service",
            {service: processes.restarts for service, processes in by_service},
        )

    def _configuration(self) -> Iterator[Metric]:
        now = self._metrics
        yield _gauge(
            "gatewayd_table_generation",
            "Number of the routing table in force; grows by reload.",
            now.generation,
        )
        yield InfoMetricFamily("gatewayd_table", "Content hash of the routing table in force.", {"digest": now.digest})
        yield InfoMetricFamily(
            "gatewayd_build",
            "Versions of the gateway and its interpreter.",
            {"version": now.version, "python": platform.python_version()},
        )

    def _resources(self) -> Iterator[Metric]:
        living = trio.lowlevel.current_statistics().tasks_living
        yield _gauge("gatewayd_trio_tasks", "Live Trio tasks, those of Trio itself included.", living)
        yield _gauge("gatewayd_open_descriptors", "Open file descriptors.", _open_descriptors())
        yield _gauge("gatewayd_resident_memory_bytes", "Memory in RAM (RSS), in bytes.", _resident_bytes())
        yield CounterMetricFamily(
            "gatewayd_cpu_seconds", "Processor time used by this process, in seconds.", time.process_time()
        )
        yield _gauge(
            "gatewayd_uptime_seconds",
            "Seconds since the gateway started.",
            trio.current_time() - self._metrics.started,
        )


def _gauge(name: str, help_text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, help_text, value)


def _counter(name: str, help_text: str, label: str, values: Mapping[Any, int]) -> Metric:
    family = CounterMetricFamily(name, help_text, labels=(label,))
    for key, value in values.items():
        family.add_metric((key,), value)
    return family


def _open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd")) - 1  # the listing itself is open while it is read


def _resident_bytes() -> int:
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
