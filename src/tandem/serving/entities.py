"""A prediction by entity: the request names whom it is about, the door fetches the features, as they are at that moment.

    {"entities": [{"customer": 17, "wanted": 50}]}

beside the protocol's `id`, `parameters` and `outputs`. What the model takes and no feature gives is read from the entity's
own object. The answer bears each feature's state, and its age in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from tandem.core.clock import MICROS
from tandem.core.errors import Invalid
from tandem.data.features.online import Cell
from tandem.data.features.vectors import Reading, read
from tandem.data.features.view import Service, Told, made, made_service
from tandem.serving.oip import Request, Wanted, outputs
from tandem.serving.signature import MISSING, Signature
from tandem.serving.signature import Cell as Taken
from tandem.serving.target import ROWS

KEPT_ROWS = 1_000
"""Calls of more rows do not keep what was fetched for them."""
NO_AGE = -1.0
"""Instead of an age, where no fact is behind a value."""


class Vector(msgspec.Struct, frozen=True):
    """What a model's features are, as its version tells the door."""

    service: Told
    views: tuple[Told, ...]

    @property
    def ref(self) -> str:
        return f"service/{self.service.name}@{self.service.version}"

    def made(self) -> Service:
        return made_service(self.service, [made(view) for view in self.views])


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A request by entity as it stands on the wire."""

    entities: list[dict[str, Any]]
    inputs: list[Any] = []
    id: str | None = None
    parameters: dict[str, Any] = {}
    outputs: list[Wanted] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A request whose features are there."""

    request: Request
    names: tuple[str, ...]
    cells: Sequence[Sequence[Cell]]
    at: int
    """The moment they hold for, UTC microseconds."""

    @property
    def oldest(self) -> float | None:
        """Seconds since the oldest fact behind any value; None where there is none."""
        events = [cell.event for row in self.cells for cell in row if cell.event is not None]
        return (self.at - min(events)) / MICROS if events else None

    def outputs(self) -> list[dict[str, Any]]:
        """Two tensors that stand beside the model's own: of each row and feature its state, and its age in seconds."""
        shape = [len(self.cells), len(self.names)]
        columns = {"columns": msgspec.json.encode(list(self.names)).decode()}
        ages = [NO_AGE if cell.event is None else (self.at - cell.event) / MICROS for row in self.cells for cell in row]
        states = [cell.state for row in self.cells for cell in row]
        return [
            {"name": "feature_age_seconds", "datatype": "FP64", "shape": shape, "data": ages, "parameters": columns},
            {"name": "feature_state", "datatype": "BYTES", "shape": shape, "data": states, "parameters": columns},
        ]

    def kept(self) -> dict[str, object]:
        """What the model was given, for whoever looks at the call later; NaN is null."""
        if len(self.request.rows) > KEPT_ROWS:
            return {}
        return {"rows": [[None if value != value else value for value in row] for row in self.request.rows]}


def names_entities(body: bytes) -> bool:
    """Whether a request may be one by entity; whoever reads it finds out."""
    return b'"entities"' in body


def asked(body: bytes, vector: Vector | None, ref: str) -> Asked | None:
    """A request by entity; None where it is one of the protocol's own, and happens to hold the word.

    Raises:
        Invalid: it names entities and also inputs, too many, or a model that no features were joined for.
    """
    try:
        found = msgspec.json.decode(body, type=Asked)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None  # whoever reads the protocol says what is wrong
    if vector is None:
        raise Invalid(
            f"{ref} was not trained on features of a service, so it cannot be asked by entity.",
            field="entities",
            hint="Train it on a dataset that `tandem features join` made, or send inputs.",
        )
    if found.inputs:
        raise Invalid("A request has entities or inputs, not both.", field="inputs", hint="Leave the inputs out.")
    if not 0 < len(found.entities) <= ROWS:
        raise Invalid(f"1 to {ROWS:,} entities are answered.", field="entities", hint="Split the request.")
    return found


def fetch(store: Reading, service: Service, found: Asked, signature: Signature, at: int) -> Fetched:
    """The rows of a model for entities, by one read of the store.

    Raises:
        Invalid: an entity or input is missing or of another type; names the place.
        Unavailable: the store is away.
    """
    cells = read(store, service, found.entities, at)
    places = {name: place for place, name in enumerate(service.names)}
    rows = [
        [_value(signature, place, row, cells[number], places, number) for place in range(len(signature.fields))]
        for number, row in enumerate(found.entities)
    ]
    request = Request(rows=rows, id=found.id, outputs=outputs(found.parameters, found.outputs, signature))
    return Fetched(request=request, names=service.names, cells=cells, at=at)


def _value(
    signature: Signature,
    field: int,
    row: Mapping[str, object],
    cells: Sequence[Cell],
    places: Mapping[str, int],
    number: int,
) -> Taken:
    wanted = signature.fields[field]
    place = places.get(wanted.name)
    if place is None:
        return wanted.cell(row.get(wanted.name), f"entities[{number}].{wanted.name}")
    value = cells[place].value
    if value is None:
        return MISSING
    return wanted.cell(value, f"entities[{number}].{wanted.name}") if isinstance(value, str) else float(value)
