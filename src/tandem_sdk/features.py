"""Features: views and services, facts that are pushed, vectors that are read, and datasets that are joined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tandem_sdk.assets import Version
from tandem_sdk.runs import Run
from tandem_sdk.wire import API, Wire, read_reply, segment


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One value of a vector."""

    value: float | str | bool | None = None
    state: str = "ok"
    """`ok`, `null`, `expired` or `not-found`."""
    event: int | None = None
    """When the newest fact behind it became true, UTC microseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vectors:
    """The vectors of some entities."""

    service: str
    """`service/credit@2`."""
    at: int
    """The moment they hold for, UTC microseconds."""
    vectors: tuple[Mapping[str, Cell], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """What became of a push."""

    view: str
    rows: int
    again: bool = False
    """Whether this batch was there already, so that nothing changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One computation of a view's online values."""

    view: str
    """`name@version`."""
    number: int
    live: bool
    dataset: str = ""
    through: int = 0
    at: int = 0
    entities: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A view, with what is kept of it online."""

    ref: str
    name: str = ""
    version: int = 0
    meta: Mapping[str, object] = field(default_factory=dict)
    pushed: int = 0
    """Facts that were pushed into it."""
    online: tuple[Generation, ...] = ()


class Features:
    """`client.features`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def define_view(self, name: str, definition: Mapping[str, object]) -> Version:
        """Publishes a feature view.

        Args:
            definition: `entity`, `time` and `features`; `source` (a dataset) or `columns`; `ttl`, `created`, `known`, `id`.

        Raises:
            Invalid: it does not fit its source; `field` names where.
        """
        return read_reply(Version, self._wire.send("PUT", f"{API}/views/{segment(name)}", definition))

    def define_service(self, name: str, definition: Mapping[str, object]) -> Version:
        """Publishes a feature service.

        Args:
            definition: `features` (`VIEW` or `VIEW:FEATURE`), `inputs` of a request, and what is `computed` of both.
        """
        return read_reply(Version, self._wire.send("PUT", f"{API}/services/{segment(name)}", definition))

    def view(self, name: str) -> View:
        """A view, and what is kept of it online."""
        return read_reply(View, self._wire.get(f"{API}/views/{segment(name)}"))

    def load(self, view: str) -> Run:
        """Starts the Run that computes a view from all its facts and has it answer; returns at once."""
        return read_reply(Run, self._wire.send("POST", f"{API}/views/{segment(view)}/load"))

    def push(self, view: str, rows: Sequence[Mapping[str, object]], *, batch: str | None = None) -> Pushed:
        """Adds facts to a view, all or none; they answer at once.

        Args:
            rows: columns of the view's source; times as RFC 3339 texts.
            batch: names these rows: sent again under the same name they change nothing.
        """
        body = {"rows": list(rows), **({} if batch is None else {"batch": batch})}
        return read_reply(Pushed, self._wire.send("POST", f"{API}/views/{segment(view)}/facts", body))

    def read(self, service: str, entities: Sequence[Mapping[str, object]], *, version: str | None = None) -> Vectors:
        """The vectors of some entities as of now.

        Args:
            entities: entity columns and inputs of the service.
        """
        body = {"entities": list(entities), **({} if version is None else {"version": version})}
        return read_reply(Vectors, self._wire.send("POST", f"{API}/services/{segment(service)}/vectors", body))

    def join(
        self,
        service: str,
        data: str,
        name: str,
        *,
        time: str | None = None,
        version: str | None = None,
        states: bool = False,
    ) -> Run:
        """Starts the Run that puts beside each row of a dataset its vector as it was at that row's moment.

        Args:
            data: the dataset whose rows ask, `dataset/NAME[@VERSION]`.
            name: of the dataset that is made.
            time: the column that says when each row asks; None: the dataset's own.
            states: whether a column `NAME__state` stands beside each feature.
        """
        told = {"data": data, "name": name, "time": time, "version": version, "states": states}
        body = {key: value for key, value in told.items() if value is not None}
        return read_reply(Run, self._wire.send("POST", f"{API}/services/{segment(service)}/join", body))
