"""The card of a model version: what is recorded about it, each fact with the place that it comes from.

A card is put together when it is asked for and kept nowhere. Nothing in it is free text but a declared purpose, which is quoted
as such; what was not evaluated is named. The same facts give the same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from tandem.core.asset import Ref, Version
from tandem.core.clock import iso
from tandem.core.errors import Invalid, NotFound
from tandem.core.monitor import Monitor, Report
from tandem.core.principal import Principal
from tandem.core.score import Estimate
from tandem.evaluation.about.nouns import FAIRNESS, IMPORTANCE, SLICES, Fairness, Importance, Slices, read
from tandem.evaluation.held.repo import HeldEvidence
from tandem.governance.authorise import Scope, scope_of
from tandem.registry.nouns import Move
from tandem.registry.registry import Registry
from tandem.store.canonical import canonical

API = "/api/v1"
PICTURE = "plots/calibration.png"
MOST_FEATURES = 12
"""Columns that a card tells of, those that count most."""
Value = Estimate | str | float | int
Watched = Callable[[Sequence[str], Scope], Sequence[tuple[Monitor, Report | None]]]
"""Names that endpoints may have for a version → the monitors of such endpoints, each with its newest report."""
Kind = TypeVar("Kind")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One thing that is recorded."""

    name: str
    value: Value
    source: str
    """Where it is recorded: an address of the API."""


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What is told of a model version beyond metrics; None or empty where nobody looked."""

    slices: Slices | None
    fairness: tuple[Fairness, ...]
    importance: Importance | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Facts about one thing."""

    title: str
    facts: tuple[Fact, ...]
    picture: str | None = None
    """A member that shows it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """All that is recorded about a model version."""

    ref: str
    sections: tuple[Section, ...]
    missing: tuple[str, ...]
    """What was not evaluated or is not recorded, as sentences."""

    @property
    def digest(self) -> str:
        """`sha256:…` of the card as canonical JSON."""
        return f"sha256:{hashlib.sha256(canonical(msgspec.to_builtins(self)).encode()).hexdigest()}"


@dataclass(frozen=True, slots=True)
class _Known:
    """What a card is made of."""

    version: Version
    here: str
    """The version's address."""
    meta: _Meta
    baseline: Version | None
    data: Version | None
    about: About

    def place(self, name: str) -> str:
        """Where it is recorded what a member, or the rows that were held out, tell of the model."""
        return f"{self.here}/members/{name}" if name in self.version.members else f"{self.here}/about"


class _Calibration(msgspec.Struct, frozen=True):
    way: str
    before: Estimate
    after: Estimate


class _Latency(msgspec.Struct, frozen=True):
    p95_ms: float
    low_ms: float
    high_ms: float
    n: int


class _Split(msgspec.Struct, frozen=True):
    by: str
    group: str | None = None
    time: str | None = None


class _Meta(msgspec.Struct, frozen=True):
    """What a version's meta says, where it has the expected form."""

    purpose: str = ""
    task: str = ""
    algorithm: str = ""
    params: dict[str, float] = {}
    target: str = ""
    classes: tuple[str, ...] = ()
    threshold: float | None = None
    metrics: dict[str, object] = {}
    baseline: str | None = None
    dataset: str = ""
    digest: str = ""
    rows: int | None = None
    split: _Split | None = None
    folds: int | None = None
    seed: int | None = None
    exclude: tuple[str, ...] = ()
    warnings: tuple[str, ...] | None = None
    calibration: _Calibration | None = None
    latency: _Latency | None = None
    seconds: float | None = None
    environment: dict[str, str] = {}
    origin: str = ""


class _Told(msgspec.Struct, frozen=True):
    """What a gate's report says, as a move keeps it."""

    passed: bool
    reasons: tuple[str, ...] = ()


class Cards:
    """Makes the cards of model versions."""

    def __init__(self, registry: Registry, held: HeldEvidence, watched: Watched) -> None:
        """
        Args:
            held: the evidence on rows that versions were not trained on.
            watched: finds the monitors of a version.
        """
        self._registry, self._held, self._watched = registry, held, watched

    def card(self, ref: Ref, by: Principal) -> Card:
        """The card of a version as it stands now.

        Raises:
            Invalid: it is no model.
            NotFound: there is no such version in the caller's scope.
        """
        scope = scope_of(by)
        version = self._registry.find(ref, scope)
        if version.kind != "model":
            raise Invalid(f"{version.ref} is no model, so it has no card.", field="kind", hint="Ask for the card of model/NAME.")
        known = self._known(version, scope)
        found = (
            Section(title="What it is", facts=tuple(_what(known))),
            Section(title="Data", facts=tuple(_data(known))),
            Section(title="Metrics", facts=tuple(self._metrics(known)), picture=_picture(version)),
            Section(title="Where it does worse", facts=tuple(_weak(known))),
            Section(title="Groups", facts=tuple(_groups(known))),
            Section(title="What it answers by", facts=tuple(_features(known))),
            Section(title="Gates and approvals", facts=tuple(self._moves(version, scope))),
            Section(title="In use", facts=tuple(self._use(version, scope))),
            Section(title="How it was made", facts=tuple(_made(known))),
        )
        kept = tuple(section for section in found if section.facts)
        titles = {section.title for section in kept}
        return Card(ref=str(version.ref), sections=kept, missing=tuple(_missing(known, titles)))

    def pictures(self, card: Card, by: Principal) -> dict[str, bytes]:
        """The members that a card's sections show."""
        version = self._registry.find(Ref.parse(card.ref), scope_of(by))
        return {each.picture: self._registry.member(version, each.picture) for each in card.sections if each.picture is not None}

    def _known(self, version: Version, scope: Scope) -> _Known:
        meta = _lenient(version.meta)
        return _Known(
            version=version,
            here=f"{API}/assets/model/{version.name}/{version.version}",
            meta=meta,
            baseline=self._seen(meta.baseline, scope),
            data=self._seen(meta.dataset or None, scope),
            about=self.about(version),
        )

    def about(self, version: Version) -> About:
        """What is told of a version beyond metrics: by its training, else by the newest rows that were held out from it."""
        beside = self._held.about(str(version.ref))

        def told(name: str, kind: type[Kind]) -> Kind | None:
            text = self._registry.member(version, name) if name in version.members else beside.get(name, "").encode()
            return read(text, kind) if text else None

        return About(
            slices=told(SLICES, Slices),
            fairness=told(FAIRNESS, tuple[Fairness, ...]) or (),
            importance=told(IMPORTANCE, Importance),
        )

    def _seen(self, ref: str | None, scope: Scope) -> Version | None:
        try:
            return None if ref is None else self._registry.find(Ref.parse(ref), scope)
        except NotFound:
            return None

    def _metrics(self, known: _Known) -> Iterator[Fact]:
        meta, source = known.meta, known.here
        beside = {} if known.baseline is None else _estimates(_lenient(known.baseline.meta))
        for name, estimate in _estimates(meta).items():
            yield Fact(name=f"{name}, out of fold", value=estimate, source=source)
            if known.baseline is not None and name in beside:
                place = f"{API}/assets/model/{known.baseline.name}/{known.baseline.version}"
                yield Fact(name=f"{name} of {known.baseline.ref}", value=beside[name], source=place)
        if meta.calibration is not None:
            yield Fact(name=f"calibration error before {meta.calibration.way}", value=meta.calibration.before, source=source)
            yield Fact(name=f"calibration error after {meta.calibration.way}", value=meta.calibration.after, source=source)
        held = self._held.newest(str(known.version.ref))
        if held is not None:
            who = "brought from outside" if held.given else "made by the server"
            told = f"{held.rows} rows of {held.dataset}, predictions {who}, {iso(held.created_at)}"
            yield Fact(name="held-out evidence", value=told, source=f"{API}/audit")

    def _moves(self, version: Version, scope: Scope) -> Iterator[Fact]:
        source = f"{API}/assets/model/{version.name}"
        for alias in sorted(self._registry.aliases("model", version.name, scope), key=lambda alias: alias.alias):
            for move in self._registry.moves("model", version.name, alias.alias, scope):
                if move.alias.version == version.version:
                    yield Fact(name=f"{move.action} to {move.alias.alias}", value=_moved(move), source=source)

    def _use(self, version: Version, scope: Scope) -> Iterator[Fact]:
        aliases = [alias for alias in self._registry.aliases("model", version.name, scope) if alias.version == version.version]
        for alias in sorted(aliases, key=lambda alias: alias.alias):
            told = f"since {iso(alias.moved_at)}, moved by {alias.moved_by}"
            yield Fact(name=f"alias {alias.alias}", value=told, source=f"{API}/assets/model/{version.name}")
        names = [str(version.ref), *(f"model/{version.name}@{alias.alias}" for alias in aliases)]
        for monitor, report in self._watched(names, scope):
            yield Fact(name=f"monitor {monitor.name}", value=_watching(monitor, report), source=f"{API}/monitors/{monitor.name}")


def _what(known: _Known) -> Iterator[Fact]:
    version, meta = known.version, known.meta
    if meta.purpose:
        yield Fact(name="purpose", value=f"“{meta.purpose}” (declared by {version.created_by})", source=known.here)
    told: list[tuple[str, Value | None]] = [
        ("digest", version.digest),
        ("made", f"{iso(version.created_at)} by {version.created_by}, team {version.team}"),
        ("task", meta.task),
        ("target", meta.target),
        ("classes", ", ".join(meta.classes)),
        ("threshold", meta.threshold if meta.task == "classification" else None),
        ("algorithm", meta.algorithm),
        ("parameters", _pairs(meta.params)),
        ("origin", meta.origin),
    ]
    yield from _facts(told, known.here)


def _data(known: _Known) -> Iterator[Fact]:
    meta, data = known.meta, known.data
    split = meta.split
    by = "" if split is None else " ".join(filter(None, (split.by, split.group or split.time)))
    told: list[tuple[str, Value | None]] = [
        ("trained on", meta.dataset),
        ("content", meta.digest),
        ("rows that judge", meta.rows),
        ("split", f"{by}, {meta.folds} folds, seed {meta.seed}" if by else ""),
        ("left out", ", ".join(meta.exclude)),
    ]
    yield from _facts(told, known.here)
    if data is not None:
        source = f"{API}/assets/dataset/{data.name}/{data.version}"
        profile = data.meta.get("profile")
        columns = profile.get("columns") if isinstance(profile, Mapping) else None
        rows = data.meta.get("rows")
        told = [
            ("rows of the dataset", rows if isinstance(rows, int) else None),
            ("columns of the dataset", len(columns) if isinstance(columns, list) else None),
        ]
        yield from _facts(told, source)
    if meta.warnings is not None:
        for warning in meta.warnings or ("none was found",):
            yield Fact(name="leaks", value=warning, source=known.here)


def _weak(known: _Known) -> Iterator[Fact]:
    found, source = known.about.slices, known.place(SLICES)
    if found is None:
        return
    for each in found.found:
        yield Fact(name=f"{found.loss} where {each.name}, minus that of the rest", value=each.difference, source=source)
    if not found.found:
        yield Fact(name="slices", value=f"none of {found.candidates} was confirmed", source=source)
    for power in found.power:
        told = f"{power.difference:.4g} more {found.loss} (the mean is {found.mean:.4g})"
        yield Fact(name=f"found with 80 % power in {power.share:.0%} of the rows", value=told, source=source)


def _groups(known: _Known) -> Iterator[Fact]:
    source = known.place(FAIRNESS)
    for told in known.about.fairness:
        for group in told.groups:
            name = f"{told.column}: {group.name}"
            yield Fact(name=f"{name}, rows", value=group.n, source=source)
            for what, estimate in group.measured.items():
                yield Fact(name=f"{name}, {what}", value=estimate, source=source)
        for gap in told.gaps:
            name = f"{told.column}: {gap.measure}, widest between {' and '.join(gap.widest)}"
            if gap.estimate is not None:
                yield Fact(name=name, value=gap.estimate, source=source)
            else:
                yield Fact(name=f"{told.column}: {gap.measure}", value="not enough data", source=source)


def _features(known: _Known) -> Iterator[Fact]:
    told, source = known.about.importance, known.place(IMPORTANCE)
    for feature in () if told is None else told.features[:MOST_FEATURES]:
        if told is not None and feature.added is not None:
            yield Fact(name=f"{feature.name}, mean contribution ({told.unit})", value=feature.added, source=source)
        if told is not None and feature.lost is not None:
            yield Fact(name=f"{feature.name}, {told.loss} added when shuffled", value=feature.lost, source=source)


def _made(known: _Known) -> Iterator[Fact]:
    version, meta = known.version, known.meta
    yield from (
        Fact(name="made from", value=parent, source=f"{API}/assets/{parent.replace('@', '/')}") for parent in version.parents
    )
    if version.run is not None:
        yield Fact(name="run", value=version.run, source=f"{API}/runs/{version.run}")
    latency = meta.latency
    told: list[tuple[str, Value | None]] = [
        ("code (git commit)", meta.environment.get("git")),
        ("environment", ", ".join(f"{name} {number}" for name, number in sorted(meta.environment.items()) if name != "git")),
        ("seconds of training", meta.seconds),
        ("p95 of one row, ms", None if latency is None else _quantile(latency)),
    ]
    yield from _facts(told, known.here)
    for name, digest in sorted(version.members.items()):
        yield Fact(name=f"file {name}", value=digest, source=f"{known.here}/members/{name}")


def _missing(known: _Known, titles: set[str]) -> Iterator[str]:
    """What a reader may look for in vain, by what is there."""
    meta, told = known.meta, known.about.importance
    absent = (
        (not meta.purpose, "What it is for was not declared (`tandem train --purpose`)."),
        (not meta.metrics, "No metric is recorded."),
        (known.baseline is None, "No baseline was trained beside it, or none that the reader may see."),
        (meta.warnings is None, "Nobody looked for leaks."),
        (known.about.slices is None, "Nobody searched for parts of the rows in which it does worse."),
        (not known.about.fairness, "No group of people or things was judged by itself (`--fairness`)."),
        (told is None or not told.explained, "Its answers were not explained: the algorithm does not explain itself."),
        (
            told is None or not told.shuffled,
            "No column was shuffled: too few rows, or it does not take such.",
        ),
        (meta.task == "classification" and meta.calibration is None, "Its probabilities were not calibrated."),
        (meta.latency is None, "How long an answer takes was not measured."),
        ("Gates and approvals" not in titles, "No gate has judged it for an alias."),
        ("In use" not in titles, "No alias names it, and no monitor watches it."),
        ("git" not in meta.environment, "The code that trained it was in no git repository."),
    )
    yield from (sentence for is_so, sentence in absent if is_so)
    yield "Energy was not measured."


def _moved(move: Move) -> str:
    told = _read(move.report, _Told)
    verdict = "no gate" if told is None else f"gate {'passed' if told.passed else 'refused'}: {' '.join(told.reasons)}"
    people = f"; approved by {', '.join(move.approvers)}" if move.approvers else ""
    return f"{iso(move.alias.moved_at)} by {move.alias.moved_by}{people}; {verdict}"


def _watching(monitor: Monitor, report: Report | None) -> str:
    if report is None:
        return f"{monitor.question} of {monitor.endpoint}: no report yet"
    alarm = ", alarm" if report.alarm else ""
    return f"{monitor.question} of {monitor.endpoint}: {report.verdict}{alarm} on {report.n} rows, {iso(report.at)}"


def _quantile(latency: _Latency) -> Estimate:
    return Estimate(value=latency.p95_ms, low=latency.low_ms, high=latency.high_ms, n=latency.n)


def _facts(told: Sequence[tuple[str, Value | None]], source: str) -> Iterator[Fact]:
    """Those that are known."""
    yield from (Fact(name=name, value=value, source=source) for name, value in told if value is not None and value != "")


def _pairs(params: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in sorted(params.items()))


def _picture(version: Version) -> str | None:
    return PICTURE if PICTURE in version.members else None


def _estimates(meta: _Meta) -> dict[str, Estimate]:
    """The metrics that came with an interval."""
    return {name: found for name, told in meta.metrics.items() if (found := _read(told, Estimate)) is not None}


def _lenient(meta: Mapping[str, object]) -> _Meta:
    """What has the expected form; anybody may have written the rest."""
    fields = {field.name: field.type for field in msgspec.structs.fields(_Meta)}
    known = {name: _read(meta[name], kind) for name, kind in fields.items() if name in meta}
    return _Meta(**{name: value for name, value in known.items() if value is not None})


def _read(value: object, kind: type[Kind]) -> Kind | None:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return None
