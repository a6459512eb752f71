"""What the scripts share on the command line."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.figures import Report, text
from bench.stage import Failed


def numbers(words: str) -> tuple[int, ...]:
    """`1,32` → (1, 32); for argparse."""
    found = tuple(int(word) for word in words.split(","))
    if min(found) < 1:
        raise ValueError(words)
    return found


def among(names: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    """Reads `tandem,nginx` as some of these names; for argparse."""

    def chosen(words: str) -> tuple[str, ...]:
        found = tuple(words.split(","))
        if not set(found) <= set(names):
            raise ValueError(words)
        return found

    return chosen


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", type=Path, metavar="FILE", help="writes the figures and every round to this file")


def tidy() -> None:
    """Ends what was started also when this process is told to end."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def run(measure: Callable[[], Sequence[Report]], file: Path | None) -> int:
    """Measures, prints the table, and writes the file; the exit code."""
    tidy()
    try:
        reports = measure()
    except Failed as failure:
        print(failure, file=sys.stderr)
        return 1
    print(text(reports))
    if file is not None:
        file.write_text(json.dumps([report.plain() for report in reports], indent=1) + "\n")
    return 0
