"""Works in pieces, in a module that the processes of a cluster can import."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from tandem.core.errors import Invalid


def square(number: int) -> int:
    return number * number


def picky(number: int) -> int:
    if number == 3:
        raise Invalid("Three is not taken.", field="number", hint="Take another.")
    return number


def wrong(number: int) -> int:
    return 1 // number


def seen(name: str) -> bool:
    """Whether the process that does pieces has such a variable in its environment."""
    return name in os.environ


def process(seconds: float) -> int:
    """A work that takes a while, and says by which process it was done."""
    time.sleep(seconds)
    return os.getpid()


def killed_once(mark: Path) -> int:
    """A work whose process is killed the first time that it does the piece."""
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return os.getpid()
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def killed(_: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)
