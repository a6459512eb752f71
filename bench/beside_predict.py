"""Chat through the door while predictions saturate a model host, against the same door left alone. README.md tells the method.

    python -m bench.beside_predict [--rounds 3] [--seconds 10] [--pace 20] [--connections 4] [--json FILE]

One caller at a steady pace, in turn to the door and to the upstream itself; in the busy halves `wrk` asks for predictions as
fast as they come. What grows for both is the machine's, what grows for the door alone is ours.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import command, load, predict, stage, tumor, upstream
from bench.bars import Bar
from bench.figures import Report, Round, percentile, rows
from bench.load import Burst, Caller
from bench.stage import Failed, Platform

IDLE, BUSY = "idle", "beside predictions"
TREES, ROWS = 2000, 100
"""Of the model, and of one prediction: so much that the model's process is busy long before the door is."""
MOST = 2.0
"""Times the idle p99."""
PREDICTING = 1
"""Seconds that the predictions have run before anything is measured, and still run after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How long, how often, and how much beside it."""

    rounds: int = 3
    seconds: int = 10
    """Of each half of a round."""
    pace: int = 20
    """Calls a second to each target."""
    connections: int = 4
    """That ask for predictions."""
    cores: str = ""
    """Of the platform, as taskset takes them; empty: all."""


def measure(options: Options) -> Report:
    """Trains and promotes a model, then measures idle and busy halves in turn.

    Raises:
        Failed: something did not start, or predictions were refused.
    """
    rounds: list[Round] = []
    predicted: list[float] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        own = stack.enter_context(upstream.running(folder, "upstream alone"))
        platform = stack.enter_context(stage.tandem(folder, {"whole": own}, cores=options.cores))
        case = tumor.add_data(platform, folder)
        tumor.train(platform, rounds=TREES)
        predict.until_served(platform, case.infer())
        callers = [Caller(target, load.CHAT, load.chat(target.model)) for target in (platform.target, own)]
        load.paced(callers, per_second=options.pace, seconds=1)  # warm-up
        for _ in range(options.rounds):
            rounds += _half(callers, options, IDLE)
            with _predictions(platform, case.infer(ROWS), options) as seen:
                rounds += _half(callers, options, BUSY)
            predicted += [one.per_second for one in seen]
        for caller in callers:
            caller.close()
    table = rows(rounds, {(one.target, BUSY): (one.target, IDLE) for one in rounds})
    (ours,) = [row for row in table if (row.target, row.load) == ("tandem", BUSY)]
    notes = [
        f"{min(predicted):.0f} predictions of {ROWS} rows by {TREES} trees a second at least, {options.connections} at once.",
        Bar(what="p99 of chat beside predictions ÷ idle", value=ours.p99_ratio, bar=MOST, unit="x").line(),
        f"medians of {options.rounds} interleaved rounds of {options.seconds} s each way, {options.pace} calls a second to each.",
    ]
    return Report(title="Chat beside predictions", rows=table, notes=notes, rounds=rounds)


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
        for target, taken in zip(("tandem", "upstream alone"), found, strict=True)
    ]


@contextmanager
def _predictions(platform: Platform, body: bytes, options: Options) -> Iterator[list[Burst]]:
    """Predictions as fast as they come, for longer than the half; what they were is there when the block has ended.

    Raises:
        Failed: some were refused.
    """
    seen: list[Burst] = []
    failed: list[Failed] = []

    def ask() -> None:
        try:
            length = options.seconds + 2 * PREDICTING
            seen.append(load.burst(platform.target, predict.PATH, body, connections=options.connections, seconds=length))
        except Failed as failure:
            failed.append(failure)

    asking = threading.Thread(target=ask)
    asking.start()
    threading.Event().wait(PREDICTING)
    try:
        yield seen
    finally:
        asking.join()
    if failed:
        raise failed[0]
    if seen[0].refused:
        raise Failed(f"{seen[0].refused} of {seen[0].requests} predictions were refused.")


def parser() -> argparse.ArgumentParser:
    options = Options()
    found = argparse.ArgumentParser(
        prog="python -m bench.beside_predict", description="Measures chat through the door while a model host is saturated."
    )
    found.add_argument("--rounds", type=int, default=options.rounds)
    found.add_argument("--seconds", type=int, default=options.seconds, help="of each half of a round")
    found.add_argument("--pace", type=int, default=options.pace, help="calls a second to each target")
    found.add_argument("--connections", type=int, default=options.connections, help="that ask for predictions")
    found.add_argument("--cores", default=options.cores, help="of the platform, as taskset takes them")
    command.add_json(found)
    return found


def main() -> int:
    given = parser().parse_args()
    options = Options(
        rounds=given.rounds, seconds=given.seconds, pace=given.pace, connections=given.connections, cores=given.cores
    )
    return command.run(lambda: [measure(options)], given.json)


if __name__ == "__main__":
    sys.exit(main())
