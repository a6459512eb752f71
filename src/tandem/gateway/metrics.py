"""Counters of one door worker, and their Prometheus text.

Series are bounded: a kind and an outcome are closed vocabularies, nothing a caller sends is a label.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict

from tandem.core.canon import fault_of

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of the duration histogram, in seconds."""


class Metrics:
    """Counts calls by kind and outcome."""

    def __init__(self, worker: str) -> None:
        self._worker = worker
        self._calls: dict[tuple[str, str], int] = defaultdict(int)
        self._seconds: dict[str, list[float]] = defaultdict(lambda: [0.0] * (len(BUCKETS) + 2))
        self._attempts: dict[str, int] = defaultdict(int)
        self._remembered: dict[str, int] = defaultdict(int)
        self._cost = 0

    def attempted(self, outcome: str) -> None:
        """One ended attempt."""
        self._attempts[outcome] += 1

    def remembered(self, hit: bool) -> None:
        """One question to an endpoint that remembers its answers."""
        self._remembered["hit" if hit else "miss"] += 1

    def count(self, kind: str, outcome: str, seconds: float, cost: int) -> None:
        """One ended call: its duration in seconds and its cost in nano-dollars."""
        self._calls[kind, outcome] += 1
        histogram = self._seconds[kind]
        histogram[bisect_left(BUCKETS, seconds)] += 1
        histogram[-1] += seconds
        self._cost += cost

    def text(self, gauges: dict[str, float]) -> str:
        """All series in the Prometheus text format, version 0.0.4."""
        w = f'worker="{self._worker}"'
        lines = ["# TYPE tandem_calls_total counter"]
        lines += [f'tandem_calls_total{{{w},kind="{k}",outcome="{o}"}} {n}' for (k, o), n in sorted(self._calls.items())]
        lines.append("# TYPE tandem_attempts_total counter")
        for outcome, count in sorted(self._attempts.items()):
            side = "none" if outcome == "ok" else fault_of(outcome).side
            lines.append(f'tandem_attempts_total{{{w},outcome="{outcome}",side="{side}"}} {count}')
        lines.append("# TYPE tandem_cache_total counter")
        lines += [f'tandem_cache_total{{{w},result="{result}"}} {n}' for result, n in sorted(self._remembered.items())]
        lines.append("# TYPE tandem_call_seconds histogram")
        for kind, histogram in sorted(self._seconds.items()):
            total = 0.0
            for bound, n in zip((*map(str, BUCKETS), "+Inf"), histogram, strict=False):
                total += n
                lines.append(f'tandem_call_seconds_bucket{{{w},kind="{kind}",le="{bound}"}} {total:g}')
            lines.append(f'tandem_call_seconds_sum{{{w},kind="{kind}"}} {histogram[-1]:.6f}')
            lines.append(f'tandem_call_seconds_count{{{w},kind="{kind}"}} {total:g}')
        lines += ["# TYPE tandem_cost_usd_total counter", f"tandem_cost_usd_total{{{w}}} {self._cost / 1e9:.9f}"]
        for name, value in gauges.items():
            lines += [f"# TYPE {name} gauge", f"{name}{{{w}}} {value:g}"]
        return "\n".join(lines) + "\n"
