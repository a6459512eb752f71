"""What runtimes of other frameworks share: their models may raise anything, and explain nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

from tandem.core.errors import Broken, Invalid, TandemError, Unavailable
from tandem.scorers.sample import Floats

LONGEST = 200
"""Characters of a foreign error that ours repeats."""


class Foreign:
    """A model that explains nothing."""

    __slots__ = ()
    explains: ClassVar[bool] = False
    cells: ClassVar[bool] = False

    def explain(self, rows: Floats) -> tuple[Floats, Floats]:
        raise Invalid("Models of this kind do not explain themselves.", field="explain", hint="Leave parameters.explain out.")


@contextmanager
def foreign(what: str, hint: str) -> Iterator[None]:
    """Code of somebody else is at work; whatever it raises is told as ours.

    Raises:
        Unavailable: a library is not installed.
        Broken: anything else.
    """
    try:
        yield
    except TandemError:
        raise
    except ModuleNotFoundError as error:
        raise Unavailable(
            f"{what}: the library '{error.name}' is not installed.",
            hint=f"Install it beside the platform: pip install {error.name}",
        ) from None
    except Exception as error:  # noqa: BLE001  # a model of somebody else may raise anything
        said = " ".join(str(error).split())[:LONGEST]
        raise Broken(f"{what}: {type(error).__name__}: {said}.", hint=hint) from None
