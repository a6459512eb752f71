"""A process of its own for what loads the frame libraries: one order goes in, progress and one reply come out.

Both sides are here. An order goes over as MessagePack, which has numbers that JSON has not; what is said comes back as lines
of JSON. Knows neither what is ordered nor what a dataset is.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, TypeVar

import msgspec

from tandem.core.errors import Broken, Conflict, Forbidden, Invalid, NotFound, TandemError, TimedOut, Unavailable

SECONDS = 900.0
"""The longest errand; a file of the largest size that is read takes a third of it."""
POLL = 0.2
"""Seconds between two looks at the clock and at whether to go on."""
STEP, DONE, FAULT = "step", "done", "fault"
"""What a line of a child may be."""
LEAST = 0.02
"""The least share that is told."""
TAIL = 500
"""Characters of the child's last words that an error quotes."""
PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "PYTHONPATH", "VIRTUAL_ENV", "SYSTEMROOT", "TMPDIR", "LD_LIBRARY_PATH")
"""All that a process with code of users sees of the environment: no key, no secret."""
_KINDS: dict[str, type[TandemError]] = {
    "untrusted": Forbidden,
    **{kind.code: kind for kind in (Invalid, NotFound, Conflict, Broken, Forbidden, Unavailable)},
}
Order = TypeVar("Order")
Done = TypeVar("Done")
Progress = Callable[[float, str], None]
"""(fraction between 0 and 1, what is going on) → nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One of our errors on its way between processes."""

    code: str
    message: str
    hint: str | None = None
    where: str | None = None
    """The error's `field`."""


@dataclass(frozen=True, slots=True)
class _Step:
    """How far a child is, in a line of its own."""

    at: float
    stage: str


def silent(fraction: float, stage: str) -> None:
    """Nobody looks."""


def ask(
    module: str,
    order: object,
    done: type[Done],
    *,
    python: str = sys.executable,
    progress: Progress = silent,
    cancelled: Callable[[], bool] | None = None,
    seconds: float = SECONDS,
    env: Mapping[str, str] | None = None,
) -> Done:
    """Has `python -m module` carry out an order.

    Args:
        cancelled: looked at several times a second; once it is true, the child is killed.
        seconds: the longest it may take.
        env: its environment; None is ours.

    Raises:
        TandemError: what the child raised; Invalid, NotFound and Conflict among others.
        Conflict: it was cancelled (code `cancelled`).
        TimedOut: it took too long.
        Broken: the child died, or said nothing.
    """
    watched = _Watched(cancelled)
    with tempfile.TemporaryFile() as heard:
        with subprocess.Popen(
            [python, "-m", module], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=heard, env=env
        ) as child:
            watcher = threading.Thread(target=watched.watch, args=(child, seconds), daemon=True)
            watcher.start()
            try:
                last = _listen(child, msgspec.msgpack.encode(order), progress)
            finally:
                watched.over.set()
                child.kill()
        if watched.why == "late":
            raise TimedOut(f"The work on the data took more than {seconds:g} s.", hint="Split it, or hand in Parquet.")
        if watched.why == "cancelled":
            raise Conflict("The work on the data was cancelled.", code="cancelled")
        if last is not None:
            return _read(last, done)
        if child.returncode < 0:
            raise Broken(
                f"The process that works on the data was killed by signal {-child.returncode}.",
                hint="Most often that is the machine running out of memory: split the file, or hand in Parquet.",
            )
        heard.seek(0)
        said = heard.read().decode(errors="replace").strip()[-TAIL:]
        raise Broken(f"The process that works on the data ended with code {child.returncode}: {said}", hint="Report this fault.")


def bare_environment() -> dict[str, str]:
    """What a process with code of users sees of our environment; it leaves no compiled files beside that code."""
    return {name: os.environ[name] for name in PASSED_ON if name in os.environ} | {"PYTHONDONTWRITEBYTECODE": "1"}


class _Watched:
    """Kills a child that takes too long, or is not wanted any more."""

    def __init__(self, cancelled: Callable[[], bool] | None) -> None:
        self._cancelled = cancelled
        self.over = threading.Event()
        self.why = ""

    def watch(self, child: subprocess.Popen[bytes], seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self.over.wait(POLL):
            if time.monotonic() > until:
                self.why = "late"
            elif self._cancelled is not None and self._cancelled():
                self.why = "cancelled"
            if self.why:
                child.kill()
                return


def _listen(child: subprocess.Popen[bytes], order: bytes, progress: Progress) -> dict[str, msgspec.Raw] | None:
    """Hands in the order and hears the child out; its last word, or None when it ended without one."""
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        child.stdin.write(order)
        child.stdin.close()
    except BrokenPipeError:
        pass  # it died before it heard all; its code tells
    last = None
    for line in child.stdout:
        word = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
        if STEP in word:
            step = msgspec.json.decode(word[STEP], type=_Step)
            progress(step.at, step.stage)
        else:
            last = word
    child.wait()
    return last


def _read(last: dict[str, msgspec.Raw], done: type[Done]) -> Done:
    if FAULT in last:
        fault = msgspec.json.decode(last[FAULT], type=Fault)
        raise _KINDS.get(fault.code, Broken)(fault.message, hint=fault.hint, field=fault.where)
    return msgspec.json.decode(last[DONE], type=done)


def serve(order: type[Order], carry_out: Callable[[Order, Progress], object]) -> int:
    """The child's side: reads its order, carries it out and says what came of it. Whatever else it prints is a complaint."""
    with os.fdopen(os.dup(1), "wb") as out:
        os.dup2(2, 1)
        try:
            _say(out, DONE, carry_out(msgspec.msgpack.decode(sys.stdin.buffer.read(), type=order), _Teller(out)))
        except TandemError as error:
            _say(out, FAULT, Fault(code=error.code, message=error.message, hint=error.hint, where=error.field))
        except ModuleNotFoundError as error:
            said = f"Work on data needs the library '{error.name}', which is not installed."
            _say(out, FAULT, Fault(code=Unavailable.code, message=said, hint="Install it with: pip install 'tandem-ai[ml]'."))
    return 0


@dataclass(slots=True)
class _Teller:
    """Says how far it is, but not more often than a person wants to hear."""

    out: IO[bytes]
    at: float = -1.0
    stage: str = ""

    def __call__(self, fraction: float, stage: str) -> None:
        if fraction >= self.at + LEAST or stage != self.stage:
            self.at, self.stage = fraction, stage
            _say(self.out, STEP, _Step(fraction, stage))


def _say(out: IO[bytes], key: str, word: object) -> None:
    out.write(msgspec.json.encode({key: word}) + b"\n")
    out.flush()
