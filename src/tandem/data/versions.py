"""A dataset's version: where its rows lie, who may make the next one, and how it is published. It reads no rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tandem.core.asset import Ref, Version, check_name
from tandem.core.errors import Conflict, Invalid, NotFound
from tandem.core.principal import Principal
from tandem.data.child import Done
from tandem.data.contract import Contract
from tandem.governance.authorise import ALL, authorise, scope_of
from tandem.registry.registry import Registry

QUARANTINE = "quarantine.parquet"
"""The member with the rows that were kept apart."""
SHEET = "sheet.png"
"""The member with thumbnails of images, or a plot of signals."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a version's rows lie, and what it says of them."""

    ref: str
    """Such as `dataset/customers@3`."""
    table: str
    """In the lake, or an address of `tandem.store.elsewhere`."""
    version: int
    """Of the table."""
    digest: str = ""
    time: str | None = None
    """The column that says when a row became true."""
    id: str | None = None
    """The column that names a row."""
    images: bool = False
    """Whether each row is of an image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows that are in the lake and not yet published; a Run can keep it between two steps."""

    rows: int
    digest: str
    contract: Contract
    profile: str
    """As `tandem.data.profile.Profile.to_json` wrote it."""
    table: str | None
    """Where they lie, if not in the dataset's own table."""
    version: int
    quarantined: int = 0
    """Rows that were kept apart."""
    quarantine: str | None = None
    """The file of these rows."""
    sheet: str | None = None
    """The file of that member, of a dataset of images or signals."""


def table_of(done: Done) -> Table:
    """What a child process has left in the lake."""
    return Table(
        rows=done.rows,
        digest=done.digest,
        contract=done.contract,
        profile=bytes(done.profile).decode(),
        table=done.table,
        version=done.version,
        quarantined=done.quarantined,
        quarantine=done.quarantine,
        sheet=done.sheet,
    )


def find(registry: Registry, text: str, by: Principal, field: str = "data") -> Version:
    """The dataset version that a text means to `by`.

    Raises:
        Invalid: it names no dataset.
        NotFound: there is none for `by`.
    """
    ref = Ref.parse(text)
    if ref.kind != "dataset":
        raise Invalid(f"{ref} is no dataset.", field=field, hint="Write dataset/NAME[@VERSION].")
    return registry.find(ref, scope_of(by))


def place(version: Version, field: str = "data") -> Place:
    """Where a version's rows lie.

    Raises:
        Invalid: it has none in the lake.
    """
    match version.meta:
        case {"lake": {"table": str() as table, "version": int() as number}}:
            digest, time, id = (version.meta.get(word) for word in ("digest", "time", "id"))
            return Place(
                ref=str(version.ref),
                table=table,
                version=number,
                digest=digest if isinstance(digest, str) else "",
                time=time if isinstance(time, str) else None,
                id=id if isinstance(id, str) else None,
                images="images" in version.meta,
            )
    raise Invalid(f"{version.ref} has no rows in the lake.", field=field, hint="Add it with `tandem data add`.")


def holding(version: Version | None) -> tuple[str, int] | None:
    """The content digest of a version and the version of its own table that holds it: the same rows are not written again."""
    match version:
        case Version(name=name, meta={"digest": str() as digest, "lake": {"table": str() as table, "version": int() as number}}):
            return (digest, number) if table == name else None
    return None


def newest_of(registry: Registry, name: str, by: Principal) -> Version | None:
    """The newest version of a dataset that `by` may add to; None where the name is free.

    Raises:
        Forbidden: `by` may not write it.
        Conflict: it is another team's.
    """
    try:
        newest = registry.find(Ref(kind="dataset", name=check_name(name)), ALL)
    except NotFound:
        return None
    check_team(name, newest.team, by)
    return newest


def check_team(name: str, team: str, by: Principal) -> None:
    """Looks whether `by` may add to a dataset of that team.

    Raises:
        Forbidden: `by` may not write it.
        Conflict: it is another team's.
    """
    if not scope_of(by).admits(team):
        raise Conflict(f"The name dataset/{name} is taken by another team.", hint="Choose another name.")
    authorise(by, "write", team)


def publish(
    registry: Registry,
    name: str,
    table: Table,
    *,
    told: Mapping[str, object],
    parents: tuple[str, ...] = (),
    run: str,
    by: Principal,
) -> Version:
    """Makes rows the next version of a dataset; done again by the same Run, it finds the version that it made before.

    Args:
        told: what its meta says beyond the rows.
    """
    for version in registry.versions("dataset", name, scope_of(by)):
        if version.run == run:
            return version
    contract = table.contract
    members: dict[str, bytes | Path] = {"contract.json": contract.to_json(), "profile.json": table.profile.encode()}
    if table.quarantine is not None:
        members[QUARANTINE] = Path(table.quarantine)
    if table.sheet is not None:
        members[SHEET] = Path(table.sheet)
    meta = {
        "rows": table.rows,
        "columns": len(contract.columns),
        "digest": table.digest,
        "lake": {"table": table.table or name, "version": table.version},
        "id": contract.id_column,
        "time": contract.time_column,
        "contract": contract.to_builtins(),
        "profile": msgspec.json.decode(table.profile),
        **({"quarantined": table.quarantined} if table.quarantined else {}),
        **told,
    }
    return registry.publish("dataset", name, members=members, meta=meta, parents=parents, run=run, by=by)
