"""What a door worker holds over many calls: its resident memory, and how much that grows. README.md tells the method.

    python -m bench.memory [--calls 300000] [--workers 1] [--json FILE]

The slope is a least-squares line through the second half of the samples: what is learned once (caches, arenas) is no growth.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from bench import command, load, stage, upstream
from bench.bars import Bar
from bench.stage import Failed, Platform

PATTERNS = 24
CONNECTIONS = 32
BURST_SECONDS = 5
STREAMED = 4
"""Each so manieth burst is of streams."""
GROWTH_MB = 1.0
"""Per 100,000 calls."""
MB = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One look at the processes, after so many calls."""

    calls: int
    worker: float
    """Megabytes of the largest door worker."""
    others: float
    """Megabytes of supervisor, control and the rest together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How many calls, and how many workers."""

    calls: int = 300_000
    workers: int = 1


def resident(pid: int) -> float:
    """Megabytes that a process holds in memory, those it shares included; 0 where it has ended."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * stage.PAGE / MB


def slope(samples: Sequence[tuple[float, float]]) -> float:
    """Of the least-squares line through (x, y).

    >>> slope([(0, 1), (1, 3), (2, 5)])
    2.0
    """
    count = len(samples)
    if count < 2:
        raise ValueError("A line needs two points.")
    x, y = (sum(values) / count for values in zip(*samples, strict=True))
    return sum((a - x) * (b - y) for a, b in samples) / sum((a - x) ** 2 for a, _ in samples)


def measure(options: Options) -> list[Sample]:
    """Calls until there were enough; a look after each burst.

    Raises:
        Failed: something does not start.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        own = stack.enter_context(upstream.running(folder, "upstream alone", deltas=16, delta_ms=0))
        platform = stack.enter_context(stage.tandem(folder, {"whole": own}, options.workers, patterns=PATTERNS))
        target = platform.target
        samples = [_sample(platform, 0)]
        bursts = calls = 0
        while calls < options.calls:
            bursts += 1
            body = load.chat(target.model, deltas=0 if bursts % STREAMED else 16)
            seen = load.burst(target, load.CHAT, body, connections=CONNECTIONS, seconds=BURST_SECONDS)
            if seen.refused or not seen.requests:
                raise Failed(f"{seen.refused} of {seen.requests} calls were refused.")
            calls += seen.requests
            samples.append(_sample(platform, calls))
            print(f"{calls} calls, {samples[-1].worker:.1f} MB …", file=sys.stderr, flush=True)
        stage.until(lambda: platform.spent()[1] >= calls, "Booking", 600)
        return samples


def _sample(platform: Platform, calls: int) -> Sample:
    answering = platform.target.answering()
    others = [pid for pid in stage.family(platform.target.pid) if pid not in answering]
    return Sample(calls=calls, worker=max(map(resident, answering), default=0.0), others=sum(map(resident, others)))


def told(samples: Sequence[Sample]) -> str:
    """The figures as lines."""
    half = samples[len(samples) // 2 :]
    growth = slope([(one.calls / 1e5, one.worker) for one in half]) if len(half) > 1 else None
    first, last = samples[0], samples[-1]
    others = slope([(one.calls / 1e5, one.others) for one in half]) if len(half) > 1 else 0.0
    lines = [
        f"door worker: {first.worker:.1f} MB at rest, {last.worker:.1f} MB after {last.calls} calls.",
        f"other processes together: {first.others:.1f} MB at rest, {last.others:.1f} MB; {others:.2f} MB per 100,000 calls.",
        Bar(what="growth of a worker per 100,000 calls", value=growth, bar=GROWTH_MB, unit=" MB").line(),
    ]
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    options = Options()
    found = argparse.ArgumentParser(prog="python -m bench.memory", description="Watches the memory of a worker.")
    found.add_argument("--calls", type=int, default=options.calls)
    found.add_argument("--workers", type=int, default=options.workers)
    command.add_json(found)
    return found


def main() -> int:
    given = parser().parse_args()
    command.tidy()
    try:
        samples = measure(Options(calls=given.calls, workers=given.workers))
    except Failed as failure:
        print(failure, file=sys.stderr)
        return 1
    print(told(samples))
    if given.json is not None:
        given.json.write_text(json.dumps([asdict(one) for one in samples], indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
