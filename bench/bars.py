"""What a figure is held against, told and not asserted: a bar is a wish for a quiet machine, not a test. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One figure and its bar."""

    what: str
    value: float | None
    """None where it could not be measured."""
    bar: float
    least: bool = False
    """Whether the value must be the bar at least; otherwise at most."""
    unit: str = ""

    @property
    def held(self) -> bool:
        """Whether the value is on the right side of the bar.

        >>> Bar(what="x", value=3, bar=3).held, Bar(what="x", value=3, bar=4, least=True).held
        (True, False)
        """
        return self.value is not None and (self.value >= self.bar if self.least else self.value <= self.bar)

    def line(self) -> str:
        """The bar as a note under a table.

        >>> Bar(what="p99", value=0.8, bar=1, unit=" ms").line()
        'p99: 0.80 ms, bar ≤ 1 ms: held.'
        """
        bar = f"bar {'≥' if self.least else '≤'} {self.bar:g}{self.unit}"
        if self.value is None:
            return f"{self.what}: not measured, {bar}."
        digits = 0 if abs(self.value) >= 100 else 2
        return f"{self.what}: {self.value:.{digits}f}{self.unit}, {bar}: {'held' if self.held else 'missed'}."
