"""Scoring: rows and a model version become a dataset version with what the model says of each row.

resolve → score (in a child process, part by part) → publish → deliver. The rows are a dataset's, or what a database answers;
they are delivered where somebody names a table or a folder. It knows no runtime and no engine.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tandem.core.asset import Ref, Version
from tandem.core.clock import Clock
from tandem.core.errors import Conflict, Forbidden, Invalid, Unavailable
from tandem.core.principal import Principal
from tandem.data.deliver import Delivered, check_table, deliver_apart
from tandem.data.deliver import Order as Delivery
from tandem.data.pages import FILE, fetch_apart
from tandem.data.pages import Order as Pages
from tandem.data.query import Ask, address_of
from tandem.data.versions import Place, Table, find, newest_of, place, publish, table_of
from tandem.governance.authorise import scope_of
from tandem.governance.metering import Bill, Meter
from tandem.governance.terms import check_kind
from tandem.jobs import staging
from tandem.jobs.job import Job, Work
from tandem.jobs.pieces import HERE, Compute
from tandem.registry.registry import Registry
from tandem.serving.base import trusted
from tandem.serving.offline import spent
from tandem.serving.offline.child import Score, apart
from tandem.serving.signature import Signature
from tandem.store.elsewhere import PARQUET, allowed

KIND = "predict"
ALIAS = "production"
"""The version of a model that is asked where none is named."""
PARTS_DONE = 0.82
"""The share of a scoring at which all parts are there: what is left costs little, and is done."""
REST = 1
"""The piece of the bill that is no part's."""
HELP = "Look at `tandem predict --help`."


class Inputs(msgspec.Struct, frozen=True):
    """The inputs of a scoring Run; keys it does not know are left alone."""

    model: str
    """`model/NAME@VERSION`."""
    name: str
    """Of the dataset that is made."""
    data: str = ""
    """`dataset/NAME@VERSION`; else a database is asked."""
    sql: str = ""
    """One statement that reads."""
    database: str = ""
    """Who is asked: `env:NAME` or `file:PATH`."""
    key: str = ""
    """The column of the answer that names its rows."""
    into: str = ""
    """Where the scored rows are put beside the dataset: a table, or `parquet:PLACE/FOLDER`."""
    into_database: str = ""
    """The table's database; by default the one that was asked."""
    by: Principal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """What the settings let a scoring read and write beside the lake."""

    databases: tuple[str, ...] = ()
    writable_databases: tuple[str, ...] = ()
    writable_places: tuple[str, ...] = ()

    def question(self, inputs: Inputs) -> Ask | None:
        """What a database is asked; None where a dataset is scored.

        Raises:
            Invalid: both or neither are named, something lacks, or the settings list no such database.
        """
        asking = (inputs.sql, inputs.database, inputs.key)
        if bool(inputs.data) == any(asking) or (any(asking) and not all(asking)):
            raise Invalid("Name a dataset, or a query with its database and key.", field="data", hint=HELP)
        if "\0" in inputs.sql + inputs.key:
            raise Invalid("The query or its key holds a zero character.", field="sql", hint="Write one SELECT.")
        return Ask(sql=inputs.sql, address=address_of(inputs.database, self.databases)) if inputs.sql else None

    def target(self, inputs: Inputs) -> str:
        """The address of the database that gets the rows; empty where none does.

        Raises:
            Invalid: nothing may be put there.
        """
        if inputs.into.startswith(PARQUET) and not re.search(r"[*?\[]", inputs.into):
            allowed(inputs.into, self.writable_places, "writable_places")
        elif inputs.into:
            check_table(inputs.into)
            return address_of(inputs.into_database or inputs.database, self.writable_databases, "writable_databases")
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """What a scoring left."""

    done: Table
    seconds: float
    """Of processor time, of the attempt that came to the end."""
    took: float
    """Seconds by the clock, of that attempt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where a scoring finds and leaves things."""

    lake: Path
    """The lake's directory."""
    work: Path
    """Where Runs keep files while they work; the Run's folder is gone when the Run has ended."""
    outside: Outside = Outside()
    compute: Compute = HERE
    """Who does the parts."""


def make_predict(registry: Registry, clock: Clock, places: Places, meter: Meter, *, trust: tuple[str, ...] = ()) -> Work:
    """The workflow `predict`.

    Its Run's outputs are `asset`, `rows`, `quarantined` (how many of them the model does not take), `model`, `seconds` of
    processor time, `rows_per_second`, `delivered` where the rows were put elsewhere too, and `cost` where an hour has a price.
    While a cap has no room, it waits between parts.

    Args:
        meter: prices the work.
        trust: what may be executed of models' files, as words of `serving.base.TRUST`.
    """

    def predict(job: Job) -> Mapping[str, object]:
        inputs = _inputs(job)
        by = inputs.by or job.by
        folder = places.work / job.run_id
        try:
            job.progress(0.0, "finding model and rows")
            model = job.step("model", lambda: str(registry.find(Ref.parse(inputs.model), scope_of(by)).ref), str)
            question, address = places.outside.question(inputs), places.outside.target(inputs)
            data = "" if question else job.step("data", lambda: str(find(registry, inputs.data, by).ref), str)
            newest_of(registry, inputs.name, by)
            found, bill = registry.find(Ref.parse(model), scope_of(by)), meter.bill(job, by, model)

            def score() -> Scored:
                rows = place(find(registry, data, by)) if question is None else _fetched(job, question, inputs.key, folder)
                return _score(job, clock, bill, _order(registry, job, places, folder, found, rows, inputs.name, trust))

            scored = job.step("score", score, Scored)
            job.progress(0.98, "publishing")
            source = _source(registry, inputs, data, by)
            parents = (data, model) if data else (model,)
            ref = job.step(
                "publish", lambda: _publish(registry, job, inputs.name, scored.done, {"model": model, **source}, parents, by), str
            )
            if inputs.into:
                delivery = Delivery(
                    lake=str(places.lake),
                    table=scored.done.table or inputs.name,
                    version=scored.done.version,
                    run=job.run_id,
                    into=inputs.into,
                    address=address,
                )
                told = job.step("deliver", lambda: deliver_apart(delivery, job.progress, job.cancelled), Delivered)
            cost = bill.close()
            job.progress(1.0, "done")
        finally:
            if job.halted() not in ("stopping", "lost"):
                staging.clear(folder)
        return {
            "asset": ref,
            "model": model,
            "rows": scored.done.rows,
            "quarantined": scored.done.quarantined,
            "seconds": scored.seconds,
            "rows_per_second": round(scored.done.rows / max(scored.took, 1e-9)),
            **({"delivered": told.into} if inputs.into else {}),
            **cost,
        }

    return predict


def asked(registry: Registry, text: str, by: Principal) -> Version:
    """The model version that a scoring asks, for a caller who may ask it: the same rights as for a call.

    Raises:
        Invalid: it is no model.
        NotFound: there is none, or no version is in production.
        Forbidden: the key may not make predictions, not of this model, or not of a version by its number.
    """
    ref = Ref.parse(text if "/" in text else f"model/{text}")
    if ref.kind != "model":
        raise Invalid(f"{ref} is no model.", field="model", hint="Write model/NAME[@VERSION].")
    check_kind(by, "predict")
    if by.endpoints and ref.name not in by.endpoints:
        raise Forbidden(f"The key '{by.name}' may not call '{ref.name}'.", hint="Ask for a key that may.")
    named = ref.version is not None or ref.alias is not None
    version = registry.find(ref if named else Ref(kind="model", name=ref.name, alias=ALIAS), scope_of(by))
    free = "any-version" in by.scopes or by.may("admin")
    if not free and version.version not in _serving(registry, ref.name, by):
        raise Forbidden(
            f"Only keys with the scope any-version may ask {version.ref}.", hint=f"Leave the version out: model/{ref.name}."
        )
    return version


def _serving(registry: Registry, name: str, by: Principal) -> tuple[int, ...]:
    """The version that is in production, if one is."""
    return tuple(each.version for each in registry.aliases("model", name, scope_of(by)) if each.alias == ALIAS)


def _inputs(job: Job) -> Inputs:
    try:
        return msgspec.convert(dict(job.inputs), Inputs)
    except msgspec.ValidationError as error:
        raise Invalid(f"The scoring's inputs are wrong: {error}.", field="inputs", hint=HELP) from None


def _fetched(job: Job, question: Ask, key: str, folder: Path) -> Place:
    """What a database answers, as rows that lie beside the lake until the Run ends."""
    folder.mkdir(parents=True, exist_ok=True)
    fetch_apart(Pages(ask=question, key=key, folder=str(folder)), job.progress, job.cancelled)
    return Place(ref="", table=f"{PARQUET}{folder / FILE}", version=0, id=key)


def _source(registry: Registry, inputs: Inputs, data: str, by: Principal) -> Mapping[str, object]:
    """What the scored dataset says of where its rows are from; rows of images are still rows of images."""
    if not data:
        return {"source": {"database": inputs.database, "sql": inputs.sql}}
    images = find(registry, data, by).meta.get("images")
    return {"scored": data, **({} if images is None else {"images": images})}


def _order(
    registry: Registry,
    job: Job,
    places: Places,
    folder: Path,
    model: Version,
    rows: Place,
    name: str,
    trust: tuple[str, ...],
) -> Score:
    """What the process that scores is told; the model's files lie in the folder.

    Raises:
        Invalid: the model takes images, and these rows are of none.
    """
    signature = msgspec.convert(model.meta["signature"], Signature)
    if signature.pictured and not rows.images:
        what = rows.ref or "What a database answers"
        raise Invalid(f"{what} holds no images, and {model.ref} takes them.", field="data", hint="Name a dataset of images.")
    members = folder / "model"
    members.mkdir(parents=True, exist_ok=True)
    for member in model.members:
        if not member.startswith("plots/"):
            path = members / member
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(registry.member(model, member))
    meta = model.meta
    return Score(
        folder=str(folder),
        lake=str(places.lake),
        table=rows.table,
        version=rows.version,
        members=str(members),
        signature=signature,
        threshold=msgspec.convert(meta.get("threshold", 0.5), float),
        classes=msgspec.convert(meta.get("classes", ("0", "1")), tuple[str, ...]),
        out=name,
        mark=job.run_id,
        id_column=rows.id,
        time_column=rows.time,
        trust=trusted(meta, trust),
        compute=places.compute,
    )


@dataclass(slots=True)
class _Paying:
    """Books parts as they come, and stops the work when a cap has no room for more."""

    job: Job
    bill: Bill
    folder: Path
    full: bool = False

    def progress(self, share: float, stage: str) -> None:
        self.job.progress(share, stage)
        try:
            self.book()
            self.full = share < PARTS_DONE and self.bill.reached() is not None
        except Unavailable:
            return  # a busy ledger must not end hours of work: the next part books this one too

    def book(self) -> None:
        """Books what was not booked before."""
        for piece, seconds in spent.read(self.folder).items():
            self.bill.book(piece, seconds)

    def stop(self) -> bool:
        return self.full or self.job.cancelled()


def _score(job: Job, clock: Clock, bill: Bill, order: Score) -> Scored:
    """Scores, or goes on where a former attempt was killed or had no money left."""
    while True:
        bill.wait()
        paying, begun = _Paying(job, bill, Path(order.folder)), clock.monotonic()
        try:
            said = apart(order, paying.progress, paying.stop)
            break
        except Conflict as error:
            if error.code != "cancelled" or job.cancelled():
                raise
    took = clock.monotonic() - begun
    paying.book()
    bill.book(REST, said.rest)
    return Scored(done=table_of(said.done), seconds=round(said.seconds, 3), took=round(took, 3))


def _publish(
    registry: Registry,
    job: Job,
    name: str,
    table: Table,
    told: Mapping[str, object],
    parents: tuple[str, ...],
    by: Principal,
) -> str:
    return str(publish(registry, name, table, told=told, parents=parents, run=job.run_id, by=by).ref)
