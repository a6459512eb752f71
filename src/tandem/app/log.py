"""What goes wrong in a process of the platform, told."""

from __future__ import annotations

import sys
import traceback
from contextlib import suppress

from tandem.core.errors import Unavailable


def log(process: str, error: BaseException) -> None:
    """What went wrong, told once on stderr; a bug with where it is."""
    with suppress(OSError):  # a log that takes nothing is no reason to stop
        if isinstance(error, Unavailable):
            print(f"tandem {process}: {error}", file=sys.stderr, flush=True)
            return
        print(f"tandem {process}: a bug: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        traceback.print_exception(error)


def control(error: BaseException) -> None:
    """What went wrong in the control process."""
    log("control", error)
