"""Finds the parts of the rows in which a model does worse: searched on one half of them, confirmed on the other.

Conditions on one column or two are tried, a pair only where it is worse than each of its two conditions without the other.
The search takes the worst, leaves out what they cover, and goes on; at most `MOST` go to confirmation. There each is tested
once, by the difference of mean loss to the rest with a variance over groups of rows (Liang & Zeger 1986), and all together are
held to 5 % by Holm's procedure. What the search saw is not used again, so what is reported holds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import NormalDist

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from tandem.core.score import Estimate
from tandem.evaluation.about.columns import Coded, coded
from tandem.evaluation.about.nouns import Part, Power, Slices, WeakSlice
from tandem.evaluation.compare import ALPHA, MINIMUM_ROWS
from tandem.scorers.family import holm
from tandem.scorers.sample import Floats, Truths

MOST = 10
"""Candidates that go to confirmation."""
SHORTLIST = 200
"""Candidates among which the search chooses those."""
PAIRED = 40
"""Columns that pairs of conditions are made of: those with the worst single conditions."""
WORTH = 2.0
"""Standard errors by which a candidate must be worse than the rest."""
BETTER = 3.0
"""Standard errors by which a pair must be worse than either of its conditions without the other."""
SIMPLER = 0.5
"""Standard errors that a second condition must bring to be chosen before a single one."""
LARGEST = 2 / 3
"""Of the rows: what more of them are in is the usual case, and the rest the exception."""
ALIKE = 0.5
"""Of the rows of both, the share in common from which one is a near copy of the other."""
HELD = 10.0
"""Rows that the variance of all rows counts for in the variance of a part: a few rows that agree are no proof."""
SHARES = (0.05, 0.1, 0.25)
"""Of the rows, for which the power is told."""
POWER = 0.8
NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class _Sums:
    """Of parts of the rows: how many, the sum of their losses, and of the squares."""

    n: Floats
    total: Floats
    squares: Floats

    def without(self, part: _Sums) -> _Sums:
        return _Sums(self.n - part.n, self.total - part.total, self.squares - part.squares)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """Conditions by the numbers of their columns and parts, and how many standard errors they are worse than the rest."""

    parts: tuple[tuple[int, int], ...]
    z: float

    @property
    def rank(self) -> float:
        return self.z - SIMPLER * (len(self.parts) - 1)


def find(
    frame: pl.DataFrame, losses: Floats, *, loss: str, seed: int, groups: Sequence[object] | None = None, group: str | None = None
) -> Slices:
    """The slices of a model's rows in which its loss is higher than in the rest.

    Args:
        frame: the columns that conditions may be made of, one row for each loss.
        losses: of each row, the larger the worse.
        loss: what they are.
        seed: of the halves.
        groups: of each row what it belongs to; rows of one group stay in one half and do not count as independent.
        group: the column that those are of.
    """
    columns = {name: made for name in frame.columns if (made := coded(frame[name])) is not None}
    member = np.arange(len(losses)) if groups is None else _numbered(groups)
    searched = _halved(member, seed)
    tables = list(columns.values())
    looked, shortlist = _search(tables, losses, searched)
    chosen = _chosen(tables, shortlist, losses, searched)
    held = ~searched
    found = _confirm(tables, chosen, losses[held], held, member[held])
    return Slices(
        loss=loss,
        mean=float(losses.mean()),
        rows=len(losses),
        confirming=int(held.sum()),
        columns=tuple(columns),
        candidates=looked,
        tested=len(chosen),
        group=group,
        found=found,
        power=_power(losses[held], looked),
    )


def _numbered(groups: Sequence[object]) -> NDArray[np.int64]:
    return np.asarray(np.unique(np.array([str(each) for each in groups]), return_inverse=True)[1], dtype=np.int64)


def _halved(member: NDArray[np.int64], seed: int) -> Truths:
    """True for the half that is searched; whole groups, in seeded order, until half of the rows are there."""
    sizes = np.bincount(member)
    order = np.random.default_rng(seed).permutation(len(sizes))
    chosen = np.zeros(len(sizes), dtype=np.bool_)
    chosen[order[np.cumsum(sizes[order]) <= len(member) / 2]] = True
    return np.asarray(chosen[member])


def _search(tables: Sequence[Coded], losses: Floats, half: Truths) -> tuple[int, list[_Candidate]]:
    """How many parts of the searched half were looked at, and the worst of them, the worst first."""
    loss = losses[half]
    codes = [table.codes[half] for table in tables]
    whole = _sums(np.zeros(len(loss), dtype=np.int64), 1, loss)
    single = [_parts(_sums(code, table.cells, loss), table.holds) for code, table in zip(codes, tables, strict=True)]
    found: list[_Candidate] = []
    looked = 0
    for place, sums in enumerate(single):
        z = _worse(sums, whole.without(sums), whole)
        looked += len(z)
        found += [_Candidate(((place, int(part)),), float(z[part])) for part in np.flatnonzero(z > WORTH)]
    worst = sorted(range(len(tables)), key=lambda place: -max((c.z for c in found if c.parts[0][0] == place), default=0.0))
    for one, other in combinations(sorted(worst[:PAIRED]), 2):
        z = _pairs(one, other, tables, codes, single, loss, whole)
        looked += z.size
        first, second = divmod(int(z.argmax()), z.shape[1])
        if z[first, second] > WORTH:
            found.append(_Candidate(((one, first), (other, second)), float(z[first, second])))
    return looked, sorted(found, key=lambda each: -each.rank)[:SHORTLIST]


def _pairs(
    one: int, other: int, tables: Sequence[Coded], codes: Sequence[NDArray[np.int64]], single: Sequence[_Sums], loss: Floats,
    whole: _Sums,
) -> Floats:  # fmt: skip
    """How much worse each pair of conditions on two columns is than the rest; minus infinity where it brings nothing new."""
    a, b = tables[one], tables[other]
    cells = _sums(codes[one] * b.cells + codes[other], a.cells * b.cells, loss)
    both = _Sums(*(a.holds @ each.reshape(a.cells, b.cells) @ b.holds.T for each in (cells.n, cells.total, cells.squares)))
    z = _worse(both, whole.without(both), whole)
    for alone in (_shaped(single[one], (-1, 1)), _shaped(single[other], (1, -1))):
        z = np.where(_worse(both, alone.without(both), whole) > BETTER, z, -np.inf)
    return np.asarray(z)


def _sums(codes: NDArray[np.int64], cells: int, loss: Floats) -> _Sums:
    count = np.bincount(codes, minlength=cells).astype(np.float64)
    return _Sums(count, *(np.asarray(np.bincount(codes, each, cells), dtype=np.float64) for each in (loss, loss * loss)))


def _parts(cells: _Sums, holds: Floats) -> _Sums:
    return _Sums(holds @ cells.n, holds @ cells.total, holds @ cells.squares)


def _shaped(sums: _Sums, shape: tuple[int, int]) -> _Sums:
    return _Sums(sums.n.reshape(shape), sums.total.reshape(shape), sums.squares.reshape(shape))


def _worse(part: _Sums, rest: _Sums, whole: _Sums) -> Floats:
    """Standard errors by which the mean loss of a part is above that of a rest; minus infinity where either has too few rows."""
    usual = float(_spread(whole).item())
    enough = (part.n >= MINIMUM_ROWS) & (rest.n >= MINIMUM_ROWS) & (part.n <= LARGEST * whole.n)
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = part.total / part.n - rest.total / rest.n
        error = sum((each.n * _spread(each) + HELD * usual) / (each.n + HELD) / each.n for each in (part, rest))
        z = gap / np.sqrt(error)
    return np.asarray(np.where(enough & np.isfinite(z), z, -np.inf))


def _spread(sums: _Sums) -> Floats:
    """The variance of a loss in each part."""
    return np.asarray(np.maximum(sums.squares / sums.n - (sums.total / sums.n) ** 2, 0.0))


def _chosen(tables: Sequence[Coded], shortlist: Sequence[_Candidate], losses: Floats, half: Truths) -> list[_Candidate]:
    """The candidates that are confirmed: each the worst among the rows that none before it covers, and no near copy of one."""
    loss = losses[half]
    masks = np.array([_inside(tables, each, half) for each in shortlist], dtype=np.float32).reshape(len(shortlist), len(loss))
    free, left = np.ones(len(loss), dtype=np.float32), np.ones(len(shortlist), dtype=np.bool_)
    discount = np.array([each.z - each.rank for each in shortlist])
    values = np.column_stack((np.ones(len(loss)), loss, loss * loss)).astype(np.float32)
    chosen: list[_Candidate] = []
    while left.any() and len(chosen) < MOST:
        weights = values * free[:, None]
        part, whole = _Sums(*(masks @ weights).T.astype(np.float64)), _Sums(*weights.sum(axis=0, dtype=np.float64)[:, None])
        rank = np.where(left, _worse(part, whole.without(part), whole) - discount, -np.inf)
        best = int(rank.argmax())
        if rank[best] <= WORTH:
            break
        chosen.append(shortlist[best])
        shared = masks @ masks[best]
        left &= shared < ALIKE * (masks.sum(axis=1) + masks[best].sum() - shared)
        left[best] = False
        free *= 1 - masks[best]
    return chosen


def _inside(tables: Sequence[Coded], candidate: _Candidate, rows: Truths) -> Truths:
    """Which of the rows a candidate's conditions hold for."""
    found = np.ones(int(rows.sum()), dtype=np.bool_)
    for column, part in candidate.parts:
        found &= tables[column].holds[part].astype(np.bool_)[tables[column].codes[rows]]
    return found


def _confirm(
    tables: Sequence[Coded], chosen: Sequence[_Candidate], loss: Floats, held: Truths, member: NDArray[np.int64]
) -> tuple[WeakSlice, ...]:
    """Those of the chosen that hold on the other half, the worst first."""
    tests = [(each, _inside(tables, each, held)) for each in chosen]
    tests = [(each, mask) for each, mask in tests if MINIMUM_ROWS <= mask.sum() <= len(loss) - MINIMUM_ROWS]
    gaps = [_gap(loss, mask, member, ALPHA / len(tests)) for _, mask in tests]
    adjusted = holm([p for _, p in gaps])
    found = []
    for (candidate, mask), (difference, _), p in zip(tests, gaps, adjusted, strict=True):
        if p > ALPHA:
            continue
        everywhere = np.ones(len(held), dtype=np.bool_)
        n = int(_inside(tables, candidate, everywhere).sum())
        found.append(
            WeakSlice(
                where=_named(tables, candidate),
                n=n,
                share=n / len(held),
                inside=float(loss[mask].mean()),
                outside=float(loss[~mask].mean()),
                difference=difference,
                p=p,
            )
        )
    return tuple(sorted(found, key=lambda each: -each.difference.value))


def _named(tables: Sequence[Coded], candidate: _Candidate) -> tuple[Part, ...]:
    return tuple(tables[column].parts[part] for column, part in candidate.parts)


def _gap(loss: Floats, mask: Truths, member: NDArray[np.int64], alpha: float) -> tuple[Estimate, float]:
    """The mean loss inside minus outside, with its interval at 1 - alpha, and the one-sided p-value that it is not above zero.

    Rows of one group count together. Student's t, with a degree of freedom for each group inside but one.
    """
    inside, outside = loss[mask], loss[~mask]
    value = float(inside.mean() - outside.mean())
    pull = np.where(mask, (loss - inside.mean()) / len(inside), -(loss - outside.mean()) / len(outside))
    error = math.sqrt(float((np.bincount(member, pull) ** 2).sum()))
    freedom = max(1, len(np.unique(member[mask])) - 1)
    error *= math.sqrt((freedom + 1) / freedom)
    half = float(stdtrit(freedom, 1 - alpha / 2)) * error
    p = float(stdtr(freedom, -value / error)) if error > 0 else float(value <= 0)
    return Estimate(value=value, low=value - half, high=value + half, n=len(inside), level=round(1 - alpha, 6)), p


def _power(loss: Floats, looked: int) -> tuple[Power, ...]:
    """The differences that are found with a chance of `POWER`.

    A slice must stand out in the search, where of so many parts that differ from the rest by chance alone the largest is about
    sqrt(2 log n) standard errors off, and then be confirmed among `MOST`; both with a chance of sqrt(POWER).
    """
    bar = max(NORMAL.inv_cdf(1 - ALPHA / MOST), math.sqrt(2 * math.log(max(1, looked))))
    reach = (bar + NORMAL.inv_cdf(math.sqrt(POWER))) * float(loss.std())
    told = [(share, share * len(loss)) for share in SHARES if share * len(loss) >= MINIMUM_ROWS]
    return tuple(Power(share=share, difference=reach * math.sqrt(1 / n + 1 / (len(loss) - n))) for share, n in told)
