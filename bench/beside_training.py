"""Chat through the door while models are trained beside it, against the same door left alone. README.md tells the method.

    python -m bench.beside_training [--rounds 3] [--seconds 10] [--pace 50] [--json FILE]

One caller at a steady pace, in turn to the door and to the upstream itself: what grows for both is the machine's, what grows
for the door alone is ours.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import command, load, stage, tumor
from bench.figures import Report, Round, percentile, rows
from bench.load import Caller
from bench.stage import Platform

IDLE, BUSY = "idle", "beside a training"
TREES = 2000
"""Of each training: long enough that most of a Run is fitting, not starting."""
QUEUED = 3
"""Runs that wait behind the one at work."""
ENDED = ("succeeded", "failed", "cancelled")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How long and how often."""

    rounds: int = 3
    seconds: int = 10
    """Of each half of a round."""
    pace: int = 50
    """Calls a second to each target."""


def measure(options: Options) -> Report:
    """Measures idle and busy halves in turn.

    Raises:
        Failed: something did not start, or a training failed.
    """
    rounds: list[Round] = []
    shares: list[float] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        upstream = stack.enter_context(stage.mock(folder))
        platform = stack.enter_context(stage.tandem(folder, {"whole": upstream}))
        tumor.add_data(platform, folder)
        targets = (platform.target, upstream)
        callers = [Caller(target, load.CHAT, load.chat(target.model)) for target in targets]
        load.paced(callers, per_second=options.pace, seconds=1)  # warm-up
        for _ in range(options.rounds):
            rounds += _half(callers, options, IDLE)
            with _trainings(platform) as runs:
                begun = time.time()
                rounds += _half(callers, options, BUSY)
                shares.append(covered(runs(), begun * 1e6, time.time() * 1e6))
        for caller in callers:
            caller.close()
    bases = {(one.target, BUSY): (one.target, IDLE) for one in rounds}
    notes = [
        f"a Run was at work for {min(shares):.0%} of the busy time or more; it fits {TREES} trees on one thread.",
        f"medians of {options.rounds} interleaved rounds of {options.seconds} s each way, {options.pace} calls a second to each.",
    ]
    return Report(title="Chat beside a training", rows=rows(rounds, bases), notes=notes, rounds=rounds)


def _half(callers: Sequence[Caller], options: Options, name: str) -> list[Round]:
    found = load.paced(callers, per_second=options.pace, seconds=options.seconds)
    return [
        Round(
            target=target,
            load=name,
            requests=len(taken),
            per_second=len(taken) / options.seconds,
            p50=percentile(taken, 0.5),
            p99=percentile(taken, 0.99),
        )
        for target, taken in zip(("tandem", "mock alone"), found, strict=True)
    ]


@contextmanager
def _trainings(platform: Platform) -> Iterator[Any]:
    """Several Runs, the first of which is at work when the block begins; at its end they are cancelled.

    Yields:
        a function that gives the Runs as the API tells them now.
    """
    ids = [tumor.start_run(platform, "beside", rounds=TREES) for _ in range(1 + QUEUED)]

    def runs() -> list[dict[str, Any]]:
        return [platform.api("GET", f"/runs/{identifier}") for identifier in ids]

    # Progress passes 0.1 only when the child has imported its libraries and fits.
    stage.until(lambda: runs()[0]["progress"] > 0.1, "Starting a training")
    try:
        yield runs
    finally:
        for identifier in reversed(ids):
            platform.api("POST", f"/runs/{identifier}/cancel")
        stage.until(lambda: all(run["state"] in ENDED for run in runs()), "Cancelling the trainings")


def covered(runs: Sequence[dict[str, Any]], begin: float, end: float) -> float:
    """The share of a time (UTC microseconds) in which one of the Runs was at work; Runs do not overlap.

    >>> covered([{"started_at": 0, "ended_at": 40}, {"started_at": 50, "ended_at": None}, {"started_at": None}], 0, 100)
    0.9
    """
    worked = 0.0
    for run in runs:
        if run["started_at"] is not None:
            worked += max(0.0, min(end, run["ended_at"] or end) - max(begin, run["started_at"]))
    return worked / (end - begin)


def parser() -> argparse.ArgumentParser:
    options = Options()
    found = argparse.ArgumentParser(
        prog="python -m bench.beside_training", description="Measures chat through the door while models are trained."
    )
    found.add_argument("--rounds", type=int, default=options.rounds)
    found.add_argument("--seconds", type=int, default=options.seconds, help="of each half of a round")
    found.add_argument("--pace", type=int, default=options.pace, help="calls a second to each target")
    command.add_json(found)
    return found


def main() -> int:
    given = parser().parse_args()
    options = Options(rounds=given.rounds, seconds=given.seconds, pace=given.pace)
    return command.run(lambda: [measure(options)], given.json)


if __name__ == "__main__":
    sys.exit(main())
