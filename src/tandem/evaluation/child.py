"""Judges a gate in a process of its own, so that the control process never loads the numeric libraries.

`python -m tandem.evaluation.child` reads one JSON object on stdin and writes the report, or the error, on stdout.
"""

from __future__ import annotations

import subprocess
import sys

import msgspec

from tandem.core.errors import Broken, Invalid, TandemError, TimedOut
from tandem.core.policy import Gate

SECONDS = 120.0


class Case(msgspec.Struct, frozen=True):
    """A gate and the evidence on both sides, as `evidence.OutOfFold.to_json` wrote it."""

    gate: Gate
    candidate: msgspec.Raw
    champion: msgspec.Raw = msgspec.Raw(b"null")


class Outcome(msgspec.Struct, frozen=True):
    """The report as JSON, or why there is none."""

    report: dict[str, object] | None = None
    error: str | None = None


def judge_apart(gate: Gate, candidate: bytes, champion: bytes | None, *, python: str = sys.executable) -> dict[str, object]:
    """The gate's report (`GateReport` as JSON values), judged in a child process.

    Raises:
        Invalid: the gate or the evidence makes no sense.
        TimedOut: it took longer than two minutes.
        Broken: the child died.
    """
    case = msgspec.json.encode(Case(gate, msgspec.Raw(candidate), msgspec.Raw(champion or b"null")))
    try:
        done = subprocess.run(
            [python, "-m", "tandem.evaluation.child"], input=case, capture_output=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise TimedOut(f"The gate was not judged within {SECONDS:g} s.") from None
    if done.returncode != 0:
        raise Broken(f"The gate's process ended with {done.returncode}: {done.stderr.decode(errors='replace')[-500:]}")
    outcome = msgspec.json.decode(done.stdout, type=Outcome)
    if outcome.report is None:
        raise Invalid(outcome.error or "The gate could not be judged.")
    return outcome.report


def main() -> int:
    from tandem.evaluation.evidence import OutOfFold
    from tandem.evaluation.gate import judge

    try:
        case = msgspec.json.decode(sys.stdin.buffer.read(), type=Case)
        champion = None if bytes(case.champion) == b"null" else OutOfFold.from_json(bytes(case.champion))
        report = judge(case.gate, OutOfFold.from_json(bytes(case.candidate)), champion)
        outcome = Outcome(report=msgspec.json.decode(report.to_json()))
    except (TandemError, msgspec.DecodeError) as error:
        outcome = Outcome(error=str(error))
    sys.stdout.buffer.write(msgspec.json.encode(outcome))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
