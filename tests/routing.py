"""Outcomes that tests make for themselves: kinds of questions of which different models know the answer."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

KINDS = {
    "sum": "Add the numbers {} and {} and give the total of both.",
    "poem": "Write a short poem about a {} that meets a {} in the rain.",
    "code": "def solve({}, {}): return the sorted list without duplicates # python function",
}
"""Kind of question → its form."""
GOOD = {"adder": "sum", "poet": "poem", "coder": "code"}
"""Model → the kind it is good at."""
COSTS = {"adder": 100, "poet": 200, "coder": 300}
THINGS = ("stone", "river", "cat", "cloud", "lamp", "horse", "bread", "ship", "moon", "clock", "apple", "tower")


def rows(count: int, seed: int = 0, *, shuffled: bool = False) -> list[dict[str, object]]:
    """Rows in our own form. The best single model is right in about half of them, who knows the kind in nine of ten.

    Args:
        shuffled: the scores of each question are those of another one, so that nothing can be learned.
    """
    dice = random.Random(seed)
    made: list[tuple[str, dict[str, float]]] = []
    for number in range(count):
        kind = dice.choice(list(KINDS))
        question = f"{KINDS[kind].format(dice.choice(THINGS), dice.choice(THINGS))} Case {number} of {seed}."
        made.append((question, {model: float(dice.random() < (0.9 if GOOD[model] == kind else 0.3)) for model in GOOD}))
    scores = [each for _, each in made]
    if shuffled:
        dice.shuffle(scores)
    return [
        {"question": question, "models": {model: {"score": told[model], "cost": COSTS[model]} for model in told}}
        for (question, _), told in zip(made, scores, strict=True)
    ]


def written(path: Path, lines: Sequence[object]) -> Path:
    """A file with a line of JSON each."""
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return path
