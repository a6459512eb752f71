"""The dated price catalogue: rows of genai-prices (MIT, packaged, no network) as integer prices per model.

Used by the control process when it compiles a snapshot; the door only multiplies.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from importlib.metadata import version

from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import (
    ClauseEquals,
    ClauseOr,
    ClauseStartsWith,
    MatchLogic,
    ModelInfo,
    ModelPrice,
    TieredPrices,
)

from tandem.core.clock import MICROS
from tandem.core.money import Price

RATES = {
    "cache_read": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "cache_write_1h": "cache_write_1h_mtok",
    "input_audio": "input_audio_mtok",
    "input_image": "input_image_mtok",
    "cache_read_audio": "cache_audio_read_mtok",
    "reasoning": "output_reasoning_mtok",
    "output_audio": "output_audio_mtok",
    "output_image": "output_image_mtok",
}
"""Rate of ours → its name in the catalogue, in dollars per million."""
PICO = 10**12
MILLION = 10**6
DAY = 86_400 * MICROS

VENDORS: dict[str, str] = {
    "anthropic": "anthropic",
    "azure": "azure",
    "bedrock": "aws",
    "cohere": "cohere",
    "gemini": "google",
    "mistral": "mistral",
    "openai": "openai",
    "responses": "openai",
}
"""Protocol → whose price list applies when a provider names none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A model of a vendor's price list."""

    model: str
    price: Price
    context: int | None
    """Tokens that fit, where the list says."""


def price_of(model: str, vendor: str, at: int) -> Price | None:
    """The price row of a vendor's model that is in force at a UTC time (microseconds); None when nobody knows one.

    >>> row = price_of("gpt-4o-mini", "openai", 1_780_000_000_000_000)
    >>> row.input, row.output
    (150000, 600000)
    """
    try:
        _, info = get_snapshot().find_provider_model(model, None, vendor, None)
    except LookupError:
        return None
    return _price(info, vendor, at)


@lru_cache(maxsize=4096)
def context_of(model: str, vendor: str) -> int | None:
    """Tokens that fit into a vendor's model; None when the list does not say."""
    try:
        _, info = get_snapshot().find_provider_model(model, None, vendor, None)
    except LookupError:
        return None
    return info.context_window


def catalogue(vendor: str, at: int) -> tuple[Listed, ...]:
    """Every model that a vendor's price list prices at a UTC time (microseconds), by name; empty for a vendor nobody knows."""
    return _catalogue(vendor, at - at % DAY)  # dated prices change at midnight


def models_of(vendor: str) -> tuple[str, ...]:
    """What to call every model that a vendor's price list names; empty for a vendor nobody knows."""
    return tuple(name for name, _ in _named(vendor))


@lru_cache(maxsize=128)
def _catalogue(vendor: str, at: int) -> tuple[Listed, ...]:
    priced = ((name, info, _price(info, vendor, at)) for name, info in _named(vendor))
    rows = [Listed(model=name, price=price, context=info.context_window) for name, info, price in priced if price is not None]
    return tuple(sorted(rows, key=lambda row: row.model))


@lru_cache(maxsize=128)
def _named(vendor: str) -> tuple[tuple[str, ModelInfo], ...]:
    """A vendor's models by a name under which their row is found: the list's own, else one that its rule spells out."""
    try:
        provider = get_snapshot().find_provider(None, vendor, None)
    except LookupError:
        return ()
    names = [
        (name, info) for info in provider.models for name in (info.id, *_spelt(info.match)) if provider.find_model(name) is info
    ]
    return tuple({info.id: (name, info) for name, info in reversed(names)}.values())[::-1]


def _spelt(rule: MatchLogic) -> Iterator[str]:
    match rule:
        case ClauseEquals():
            yield rule.equals
        case ClauseStartsWith():
            yield rule.starts_with
        case ClauseOr():
            for part in rule.or_:
                yield from _spelt(part)
        case _:
            return


def _price(info: ModelInfo, vendor: str, at: int) -> Price | None:
    moment = datetime.fromtimestamp(at / MICROS, UTC)
    try:
        prices = info.get_prices(moment)
    except LookupError:
        return None
    starts = sorted({tier.start for price in vars(prices).values() if isinstance(price, TieredPrices) for tier in price.tiers})
    base = _row(prices, 0)
    if base is None:
        return None
    longer = [(start, row) for start in starts if (row := _row(prices, start + 1)) is not None]
    source = f"genai-prices {version('genai-prices')}: {vendor}/{info.id}"
    return replace(base, longer=tuple(longer), source=source, effective=moment.date().isoformat())


def _row(prices: ModelPrice, tokens: int) -> Price | None:
    read = {name: _pico(value, tokens) for name, value in vars(prices).items() if value is not None}
    if "input_mtok" not in read and "output_mtok" not in read:
        return None
    row = Price(
        input=read.get("input_mtok", 0),
        output=read.get("output_mtok", 0),
        search=read.get("web_searches_kcount", 0),
        request=read.get("requests_kcount", 0),
    )
    rates = {field: read.get(name) for field, name in RATES.items()}
    return replace(row, **rates)  # type: ignore[arg-type]  # each of these fields takes such a rate


def _pico(value: Decimal | TieredPrices, tokens: int) -> int:
    """Pico-dollars per token of a price in dollars per million tokens, at a size of the input."""
    if isinstance(value, TieredPrices):
        found = value.base
        for tier in value.tiers:
            if tokens > tier.start:
                found = tier.price
        value = found
    return int((value * PICO / MILLION).to_integral_value())
