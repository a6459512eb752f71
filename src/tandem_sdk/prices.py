"""Prices: what a model costs, from when, for everybody or for a team."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from tandem_sdk.errors import Invalid
from tandem_sdk.wire import API, Wire, read_replies, read_reply, segment


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a model costs."""

    target: str
    """`provider/model`."""
    team: str = ""
    """Whose price it is; empty: everybody's."""
    since: str = ""
    """The UTC day from which it holds."""
    origin: str = ""
    """`hand`, `import`, `file`, `own machine`, `catalogue`, or `none` where nobody knows a price."""
    source: str = ""
    """Where it comes from, as traces tell it."""
    holds: bool = False
    """Whether it is the one in force today."""
    rates: Mapping[str, str] = field(default_factory=dict)
    """US dollars per million tokens; `search` and `request` apiece."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What reading a price file did."""

    rows: int = 0
    changed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Dropped:
    rows: int = 0


class Prices:
    """`client.prices`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def list(self) -> tuple[Price, ...]:
        """Rows that were set or imported, and the price in force of every model that an endpoint leads to."""
        return read_replies(Price, self._wire.get(f"{API}/cost/prices"))

    def set(self, target: str, rates: Mapping[str, str | Decimal], *, team: str | None = None, since: str | None = None) -> Price:
        """Sets what a model costs.

        Args:
            target: `provider/model`.
            rates: dollars per million tokens, such as `{"input": "0.15", "output": "0.6"}`; both are needed. More:
                `cache_read`, `cache_write`, `cache_write_1h`, `reasoning`, `search` and `request` (apiece).
            team: whose price it is; None: everybody's.
            since: the UTC day from which it holds, `2026-01-31`; None: today.

        Raises:
            Invalid: a rate is missing or no amount.
        """
        body = {"rates": {name: str(rate) for name, rate in rates.items()}, "team": team or "", "since": since}
        return read_reply(Price, self._wire.send("PUT", _path(target), body))

    def drop(self, target: str, *, team: str | None = None, since: str | None = None) -> int:
        """Takes back what was set by hand, of a day or of every day; returns how many rows.

        Raises:
            NotFound: there is none.
        """
        return read_reply(_Dropped, self._wire.send("DELETE", _path(target), query={"team": team, "since": since})).rows

    def load(self, file: str | Path) -> Imported:
        """Puts the rows of a JSON file in the place of those imported before.

        Raises:
            Invalid: the file has a fault, and the message says where; nothing was changed.
        """
        path = Path(file)
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise Invalid(f"{path} cannot be read: {error}.", hint="Check the path.") from None
        body = {"name": path.name, "text": text}
        return read_reply(Imported, self._wire.send("POST", f"{API}/cost/prices/import", body, patient=True))


def _path(target: str) -> str:
    return f"{API}/cost/prices/" + "/".join(segment(part) for part in target.split("/"))
