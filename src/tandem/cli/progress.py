"""A bar on the terminal while something is under way; nothing where nobody looks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[float, str], None]
"""(fraction between 0 and 1, what is going on) → nothing."""


@contextmanager
def bar(label: str, *, quiet: bool = False) -> Iterator[Advance]:
    """Draws a bar on standard error when that is a terminal; standard output stays clean for scripts."""
    if quiet or not sys.stderr.isatty():
        yield lambda fraction, stage: None
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"), TimeElapsedColumn())
    with Progress(*columns, TextColumn("{task.fields[stage]}"), console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(escape(label), total=1.0, stage="")
        yield lambda fraction, stage: progress.update(task, completed=fraction, stage=escape(stage))
