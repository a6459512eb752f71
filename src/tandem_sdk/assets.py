"""Assets: anything named and versioned. Reading, promoting and rolling back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tandem_sdk.about import About, Card
from tandem_sdk.errors import Invalid
from tandem_sdk.verdicts import Pin, Promotion, Score
from tandem_sdk.wire import API, Reply, Wire, read_replies, read_reply, segment


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One immutable version of an Asset."""

    ref: str
    """`model/tumor@1`."""
    kind: str
    name: str
    version: int
    digest: str = ""
    """`sha256:…` over the version's files and meta."""
    created_at: int = 0
    """UTC microseconds, like all times of this client."""
    created_by: str = ""
    team: str = ""
    aliases: tuple[str, ...] = ()
    """Aliases that name this version now."""
    meta: Mapping[str, object] = field(default_factory=dict)
    """What the kind says about itself: schema, metrics, contract, template…"""
    members: Mapping[str, str] = field(default_factory=dict)
    """File name → blob digest."""
    parents: tuple[str, ...] = ()
    """The versions this one was made from."""
    run: str | None = None
    """The Run that made it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetSummary:
    """An Asset in a list."""

    kind: str
    name: str
    team: str = ""
    newest: Version | None = None
    aliases: Mapping[str, int] = field(default_factory=dict)
    """Alias → version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AliasState:
    """Where an alias stands."""

    version: int
    etag: str | int | None = None
    """Hand it to `promote` to be told when somebody else moved the alias in between."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias:
    """A movable name of one version, as it stood after one move."""

    alias: str
    version: int
    etag: str | int | None = None
    moved_at: int = 0
    moved_by: str = ""
    ungated: bool = False
    """True when no gate applied to the move."""
    pins: tuple[Pin, ...] = ()
    """What became of each asset of a release; only in the answer to its rollback."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One move of an alias."""

    alias: Alias
    """The alias after the move."""
    action: str = ""
    """`promote` or `rollback`."""
    report: Mapping[str, object] | None = None
    """What the gate concluded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """A name with all its versions."""

    kind: str
    name: str
    versions: tuple[Version, ...] = ()
    """Newest first."""
    aliases: Mapping[str, AliasState] = field(default_factory=dict)
    history: tuple[Move, ...] = ()
    """Moves of aliases, newest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One version in a lineage."""

    ref: str
    digest: str = ""
    created_at: int = 0
    run: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """What a version came from and what was made of it."""

    nodes: tuple[Node, ...] = ()
    edges: tuple[tuple[str, ...], ...] = ()
    """(made from, made) as `kind/name@version`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionDetail(Version):
    """A version with its lineage."""

    lineage: Lineage = Lineage()
    scores: tuple[Score, ...] = ()
    """Judgements of this version: metrics, gate verdicts."""


def split(ref: str) -> tuple[str, str, str | None]:
    """Kind, name, and version or alias of `kind/name[@version-or-alias]`.

    Raises:
        Invalid: the text is not such a name.

    >>> split("model/tumor@production")
    ('model', 'tumor', 'production')
    """
    head, at, tail = ref.partition("@")
    kind, slash, name = head.partition("/")
    if not slash or not kind or not name or "/" in name or (at and not tail):
        raise Invalid(f"'{ref}' names no asset.", hint="Write KIND/NAME or KIND/NAME@VERSION, such as model/tumor@1.")
    return kind, name, tail or None


class Assets:
    """`client.assets`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def list(self, kind: str | None = None) -> tuple[AssetSummary, ...]:
        """Every asset the key may see, or those of one kind."""
        return read_replies(AssetSummary, self._wire.get(f"{API}/assets", {"kind": kind}))

    def show(self, ref: str) -> Asset:
        """An asset with all its versions, aliases and their history.

        Raises:
            NotFound: there is none.
        """
        kind, name, _ = split(ref)
        return read_reply(Asset, self._wire.get(_path(kind, name)))

    def version(self, ref: str) -> VersionDetail:
        """One version with its lineage; a ref without version means the newest.

        Raises:
            NotFound: there is none.
        """
        kind, name, tail = split(ref)
        if tail is None:
            versions = self.show(ref).versions
            if not versions:
                raise Invalid(f"{ref} has no version yet.")
            tail = str(versions[0].version)
        return read_reply(VersionDetail, self._wire.get(f"{_path(kind, name)}/{segment(tail)}"))

    def lineage(self, ref: str) -> Lineage:
        """What a version came from and what was made of it."""
        return self.version(ref).lineage

    def member(self, ref: str, member: str) -> bytes:
        """One file of a version, such as `plots/roc.png`.

        Raises:
            NotFound: the version has no such file.
        """
        version = self.version(ref)
        tail = "/".join(segment(part) for part in member.split("/"))
        return self._wire.get(f"{_path(version.kind, version.name)}/{version.version}/members/{tail}").body

    def about(self, ref: str) -> About:
        """Where a model version does worse, how it treats groups, and which columns it answers by.

        Raises:
            NotFound: there is no such version.
        """
        version = self.version(ref)
        return read_reply(About, self._wire.get(f"{_path(version.kind, version.name)}/{version.version}/about"))

    def card(self, ref: str) -> Card:
        """The card of a model version: what is recorded about it, each fact with its source.

        Raises:
            Invalid: it is no model.
            NotFound: there is no such version.
        """
        return read_reply(Card, self._card(ref, "json"))

    def card_text(self, ref: str, form: str = "md") -> str:
        """The card as Markdown (`md`), or as a page (`html`) that needs nothing else.

        Raises:
            Invalid, NotFound: as `card`.
        """
        return self._card(ref, form).body.decode()

    def _card(self, ref: str, form: str) -> Reply:
        version = self.version(ref)
        return self._wire.get(f"{_path(version.kind, version.name)}/{version.version}/card", {"as": form})

    def promote(self, ref: str, alias: str, etag: str | int | None = None) -> Promotion:
        """Moves an alias to a version, when the gate lets it pass; of a release, the alias of everything it pins too.

        Args:
            ref: the version, `model/tumor@1`; without a version the newest is meant.
            alias: such as `production`.
            etag: the state of the alias that was seen; then nobody else's move is overwritten.

        Raises:
            GateRefused: the gate said no; `error.report` says why.
            Blocked: there is no gate, or no evidence that one could judge.
            Conflict: the alias was moved in between.
        """
        kind, name, tail = split(ref)
        version = int(tail) if tail is not None and tail.isdigit() else self.version(ref).version
        body = {"version": version, "alias": alias, "etag": etag}
        return read_reply(Promotion, self._wire.send("POST", f"{_path(kind, name)}/promote", body, patient=True))

    def rollback(self, ref: str, alias: str) -> Alias:
        """Moves an alias back to where it stood before its last promotion; of a release, what that promotion moved too.

        Raises:
            Conflict: there is nothing to go back to.
        """
        kind, name, _ = split(ref)
        return read_reply(Alias, self._wire.send("POST", f"{_path(kind, name)}/rollback", {"alias": alias}, once=True))


def _path(kind: str, name: str) -> str:
    return f"{API}/assets/{segment(kind)}/{segment(name)}"
