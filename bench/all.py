"""All comparisons in less than five minutes, as one table: what features cost, and beside it how exact the books are.

    python -m bench.all [--rounds 3] [--seconds 2] [--json FILE] [--write]

`--write` puts the table into README.md beside this file, between its marks, with the day and the machine it was made on.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import tandem
from bench import beside_training, command, door, predict, proof
from bench.figures import Report, markdown, text, write_block
from bench.stage import Failed

PAGE = Path(__file__).with_name("README.md")


def measure(rounds: int, seconds: int) -> tuple[list[Report], list[str]]:
    """Every comparison, one after the other, and why one of them failed."""
    parts: dict[str, Callable[[], Report]] = {
        "door": lambda: door.measure(door.Options(rounds=rounds, seconds=seconds)),
        "predict": lambda: predict.measure(predict.Options(rounds=rounds, seconds=seconds)),
        "proof": lambda: proof.measure(proof.Options(rounds=100)),
        "beside_training": lambda: beside_training.measure(beside_training.Options(rounds=rounds, seconds=2 * seconds)),
    }
    reports, failures = [], []
    for name, part in parts.items():
        print(f"{name} …", file=sys.stderr, flush=True)
        try:
            reports.append(part())
        except Failed as failure:
            failures.append(f"{name}: {failure}")
    return reports, failures


def inexact(reports: Sequence[Report]) -> list[str]:
    """Under which loads the books of a target are not what its upstream billed."""
    return [f"{row.target}, {row.load}, by {row.error} n$" for report in reports for row in report.rows if row.error]


def provenance() -> str:
    """When and where: figures belong to a day and a machine."""
    processor = platform.machine()
    try:
        rows = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next(row.partition(":")[2].strip() for row in rows if row.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, Tandem {tandem.__version__}, Python {platform.python_version()}, "
        f"{os.cpu_count()} cores of {processor} for load, proxies and upstream together."
    )


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="python -m bench.all", description="Measures everything, shortly.")
    found.add_argument("--rounds", type=int, default=3)
    found.add_argument("--seconds", type=int, default=2, help="of each measurement; twice as long beside a training")
    found.add_argument("--write", action="store_true", help="puts the table into bench/README.md")
    command.add_json(found)
    return found


def main() -> int:
    given = parser().parse_args()
    command.tidy()
    reports, failures = measure(given.rounds, given.seconds)
    made = provenance()
    print(f"{text(reports)}\n\n{made}")
    for failure in failures:
        print(f"\n{failure}", file=sys.stderr)
    if given.json is not None:
        content = {"made": made, "reports": [report.plain() for report in reports], "failures": failures}
        given.json.write_text(json.dumps(content, indent=1) + "\n")
    if given.write and not failures:
        PAGE.write_text(write_block(PAGE.read_text(), f"{made}\n\n{markdown(reports)}"))
    wrong = inexact(reports)
    if wrong:
        print(f"\nThe ledger and the bill differ: {', '.join(wrong)}.", file=sys.stderr)
    return 1 if failures or wrong else 0


if __name__ == "__main__":
    sys.exit(main())
