"""The dated price catalogue: rows of genai-prices (MIT, packaged, no network) as integer prices per model.

Used by the control process when it compiles a snapshot; the door only multiplies.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from importlib.metadata import version

from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ModelPrice, TieredPrices

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

VENDORS: dict[str, str] = {"anthropic": "anthropic", "openai": "openai"}
"""Protocol → whose price list applies when a provider names none."""


def price_of(model: str, vendor: str, at: int) -> Price | None:
    """The price row of a vendor's model that is in force at a UTC time (microseconds); None when nobody knows one.

    >>> row = price_of("gpt-4o-mini", "openai", 1_780_000_000_000_000)
    >>> row.input, row.output
    (150000, 600000)
    """
    moment = datetime.fromtimestamp(at / MICROS, UTC)
    try:
        _, info = get_snapshot().find_provider_model(model, None, vendor, None)
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


def models_of(vendor: str) -> tuple[str, ...]:
    """Every model id that a vendor's price list names; empty for a vendor nobody knows."""
    try:
        return tuple(model.id for model in get_snapshot().find_provider(None, vendor, None).models)
    except LookupError:
        return ()


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
