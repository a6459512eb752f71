"""A price row of our own: whose model, for whom, from when; and a file of them, read whole or not at all. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Literal

from tandem.core.asset import NAME
from tandem.core.errors import Invalid
from tandem.core.money import NANO, Price

Origin = Literal["hand", "import", "file"]
"""Set one by one; from a file that was imported; from the file that the settings name."""
ALWAYS = "1970-01-01"
TOKENS = (
    "input",
    "output",
    "cache_read",
    "cache_write",
    "cache_write_1h",
    "input_audio",
    "input_image",
    "cache_read_audio",
    "reasoning",
    "output_audio",
    "output_image",
)
"""Rates in dollars per million tokens."""
EACH = ("search", "request")
"""Rates in dollars apiece."""
RATES = (*TOKENS, *EACH)
NEEDED = ("input", "output")
PICO_A_MILLION = 10**6
"""Pico-dollars per token in a dollar per million tokens."""
DEAREST = 1_000_000
"""Dollars: no rate is higher."""
MOST_ROWS = 50_000
FILE_BYTES = 8 * 1024 * 1024
FIELDS = frozenset({"target", "team", "from", *RATES})
FORM = '{"prices": [{"target": "openai/gpt-4o-mini", "from": "2026-01-01", "input": "0.15", "output": "0.60"}]}'


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceRow:
    """What a model costs from a day on, for everybody or for one team."""

    provider: str
    model: str
    team: str = ""
    """Empty: everybody."""
    since: str = ALWAYS
    """The ISO date, UTC, from which it holds."""
    origin: Origin = "hand"
    price: Price
    changed_at: int = 0
    """UTC microseconds."""
    changed_by: str = ""

    @property
    def target(self) -> str:
        return f"{self.provider}/{self.model}"


def rates(given: Mapping[str, object], where: str = "") -> Price:
    """The price of rates in dollars, as text or numbers; what is not given costs what its plain kind costs.

    Args:
        where: what errors call the row.

    Raises:
        Invalid: `input` or `output` is missing, or a rate is no amount; nothing is ever taken for zero.

    >>> rates({"input": "0.15", "output": "0.6"}).output
    600000
    """
    for name in NEEDED:
        if given.get(name) is None:
            raise Invalid(
                f"{where or 'The price'} has no rate for {name}.",
                hint="Give input and output; what is really free costs 0.",
                field=name,
            )
    found = {name: _rate(given[name], name, where) for name in RATES if given.get(name) is not None}
    return Price(
        input=found["input"],
        output=found["output"],
        cache_read=found.get("cache_read"),
        cache_write=found.get("cache_write"),
        cache_write_1h=found.get("cache_write_1h"),
        input_audio=found.get("input_audio"),
        input_image=found.get("input_image"),
        cache_read_audio=found.get("cache_read_audio"),
        reasoning=found.get("reasoning"),
        output_audio=found.get("output_audio"),
        output_image=found.get("output_image"),
        search=found.get("search", 0),
        request=found.get("request", 0),
    )


def shown(price: Price) -> dict[str, str]:
    """The rates of a price in dollars: per million tokens, or apiece; those that have none are left out.

    >>> shown(Price(input=150_000, output=600_000))
    {'input': '0.15', 'output': '0.6'}
    """
    told = {name: value for name in TOKENS if (value := getattr(price, name)) is not None}
    apiece = {name: value for name in EACH if (value := getattr(price, name))}
    return {name: _text(value, PICO_A_MILLION) for name, value in told.items()} | {
        name: _text(value, NANO) for name, value in apiece.items()
    }


def check_target(target: str, where: str = "") -> tuple[str, str]:
    """Provider and model of a target.

    Raises:
        Invalid: it names none.
    """
    provider, _, model = target.partition("/")
    if not NAME.fullmatch(provider) or not model or len(model) > 200 or any(letter.isspace() for letter in model):
        raise Invalid(
            f"{where or 'The price'} is for '{target[:200]}', which is no model.", hint="Write PROVIDER/MODEL.", field="target"
        )
    return provider, model


def check_day(day: str, where: str = "") -> str:
    """An ISO date.

    Raises:
        Invalid: it is none.
    """
    try:
        return date.fromisoformat(day).isoformat()
    except ValueError:
        raise Invalid(
            f"{where or 'The price'} holds from '{day[:40]}', which is no date.", hint="Write it like 2026-01-31.", field="from"
        ) from None


def read_file(text: str, name: str, origin: Origin) -> tuple[PriceRow, ...]:
    """The rows of a price file, all of them.

    Raises:
        Invalid: the file is no JSON, has no rows, or one of them has a fault; the message says where.
    """
    try:
        tree = json.loads(text, parse_float=Decimal, parse_constant=_constant)
    except ValueError as error:
        raise Invalid(f"{name} is not JSON: {error}.", hint=f"Write {FORM}.", field="prices") from None
    except RecursionError:
        raise Invalid(f"{name} is nested too deep.", hint=f"Write {FORM}.", field="prices") from None
    listed = tree.get("prices") if isinstance(tree, dict) else None
    if not isinstance(listed, list) or not listed or set(tree) - {"prices"}:
        raise Invalid(f"{name} has no list 'prices', or more than that.", hint=f"Write {FORM}.", field="prices")
    if len(listed) > MOST_ROWS:
        raise Invalid(
            f"{name} has {len(listed)} rows; {MOST_ROWS} are the most.", hint="Leave out what nobody calls.", field="prices"
        )
    seen: dict[tuple[str, str, str, str], int] = {}
    rows = []
    for number, given in enumerate(listed, 1):
        row = _row(given, f"{name}, row {number}", origin)
        key = (row.provider, row.model, row.team, row.since)
        if key in seen:
            raise Invalid(
                f"{name}, rows {seen[key]} and {number} are for the same model, team and day: {row.target}.",
                hint="Leave one of them.",
                field=f"prices[{number - 1}]",
            )
        seen[key] = number
        rows.append(row)
    return tuple(rows)


def _row(given: object, where: str, origin: Origin) -> PriceRow:
    if not isinstance(given, dict):
        raise Invalid(f"{where}, is no object.", hint=f"Write {FORM}.", field="prices")
    unknown = sorted(set(given) - FIELDS)
    if unknown:
        raise Invalid(
            f"{where}, has the field '{str(unknown[0])[:60]}'.",
            hint=f"Known are {', '.join(sorted(FIELDS))}.",
            field=str(unknown[0])[:60],
        )
    texts = {}
    for name, default in (("target", ""), ("team", ""), ("from", ALWAYS)):
        value = given.get(name, default)
        if not isinstance(value, str):
            raise Invalid(f"{where}, has a '{name}' that is no text.", hint=f"Write {FORM}.", field=name)
        texts[name] = value
    provider, model = check_target(texts["target"], f"{where},")
    where = f"{where} ({texts['target'][:100]}),"
    if texts["team"] and not NAME.fullmatch(texts["team"]):
        raise Invalid(
            f"{where} is for the team '{texts['team'][:60]}', which is no name.", hint="Leave it out for all.", field="team"
        )
    return PriceRow(
        provider=provider,
        model=model,
        team=texts["team"],
        since=check_day(texts["from"], where),
        origin=origin,
        price=rates(given, where),
    )


def _rate(given: object, name: str, where: str) -> int:
    scale = NANO if name in EACH else PICO_A_MILLION
    told = f"{where or 'The price'} has the rate {str(given)[:40]!r} for {name}"
    if isinstance(given, bool) or not isinstance(given, str | int | Decimal):
        raise Invalid(f"{told}, which is no amount.", hint='Write dollars, such as "0.15".', field=name)
    try:
        value = Decimal(given)
        scaled = value * scale
    except (InvalidOperation, ValueError):
        raise Invalid(f"{told}, which is no amount.", hint='Write dollars, such as "0.15".', field=name) from None
    if not value.is_finite() or not 0 <= value <= DEAREST:
        raise Invalid(f"{told}; a rate is between 0 and a million dollars.", hint="Is it per million tokens?", field=name)
    if scaled != int(scaled):
        raise Invalid(
            f"{told}, which is finer than can be booked.", hint="Six decimals are the most, nine for a request.", field=name
        )
    return int(scaled)


def _text(value: int, scale: int) -> str:
    text = f"{Decimal(value) / scale:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _constant(word: str) -> object:
    raise ValueError(f"{word} is no number")


def newest(rows: Sequence[PriceRow], day: str) -> PriceRow | None:
    """The row that holds on a day: what was set by hand before what a file says, and the newest of those."""
    holding = [row for row in rows if row.since <= day]
    return max(holding, key=lambda row: (row.origin == "hand", row.since, row.origin == "import"), default=None)
