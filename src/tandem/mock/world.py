"""A small world to practise on: loan applicants with a known truth, which can move, and a sabotage that can be undone.

    python -m tandem.mock.world --rows 2000 --seed 7 > loans.csv

Everything follows from the seed. `moved` is the world after a change: incomes have fallen, and debt weighs more; a model of
before is then wrong more often, and one that is trained on the new rows is not. `sabotaged` turns most labels round, as a
broken export would: whoever trains on such rows gets a model that does harm.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
from dataclasses import dataclass

COLUMNS = ("id", "income", "debt", "years", "late")
SABOTAGE = 0.8
"""The share of labels that a sabotage turns round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Applicant:
    """One row, with its label."""

    id: int
    income: float
    """Thousands a year."""
    debt: float
    """Thousands."""
    years: int
    """In the present job."""
    late: int
    """1: did not pay in time."""

    @property
    def asked(self) -> dict[str, float]:
        """What is known before the label."""
        return {"income": self.income, "debt": self.debt, "years": self.years}


def applicants(count: int, *, seed: int, first: int = 0, moved: bool = False, sabotaged: bool = False) -> list[Applicant]:
    """So many rows; the same arguments give the same rows.

    Args:
        first: the first id.

    >>> applicants(1, seed=1) == applicants(1, seed=1)
    True
    """
    draw = random.Random(f"{seed} {first} {moved}")
    found: list[Applicant] = []
    for number in range(first, first + count):
        income = max(5.0, draw.gauss(38.0 if moved else 52.0, 12.0))
        debt = draw.expovariate(1 / 14.0)
        years = min(40, int(draw.expovariate(1 / 6.0)))
        weight = 0.30 if moved else 0.09
        lean = weight * (debt - 12.0) - 0.05 * (income - 45.0) - 0.08 * years - (0.6 if moved else 0.3)
        late = int(draw.random() < 1 / (1 + math.exp(-lean)))
        turned = draw.random() < SABOTAGE
        found.append(
            Applicant(
                id=number,
                income=round(income, 3),
                debt=round(debt, 3),
                years=years,
                late=1 - late if sabotaged and turned else late,
            )
        )
    return found


def written(rows: list[Applicant]) -> str:
    """The rows as CSV with a header."""
    lines = [",".join(COLUMNS), *(",".join(str(getattr(row, name)) for name in COLUMNS) for row in rows)]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tandem.mock.world", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--first", type=int, default=0, help="the first id")
    parser.add_argument("--moved", action="store_true", help="the world after its change")
    parser.add_argument("--sabotaged", action="store_true", help="with most labels turned round")
    given = parser.parse_args()
    rows = applicants(given.rows, seed=given.seed, first=given.first, moved=given.moved, sabotaged=given.sabotaged)
    sys.stdout.write(written(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
