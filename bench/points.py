"""Known drift points: how soon a detector notices that a fixed learner has become worse, at one rate of false alarms for all.

    python -m bench.points FILE.csv … --river /tmp/rv/bin/python

Each file has changes at rows 10,000, 20,000 and 30,000. A naive Bayes classifier is trained on rows of a concept; its
errors on later rows of it and then of the next are the stream, the same for all detectors. Rows are shuffled within each
concept, 20 times. A detector starts anew after a change, as a retrained model would. Every detector's threshold is set on
shuffled streams without a change.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
from sklearn.naive_bayes import GaussianNB

from tandem.scorers.change import first, quantile, scan

CHANGES = (0, 10_000, 20_000, 30_000, 40_000)
TRAINED = 2_000
"""Rows of a concept that the learner is trained on."""
BEFORE, AFTER = 3_000, 3_000
"""Outcomes before a change that a detector sees, and after it, within which it must notice."""
OURS = "tandem"
FALSE = 0.05
"""Chance of an alarm within BEFORE + AFTER outcomes that do not change."""

RIVER = """
import sys
import numpy as np
from types import SimpleNamespace
from scipy import stats
from river import drift
from river.drift import kswin
known = {}
def ks_2samp(a, b, method):  # of zeros and ones the test depends on the counts alone: the same values, looked up
    key = (sum(a), sum(b), len(a))
    if key not in known:
        known[key] = stats.ks_2samp(a, b, method=method)
    return known[key]
kswin.stats = SimpleNamespace(ks_2samp=ks_2samp)
streams, nulls = np.load(sys.argv[1]), np.load(sys.argv[2])
before, false = int(sys.argv[3]), float(sys.argv[4])
MADE = {
    "ADWIN": (lambda v: drift.ADWIN(delta=v), [10.0 ** -e for e in np.arange(0.1, 9.1, 0.2)]),
    "KSWIN": (lambda v: drift.KSWIN(alpha=v, seed=1), [10.0 ** -e for e in np.arange(1.3, 9.1, 0.35)]),
    "Page-Hinkley": (lambda v: drift.PageHinkley(threshold=v, mode="up"), [float(v) for v in np.geomspace(2, 300, 45)]),
}
def first(detector, stream):
    for place, error in enumerate(stream):
        detector.update(float(error))
        if detector.drift_detected:
            return place + 1
    return None
allowed = false * len(nulls)
def wrongly(make, value):
    wrong = 0
    for stream in nulls:
        wrong += first(make(value), stream) is not None
        if wrong > allowed:
            break
    return wrong
for name, (make, values) in MADE.items():
    bad = None
    for value in values:  # from the most sensitive on
        wrong = wrongly(make, value)
        if wrong <= allowed:
            break
        bad = value
    for _ in range(4 if bad else 0):  # then as near to the last that called too often as may be
        between = (bad * value) ** 0.5
        more = wrongly(make, between)
        if more <= allowed:
            value, wrong = between, more
        else:
            bad = between
    found = [first(make(value), stream) for stream in streams]
    print(name, value, wrong / len(nulls), *[-1 if at is None else at for at in found], flush=True)
"""


def concepts(path: Path) -> list[np.ndarray]:
    rows = pl.read_csv(path).cast(pl.Float64).to_numpy()
    return [rows[start:end] for start, end in pairwise(CHANGES)]


def around(parts: Sequence[np.ndarray], seed: int) -> list[np.ndarray]:
    """The errors around each change, of a learner that was trained on the concept before it."""
    draw = np.random.default_rng(seed)
    mixed = [draw.permutation(part) for part in parts]
    found = []
    for before, after in pairwise(mixed):
        learner = GaussianNB().fit(before[:TRAINED, :-1], before[:TRAINED, -1])
        rows = np.concatenate((before[TRAINED : TRAINED + BEFORE], after[:AFTER]))
        found.append(learner.predict(rows[:, :-1]) != rows[:, -1])
    return found


def told(at: int | None) -> tuple[bool, int]:
    """Whether an alarm was a false one, and the delay; one that never comes counts as the whole time."""
    if at is None:
        return False, AFTER
    return at <= BEFORE, at - BEFORE


def line(name: str, setting: float, rate: float, found: Sequence[int | None]) -> str:
    pairs = [told(at) for at in found]
    delays = [delay for false, delay in pairs if not false]
    missed = sum(at is None for at in found)
    early = sum(false for false, _ in pairs)
    return (
        f"| {name} | {setting:.4g} | {100 * rate:.1f} % | {early} | {missed} | {np.mean(delays):.0f} | {np.median(delays):.0f} |"
    )


def apart(files: Sequence[Mapping[str, Sequence[int | None]]], rival: str, a_run: int) -> tuple[float, float, float]:
    """How much sooner the rival notices, in rows: the mean over files of our delay less its own, with a 95 % interval.

    Where either called too early, the change is left out for both. The interval is of shuffles drawn with replacement.

    Args:
        a_run: changes of one shuffle, which lie together.
    """
    sums, counts = [], []
    for found in files:
        pairs = [(told(ours), told(its)) for ours, its in zip(found[OURS], found[rival], strict=True)]
        held = np.array([not (ours[0] or its[0]) for ours, its in pairs])
        more = np.where(held, [ours[1] - its[1] for ours, its in pairs], 0)
        sums.append(more.reshape(-1, a_run).sum(axis=1))
        counts.append(held.reshape(-1, a_run).sum(axis=1))
    draw = np.random.default_rng(1)
    means = [_mean(sums, counts, draw.integers(0, len(sums[0]), len(sums[0]))) for _ in range(2_000)]
    low, high = np.quantile(means, [0.025, 0.975])
    return _mean(sums, counts, np.arange(len(sums[0]))), float(low), float(high)


def _mean(sums: Sequence[np.ndarray], counts: Sequence[np.ndarray], chosen: np.ndarray) -> float:
    return float(np.mean([some[chosen].sum() / number[chosen].sum() for some, number in zip(sums, counts, strict=True)]))


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.points", description="Known drift points.")
    parser.add_argument("file", type=Path, nargs="+")
    parser.add_argument("--shuffles", type=int, default=20)
    parser.add_argument("--nulls", type=int, default=400)
    parser.add_argument("--river", help="the Python that river is installed in")
    given = parser.parse_args(words)
    files: list[dict[str, list[int | None]]] = []
    for path in given.file:
        parts = concepts(path)
        with ProcessPoolExecutor(2) as pool:
            runs = list(pool.map(partial(around, parts), range(given.shuffles)))
        streams = [stream for run in runs for stream in run]
        draw = np.random.default_rng(1)
        calm = [stream[:BEFORE] for stream in streams]
        nulls = [draw.choice(calm[place % len(calm)], BEFORE + AFTER) for place in range(given.nulls)]
        limit = quantile([float(scan(stream).max()) for stream in nulls], 1 - FALSE)
        rate = float(np.mean([scan(stream).max() > limit for stream in nulls]))
        print(f"\n{path.name}: {len(streams)} changes, errors {np.mean(calm):.3f} before, "
              f"{np.mean([s[BEFORE:BEFORE + 500].mean() for s in streams]):.3f} in the 500 rows after\n")  # fmt: skip
        print("| detector | setting | alarms without a change | early | missed | mean delay | median |")
        print("|---|--:|--:|--:|--:|--:|--:|")
        files.append({OURS: [first(stream, np.nextafter(limit, np.inf)) for stream in streams]})
        print(line(OURS, limit, rate, files[-1][OURS]), flush=True)
        if given.river:
            with tempfile.TemporaryDirectory() as folder:
                np.save(f"{folder}/streams.npy", np.array(streams))
                np.save(f"{folder}/nulls.npy", np.array(nulls))
                asked = [given.river, "-c", RIVER, f"{folder}/streams.npy", f"{folder}/nulls.npy", str(BEFORE), str(FALSE)]
                for row in subprocess.run(asked, capture_output=True, check=True, text=True).stdout.splitlines():
                    name, value, false, *at = row.split(" ")
                    files[-1][name] = [None if each == "-1" else int(each) for each in at]
                    print(line(name, float(value), float(false), files[-1][name]), flush=True)
    rivals = [name for name in files[0] if name != OURS]
    if rivals:
        print(f"\nRows later (below 0: sooner) than each, of {given.shuffles} shuffles, with 95 % intervals:\n")
        print("| rival |" + "".join(f" {path.stem} |" for path in given.file) + " mean of the files |")
        print("|---|" + "--:|" * (len(files) + 1))
        for name in rivals:
            cells = [apart(some, name, len(CHANGES) - 2) for some in (*[[one] for one in files], files)]
            print(f"| {name} |" + "".join(f" {mean:+.0f} [{low:+.0f}, {high:+.0f}] |" for mean, low, high in cells), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
