"""One check's arithmetic in a process of its own, so that the control process never loads the numeric libraries.

`python -m tandem.monitoring.child` reads an `Order` (MessagePack) on stdin and writes a `Reply` (JSON) on stdout.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from tandem.core.errors import Broken, Conflict, Invalid, NotFound, TandemError, TimedOut, Unavailable
from tandem.core.monitor import Finding

SECONDS = 300.0
TAIL = 500
"""Characters of the child's last words that an error quotes."""
_KINDS: dict[str, type[TandemError]] = {kind.code: kind for kind in (Invalid, NotFound, Conflict, Broken, Unavailable)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A window, and what it is compared with."""

    lake: str
    """The lake's directory."""
    table: str
    version: int
    """The Delta version of the rows that the model was trained on."""
    columns: tuple[str, ...]
    """The model's inputs, in the order of the rows' values."""
    reference: str | None
    """Frozen bins as an earlier reply gave them; None makes them."""
    rows: list[list[float]] = field(default_factory=list)
    calls: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)
    minimum: int = 100
    threshold: float = 0.1
    level: float = 0.001
    seed: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What was found."""

    findings: tuple[Finding, ...]
    reference: str


class _Fault(msgspec.Struct, frozen=True):
    code: str
    message: str
    hint: str | None = None
    field: str | None = None


class _Reply(msgspec.Struct, frozen=True):
    done: Done | None = None
    fault: _Fault | None = None


def judge_apart(order: Order, *, python: str = sys.executable) -> Done:
    """Has a child process judge a window.

    Raises:
        NotFound, Invalid: the reference is gone, or lacks a column.
        TimedOut: it took longer than five minutes.
        Broken: the child died.
    """
    try:
        done = subprocess.run(
            [python, "-m", "tandem.monitoring.child"],
            input=msgspec.msgpack.encode(order),
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise TimedOut(f"The check did not end within {SECONDS:g} s.", hint="Make its window smaller.") from None
    if done.returncode != 0:
        raise Broken(f"The check's process ended with {done.returncode}: {done.stderr.decode(errors='replace')[-TAIL:]}")
    reply = msgspec.json.decode(done.stdout, type=_Reply)
    if reply.fault is not None:
        raise _KINDS.get(reply.fault.code, Broken)(reply.fault.message, hint=reply.fault.hint, field=reply.fault.field)
    assert reply.done is not None
    return reply.done


def carry_out(order: Order) -> Done:
    """Freezes the reference where there is none, and judges the window.

    Raises:
        NotFound, Invalid: as `judge_apart`.
    """
    from tandem.monitoring.judge import judge
    from tandem.scorers.drift import Bins

    text = order.reference or _freeze(order)
    findings = judge(
        msgspec.json.decode(text, type=tuple[Bins, ...]),
        order.rows,
        calls=order.calls,
        refused=order.refused,
        minimum=order.minimum,
        threshold=order.threshold,
        level=order.level,
        seed=order.seed,
    )
    return Done(findings=findings, reference=text)


def _freeze(order: Order) -> str:
    import polars as pl

    from tandem.scorers.drift import freeze
    from tandem.store.lake import Lake

    frame = Lake(Path(order.lake)).read(order.table, order.version)
    missing = [name for name in order.columns if name not in frame.columns]
    if missing:
        raise Invalid(f"The reference has no column '{missing[0]}'.", field=missing[0], hint="Train the model again.")
    values = {name: frame[name].cast(pl.Float64).fill_null(float("nan")).to_numpy() for name in order.columns}
    return msgspec.json.encode([freeze(name, values[name]) for name in order.columns]).decode()


def main() -> int:
    try:
        reply = _Reply(done=carry_out(msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Order)))
    except TandemError as error:
        reply = _Reply(fault=_Fault(error.code, error.message, error.hint, error.field))
    except ModuleNotFoundError as error:
        said = f"Monitors of drift need the library '{error.name}', which is not installed."
        reply = _Reply(fault=_Fault(Unavailable.code, said, "Install it with: pip install 'tandem-ai[ml]'."))
    sys.stdout.buffer.write(msgspec.json.encode(reply))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
