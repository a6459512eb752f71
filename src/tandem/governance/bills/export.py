"""A provider's usage export, read line by line: which columns say what, and one row at a time. It keeps nothing.

The known forms are recognised by their column names, as the vendors' consoles wrote them in 2026:
OpenAI's usage (https://platform.openai.com/usage) and costs, Anthropic's usage and cost
(https://platform.claude.com/usage), and the bill of `tandem mock`. Every other CSV is read by `--columns`.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from pathlib import Path
from typing import IO

from tandem.core.clock import MICROS, iso, micros
from tandem.core.errors import Invalid
from tandem.core.money import LARGEST, NANO

LINE = 1 << 20
"""Characters of one line; a longer one is no line of an export."""
MOST_COLUMNS = 512
TOKENS = 2**53
CURRENCIES = ("", "usd")
_UNIX = re.compile(r"\d{9,11}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Which column says what; an empty name is a column that the export lacks."""

    date: str = ""
    model: str = ""
    key: str = ""
    call: str = ""
    """Of the door: `x-tandem-call`."""
    attempt: str = ""
    requests: str = ""
    input: str = ""
    """Input tokens, cached ones included."""
    uncached: str = ""
    """Input tokens that were neither read from nor written to a cache, where the export counts them apart."""
    cached: str = ""
    written: tuple[str, ...] = ()
    output: str = ""
    cost: str = ""
    """Dollars."""
    nano: str = ""
    """Nano-dollars, in the place of dollars."""
    currency: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """A known export."""

    name: str
    columns: Columns


FORMS = (
    Form(
        name="tandem mock",
        columns=Columns(
            date="time",
            model="model",
            key="key",
            call="call",
            attempt="attempt",
            input="prompt_tokens",
            cached="cached_tokens",
            written=("written_tokens",),
            output="completion_tokens",
            nano="cost_nano",
        ),
    ),
    Form(
        name="anthropic usage",
        columns=Columns(
            date="usage_date_utc",
            model="model_version",
            key="api_key",
            uncached="usage_input_tokens_no_cache",
            cached="usage_input_tokens_cache_read",
            written=("usage_input_tokens_cache_write_5m", "usage_input_tokens_cache_write_1h"),
            output="usage_output_tokens",
        ),
    ),
    Form(name="anthropic cost", columns=Columns(date="usage_date_utc", model="model", key="api_key", cost="cost_usd")),
    Form(
        name="openai usage",
        columns=Columns(
            date="start_time_iso",
            model="model",
            key="api_key_id",
            requests="num_model_requests",
            input="input_tokens",
            cached="input_cached_tokens",
            output="output_tokens",
        ),
    ),
    Form(
        name="openai costs",
        columns=Columns(date="start_time_iso", model="line_item", cost="amount_value", currency="amount_currency"),
    ),
)
"""The first whose columns are all there is the export's."""
BY_HAND = "by --columns"
NAMES = tuple(field.name for field in fields(Columns) if field.name not in ("written", "nano", "currency"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Billed:
    """One row of an export; a counter that the export lacks is None."""

    line: int
    at: int
    """UTC microseconds: when the request came, or the beginning of the row's day or hour."""
    model: str
    key: str
    call: str
    attempt: int
    requests: int | None
    input: int | None
    """Tokens neither read from nor written to a cache."""
    cached: int | None
    written: int | None
    output: int | None
    cost: int | None
    """Nano-dollars; None where the export has no amount."""
    places: int
    """Decimals that the amount was written with."""

    @property
    def day(self) -> str:
        return iso(self.at)[:10]


def by_hand(words: Sequence[str]) -> Columns:
    """Columns as a person names them: `date=Day`, `model=Model`, ….

    Raises:
        Invalid: a word is no assignment, names no such thing, or date and model are missing.

    >>> by_hand(["date=Day", "model=Model", "cost=USD"]).cost
    'USD'
    """
    found: dict[str, str] = {}
    for word in words:
        name, equals, column = (part.strip() for part in word.partition("="))
        if not equals or not column or name not in NAMES:
            raise Invalid(f"'{word[:100]}' says nothing about columns.", hint=_HINT, field="columns")
        found[name] = column
    if "date" not in found or "model" not in found:
        raise Invalid("The columns with the date and the model are not named.", hint=_HINT, field="columns")
    if not {"cost", "output"} & set(found):
        raise Invalid("Neither a column with costs nor one with output tokens is named.", hint=_HINT, field="columns")
    named = {name: found.get(name, "") for name in NAMES}
    return Columns(
        date=named["date"],
        model=named["model"],
        key=named["key"],
        call=named["call"],
        attempt=named["attempt"],
        requests=named["requests"],
        input=named["input"],
        uncached=named["uncached"],
        cached=named["cached"],
        output=named["output"],
        cost=named["cost"],
    )


_HINT = f"Write NAME=COLUMN for each of {', '.join(NAMES)} that the file has; date, model and cost or output are needed."


class Export:
    """A file that is open: what form it has, and its rows."""

    def __init__(self, file: IO[str], name: str, columns: Columns | None = None) -> None:
        """
        Args:
            file: text, read forwards only, at most a line of it in memory.
            name: what errors call it.
            columns: which column says what; None recognises a known form.

        Raises:
            Invalid: the file is empty, of no known form, or lacks a column that was named.
        """
        self._name = name
        self._lines = _Lines(file, name)
        first = next(iter(self._lines), "")
        self._dialect = "\t" if "\t" in first and "," not in first else ";" if ";" in first and "," not in first else ","
        heading = next(csv.reader([first], delimiter=self._dialect), [])
        header = [word.strip() for word in heading[:MOST_COLUMNS]]
        if not any(header):
            raise Invalid(f"{name} has no line of column names.", hint="Export it once more, as CSV.", field="line 1")
        if columns is None:
            form = next((form for form in FORMS if _named(form.columns) <= set(header)), None)
            if form is None:
                raise Invalid(
                    f"{name} has the columns {', '.join(header)[:300]}, which no known export has.",
                    hint="Say what they are: --columns date=…,model=…,input=…,cached=…,output=…,cost=….",
                    field="line 1",
                )
            self.form, columns = form.name, form.columns
        else:
            self.form = BY_HAND
            lacking = sorted(_named(columns) - set(header))
            if lacking:
                raise Invalid(
                    f"{name} has no column {lacking[0]!r}.", hint=f"Its columns are {', '.join(header)[:300]}.", field="columns"
                )
        self.columns = columns
        self._header = header

    @property
    def has_ids(self) -> bool:
        """Whether each row is a request of the door's."""
        return bool(self.columns.call)

    def rows(self) -> Iterator[Billed]:
        """Every row, in the file's order.

        Raises:
            Invalid: a row has a fault; the message names its line.
        """
        reader = csv.reader(self._lines, delimiter=self._dialect, strict=True)
        try:
            for values in reader:
                if not values:
                    continue
                line = reader.line_num + 1  # the heading was read before
                if len(values) != len(self._header):
                    raise self._wrong(line, f"has {len(values)} fields in place of {len(self._header)}")
                row = self._row(dict(zip(self._header, values, strict=True)), line)
                if row is not None:
                    yield row
        except csv.Error as error:
            raise self._wrong(reader.line_num + 1, f"is no CSV: {error}") from None

    def _row(self, values: Mapping[str, str], line: int) -> Billed | None:
        c = self.columns

        def text(column: str) -> str:
            return values[column].strip() if column else ""

        def count(column: str) -> int | None:
            return self._count(text(column), column, line) if column else None

        cost, places = self._cost(text(c.cost), text(c.nano), text(c.currency), line)
        cached, written = count(c.cached), sum(count(column) or 0 for column in c.written) if c.written else None
        plain = count(c.uncached)
        if c.input:
            plain = (count(c.input) or 0) - (cached or 0) - (written or 0)
            if plain < 0:
                raise self._wrong(line, "counts more cached tokens than input tokens")
        model = text(c.model)
        if not model and cost in (None, 0) and not plain:
            return None  # a day on which nothing was used
        call, attempt = text(c.call), text(c.attempt)
        return Billed(
            line=line,
            at=self._at(text(c.date), line),
            model=model.partition(",")[0].strip(),  # OpenAI's line items: `gpt-4o-mini-2024-07-18, input`
            key=text(c.key)[:200],
            call=call[:100],
            attempt=int(attempt) if attempt.isdecimal() and len(attempt) < 10 else 0,
            requests=count(c.requests) if c.requests else 1 if c.call else None,
            input=plain,
            cached=cached,
            written=written,
            output=count(c.output),
            cost=cost,
            places=places,
        )

    def _at(self, text: str, line: int) -> int:
        try:
            if _UNIX.fullmatch(text):
                return int(text) * MICROS
            moment = micros(text)
            datetime.fromtimestamp(moment // MICROS, UTC)
        except (ValueError, OverflowError, OSError):
            raise self._wrong(line, f"has the date {text[:40]!r}", "Dates are 2026-11-22, RFC 3339, or Unix seconds.") from None
        if moment < 0:
            raise self._wrong(line, f"has the date {text[:40]!r}", "It lies before 1970.")
        return moment

    def _count(self, text: str, column: str, line: int) -> int:
        bare = text.replace(",", "")
        if not bare:
            return 0
        try:
            value = Decimal(bare)
            whole = int(value)
        except (InvalidOperation, ValueError, OverflowError):
            raise self._wrong(line, f"has {text[:40]!r} in {column}, which is no number") from None
        if value != whole or not 0 <= whole <= TOKENS:
            raise self._wrong(line, f"has {text[:40]!r} in {column}, which is no count")
        return whole

    def _cost(self, dollars: str, nano: str, currency: str, line: int) -> tuple[int | None, int]:
        """Nano-dollars, and the decimals they were written with."""
        if currency.lower() not in CURRENCIES:
            raise self._wrong(line, f"is in {currency[:10]!r}", "Everything here is in US dollars; convert the file first.")
        text = nano or dollars.replace(",", "").replace("$", "")
        if not text:
            return None, 9
        try:
            value = Decimal(text)
            if not value.is_finite():
                raise InvalidOperation
        except InvalidOperation:
            raise self._wrong(line, f"has the amount {text[:40]!r}, which is no amount of money") from None
        scaled = value if nano else value * NANO
        if abs(scaled) > LARGEST:
            raise self._wrong(line, f"has the amount {text[:40]!r}, which is more than the books can hold")
        exponent = value.as_tuple().exponent
        places = 9 if nano else min(9, max(0, -exponent)) if isinstance(exponent, int) else 9
        return int(scaled.to_integral_value(ROUND_HALF_EVEN)), places

    def _wrong(
        self, line: int, what: str, hint: str = "Nothing was changed. Mend the line, or export the file once more."
    ) -> Invalid:
        return Invalid(f"{self._name}, line {line}, {what}.", hint=hint, field=f"line {line}")


class _Lines:
    """The lines of a file, each of a bounded length."""

    def __init__(self, file: IO[str], name: str) -> None:
        self._file, self._name, self._number = file, name, 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        self._number += 1
        try:
            line = self._file.readline(LINE)
        except UnicodeDecodeError:
            raise Invalid(f"{self._name}, near line {self._number}, is no UTF-8 text.", hint="Export it as UTF-8.") from None
        if not line:
            raise StopIteration
        if len(line) == LINE:
            raise Invalid(f"{self._name}, line {self._number}, is longer than any line of an export.", hint="Is it a CSV?")
        return line.lstrip("\ufeff") if self._number == 1 else line


def _named(columns: Columns) -> set[str]:
    values = [getattr(columns, field.name) for field in fields(Columns)]
    return {column for value in values for column in ([value] if isinstance(value, str) else value) if column}


def opened(path: Path) -> IO[str]:
    """The text of a file that was sent; a byte that is no UTF-8 is an error where it stands."""
    return path.open(encoding="utf-8", newline="")
