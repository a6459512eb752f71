"""A view or service on its page: its features, what is kept online, and the vector of an entity that somebody asks for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from tandem.core.asset import Version
from tandem.core.clock import MICROS
from tandem.core.errors import Invalid, Unavailable
from tandem.core.principal import Principal
from tandem.data.features.features import Features, Standing

UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One value of the vector that was asked for."""

    name: str
    value: object
    state: str
    age: str
    """In words; empty where no fact is behind it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What the page shows of a view or service."""

    features: tuple[Mapping[str, object], ...]
    facts: tuple[tuple[str, str], ...]
    """(word, what the definition says)."""
    standing: Standing | None
    """Of a view."""
    example: str
    """What may be asked of a service."""
    asked: str
    rows: tuple[Row, ...]
    fault: str


def shown(features: Features, version: Version, asked: str, by: Principal) -> Shown:
    """What `by` sees of a version; the vector is read as `by`."""
    definition, listed = version.meta.get("definition"), version.meta.get("features")
    told = definition if isinstance(definition, Mapping) else {}
    rows: tuple[Row, ...] = ()
    fault = ""
    if asked.strip() and version.kind == "service":
        try:
            rows = _vector(features, version, asked, by)
        except (Invalid, Unavailable) as error:
            fault = str(error)
    names = [*_texts(version.meta.get("entity")), *_texts(version.meta.get("inputs"))]
    return Shown(
        features=tuple(each for each in listed if isinstance(each, Mapping)) if isinstance(listed, list) else (),
        facts=tuple((word, _said(value)) for word, value in told.items() if word not in ("features", "columns")),
        standing=features.standing(version.name, by=by) if version.kind == "view" else None,
        example=" ".join(f"{name}=…" for name in names),
        asked=asked,
        rows=rows,
        fault=fault,
    )


def _vector(features: Features, version: Version, asked: str, by: Principal) -> tuple[Row, ...]:
    entity: dict[str, object] = {}
    for word in asked.split():
        name, equals, value = word.partition("=")
        if not equals:
            raise Invalid(f"'{word}' is not COLUMN=VALUE.", hint="Such as customer=17.")
        try:
            entity[name] = json.loads(value)
        except json.JSONDecodeError:
            entity[name] = value
    found = features.vectors(version.ref, [entity], by=by)
    return tuple(
        Row(name=name, value=cell.value, state=cell.state, age="" if cell.event is None else ago(found.at - cell.event))
        for name, cell in zip(found.names, found.rows[0], strict=True)
    )


def ago(micros: int) -> str:
    """A span in words.

    >>> ago(7_200_000_000)
    '2.0 h'
    """
    seconds = micros / MICROS
    for size, unit in UNITS:
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def _texts(value: object) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list | Mapping) else []


def _said(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {each}" for name, each in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
