"""How often the search for weak slices finds one that is not there, whether it finds one that is, and how long it takes.

    python -m bench.slices                       both rates by number of rows, and the time
    python -m bench.slices --runs 2000 --processes 2

Ten columns, six of numbers and four of texts. Without a slice, losses have nothing to do with them: of exponential, 0-1 or very
skewed losses alike. With one, the loss is larger in a tenth of the rows, named by one condition or by two.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
import polars as pl

from tandem.evaluation.about.slices import find
from tandem.scorers.proportions import wilson

SIZES = (500, 2_000, 10_000)
FACTORS = (1.25, 1.5, 2.0)
"""Of the loss in a planted slice to the loss elsewhere."""
LARGE, COLUMNS = 100_000, 30
"""Rows and columns whose search is timed."""


def table(draw: np.random.Generator, rows: int, columns: int) -> pl.DataFrame:
    """Three of five columns are numbers, the others texts of ten values."""
    numbers = columns * 3 // 5
    found: dict[str, object] = {f"x{place}": draw.normal(size=rows) for place in range(numbers)}
    return pl.DataFrame(found | {f"c{place}": draw.choice(list("abcdefghij"), rows) for place in range(columns - numbers)})


def losses(draw: np.random.Generator, rows: int, kind: str) -> np.ndarray:
    match kind:
        case "exponential":
            return np.asarray(draw.exponential(size=rows))
        case "0-1":
            return np.asarray(draw.random(rows) < 0.15, dtype=np.float64)
        case _:
            return np.asarray(np.exp(1.5 * draw.normal(size=rows)))


def false(seed: int, rows: int, kind: str) -> bool:
    """Whether anything is found where nothing is."""
    draw = np.random.default_rng(seed)
    return bool(find(table(draw, rows, 10), losses(draw, rows, kind), loss=kind, seed=seed).found)


def found(seed: int, rows: int, factor: float, conditions: int) -> bool:
    """Whether a slice on the planted columns, and no others, is found."""
    draw = np.random.default_rng(seed)
    frame = table(draw, rows, 10)
    bad = (frame["c0"] == "a").to_numpy() if conditions == 1 else (frame["c0"] < "c").to_numpy() & (frame["x0"] > 0).to_numpy()
    if conditions == 2:
        frame = frame.with_columns(c0=pl.when(pl.col("c0") < "c").then(pl.lit("a")).otherwise(pl.col("c0")))
    loss = losses(draw, rows, "exponential") * np.where(bad, factor, 1.0)
    wanted = {"c0"} if conditions == 1 else {"c0", "x0"}
    return any({part.column for part in each.where} == wanted for each in find(frame, loss, loss="loss", seed=seed).found)


def rate(hits: Sequence[bool]) -> str:
    shown = wilson(sum(hits), len(hits))
    return f"{shown.value:7.1%} [{shown.low:.1%}, {shown.high:.1%}]"


def main() -> None:
    given = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    given.add_argument("--runs", type=int, default=400)
    given.add_argument("--processes", type=int, default=1)
    asked = given.parse_args()
    seeds = range(asked.runs)
    with ProcessPoolExecutor(asked.processes) as pool:
        print(f"Wrong: a slice where there is none, {asked.runs} runs")
        for kind in ("exponential", "0-1", "log-normal"):
            for rows in SIZES:
                print(
                    f"  {kind:12} {rows:7,} rows {rate(list(pool.map(partial(false, rows=rows, kind=kind), seeds, chunksize=8)))}"
                )
        print("Found: the planted slice of a tenth of the rows, by its own columns")
        for conditions in (1, 2):
            for rows in SIZES:
                for factor in FACTORS:
                    one = partial(found, rows=rows, factor=factor, conditions=conditions)
                    told = rate(list(pool.map(one, seeds, chunksize=8)))
                    print(f"  {conditions} of columns {rows:7,} rows, loss x {factor:4} {told}")
    draw = np.random.default_rng(1)
    frame, loss = table(draw, LARGE, COLUMNS), losses(draw, LARGE, "exponential")
    began = time.process_time()
    looked = find(frame, loss, loss="loss", seed=1).candidates
    print(f"Time: {time.process_time() - began:.2f} s of processor for {LARGE:,} rows x {COLUMNS} columns, {looked:,} parts")


if __name__ == "__main__":
    main()
