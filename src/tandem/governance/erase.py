"""Erasing a person: the key and the name are destroyed, what is left is looked for, and what was done is written down.

Everything kept of a subject is sealed under its key and bears a random `sub_…` in the place of its name, so
nothing is searched and rewritten but the journal, which holds calls until they are moved. It knows no wire.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

from tandem.core.clock import MICROS, Clock
from tandem.core.errors import Invalid, NotFound
from tandem.core.principal import Principal
from tandem.governance.audit import Audit
from tandem.governance.authorise import authorise
from tandem.observability.content import Copy, Subjects
from tandem.observability.move import Mover
from tandem.observability.traces import Traces
from tandem.store.canonical import canonical
from tandem.store.sql import Sql
from tandem.store.vault import Vault, mac

PURPOSE = "erasure"
NAME_BYTES = 1024
SHORT = 4
"""Bytes below which a name is found everywhere by chance."""
PIECE = 4 * 1024 * 1024
UNSEARCHED = (
    "datasets, models and other assets: they are not kept by subject, and their compressed columns are not searched",
    "what a provider was sent, and files that were copied out of the home",
)
OTHERS = "the PostgreSQL server's tables and logs, and the homes of other machines"
PRINCIPAL = "principal:"
KEYS = "the name of the key itself, which records of its calls and the audit go on to bear"


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """What an erasure did: a report that can be checked later. It names the subject by its `sub_…` alone."""

    id: str
    at: int
    """UTC microseconds."""
    by: str
    """The principal that asked for it."""
    days: Mapping[str, Mapping[str, int]]
    """UTC day → `contents`, `traces` and `bytes` that became unreadable there."""
    contents: int
    traces: int
    journal_bytes: int
    """Bytes of the journal that were overwritten, those of other subjects' moved calls included."""
    copies: Sequence[Mapping[str, object]]
    """Copies of the keys beside backups: `path`, `backup`, and as `fault` why one still has the key."""
    searched: int
    """Files of the home that were searched for the name."""
    named_in: Sequence[str]
    """Files of the home that hold the name in the clear still."""
    unsearched: Sequence[str]
    """Where nobody looked, and why."""
    complete: bool
    """Whether no known copy has the key, and no searched file the name."""
    mac: str = ""
    """HMAC-SHA256 under a key of this home, over all the rest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasures:
    """Erases, and checks reports."""

    home: Path
    sql: Sql
    audit: Audit
    subjects: Subjects
    mover: Mover
    traces: Traces
    vault: Vault = field(repr=False)
    clock: Clock
    forget: Callable[[str], int]
    """Deletes the answers to a subject that are kept to be given again."""
    shared: Path | None = None
    """The directory of several machines on one server; None of a home of files."""

    def erase(self, subject: str, by: Principal) -> Erasure:
        """Destroys the key and the name of a subject; a second time finishes what a first one could not.

        Args:
            subject: the end user as calls name it, or `principal:NAME` for calls that name none.

        Raises:
            Forbidden: `by` is no admin.
            Invalid: this cannot be the name of a subject.
            NotFound: nothing is kept of it.
            Unavailable: the disk is full; nothing is lost, ask again.
        """
        authorise(by, "admin")
        name = subject.strip()
        if not name or len(name.encode(errors="replace")) > NAME_BYTES:
            raise Invalid(f"A subject's name has 1 to {NAME_BYTES} bytes.", field="subject")
        self.mover.drain()
        identifier = self.subjects.find(name)
        if identifier is None:
            raise NotFound(
                "Nothing is kept of this subject.",
                hint="Write it exactly as the calls name it; calls that name nobody are kept as principal:NAME.",
            )
        kept = self.traces.kept_of(identifier)
        now = self.clock.now()
        with self.sql.write() as conn:  # before it is done: an erasure that is not in the audit must not be
            self.audit.append(
                conn,
                actor=by.name,
                action="subject.erase",
                subject=f"subject/{identifier}",
                team=by.team,
                detail={"contents": sum(day.contents for day in kept.values()), "days": len(kept)},
            )
        self.forget(name)
        first = self.subjects.erase(name, now)
        overwritten = self.mover.scrub()
        copies = self.subjects.refresh(now)
        own = name.startswith(PRINCIPAL)
        searched, named = (0, []) if own else self._search(name)
        days = {
            day: {"contents": row.contents, "traces": row.traces, "bytes": row.size}
            for day, row in sorted(kept.items())
            if first  # a second time, nothing becomes unreadable that was not before
        }
        report = Erasure(
            id=identifier,
            at=now,
            by=by.name,
            days=days,
            contents=sum(day["contents"] for day in days.values()),
            traces=sum(day["traces"] for day in days.values()),
            journal_bytes=overwritten,
            copies=[_told(copy) for copy in copies],
            searched=searched,
            named_in=named,
            unsearched=(*UNSEARCHED, *([KEYS] if own else []), *([OTHERS] if self.shared else [])),
            complete=not named and not any(copy.fault for copy in copies),
        )
        return replace(report, mac=self._sign({name: value for name, value in _plain(report).items() if name != "mac"}))

    def _search(self, name: str) -> tuple[int, list[str]]:
        places = {self.home, self.shared or self.home}
        found = [_search(place, name) for place in sorted(places)]
        return sum(count for count, _ in found), [each for _, named in found for each in named]

    def verify(self, report: Mapping[str, object]) -> bool:
        """Whether this home wrote the report as it stands.

        Raises:
            Invalid: it is no such report.
        """
        names = {each.name for each in fields(Erasure)}
        if set(report) != names or not isinstance(report["mac"], str):
            raise Invalid("This is no report of an erasure.", hint="Give the file that `tandem erase --json` wrote, unchanged.")
        rest = {name: value for name, value in report.items() if name != "mac"}
        return hmac.compare_digest(self._sign(rest).encode(), report["mac"].encode())

    def _sign(self, rest: Mapping[str, object]) -> str:
        return mac(self.vault.derive(PURPOSE), canonical(rest).encode()).hex()


HOUR = 3600 * MICROS


class Elsewhere:
    """Finishes on this machine what another one erased: its kept answers, and its journal."""

    def __init__(self, subjects: Subjects, mover: Mover, forget: Callable[[bytes, int], int], clock: Clock) -> None:
        self._subjects, self._mover, self._forget, self._clock = subjects, mover, forget, clock
        self._done: dict[bytes, int] = {}

    def step(self) -> int:
        """One look; returns how many subjects were new here.

        Raises:
            Unavailable: a store is away; the next look finishes it.
            OSError, sqlite3.Error: the disk refused; likewise.
        """
        since = self._clock.now() - HOUR if self._done else 0  # the first look makes up for the time it was away
        fresh = [(digest, at) for digest, at in self._subjects.erased(since) if self._done.get(digest, 0) < at]
        for digest, at in fresh:
            self._forget(digest, at)
        if fresh:
            self._mover.scrub()
        self._done.update(fresh)
        return len(fresh)


def _plain(report: Erasure) -> dict[str, object]:
    plain: dict[str, object] = json.loads(json.dumps(asdict(report)))
    return plain


def _told(copy: Copy) -> Mapping[str, object]:
    return {"path": copy.path, "backup": copy.backup, "at": copy.at, "fault": copy.fault}


def _search(home: Path, name: str) -> tuple[int, list[str]]:
    """Files of the home that were read, and those of them that hold the name as plain or JSON text."""
    forms = {name.encode(errors="replace"), json.dumps(name)[1:-1].encode()}
    if min(map(len, forms)) < SHORT:
        return 0, []
    count, named = 0, []
    for path in sorted(home.rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        try:
            hit = any(form in piece for piece in _pieces(path, max(map(len, forms))) for form in forms)
        except FileNotFoundError:  # another process was done with it
            continue
        count += 1
        if hit:
            named.append(str(path.relative_to(home)))
    return count, named


def _pieces(path: Path, overlap: int) -> Iterator[bytes]:
    tail = b""
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            yield tail + piece
            tail = (tail + piece)[-overlap:]
