"""Performance without labels: what a Monitor would have told before the labels came, beside what they then said.

    python -m bench.unlabelled REFERENCE.csv ANALYSIS.csv LABELS.csv

Files as NannyML ships its California housing example: `y_pred_proba` and `clf_target` in the first, `y_pred_proba` in the
second, `id` and `clf_target` in the third. The second is cut into six chunks of equal size.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from tandem.scorers.auc import RocAuc
from tandem.scorers.classes import Accuracy
from tandem.scorers.sample import Sample
from tandem.scorers.unlabelled import curve, estimate

CHUNKS = 6


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.unlabelled", description="Performance without labels.")
    for name in ("reference", "analysis", "labels"):
        parser.add_argument(name, type=Path)
    given = parser.parse_args(words)
    past = pl.read_csv(given.reference)
    rows = pl.read_csv(given.analysis).join(pl.read_csv(given.labels), on="id", how="left", maintain_order="left")
    before = Sample.of(past["clf_target"].to_numpy(), past["y_pred_proba"].to_numpy())
    calibrated = curve(before)
    print(f"Reference: AUROC {RocAuc().score(before).value:.3f}, {before.n} rows.\n")
    print("| chunk | rows | AUROC realised | estimated [95 %] | off by | accuracy realised | estimated | off by |")
    print("|--:|--:|--:|--:|--:|--:|--:|--:|")
    for number, place in enumerate(np.array_split(np.arange(rows.height), CHUNKS), 1):
        part = rows[place[0] : place[-1] + 1]
        sample = Sample.of(part["clf_target"].to_numpy(), part["y_pred_proba"].to_numpy())
        expected = estimate(calibrated, sample.probabilities)
        area, right = RocAuc().score(sample).value, Accuracy().score(sample).value
        auc, accuracy = expected["roc_auc"], expected["accuracy"]
        print(
            f"| {number} | {sample.n} | {area:.3f} | {auc.value:.3f} [{auc.low:.3f}, {auc.high:.3f}] | {auc.value - area:+.3f} "
            f"| {right:.3f} | {accuracy.value:.3f} | {accuracy.value - right:+.3f} |"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
