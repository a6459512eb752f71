"""What is wrong with a file, gathered cell by cell into one refusal, and what was broken without one. Knows no types."""

from __future__ import annotations

from dataclasses import dataclass, field

from tandem.core.errors import Invalid
from tandem.data.contract import Severity

LIMIT = 20
"""Problems that one message lists; further ones are only counted."""
CLIP = 40
"""Characters of a faulty cell that a message quotes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing wrong, and where."""

    what: str
    row: int | None = None
    """Data row, counted from 1."""
    line: int | None = None
    """Line of the file, counted from 1; None where the format has no lines."""
    column: str | None = None

    @property
    def where(self) -> str:
        """Such as `row 5 (line 6), column 'age'`."""
        row = None if self.row is None else f"row {self.row}" + (f" (line {self.line})" if self.line is not None else "")
        line = f"line {self.line}" if self.row is None and self.line is not None else None
        column = f"column '{self.column}'" if self.column is not None else None
        return ", ".join(part for part in (row, line, column) if part)

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" if self.where else self.what


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A rule that was broken without refusing the file."""

    rule: str
    """Such as `column 'age': is above 50`, or the name of a row rule."""
    severity: Severity
    count: int
    """Cells or rows that break it."""
    example: str
    """The first place, such as `row 5 (line 6)`."""


@dataclass(slots=True, kw_only=True)
class Problems:
    """The problems of one source, the first `LIMIT` of them kept."""

    source: str
    """What is being read, for the message: usually the file's name."""
    found: list[Problem] = field(default_factory=list)
    count: int = 0

    def add(self, problem: Problem) -> None:
        self.count += 1
        if len(self.found) < LIMIT:
            self.found.append(problem)

    def refuse(self, hint: str) -> None:
        """Raises if anything was found.

        Raises:
            Invalid: `field` names the first place, the message the first twenty.
        """
        if not self.count:
            return
        listed = sorted(self.found, key=lambda problem: (problem.row or 0, problem.line or 0))
        text = "; ".join(str(problem) for problem in listed)
        more = f"; and {self.count - len(listed)} more" if self.count > len(listed) else ""
        noun = "problem" if self.count == 1 else "problems"
        message = f"{self.source} was refused for {self.count} {noun}: {text}{more}."
        raise Invalid(message, field=listed[0].where or None, hint=hint)


def quote(cell: object) -> str:
    """A cell as a message shows it: clipped, and with control characters made visible.

    >>> quote("a" * 50)
    "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa…'"
    """
    text = str(cell)
    return repr(text[:CLIP] + "…" if len(text) > CLIP else text)
