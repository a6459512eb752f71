"""One read of the store, and the vectors that it tells: what the door does for a prediction by entity. Light."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from tandem.core.clock import micros
from tandem.core.errors import Invalid
from tandem.data.contract import Dtype
from tandem.data.features.formula import Type
from tandem.data.features.online import Cell, cells, unpacked, vector
from tandem.data.features.view import Service, entity_key


class Reading(Protocol):
    """What whoever serves vectors needs: the store, or a copy elsewhere."""

    def read(self, views: Sequence[str], entities: Sequence[bytes]) -> dict[tuple[str, bytes], bytes]:
        """What is kept of entities, by view and entity, in one read; what is not kept is missing.

        Raises:
            Unavailable: the store is away.
        """
        ...


def read(store: Reading, service: Service, entities: Sequence[Mapping[str, object]], t: int) -> list[list[Cell]]:
    """The vectors of some entities, by one read of the store.

    Raises:
        Invalid: an entity or input is missing or of another type; names the place.
        Unavailable: the store is away.
    """
    keys = [[entity_key(each.entity, row) for each in service.views] for row in entities]
    views = [each.key for each in service.views]
    kept = store.read(views, list(dict.fromkeys(key for row in keys for key in row)))
    found: list[list[Cell]] = []
    for place, (row, own) in enumerate(zip(entities, keys, strict=True)):
        each = [cells(v, unpacked(kept.get((v.key, key))), t) for v, key in zip(service.views, own, strict=True)]
        inputs = {name: asked(row.get(name), type, name, place) for name, type in service.inputs.items()}
        found.append(vector(service, each, inputs, t))
    return found


_READS: dict[Dtype, Callable[[object], object]] = {
    "float": lambda value: float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None,
    "int": lambda value: value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63 else None,
    "string": lambda value: value if isinstance(value, str) else None,
    "bool": lambda value: value if isinstance(value, bool) else None,
    "datetime": lambda value: _moment(value),
}
_NOUNS: dict[Dtype, str] = {
    "float": "a number", "int": "a whole number", "string": "a text", "bool": "a truth value", "datetime": "an RFC 3339 time",
}  # fmt: skip
_ASKED: dict[Type, Dtype] = {"number": "float", "text": "string", "bool": "bool", "time": "datetime"}


def asked(value: object, type: Type, name: str, place: int) -> object:
    """An input of a request as formulas take it; null stays null.

    Raises:
        Invalid: it is of another type.
    """
    return cell(value, _ASKED[type], name, place)


def cell(value: object, dtype: Dtype, name: str, place: int) -> object:
    if value is None:
        return None
    found = _READS[dtype](value)
    if found is None or (isinstance(found, float) and not math.isfinite(found)):
        raise Invalid(f"'{name}' of row {place + 1} is not {_NOUNS[dtype]}.", field=f"rows[{place}].{name}")
    return found


def _moment(value: object) -> int | None:
    if not isinstance(value, str):
        return None
    try:
        return micros(value)
    except (ValueError, OverflowError):
        return None
