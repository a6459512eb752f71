"""View and Service: what features are, where their facts come from, and how long a fact holds. Light enough for the door.

    source = "dataset/orders"                      a fact is a row of the source, or one that was pushed
    entity = ["customer_id"]   time = "ordered_at"
    features = ["amount", "spend_7d = sum(amount) over 7d"]

A feature without `over` is the newest fact's; it holds for `ttl`. A service puts features of views, values of the request
and formulas over both into one vector.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, TypeVar, cast, get_args

import msgspec

from tandem.core.clock import MICROS
from tandem.core.errors import Invalid
from tandem.data.contract import Dtype
from tandem.data.features.formula import NOW, Formula, Type, read
from tandem.data.features.rows import Closure, compiled

Aggregate = Literal["last", "count", "sum", "mean", "std", "min", "max", "distinct"]
AGGREGATES: tuple[Aggregate, ...] = get_args(Aggregate)
TYPES: dict[Dtype, Type] = {"float": "number", "int": "number", "string": "text", "bool": "bool", "datetime": "time"}
FACTS = 10_000
"""An aggregate is taken over at most so many facts, the newest."""
STATE = "__state"
"""After a feature's name, what the column of its states is called."""
FEATURES = 500
"""In one view or service."""
UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_SPAN = re.compile(r"(\d{1,9})\s*([smhdw])")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_NAMED = re.compile(r"\s*([A-Za-z_]\w*)\s*=(?!=)\s*(.*)", re.DOTALL)
_OVER = re.compile(r"\s*(\w+)\s*\((.*)\)\s*over\s+(\S+)\s*", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One feature of a view."""

    name: str
    expression: str
    """Over one fact; `*` where only facts are counted."""
    aggregate: Aggregate = "last"
    window: int | None = None
    """Microseconds that a fact counts for; None: the view's ttl."""
    type: Type = "number"
    """Of its values."""

    def __str__(self) -> str:
        if self.window is None:
            return self.expression
        return f"{self.aggregate}({self.expression}) over {shown(self.window)}"


@dataclass(frozen=True, kw_only=True)
class View:
    """Features of one entity, from facts of one source."""

    name: str
    version: int
    """0 while it is not published."""
    entity: tuple[str, ...]
    """The columns that together name whom a fact is about."""
    time: str
    """The column that says when a fact became true."""
    columns: Mapping[str, Dtype]
    """The source's."""
    features: tuple[Feature, ...]
    source: str | None = None
    """`dataset/NAME`; None: facts are only pushed."""
    ttl: int | None = None
    """Microseconds for which the newest fact holds; None: until the next."""
    created: str | None = None
    """The column that says when a fact was written: of several for one moment the last written holds."""
    known: str | None = None
    """The column that says since when a fact could be known; None: since it became true."""
    id: tuple[str, ...] = ()
    """Columns that tell facts of one entity and moment apart; without them the later replaces the earlier."""

    @property
    def key(self) -> str:
        """`name@version`: under it online values are kept."""
        return f"{self.name}@{self.version}"

    @cached_property
    def expressions(self) -> tuple[str, ...]:
        """What is computed of every fact, each once."""
        return tuple(dict.fromkeys(feature.expression for feature in self.features if feature.expression != "*"))

    @cached_property
    def formulas(self) -> tuple[Formula, ...]:
        types = {name: TYPES[dtype] for name, dtype in self.columns.items()}
        return tuple(read(text, types) for text in self.expressions)

    @cached_property
    def closures(self) -> tuple[Closure, ...]:
        """The formulas as functions of one fact."""
        return tuple(compiled(formula) for formula in self.formulas)

    @cached_property
    def places(self) -> tuple[int, ...]:
        """Of each feature, which expression it is made of; -1: of none."""
        return tuple(-1 if each.expression == "*" else self.expressions.index(each.expression) for each in self.features)

    @cached_property
    def widest(self) -> int:
        """The longest window of an aggregate in microseconds; 0 where there is none."""
        return max((each.window or 0 for each in self.features if each.aggregate != "last"), default=0)

    def holds(self, feature: Feature) -> int | None:
        """Microseconds for which a fact counts for a feature; None: forever."""
        return self.ttl if feature.window is None else feature.window


@dataclass(frozen=True, slots=True, kw_only=True)
class Computed:
    """A value of the vector that is computed when it is asked for, from the others, the request and `now()`."""

    name: str
    expression: str
    type: Type


@dataclass(frozen=True, kw_only=True)
class Service:
    """A feature vector: which values, in which order."""

    name: str
    version: int
    views: tuple[View, ...]
    picks: tuple[tuple[int, int], ...]
    """Places of view and feature."""
    inputs: Mapping[str, Type] = field(default_factory=dict)
    """Values that the request itself carries."""
    computed: tuple[Computed, ...] = ()

    @property
    def key(self) -> str:
        return f"{self.name}@{self.version}"

    @cached_property
    def entity(self) -> tuple[str, ...]:
        """All columns that name an entity, in order of first use."""
        return tuple(dict.fromkeys(name for view in self.views for name in view.entity))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """What the vector's values are called: features, then what is computed. Inputs are not part of it."""
        return (*(self.views[v].features[f].name for v, f in self.picks), *(each.name for each in self.computed))

    @cached_property
    def types(self) -> tuple[Type, ...]:
        return (*(self.views[v].features[f].type for v, f in self.picks), *(each.type for each in self.computed))

    @cached_property
    def formulas(self) -> tuple[Formula, ...]:
        return tuple(read(each.expression, self.known(place)) for place, each in enumerate(self.computed))

    @cached_property
    def closures(self) -> tuple[Closure, ...]:
        return tuple(compiled(formula) for formula in self.formulas)

    def known(self, computed: int) -> dict[str, Type]:
        """What the formula at this place may use: all before it."""
        before = dict(zip(self.names, self.types, strict=True))
        later = {each.name for each in self.computed[computed:]}
        return {**{name: type for name, type in before.items() if name not in later}, **self.inputs}


def span(text: str) -> int:
    """Microseconds of `90s`, `15m`, `1h`, `7d` or `2w`.

    Raises:
        Invalid: it is no such span, or zero.

    >>> span("1h")
    3600000000
    """
    found = _SPAN.fullmatch(text.strip())
    if found is None or not int(found[1]):
        raise Invalid(f"'{text}' is no span of time.", hint="Write a number and a unit: 90s, 15m, 1h, 7d, 2w.", field="window")
    return int(found[1]) * UNITS[found[2]] * MICROS


def shown(micros: int) -> str:
    """The shortest text of a span.

    >>> shown(604_800_000_000), shown(5_400_000_000)
    ('1w', '90m')
    """
    seconds = micros // MICROS
    unit = next(unit for unit, size in reversed(UNITS.items()) if seconds % size == 0)
    return f"{seconds // UNITS[unit]}{unit}"


def feature(text: str, columns: Mapping[str, Dtype]) -> Feature:
    """Reads `NAME`, `NAME = FORMULA` or `NAME = AGGREGATE(FORMULA) over SPAN`.

    Raises:
        Invalid: it is none of these, or does not fit the columns.
    """
    named = _NAMED.fullmatch(text)
    name, body = (named[1], named[2]) if named else (text.strip(), text.strip())
    if not _NAME.fullmatch(name):
        raise Invalid(
            f"The feature {text!r} has no name.",
            field="features",
            hint="Write: name = formula, such as spend_7d = sum(amount) over 7d.",
        )
    types = {column: TYPES[dtype] for column, dtype in columns.items()}
    over = _OVER.fullmatch(body)
    if over is None:
        return Feature(name=name, expression=body, type=_within(name, body, types))
    aggregate, inner, window = over[1].lower(), over[2].strip(), span(over[3])
    if aggregate not in AGGREGATES:
        raise Invalid(
            f"The feature '{name}' cannot be a {aggregate} over time.",
            field="features",
            hint=f"There are: {', '.join(AGGREGATES)}.",
        )
    aggregate = cast(Aggregate, aggregate)
    if inner == "*" and aggregate == "count":
        return Feature(name=name, expression="*", aggregate="count", window=window)
    type = _within(name, inner, types)
    if aggregate in ("sum", "mean", "std", "min", "max") and type != "number":
        raise Invalid(f"The feature '{name}' takes the {aggregate} of what is no number.", field="features")
    kept = type if aggregate == "last" else "number"
    return Feature(name=name, expression=inner, aggregate=aggregate, window=window, type=kept)


def _within(name: str, text: str, types: Mapping[str, Type]) -> Type:
    found = read(text, types)
    if f"{NOW}" in text.replace(" ", "").lower():
        raise Invalid(
            f"The feature '{name}' asks for now(), but a fact does not change while it is kept.",
            field="features",
            hint="Compute it in a service, from the fact's time.",
        )
    return found.type


def view(name: str, version: int, told: Mapping[str, object], columns: Mapping[str, Dtype]) -> View:
    """A view as it is written down (keys as of `View`, spans and features as texts), over a source with these columns.

    Raises:
        Invalid: it does not fit together; `field` names where.
    """
    written = _convert(told, Written)
    times = [(role, column) for role, column in (("created", written.created), ("known", written.known)) if column is not None]
    roles = [("entity", written.entity), ("time", (written.time,)), ("id", written.id)]
    for role, names in [*roles, *((role, (column,)) for role, column in times)]:
        for column in names:
            if column not in columns:
                raise Invalid(
                    f"The view '{name}' names '{column}' as {role}, which its source does not have.",
                    field=role,
                    hint=f"Columns are: {', '.join(list(columns)[:10])}.",
                )
            if role in ("time", "created", "known") and columns[column] != "datetime":
                raise Invalid(f"The column '{column}' is {columns[column]}, not datetime.", field=role)
            if role in ("entity", "id") and columns[column] not in ("int", "string"):
                raise Invalid(
                    f"The column '{column}' is {columns[column]}; only whole numbers and texts can name something.", field=role
                )
    if not written.entity:
        raise Invalid(f"The view '{name}' has no entity.", field="entity", hint="Name the column that says whom a fact is about.")
    features = tuple(feature(text, columns) for text in written.features)
    _once([each.name for each in features], f"The view '{name}'")
    return View(
        name=name,
        version=version,
        entity=written.entity,
        time=written.time,
        columns=dict(columns),
        features=features,
        source=written.source,
        ttl=None if written.ttl is None else span(written.ttl),
        created=written.created,
        known=written.known,
        id=written.id,
    )


def service(name: str, version: int, told: Mapping[str, object], views: Sequence[View]) -> Service:
    """A service as it is written down, over views in the order in which it names them.

    Raises:
        Invalid: it does not fit together.
    """
    written = _convert(told, WrittenService)
    named = {each.name: place for place, each in enumerate(views)}
    picks: list[tuple[int, int]] = []
    for text in written.features:
        view_name, _, chosen = text.partition(":")
        place = named[view_name.partition("@")[0]]
        known = [each.name for each in views[place].features]
        if chosen and chosen not in known:
            raise Invalid(
                f"The view '{view_name}' has no feature '{chosen}'.", field="features", hint=f"It has: {', '.join(known[:10])}."
            )
        picks += [(place, known.index(each)) for each in ([chosen] if chosen else known)]
    for column, type in written.inputs.items():
        if not _NAME.fullmatch(column) or type not in ("number", "text", "bool", "time"):
            raise Invalid(f"The input '{column}' is no number, text, bool or time.", field="inputs")
    made = Service(name=name, version=version, views=tuple(views), picks=tuple(picks), inputs=dict(written.inputs))
    for text in written.computed:
        named_as = _NAMED.fullmatch(text)
        if named_as is None:
            raise Invalid(f"{text!r} has no name.", field="computed", hint="Write: name = formula.")
        before = {**dict(zip(made.names, made.types, strict=True)), **made.inputs}
        each = Computed(name=named_as[1], expression=named_as[2], type=read(named_as[2], before).type)
        made = Service(
            name=name, version=version, views=made.views, picks=made.picks, inputs=made.inputs, computed=(*made.computed, each)
        )
    _once([*made.names, *made.inputs, *made.entity], f"The service '{name}'")
    return made


def views_of(told: Mapping[str, object]) -> tuple[str, ...]:
    """The views that a service names, `NAME` or `NAME@VERSION`, in order.

    Raises:
        Invalid: it names none, or one view in two versions.
    """
    found = tuple(dict.fromkeys(text.partition(":")[0].strip() for text in _convert(told, WrittenService).features))
    _once([each.partition("@")[0] for each in found], "The service")
    return found


class Written(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A view as people write it."""

    entity: tuple[str, ...]
    time: str
    features: tuple[str, ...]
    source: str | None = None
    ttl: str | None = None
    created: str | None = None
    known: str | None = None
    id: tuple[str, ...] = ()
    columns: dict[str, Dtype] = {}
    """Of facts that are only pushed."""


class WrittenService(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A service as people write it."""

    features: tuple[str, ...]
    """`VIEW`, `VIEW:FEATURE`, `VIEW@VERSION:FEATURE`."""
    inputs: dict[str, Type] = {}
    computed: tuple[str, ...] = ()


T = TypeVar("T", Written, WrittenService)


def _convert(told: Mapping[str, object], kind: type[T]) -> T:
    try:
        made = msgspec.convert(dict(told), kind)
    except msgspec.ValidationError as error:
        raise Invalid(
            f"This is no {'view' if kind is Written else 'service'}: {error}.",
            hint=f"It has: {', '.join(kind.__struct_fields__)}.",
            field=str(error).rpartition("$.")[2].rstrip("`") or None,
        ) from None
    if not 0 < len(made.features) <= FEATURES:
        raise Invalid(f"It must have 1 to {FEATURES} features.", field="features")
    return made


def _once(names: Sequence[str], what: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise Invalid(f"{what} names '{name}' twice.", field="features", hint="Give each value a name of its own.")
        seen.add(name)


def entity_key(entity: Sequence[str], row: Mapping[str, object]) -> bytes:
    """How an entity is called in the online store: its columns and values, numbers and texts alike as texts.

    Raises:
        Invalid: a column is missing or no whole number or text.
    """
    values: list[str] = []
    for name in entity:
        value = row.get(name)
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise Invalid(
                f"The entity '{name}' is {'missing' if value is None else 'neither a whole number nor a text'}.",
                field=name,
                hint=f"Name it by: {', '.join(entity)}.",
            )
        values.append(str(value))
    return msgspec.json.encode([*entity, *values])


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """A view or service, so that another process makes the same of it."""

    name: str
    version: int
    definition: dict[str, object]
    columns: dict[str, Dtype] = {}


def made(told: Told) -> View:
    return view(told.name, told.version, told.definition, told.columns)


def made_service(told: Told, views: Sequence[View]) -> Service:
    return service(told.name, told.version, told.definition, views)
