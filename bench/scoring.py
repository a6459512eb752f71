"""A whole dataset scored: rows a second, and the most memory that it takes. README.md tells the method.

    python -m bench.scoring [--rows 10000000] [--columns 10] [--json FILE]

Gradient-boosted trees over a table of numbers that lies in the lake already, by the process that scores datasets, from its
start to the commit of what came out. Twice: for a tenth of the rows and for all, so that what grows with them shows.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import polars as pl

from bench import command
from bench.bars import Bar
from bench.figures import Report, Round, rows
from bench.stage import Failed
from tandem.serving.base import Card
from tandem.serving.offline.child import MEMORY, Result, Score
from tandem.store.lake import Lake
from tandem.training.fit import fit
from tandem.training.task import Task

PIECE = 100_000
GROWTH = 1.05
"""At most that much more memory for ten times the rows."""
TREES = 100
LEARNED = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How much."""

    rows: int = 10_000_000
    columns: int = 10


def measure(options: Options) -> Report:
    """Trains a model, writes two datasets, scores both.

    Raises:
        Failed: the scoring did not end well.
    """
    rounds, notes, memory = list[Round](), list[str](), list[int]()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        names = [f"c{number}" for number in range(options.columns)]
        order = _order(folder, names)
        for count in (max(1, options.rows // 10), options.rows):
            table = f"rows-{count}"
            version = Lake(folder / "lake").write_lazy(table, _rows(folder, count, names), mark=table)
            given = msgspec.structs.replace(order, table=table, version=version, out=f"{table}-scored", mark=f"{table}-scored")
            given = msgspec.structs.replace(given, folder=str(folder / "work" / table))
            seconds, cpu, most = _score(given, count)
            memory.append(most)
            whole, each = seconds * 1e6, cpu / count * 1e6
            load = f"{count:,} rows"
            rounds.append(
                Round(target="scoring", load=load, requests=count, per_second=count / seconds, p50=whole, p99=whole, cpu=each)
            )
            notes.append(f"{count:,} rows x {options.columns} columns: {seconds:.1f} s, at most {most / 1e6:.0f} MB in memory.")
    grown = Bar(what="memory for all rows ÷ for a tenth of them", value=memory[1] / memory[0], bar=GROWTH, unit="x")
    notes.append(grown.line())
    return Report(title="Scoring of a dataset", rows=rows(rounds, {}), notes=notes, rounds=rounds)


def _order(folder: Path, names: Sequence[str]) -> Score:
    """A model of trees that is asked about these columns."""
    random = np.random.default_rng(1)
    frame = pl.DataFrame(random.random((LEARNED, len(names))), schema=list(names))
    frame = frame.with_columns(y=pl.col(names[0]) + pl.col(names[-1]) > 1)
    task = Task(name="model", dataset="dataset/rows@1", target="y", params={"rounds": TREES})
    made = fit(task, frame, lambda share, stage: None)
    members = folder / "model"
    for member, content in made.members.items():
        (members / member).parent.mkdir(parents=True, exist_ok=True)
        (members / member).write_bytes(content)
    return Score(
        folder="",
        lake=str(folder / "lake"),
        table="",
        version=0,
        members=str(members),
        signature=made.signature,
        threshold=Card.read(members).threshold,
        classes=made.classes,
        out="",
        mark="",
    )


def _rows(folder: Path, count: int, names: Sequence[str]) -> pl.LazyFrame:
    """So many rows, in files beside the lake: all of them together are more than should be in memory."""
    random, files = np.random.default_rng(2), folder / f"files-{count}"
    files.mkdir()
    for start in range(0, count, PIECE):
        frame = pl.DataFrame(random.random((min(PIECE, count - start), len(names))), schema=list(names))
        frame.write_parquet(files / f"{start:012d}.parquet")
    return pl.scan_parquet(sorted(files.iterdir()))


def _score(order: Score, count: int) -> tuple[float, float, int]:
    """Seconds by the clock, seconds of processor time, and the most bytes in memory."""
    watched = "import sys; from bench.scoring import most_memory; from tandem.serving.offline.child import main; main();"
    watched += "print(most_memory(), file=sys.stderr)"
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    given = msgspec.msgpack.encode(order)
    env = {**os.environ, **MEMORY}
    done = subprocess.run([sys.executable, "-c", watched], input=given, capture_output=True, check=False, env=env)
    seconds, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    last, most = (lines[-1] if (lines := part.splitlines()) else b"" for part in (done.stdout, done.stderr))
    said = msgspec.json.decode(last or b"{}", type=dict[str, msgspec.Raw]).get("done")
    if said is None or msgspec.json.decode(said, type=Result).done.rows != count:
        raise Failed(f"The scoring ended with {last.decode()} {done.stderr.decode(errors='replace')[-500:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, cpu, int(most)


def most_memory() -> int:
    """The most bytes that this process had in memory.

    On Linux `getrusage` is no good for it: it also counts what the process had before its program was started, as a copy of
    the one that started it.
    """
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    told = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(told["VmHWM"].split()[0]) * 1024


def parser() -> argparse.ArgumentParser:
    options = Options()
    found = argparse.ArgumentParser(prog="python -m bench.scoring", description="Measures the scoring of a whole dataset.")
    found.add_argument("--rows", type=int, default=options.rows)
    found.add_argument("--columns", type=int, default=options.columns)
    command.add_json(found)
    return found


def main() -> int:
    given = parser().parse_args()
    return command.run(lambda: [measure(Options(rows=given.rows, columns=given.columns))], given.json)


if __name__ == "__main__":
    sys.exit(main())
