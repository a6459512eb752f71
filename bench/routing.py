"""Does a learned router beat the best single model? Trained on one part of recorded outcomes, scored on the other.

    python -m bench.routing TRAIN.jsonl TEST.jsonl PRICES.json

The files are those of `tandem route` (docs/learned.md). Rows of TEST that its file marks as leaked, or whose question is in
TRAIN, are left out. With `--kinds FIELD` the rows of each kind (a field of TRAIN's lines, such as `task`) are also asked of
a router that saw only the others: what to expect of prompts that are like nothing it has learned from.
"""

from __future__ import annotations

import json
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tandem.evaluation.outcomes import Outcomes, best_of, read, read_prices
from tandem.evaluation.routing import Figure, Report, judge
from tandem.gateway.routing.learned import LearnedRouter, load
from tandem.training.router import train

LONG = "what is this about? " * 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Microseconds of CPU to look at one prompt; what else the machine does is not in it."""

    p50: float
    p99: float
    long: float
    """A prompt of a megabyte."""
    load: float
    """To read the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Strange:
    """A kind of question that the router had not seen."""

    kind: str
    rows: int
    quality: float
    best: float
    """Of the model that was best on the other kinds."""


def parser() -> ArgumentParser:
    made = ArgumentParser(prog="python -m bench.routing", description="a learned router beside the best single model")
    made.add_argument("train", type=Path)
    made.add_argument("test", type=Path)
    made.add_argument("prices", type=Path)
    made.add_argument("--kinds", metavar="FIELD", help="also leave out each kind in turn, by this field of TRAIN")
    made.add_argument("--json", type=Path, help="write the figures to a file")
    return made


def timed(data: bytes, questions: Sequence[str]) -> Speed:
    """Looks at every question once, after a warm-up."""
    begun = time.thread_time()
    router = load(data)
    loaded = time.thread_time() - begun
    for question in questions[:50]:
        router.look(question)
    took = []
    for question in [*questions, LONG]:
        begun = time.thread_time()
        router.look(question)
        took.append(1e6 * (time.thread_time() - begun))
    long = took.pop()
    took.sort()
    return Speed(p50=took[len(took) // 2], p99=took[int(0.99 * (len(took) - 1))], long=long, load=1e6 * loaded)


def strange(known: Outcomes, kinds: Sequence[str]) -> list[Strange]:
    """Each kind, asked of a router that was trained on the others."""
    found = []
    for kind in sorted(set(kinds)):
        others = replace(known, rows=tuple(row for row, each in zip(known.rows, kinds, strict=True) if each != kind))
        asked = [row for row, each in zip(known.rows, kinds, strict=True) if each == kind]
        router, best = load(train(others)), known.models.index(best_of(others.means(), known.models))
        chosen = [row.scores[pick(router, row.question)] for row in asked]
        best_ = [row.scores[best] for row in asked]
        found.append(Strange(kind=kind, rows=len(asked), quality=sum(chosen) / len(asked), best=sum(best_) / len(asked)))
    return found


def pick(router: LearnedRouter, question: str) -> int:
    """The place of the model with the best chance."""
    chances = router.look(question).chances
    return max(range(len(chances)), key=chances.__getitem__)


def show(report: Report, router: LearnedRouter, size: int, speed: Speed) -> None:
    told = router.described.scored
    print(f"{router.described.rows} questions to learn from, {report.rows} to be scored on, {report.leaked} left out")
    print(f"{report.weak} is the cheapest, {report.strong} the best by {report.chosen_on}; costs: {report.costing}")
    print(f"in {told.folds} folds of the training: {told.quality:.4f} for {told.best_quality:.4f}, {told.gain:+.4f} ", end="")
    print(f"[{told.low:+.4f}, {told.high:+.4f}]\n")
    print("| way | quality | gain on the best single model | cost saved | APGR | CPT(50 %) | CPT(80 %) |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for way in report.ways:
        gain = f"{way.gain.value:+.4f} [{way.gain.low:+.4f}, {way.gain.high:+.4f}]"
        quality = f"{way.quality.value:.4f} [{way.quality.low:.4f}, {way.quality.high:.4f}]"
        saving = f"{way.saving.value:.1%} [{way.saving.low:.1%}, {way.saving.high:.1%}]"
        ratios = f"{told_of(way.apgr)} | {told_of(way.cpt['50%'])} | {told_of(way.cpt['80%'])}"
        print(f"| {way.name} | {quality} | {gain} | {saving} | {ratios} |")
    print(f"\n{size} bytes, read in {speed.load / 1000:.1f} ms; ", end="")
    print(f"a prompt takes {speed.p50:.0f} CPU µs (median), {speed.p99:.0f} µs (p99), one of a megabyte {speed.long:.0f} µs")
    print("it beats the best single model at no higher cost" if report.beats else "it is not shown to beat the best single model")


def told_of(figure: Figure) -> str:
    if figure.value is None:
        return ""
    bounds = "" if figure.low is None else f" [{figure.low:.2f}, {'∞' if figure.high is None else f'{figure.high:.2f}'}]"
    return f"{figure.value:.2f}{bounds}"


def main(given: Namespace) -> int:
    rates = read_prices(given.prices)
    known = read(given.train, rates)
    asked = read(given.test, rates).unseen(known.fingerprints())
    data = train(known)
    router = load(data)
    report = judge(asked, router)
    speed = timed(data, [row.question for row in asked.rows])
    show(report, router, len(data), speed)
    left: list[Strange] = []
    if given.kinds:
        kinds = {
            line["question"]: str(line.get(given.kinds))
            for line in map(json.loads, filter(None, given.train.read_bytes().splitlines()))
        }
        left = strange(known, [kinds[row.question] for row in known.rows])
        print("\n| kind it had not seen | questions | learned | best single |\n|---|--:|--:|--:|")
        for each in left:
            print(f"| {each.kind} | {each.rows} | {each.quality:.3f} | {each.best:.3f} |")
        rows = sum(each.rows for each in left)
        whole = [sum(getattr(each, name) * each.rows for each in left) / rows for name in ("quality", "best")]
        print(f"| all | {rows} | {whole[0]:.3f} | {whole[1]:.3f} |")
    if given.json:
        figures = {"report": asdict(report), "speed": asdict(speed), "strange": [asdict(each) for each in left]}
        given.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(parser().parse_args()))
