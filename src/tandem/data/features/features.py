"""Features for callers: define views and services, push facts, read vectors; always by the caller's own rights."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import msgspec

from tandem.core.asset import Ref, Version, check_name
from tandem.core.errors import Broken, Invalid
from tandem.core.principal import Principal
from tandem.data.contract import Contract, Dtype
from tandem.data.features.online import Cell, Fact, fact, merged, packed, unpacked
from tandem.data.features.repo import Change, Generation, Store
from tandem.data.features.validity import PUSHED
from tandem.data.features.vectors import Reading, cell, read
from tandem.data.features.view import Service, Told, View, entity_key, made, made_service, view, views_of
from tandem.data.features.view import service as service_of
from tandem.governance.authorise import ALL, authorise, scope_of
from tandem.registry.registry import Registry

ROWS = 10_000
"""Facts in one push, and vectors in one read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """What became of a push."""

    view: str
    """The newest version, which its rows were checked against."""
    rows: int
    again: bool
    """Whether this batch was there already, so that nothing changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vectors:
    """The vectors of some entities."""

    service: str
    """`service/credit@2`."""
    names: tuple[str, ...]
    at: int
    """The moment they hold for, UTC microseconds."""
    rows: tuple[tuple[Cell, ...], ...]
    """One per entity, in the order of the names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A view, with what is kept of it online."""

    version: Version
    pushed: int
    """Rows in its log."""
    generations: tuple[Generation, ...]
    """Of any version of the view."""


class Features:
    """What callers may do with features."""

    def __init__(
        self, registry: Registry, store: Store, reading: Reading | None = None, changed: Callable[[], None] | None = None
    ) -> None:
        """
        Args:
            reading: answers reads instead of the store.
            changed: called after each change, so that who made it reads it.
        """
        self._registry, self.store, self._changed = registry, store, changed
        self._reading: Reading = reading or store
        self._lock = threading.Lock()
        self._views: dict[str, View] = {}

    # --- definitions

    def define_view(self, name: str, told: Mapping[str, object], *, by: Principal) -> Version:
        """Publishes a view; the same definition over the same columns is the newest version again.

        Raises:
            Forbidden: `by` may not write.
            NotFound: its source is not there.
            Invalid: it does not fit its source.
        """
        authorise(by, "write")
        check_name(name)
        source, told = told.get("source"), dict(told)
        parents: tuple[str, ...] = ()
        if source is None:
            columns = _columns(told.get("columns"))
        else:
            if told.get("columns"):
                raise Invalid("A view with a source has its columns.", field="columns", hint="Leave the columns out.")
            ref = Ref.parse(str(source))
            if ref.kind != "dataset" or ref.alias is not None or ref.version is not None:
                raise Invalid(
                    f"The source of a view is a dataset, whichever version; '{source}' is none.",
                    field="source",
                    hint="Write dataset/NAME: its newest version is loaded and joined.",
                )
            found = self._registry.find(ref, scope_of(by))
            contract = Contract.from_json(self._registry.member(found, "contract.json"))
            columns = {column.name: column.dtype for column in contract.columns}
            parents = (str(found.ref),)
            told.setdefault("time", contract.time_column)
            if contract.id_column is not None and not told.get("id"):
                told["id"] = [contract.id_column]
        made_of = view(name, 0, {key: value for key, value in told.items() if value is not None}, columns)
        return self._registry.publish(
            "view",
            name,
            members={},
            meta={
                "definition": {key: value for key, value in told.items() if value is not None},
                "columns": columns,
                "entity": list(made_of.entity),
                "features": [{"name": each.name, "type": each.type, "expression": str(each)} for each in made_of.features],
            },
            parents=parents,
            run=None,
            by=by,
        )

    def define_service(self, name: str, told: Mapping[str, object], *, by: Principal) -> Version:
        """Publishes a service; it keeps the versions of its views, the newest where none is named.

        Raises:
            Forbidden: `by` may not write.
            NotFound: a view is not there.
            Invalid: it does not fit its views.
        """
        authorise(by, "write")
        check_name(name)
        versions = [self._registry.find(Ref.parse(f"view/{each}"), scope_of(by)) for each in views_of(told)]
        made_of = service_of(name, 0, told, [self.view_of(version) for version in versions])
        return self._registry.publish(
            "service",
            name,
            members={},
            meta={
                "definition": dict(told),
                "entity": list(made_of.entity),
                "inputs": dict(made_of.inputs),
                "features": [{"name": name, "type": type} for name, type in zip(made_of.names, made_of.types, strict=True)],
                "views": [str(version.ref) for version in versions],
            },
            parents=tuple(str(version.ref) for version in versions),
            run=None,
            by=by,
        )

    def view_of(self, version: Version) -> View:
        """The view that a version is."""
        with self._lock:
            known = self._views.get(str(version.ref))
        if known is None:
            known = made(told_of(version))
            with self._lock:
                self._views[str(version.ref)] = known
        return known

    def service_of(self, version: Version) -> tuple[Service, tuple[Version, ...]]:
        """The service that a version is, and its views' versions; whoever may see it may read what it is made of."""
        views = tuple(self._registry.find(Ref.parse(ref), ALL) for ref in views_in(version))
        return made_service(told_of(version), [self.view_of(each) for each in views]), views

    # --- facts

    def push(self, name: str, rows: Sequence[Mapping[str, object]], batch: str | None, *, by: Principal) -> Pushed:
        """Adds facts to a view: all of them, or none.

        Args:
            rows: the columns of the view's source; times as RFC 3339 texts.
            batch: names these rows, so that sending them again after an error adds nothing.

        Raises:
            Forbidden: `by` may not write in the view's team.
            NotFound: there is no such view.
            Invalid: a row does not fit; names it and the column.
        """
        authorise(by, "write")
        newest = self._registry.find(Ref(kind="view", name=check_name(name)), scope_of(by))
        authorise(by, "write", newest.team)
        if not 0 < len(rows) <= ROWS:
            raise Invalid(f"A push has 1 to {ROWS:,} facts.", field="rows", hint="Send them in parts.")
        if batch is not None and not 0 < len(batch) <= 128:
            raise Invalid("The name of a batch has 1 to 128 characters.", field="batch")
        current = self.view_of(newest)
        checked = [_checked(current, row, place) for place, row in enumerate(rows)]

        def change(first: int, moment: int) -> Mapping[tuple[str, bytes], Change]:
            """Asked within the store's turn: a generation that begins later finds these rows in the log."""
            changes: dict[tuple[str, bytes], Change] = {}
            for each in self._served(name):
                found: dict[bytes, list[Fact]] = {}
                for place, row in enumerate(checked):
                    said = fact(each, row, known=moment, order=PUSHED + first + place)
                    found.setdefault(entity_key(each.entity, row), []).append(said)
                changes |= {(each.key, key): adding(each, facts, moment) for key, facts in found.items()}
            return changes

        if "source" not in cast(Mapping[str, object], newest.meta["definition"]):
            self._answering(current)
        data = [msgspec.json.encode(row) for row in checked]
        count, again = self.store.push(name, data, batch, by.name, change)
        self._tell()
        return Pushed(view=str(newest.ref), rows=count, again=again)

    def finish(self, view: str, number: int) -> Generation:
        """As `Store.finish`."""
        done = self.store.finish(view, number)
        self._tell()
        return done

    def _tell(self) -> None:
        if self._changed is not None:
            self._changed()

    def _answering(self, view: View) -> None:
        """A view of which nothing was ever pushed needs no load to answer."""
        if not self.store.pushed(view.name)[0] and not self.store.generations(view.key):
            self.store.finish(view.key, self.store.begin(view.key, "").number)

    def _served(self, name: str) -> list[View]:
        """The versions of a view of which something is kept online."""
        keys = dict.fromkeys(each.view for each in self.store.generations() if each.view.partition("@")[0] == name)
        return [self.view_of(self._registry.find(Ref.parse(f"view/{key}"), ALL)) for key in keys]

    # --- vectors

    def vectors(self, ref: Ref, entities: Sequence[Mapping[str, object]], *, by: Principal, at: int | None = None) -> Vectors:
        """The vectors of some entities as of now.

        Args:
            entities: entity columns and inputs of the service.

        Raises:
            NotFound: there is no such service for `by`.
            Invalid: an entity or input is missing or of another type.
        """
        authorise(by, "read")
        if ref.kind != "service":
            raise Invalid(f"{ref} is no service.", hint="Write service/NAME[@VERSION-or-alias].")
        version = self._registry.find(ref, scope_of(by))
        if not 0 < len(entities) <= ROWS:
            raise Invalid(f"1 to {ROWS:,} vectors are read at once.", field="entities")
        service, _ = self.service_of(version)
        moment = self.store.now() if at is None else at
        rows = read(self._reading, service, entities, moment)
        return Vectors(service=str(version.ref), names=service.names, at=moment, rows=tuple(map(tuple, rows)))

    def standing(self, name: str, *, by: Principal) -> Standing:
        """A view and what is kept of it online.

        Raises:
            NotFound: there is no such view for `by`.
        """
        authorise(by, "read")
        version = self._registry.find(Ref(kind="view", name=check_name(name)), scope_of(by))
        kept = tuple(each for each in self.store.generations() if each.view.partition("@")[0] == name)
        return Standing(version=version, pushed=self.store.pushed(name)[0], generations=kept)


def adding(view: View, facts: Sequence[Fact], now: int) -> Change:
    """What becomes of an entity when facts are added to what is kept of it."""
    return partial(_added, view, facts, now)


def _added(view: View, facts: Sequence[Fact], now: int, kept: bytes | None) -> bytes:
    return packed(merged(view, [*unpacked(kept), *facts], now))


def told_of(version: Version) -> Told:
    """The words of a view's or service's version.

    Raises:
        Broken: it has none.
    """
    try:
        return Told(
            name=version.name,
            version=version.version,
            definition=dict(cast(Mapping[str, object], version.meta["definition"])),
            columns=dict(cast("Mapping[str, Dtype]", version.meta.get("columns") or {})),
        )
    except (KeyError, TypeError, ValueError):
        raise Broken(f"{version.ref} does not say what it is.", hint="Define it again.") from None


def views_in(version: Version) -> tuple[str, ...]:
    """The versions of views that a service is made of, in its order."""
    views = version.meta.get("views")
    if not isinstance(views, list):
        raise Broken(f"{version.ref} does not say what it is made of.", hint="Define it again.")
    return tuple(map(str, views))


def _columns(told: object) -> dict[str, Dtype]:
    try:
        columns = msgspec.convert(told, dict[str, Dtype])
    except msgspec.ValidationError as error:
        raise Invalid(f"The columns of a view are names and types: {error}.", field="columns") from None
    if not columns:
        raise Invalid("A view without a source says which columns are pushed.", field="columns")
    return columns


def _checked(view: View, row: Mapping[str, object], place: int) -> dict[str, object]:
    """A pushed row with every column of the view, times as UTC microseconds."""
    for name in row:
        if name not in view.columns:
            raise Invalid(
                f"Fact {place + 1} has a column '{name}' that the view does not know.",
                field=f"rows[{place}].{name}",
                hint=f"Columns are: {', '.join(list(view.columns)[:10])}.",
            )
    found = {name: cell(row.get(name), dtype, name, place) for name, dtype in view.columns.items()}
    for name in (*view.entity, view.time):
        if found[name] is None:
            raise Invalid(
                f"Fact {place + 1} has no '{name}'.", field=f"rows[{place}].{name}", hint="Every fact says whose and when."
            )
    return found
