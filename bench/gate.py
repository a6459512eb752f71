"""Looks at a gate that are repeated: how often a candidate that is no better passes, and how often a better one is found.

    python -m bench.gate
    python -m bench.gate --runs 20000 --looks 20 --rows 2000 --gain 0.02
    python -m bench.gate --areas 4000

Pairs of right and wrong answers grow by equal steps, and every method is asked at every step; it has decided when it has
once said that the two differ. The product's own functions are asked, beside the ways that people use instead. `fixed` looks
once, at the end: no test that may be asked before can find more.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache

import numpy as np

from tandem.core.policy import Gate
from tandem.evaluation import delong
from tandem.evaluation.looks import ONCE, Rule, rule_for
from tandem.evaluation.tango import mid_p, tango
from tandem.scorers.base import load
from tandem.scorers.proportions import Z, wilson
from tandem.scorers.sample import Sample
from tandem.scorers.sequential import ALPHA, Paired, stretch

Says = Callable[[int, int, int, int], int]
"""(won, lost, pairs, look from 1) → 1 the candidate is better, -1 worse, 0 nobody knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one method did."""

    method: str
    wrong: float
    """Share of runs without a difference in which it once said that there is one."""
    wrong_high: float
    """Upper end of its two-sided 95 % interval (Wilson)."""
    found: dict[str, float]
    """Discordance → share of runs with the gain in which it said that the candidate is better."""
    rows: dict[str, float]
    """Discordance → rows seen until then, on average; a run without a decision counts all its rows."""


def streams(draw: np.random.Generator, runs: int, looks: int, step: int, discordant: float, gain: float) -> np.ndarray:
    """Runs x looks x (won, lost), growing."""
    shares = [(discordant + gain) / 2, (discordant - gain) / 2, 1 - discordant]
    return np.asarray(draw.multinomial(step, shares, size=(runs, looks))[..., :2].cumsum(axis=1))


def methods(looks: int, rows: int) -> dict[str, Says]:
    """Every way of asking, by name; the first three are the product's."""
    step = rows // looks
    planned = Gate(asset="model/made", looks=looks, rows=rows)
    rules = [rule_for(planned, tuple(step * each for each in range(1, look)), step * look) for look in range(1, looks + 1)]
    unplanned = Gate(asset="model/made")

    def by_rule(rule: Rule, won: int, lost: int, n: int) -> int:
        if rule.name == "sequence":
            return sequence(won, lost, n, rule.alpha)
        found = tango(won, lost, n, z=rule.z)
        return (found.low > 0) - (found.high < 0)

    def sequence(won: int, lost: int, n: int, alpha: float = ALPHA) -> int:
        here, turned = Paired(won=won, lost=lost, n=n), Paired(won=lost, lost=won, n=n)
        return here.above(0.0, alpha) - turned.above(0.0, alpha)

    def with_plan(won: int, lost: int, n: int, look: int) -> int:
        return by_rule(rules[look - 1], won, lost, n)

    def without_plan(won: int, lost: int, n: int, look: int) -> int:
        return by_rule(rule_for(unplanned, tuple(range(step, n, step)), n), won, lost, n)

    def p_below(alpha: float) -> Says:
        return lambda won, lost, n, look: int(mid_p(won, lost) <= alpha) * ((won > lost) - (won < lost))

    def score(limits: Sequence[float]) -> Says:
        def says(won: int, lost: int, n: int, look: int) -> int:
            distance = (won - lost) / math.sqrt(won + lost) if won + lost else 0.0
            return (distance > limits[look - 1]) - (distance < -limits[look - 1])

        return says

    def at_the_end(won: int, lost: int, n: int, look: int) -> int:
        return p_below(ALPHA)(won, lost, n, look) if look == looks else 0

    return {
        "planned: alpha spending (the gate's rule with a plan)": lambda won, lost, n, look: by_rule(
            rules[look - 1], won, lost, n
        ),
        "confidence sequence (canaries)": lambda won, lost, n, look: sequence(won, lost, n),
        "first look, then sequence (the gate's rule without a plan)": without_plan,
        "asymptotic sequence (areas and other metrics)": score([stretch(step * look, ALPHA) for look in range(1, looks + 1)]),
        "Pocock": score([pocock(looks)] * looks),
        "O'Brien-Fleming, classical": score(obrien_fleming(looks)),
        "Bonferroni over looks": p_below(ALPHA / looks),
        "naive: McNemar at 5 % each time": p_below(ALPHA),
        "fixed: McNemar once at the end": at_the_end,
    }


def pocock(looks: int) -> float:
    """The constant limit that errs in 5 % of cases over equal steps, by simulation of the normal walk."""
    return _limit(lambda walk, root: np.abs(walk) / root, looks)


def obrien_fleming(looks: int) -> list[float]:
    """Limits that fall with the square root of the rows seen (O'Brien & Fleming 1979), by the same simulation."""
    last = _limit(lambda walk, root: np.abs(walk) / math.sqrt(looks), looks)
    return [last * math.sqrt(looks / look) for look in range(1, looks + 1)]


def _limit(statistic: Callable[[np.ndarray, np.ndarray], np.ndarray], looks: int) -> float:
    walk = np.random.default_rng(0).normal(size=(200_000, looks)).cumsum(axis=1)
    most = statistic(walk, np.sqrt(np.arange(1, looks + 1))).max(axis=1)
    return float(np.quantile(most, 1 - ALPHA))


def decided(says: Says, seen: np.ndarray, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Per run what a method said first (0: nothing), and after how many rows."""
    runs, looks, _ = seen.shape
    asked = cache(says)
    said, after = np.zeros(runs, dtype=int), np.full(runs, looks * step)
    for run in range(runs):
        for look in range(1, looks + 1):
            won, lost = map(int, seen[run, look - 1])
            if found := asked(won, lost, step * look, look):
                said[run], after[run] = found, step * look
                break
    return said, after


def measure(given: argparse.Namespace) -> list[Figures]:
    step = given.rows // given.looks
    draw = np.random.default_rng(given.seed)
    nothing = streams(draw, given.runs, given.looks, step, given.null, 0.0)
    gains = {f"{share:g}": streams(draw, given.runs, given.looks, step, share, given.gain) for share in given.discordance}
    found = []
    for name, says in methods(given.looks, given.rows).items():
        wrong = int((decided(says, nothing, step)[0] != 0).sum())
        ended = {share: decided(says, seen, step) for share, seen in gains.items()}
        found.append(
            Figures(
                method=name,
                wrong=wrong / given.runs,
                wrong_high=wilson(wrong, given.runs).high,
                found={share: float((said > 0).mean()) for share, (said, _) in ended.items()},
                rows={share: float(after.mean()) for share, (_, after) in ended.items()},
            )
        )
    return found


def areas(runs: int, looks: int, rows: int, seed: int) -> dict[str, float]:
    """Rule → share of runs in which two models with equal ROC areas were once told apart.

    Binormal scores with correlated noise, an area of about 0.86, 30 % positive rows.
    """
    step, draw, scorer = rows // looks, np.random.default_rng(seed), load("roc_auc")
    plans = {"planned": Gate(asset="model/made", looks=looks, rows=rows), "without a plan": Gate(asset="model/made")}
    at = range(step, rows + 1, step)
    rules = {name: {n: rule_for(gate, tuple(range(step, n, step)), n) for n in at} for name, gate in plans.items()}
    wrong = dict.fromkeys([*plans, "naive", "at the end"], 0)
    for _ in range(runs):
        labels, shared = draw.random(rows) < 0.3, draw.normal(size=rows)
        scores = [1 / (1 + np.exp(-(1.5 * labels + 0.8 * shared + 0.6 * draw.normal(size=rows)))) for _ in range(2)]
        apart = dict.fromkeys(wrong, False)
        for n in at:
            ours, theirs = (Sample.of(labels[:n], score[:n]) for score in scores)
            plain = delong.difference(scorer, ours, theirs, ONCE)
            found = {name: each[n].widen(plain) for name, each in rules.items()}
            found |= {"naive": plain} | ({"at the end": plain} if n + step > rows else {})
            for name, gap in found.items():
                apart[name] |= gap.low > 0 or gap.high < 0
        for name, told in apart.items():
            wrong[name] += told
    return {name: times / runs for name, times in wrong.items()}


def bound(discordant: float, gain: float, rows: int) -> float:
    """The power of McNemar's test once at the end, by its normal limit: what no test that may be asked before can beat."""
    spread = math.sqrt(discordant - gain**2)
    return 0.5 * math.erfc((Z * math.sqrt(discordant) - gain * math.sqrt(rows)) / spread / math.sqrt(2))


def options(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.gate", description="Repeated looks at a candidate and a champion.")
    parser.add_argument("--runs", type=int, default=4000)
    parser.add_argument("--looks", type=int, default=20)
    parser.add_argument("--rows", type=int, default=2000, help="at the last look")
    parser.add_argument("--null", type=float, default=0.10, help="share of rows on which two equal models disagree")
    parser.add_argument("--gain", type=float, default=0.02)
    parser.add_argument("--discordance", type=float, action="append", help="the same of two that differ; may be repeated")
    parser.add_argument("--areas", type=int, default=0, metavar="RUNS", help="look at ROC areas instead, so many times")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(words)
    given.discordance = given.discordance or [0.10, 0.09, 0.08, 0.06, 0.05, 0.04]
    return given


def main(words: Sequence[str]) -> int:
    given = options(words)
    if given.areas:
        told = areas(given.areas, given.looks, given.rows, given.seed)
        print(json.dumps(told) if given.json else "; ".join(f"{name}: {share:.1%} wrong" for name, share in told.items()))
        return 0
    found = measure(given)
    if given.json:
        print(json.dumps([asdict(each) for each in found], indent=2))
        return 0
    shares = [f"{share:g}" for share in given.discordance]
    print(
        f"{given.runs} runs, {given.looks} looks to {given.rows} rows; equal models disagree on {given.null:.0%} of rows; "
        f"found: a gain of {given.gain:.0%}, by the share of rows on which the two disagree (rows seen).\n"
    )
    print("| method | wrong, % | upper limit, % | " + " | ".join(f"found at {float(share):.0%}" for share in shares) + " |")
    print("|---|--:|--:|" + "--:|" * len(shares))
    for each in found:
        cells = " | ".join(f"{each.found[share]:.1%} ({each.rows[share]:.0f})" for share in shares)
        print(f"| {each.method} | {100 * each.wrong:.2f} | {100 * each.wrong_high:.2f} | {cells} |")
    print("| *bound: power of one test at the end* | | | " + " | ".join(
        f"{bound(share, given.gain, given.rows):.1%}" for share in given.discordance
    ) + " |")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
