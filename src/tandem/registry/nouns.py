"""What the registry answers with. Plain values; they know no table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from tandem.core.asset import Kind, Ref, Version


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """A name under which versions are published."""

    kind: Kind
    name: str
    team: str
    """Who published it first; only this team, and admins, publish and promote it."""
    created_at: int
    """UTC microseconds, like all times here."""
    newest: int
    """The highest version number."""
    aliases: Mapping[str, int] = field(default_factory=dict)
    """Alias → version number."""

    @property
    def ref(self) -> Ref:
        return Ref(kind=self.kind, name=self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias:
    """A movable name of one version of an Asset."""

    kind: Kind
    name: str
    alias: str
    version: int
    etag: int
    """Counts the moves; who wants to move it may say which state they have seen."""
    moved_at: int
    moved_by: str
    ungated: bool
    """True when no gate applied to the move that put it here."""

    @property
    def ref(self) -> Ref:
        """The version it names."""
        return Ref(kind=self.kind, name=self.name, version=self.version)


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """The promotion of a release that took an asset along."""

    release: str
    """`release/NAME@VERSION`."""
    etag: int
    """The etag of the release's own alias after that promotion."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One move of an alias, as its history keeps it."""

    alias: Alias
    """The alias after the move."""
    action: Literal["promote", "rollback"]
    below: int | None
    """The etag of the move that a rollback returns to; None at the bottom."""
    evidence: tuple[str, ...] = ()
    """Ids of the Scores it rested on."""
    report: Mapping[str, object] | None = None
    """The gate's report, as it was handed in."""
    approvers: tuple[str, ...] = ()
    """Who approved it, where it needed people."""
    taken: Taken | None = None
    """The release that moved it; None where it moved alone. A rollback has that of the move it returns to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """What became of one asset that a release pins."""

    alias: Alias
    """Where its alias stands now."""
    moved: bool
    why: str = ""
    """Why it was left alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Together:
    """The alias of a release after a move, and what became of each asset it pins."""

    alias: Alias
    pins: tuple[Pin, ...]


@dataclass(frozen=True, slots=True)
class Edge:
    """`child` was made from `parent`; both as `kind/name@version`."""

    child: str
    parent: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """Where a version came from and what was made of it."""

    nodes: tuple[Version, ...]
    """The version that was asked for comes first."""
    edges: tuple[Edge, ...]
