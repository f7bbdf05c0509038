"""Writes the pages of docs/reference that come from the code: `make docs`. A test fails where one is out of date."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import trio
from prometheus_client.metrics_core import Metric

from gatewayd.dsl.reference import reference
from gatewayd.observe.exposition import Exposition
from gatewayd.observe.metrics import Metrics, Processes

FOLDER = Path(__file__).parent / "reference"

METRICS_HEAD = """\
# Metrics

This page is generated from the code. `GET /metrics` on the admin listener answers all of it in the Prometheus text
format.

Every label has a bounded set of values: routes and services come from the configuration, methods from the protocol
(`other` is any that it does not define), and the rest is listed [below](#label-values). Nothing that a client sends can
make a new series.

| Metric | Type | Labels | Meaning |
|---|---|---|---|
"""

METRICS_TAIL = """
## Label values

| Label | Value | Meaning |
|---|---|---|
| `outcome` | `ok` | answered with a result; a standing stream that ended well |
| | `error` | answered with an error of the server's own, or of a kind that we did not expect |
| | `refused` | refused by the gateway |
| | `cancelled` | given up by the client, or ended by our shutdown |
| | `timeout` | a deadline passed |
| | `upstream_error` | the server could not be reached, died, or broke the protocol |
| `reason` | see [errors](errors.md#refusals-without-a-call) | why a request was turned away before it became a call |
| `result` | `applied`, `unchanged`, `rejected` | how a [reload](../how-to/reload.md) ended |

## Useful questions

```promql
sum by (route) (rate(gatewayd_calls_total{outcome!="ok"}[5m])) / sum by (route) (rate(gatewayd_calls_total[5m]))
histogram_quantile(0.99, sum by (le, route) (rate(gatewayd_call_duration_seconds_bucket[5m])))
increase(gatewayd_reloads_total{result="rejected"}[1h]) > 0
increase(gatewayd_process_restarts_total[10m]) > 3
```
"""


def pages() -> dict[Path, str]:
    """Every generated page with its text."""
    return {FOLDER / "configuration.md": reference(), FOLDER / "metrics.md": trio.run(_metrics_page)}


async def _metrics_page() -> str:
    """In a Trio run, because some numbers are about it."""
    metrics = Metrics(["tools/call"], started=trio.current_time())
    metrics.call("/mcp", "demo", "tools/call", "ok", 0.01)
    metrics.processes = {"demo": Processes()}
    rows = (_row(family) for family in Exposition(metrics).collect())
    return METRICS_HEAD + "\n".join(rows) + "\n" + METRICS_TAIL


def _row(family: Metric) -> str:
    """One line of the table; names are those that Prometheus shows."""
    suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
    labels = ", ".join(f"`{label}`" for label in _labels(family))
    kind = "gauge" if family.type == "info" else family.type
    return f"| `{family.name}{suffix}` | {kind} | {labels} | {family.documentation} |"


def _labels(family: Metric) -> Iterator[str]:
    """In the order in which they were declared; `le` is how histograms are made."""
    names = {label: None for sample in family.samples for label in sample.labels}
    return (label for label in names if label != "le")


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
