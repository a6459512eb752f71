"""How often a check of drift calls when nothing has changed, whether it sees a small shift, and how long it takes.

    python -m bench.calibration                       false alarms by window, power, other libraries' rules beside ours
    python -m bench.calibration --windows 2000 --processes 2
    python -m bench.calibration --speed [--evidently /tmp/ev/bin/python]

Fifty columns: normal, lognormal, discrete, heavy-tailed and correlated ones. Every ten windows have a reference of their own,
so that the figures hold on average over references too. A false alarm is any column of fifty that is called.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
from scipy import stats
from scipy.spatial import distance

from tandem.monitoring.findings import control
from tandem.monitoring.judge import compared, judge
from tandem.scorers.bins import Bins
from tandem.scorers.drift import freeze, tally
from tandem.scorers.proportions import wilson

COLUMNS = 50
REFERENCE = 10_000
SIZES = (50, 100, 200, 500, 1_000, 5_000, 20_000, 100_000)
LEVEL = 0.05
SHIFT = 0.2
MATTERS = 0.02
"""The index from which a change matters here; of a shift by a fifth of a standard deviation it is 0.04."""
TEN = 10
"""Windows that share a reference."""
CHUNKS = 10
"""Reference chunks of NannyML's rule."""


def table(draw: np.random.Generator, rows: int) -> np.ndarray:
    """Rows x 50 columns, each column in one piece; ten of each sort."""
    found = np.empty((rows, COLUMNS), order="F")
    common = draw.normal(size=rows)
    for place in range(10):
        found[:, place] = draw.normal(size=rows)
        found[:, 10 + place] = np.exp(draw.normal(size=rows))
        found[:, 20 + place] = draw.poisson(0.3 + place, rows) if place % 2 else draw.random(rows) < 0.02 + place / 20
        found[:, 30 + place] = draw.standard_t(1.5 + place / 3, rows)
        found[:, 40 + place] = 0.9 * common + 0.43589 * draw.normal(size=rows)
    return found


def frozen(reference: np.ndarray) -> list[Bins]:
    return [freeze(str(place), reference[:, place]) for place in range(COLUMNS)]


def ours(bins: Sequence[Bins], window: np.ndarray, threshold: float, seed: int) -> tuple[str, ...]:
    """The columns that a check calls, `minimum` aside."""
    tallies = [tally(each, window[:, place]) for place, each in enumerate(bins)]
    findings = compared(bins, tallies, minimum=1, threshold=threshold, seed=seed)
    return tuple(finding.subject for finding in control(findings, level=LEVEL) if finding.verdict == "drifted")


def evidently(reference: np.ndarray, window: np.ndarray) -> int:
    """Columns that the defaults of Evidently 0.7 call with more than 1,000 rows of reference."""
    called = 0
    for place in range(COLUMNS):
        then, now = reference[:, place], window[:, place]
        values = np.unique(np.concatenate((then, now)))
        if np.unique(then).size > 5:
            called += stats.wasserstein_distance(then, now) / max(float(then.std()), 0.001) >= 0.1
        else:
            shares = [np.array([(part == value).mean() for value in values]) for part in (then, now)]
            called += distance.jensenshannon(*shares) >= 0.1
    return called


def nannyml(reference: np.ndarray, window: np.ndarray) -> int:
    """Columns that the defaults of NannyML 0.13 call: Jensen-Shannon above the reference chunks' mean and three deviations."""
    called = 0
    for place in range(COLUMNS):
        then, now = reference[:, place], window[:, place]
        few = np.unique(then).size <= 10
        edges = np.unique(then) if few else np.histogram_bin_edges(then, bins="doane")
        whole = _shares(then, edges, few)
        chunks = [_jensen(whole, _shares(part, edges, few)) for part in np.array_split(then, CHUNKS)]
        called += _jensen(whole, _shares(now, edges, few)) > np.mean(chunks) + 3 * np.std(chunks)
    return called


def _shares(values: np.ndarray, edges: np.ndarray, few: bool) -> np.ndarray:
    counts = np.array([(values == edge).sum() for edge in edges]) if few else np.histogram(values, edges)[0]
    inside = counts / len(values)
    return np.append(inside, max(0.0, 1 - inside.sum()))


def _jensen(then: np.ndarray, now: np.ndarray) -> float:
    return float(distance.jensenshannon(then, now, base=2))


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """How many of some windows were called."""

    rule: str
    rows: int
    windows: int
    called: int

    @property
    def words(self) -> str:
        told = wilson(self.called, self.windows)
        return f"{100 * told.value:.1f} % ({100 * told.low:.1f}-{100 * told.high:.1f}) of {self.windows}"


def unchanged(rows: int, seed: int) -> int:
    """How many of ten windows without a change are called by significance alone, whatever the effect."""
    draw = np.random.default_rng([seed, rows])
    bins = frozen(table(draw, REFERENCE))
    return sum(bool(ours(bins, table(draw, rows), 0.0, seed * TEN + number)) for number in range(TEN))


def shifted(rows: int, seed: int) -> int:
    """In how many of ten windows the one shifted column is called, and its shift held to matter."""
    draw = np.random.default_rng([seed, rows, 1])
    bins = frozen(table(draw, REFERENCE))
    seen = 0
    for number in range(TEN):
        window = table(draw, rows)
        window[:, 0] += SHIFT
        seen += "0" in ours(bins, window, MATTERS, seed * TEN + number)
    return seen


def rivals(rows: int, seed: int) -> tuple[bool, bool]:
    draw = np.random.default_rng([seed, rows])
    reference, window = table(draw, REFERENCE), table(draw, rows)
    return evidently(reference, window) > 0, nannyml(reference, window) > 0


def calibrate(options: argparse.Namespace) -> list[Calls]:
    found: list[Calls] = []
    with ProcessPoolExecutor(options.processes) as pool:
        for rows in options.size or SIZES:
            windows = options.windows if rows <= options.full else options.largest
            called = sum(pool.map(partial(unchanged, rows), range(windows // TEN)))
            found.append(Calls(rule="tandem", rows=rows, windows=windows, called=called))
            pairs = list(pool.map(partial(rivals, rows), range(options.rivals), chunksize=2))
            for place, rule in enumerate(("evidently", "nannyml")):
                found.append(Calls(rule=rule, rows=rows, windows=len(pairs), called=sum(pair[place] for pair in pairs)))
            print(f"{rows}: " + "; ".join(f"{each.rule} {each.words}" for each in found[-3:]), file=sys.stderr, flush=True)
        seen = sum(pool.map(partial(shifted, 1_000), range(options.power // TEN)))
        found.append(Calls(rule="tandem, one column shifted", rows=1_000, windows=options.power, called=seen))
    return found


TIMED = """
import sys, time, numpy, pandas
from evidently import Report
from evidently.presets import DataDriftPreset
reference, window = (pandas.DataFrame(numpy.load(path), columns=[f"c{n}" for n in range(50)]) for path in sys.argv[1:3])
began, worked = time.perf_counter(), time.process_time()
Report([DataDriftPreset()]).run(window, reference)
print(time.perf_counter() - began, time.process_time() - worked)
"""


def speed(options: argparse.Namespace) -> dict[str, tuple[float, float]]:
    """Seconds by the clock and of the processor, the best of seven, for 1,000,000 rows x 50 columns."""
    draw = np.random.default_rng(1)
    reference, window = table(draw, options.rows), table(draw, options.rows)
    bins = frozen(reference)
    asked = {"calls": options.rows, "refused": {}, "minimum": 100, "threshold": 0.1, "level": 0.001}
    tallies = [tally(each, window[:, place]) for place, each in enumerate(bins)]
    found = {
        "report from rows": _best(lambda: judge(bins, window, **asked)),
        "report from counts": _best(lambda: control(compared(bins, tallies, minimum=100, threshold=0.1), level=0.001)),
    }
    if options.evidently:
        for name, rows in (("/tmp/calibration-reference.npy", reference), ("/tmp/calibration-window.npy", window)):
            np.save(name, rows)
        words = [options.evidently, "-c", TIMED, "/tmp/calibration-reference.npy", "/tmp/calibration-window.npy"]
        *_, clock, worked = subprocess.run(words, capture_output=True, check=True, text=True).stdout.split()
        found["evidently"] = (float(clock), float(worked))
    return found


def _best(work: Callable[[], object]) -> tuple[float, float]:
    best = (math.inf, math.inf)
    for _ in range(7):
        began, worked = time.perf_counter(), time.process_time()
        work()
        best = min(best[0], time.perf_counter() - began), min(best[1], time.process_time() - worked)
    return best


def options(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.calibration", description="False alarms, power and speed of drift.")
    parser.add_argument("--size", type=int, action="append", help="rows of a window; all by default")
    parser.add_argument("--windows", type=int, default=2_000, help="unchanged windows per size")
    parser.add_argument("--full", type=int, default=20_000, help="rows up to which all windows are made")
    parser.add_argument("--largest", type=int, default=500, help="windows of larger sizes")
    parser.add_argument("--rivals", type=int, default=100, help="windows for the other libraries' rules")
    parser.add_argument("--power", type=int, default=1_000, help="windows with one shifted column")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the report that is timed")
    parser.add_argument("--evidently", help="the Python that Evidently is installed in")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(words)


def main(words: Sequence[str]) -> int:
    given = options(words)
    if given.speed:
        for name, (clock, worked) in speed(given).items():
            print(f"{name}: {clock:.3f} s, {worked:.3f} s of the processor")
        return 0
    found = calibrate(given)
    if given.json:
        print(json.dumps([asdict(each) for each in found], indent=2))
        return 0
    print("| rows | tandem | Evidently's rule | NannyML's rule |")
    print("|--:|--:|--:|--:|")
    for first in range(0, len(found) - 1, 3):
        print(f"| {found[first].rows} | " + " | ".join(each.words for each in found[first : first + 3]) + " |")
    print(f"\nOne column of fifty shifted by {SHIFT} deviations, 1,000 rows: called in {found[-1].words}.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
