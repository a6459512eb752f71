"""Judges a gate in a process of its own, so that the control process never loads the numeric libraries.

`python -m tandem.evaluation.child` reads a `Case` and says the report; see `tandem.jobs.apart`.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from tandem.core.policy import Gate
from tandem.evaluation.evidence import Facts
from tandem.evaluation.table import Rows
from tandem.jobs.apart import Progress, ask, serve, silent

if TYPE_CHECKING:
    from tandem.evaluation.gate import GateReport

MODULE = "tandem.evaluation.child"
SECONDS = 120.0


class Case(msgspec.Struct, frozen=True):
    """A gate and the evidence on both sides, as `evidence.OutOfFold.to_json` wrote it."""

    gate: Gate
    candidate: bytes
    champion: bytes = b"null"
    facts: Facts = Facts()
    rows: Rows | None = None
    """The dataset of the evidence, where the gate names columns."""
    before: tuple[int, ...] | None = None
    """The rows at each earlier look; None where evidence cannot grow."""
    lost: int = 0
    """Rows of the last look that are missing now."""


def case_of(gate: Gate, candidate: bytes, champion: bytes | None) -> Case:
    """A case without looks, facts and slices; `msgspec.structs.replace` adds them."""
    return Case(gate, candidate, champion or b"null")


def judge_apart(case: Case, *, python: str = sys.executable) -> dict[str, object]:
    """The gate's report (`GateReport` as JSON values), judged in a child process.

    Raises:
        Invalid: the gate or the evidence makes no sense.
        TimedOut: it took longer than two minutes.
        Broken: the child died.
    """
    return ask(MODULE, case, _Judged, python=python, seconds=SECONDS).report


class _Judged(msgspec.Struct, frozen=True):
    report: dict[str, object]


def judged(case: Case) -> GateReport:
    """The report, in this process.

    Raises:
        Invalid: the gate or the evidence makes no sense.
    """
    from tandem.evaluation.evidence import OutOfFold
    from tandem.evaluation.gate import judge
    from tandem.evaluation.looks import rule_for
    from tandem.evaluation.table import cells

    candidate = OutOfFold.from_json(case.candidate)
    champion = None if case.champion == b"null" else OutOfFold.from_json(case.champion)
    columns = case.gate.columns
    return judge(
        case.gate,
        candidate,
        champion,
        cells=cells(case.rows, columns, candidate.rows) if case.rows is not None and columns else None,
        facts=case.facts,
        rule=replace(rule_for(case.gate, case.before, len(candidate.rows)), lost=case.lost),
    )


def carry_out(case: Case, progress: Progress = silent) -> _Judged:
    return _Judged(msgspec.json.decode(judged(case).to_json()))


if __name__ == "__main__":
    raise SystemExit(serve(Case, carry_out))
