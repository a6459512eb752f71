"""Money as integers: amounts in nano-dollars, rates in pico-dollars per token, one rounding up per attempt."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal, DecimalException
from typing import Literal

from tandem.core.errors import Invalid

NANO = 1_000_000_000
"""Nano-dollars in a dollar."""
PICO_PER_NANO = 1_000
HOUR_MICROS = 3_600_000_000
LARGEST = 2**63 - 1
"""Nano-dollars that a column of every store can hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What one attempt used, in disjoint counters (tokens, unless told otherwise), and who says so."""

    input: int = 0
    """Input tokens of text (and of what has no counter of its own), neither read from nor written to a prompt cache."""
    cache_read: int = 0
    cache_write: int = 0
    """Written for five minutes, or for as long as the provider keeps what it does not say."""
    cache_write_1h: int = 0
    input_audio: int = 0
    input_image: int = 0
    """Of pictures and pages."""
    cache_read_audio: int = 0
    output: int = 0
    """Output tokens without reasoning."""
    reasoning: int = 0
    output_audio: int = 0
    output_image: int = 0
    searches: int = 0
    """Searches that the provider made, a number: of the web, or the units that a reranker bills."""
    compute: int = 0
    """Microseconds of this platform's own work: a prediction, a decision."""
    source: Literal["provider", "estimated", "none"] = "none"

    @property
    def total_input(self) -> int:
        cached = self.cache_read + self.cache_write + self.cache_write_1h + self.cache_read_audio
        return self.input + cached + self.input_audio + self.input_image

    @property
    def total_output(self) -> int:
        return self.output + self.reasoning + self.output_audio + self.output_image


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """A dated price row: pico-dollars per token of each counter. A counter without a rate costs what its plain kind costs."""

    input: int
    output: int
    cache_read: int | None = None
    cache_write: int | None = None
    cache_write_1h: int | None = None
    input_audio: int | None = None
    input_image: int | None = None
    cache_read_audio: int | None = None
    reasoning: int | None = None
    output_audio: int | None = None
    output_image: int | None = None
    search: int = 0
    """Nano-dollars a search."""
    request: int = 0
    """Nano-dollars per attempt, whatever its size."""
    compute: int = 0
    """Nano-dollars per hour of this platform's own work."""
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
        pico = usage.input * self.input + usage.output * self.output
        if usage.cache_read:
            pico += usage.cache_read * _or(self.cache_read, self.input)
        if usage.reasoning:
            pico += usage.reasoning * _or(self.reasoning, self.output)
        if usage.total_input > usage.input + usage.cache_read or usage.total_output > usage.output + usage.reasoning:
            pico += self._rare(usage)
        if usage.compute:
            pico += -(-usage.compute * self.compute * PICO_PER_NANO // HOUR_MICROS)
        return -(-pico // PICO_PER_NANO) + usage.searches * self.search + self.request

    def _rare(self, usage: Usage) -> int:
        """Pico-dollars of what few calls use."""
        write = _or(self.cache_write, self.input)
        audio = _or(self.input_audio, self.input)
        return (
            usage.cache_write * write
            + usage.cache_write_1h * _or(self.cache_write_1h, write)
            + usage.input_audio * audio
            + usage.input_image * _or(self.input_image, self.input)
            + usage.cache_read_audio * _or(self.cache_read_audio, _or(self.cache_read, audio))
            + usage.output_audio * _or(self.output_audio, self.output)
            + usage.output_image * _or(self.output_image, self.output)
        )

    def bound(self, input_tokens: int, output_tokens: int) -> int:
        """Nano-dollars that an attempt of at most this size cannot pass, but for searches, which no size bounds."""
        inputs = (
            self.cache_read,
            self.cache_write,
            self.cache_write_1h,
            self.input_audio,
            self.input_image,
            self.cache_read_audio,
        )
        outputs = (self.reasoning, self.output_audio, self.output_image)
        dearest, said = max(self.input, *(rate or 0 for rate in inputs)), max(self.output, *(rate or 0 for rate in outputs))
        own = -(-(input_tokens * dearest + output_tokens * said) // PICO_PER_NANO) + self.request
        return max([own, *[price.bound(input_tokens, output_tokens) for start, price in self.longer if input_tokens > start]])


def _or(rate: int | None, plain: int) -> int:
    return plain if rate is None else rate


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
