"""Money as integers: amounts in nano-dollars, rates in pico-dollars per token, one rounding up per attempt."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal, DecimalException
from typing import Literal

from tandem.core.errors import Invalid

NANO = 1_000_000_000
"""Nano-dollars in a dollar."""
PICO_PER_NANO = 1_000
LARGEST = 2**63 - 1
"""Nano-dollars that a column of every store can hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What one attempt used, in disjoint counters (tokens), and who says so."""

    input: int = 0
    """Input tokens neither read from nor written to a prompt cache."""
    cache_read: int = 0
    cache_write: int = 0
    output: int = 0
    """Output tokens without reasoning."""
    reasoning: int = 0
    source: Literal["provider", "estimated", "none"] = "none"

    @property
    def total_input(self) -> int:
        return self.input + self.cache_read + self.cache_write

    @property
    def total_output(self) -> int:
        return self.output + self.reasoning


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """A dated price row: pico-dollars per token of each counter."""

    input: int
    output: int
    cache_read: int | None = None
    cache_write: int | None = None
    request: int = 0
    """Nano-dollars per attempt, whatever its size."""
    longer: tuple[tuple[int, Price], ...] = ()
    """(input tokens, row) ascending: above that many input tokens the row holds for all tokens of the attempt."""
    source: str = ""
    """Where the row comes from, for the trace."""
    effective: str = ""
    """ISO date from which the row holds."""

    def cost(self, usage: Usage) -> int:
        """Nano-dollars of one attempt, rounded up once.

        >>> Price(input=150_000, output=600_000).cost(Usage(input=3, output=1))
        1050
        """
        for start, price in reversed(self.longer):
            if usage.total_input > start:
                return price.cost(usage)
        read = self.input if self.cache_read is None else self.cache_read
        write = self.input if self.cache_write is None else self.cache_write
        pico = (
            usage.input * self.input
            + usage.cache_read * read
            + usage.cache_write * write
            + (usage.output + usage.reasoning) * self.output
        )
        return -(-pico // PICO_PER_NANO) + self.request

    def bound(self, input_tokens: int, output_tokens: int) -> int:
        """Nano-dollars that an attempt of at most this size cannot pass."""
        dearest = max(self.input, self.cache_read or 0, self.cache_write or 0)
        own = -(-(input_tokens * dearest + output_tokens * self.output) // PICO_PER_NANO) + self.request
        return max([own, *[price.bound(input_tokens, output_tokens) for start, price in self.longer if input_tokens > start]])


def nano(dollars: str | Decimal) -> int:
    """Nano-dollars of an amount in dollars; fractions of a nano-dollar are refused.

    >>> nano("0.002")
    2000000
    """
    try:
        amount = Decimal(dollars) * NANO
        whole = amount.to_integral_value(ROUND_CEILING)
    except DecimalException:
        raise Invalid(f"'{dollars}' is not an amount of money.", hint="Write dollars, such as 0.002.") from None
    if not amount.is_finite() or amount != whole or not 0 <= amount <= LARGEST:
        raise Invalid(
            f"'{dollars}' is not an amount the ledger can hold.",
            hint="Use zero or more dollars, fewer than nine thousand million, with at most nine decimals.",
        )
    return int(whole)


def dollars(amount: int) -> str:
    """Plain decimal text of nano-dollars, without trailing zeros.

    >>> dollars(2_000_000), dollars(0), dollars(-1)
    ('0.002', '0', '-0.000000001')
    """
    text = f"{abs(amount) // NANO}.{abs(amount) % NANO:09d}".rstrip("0").rstrip(".")
    return f"-{text}" if amount < 0 else text
