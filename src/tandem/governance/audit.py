"""The audit: who did what to what, in a chain that only the holder of the key can continue. It knows no noun.

Every row's MAC covers the row and the MAC before it; a head row says, under a MAC of its own, how many
rows there are and how the last one ends; and a small file outside the database (the anchor) repeats
the head after each commit. So a changed, removed, moved or added row breaks the chain, a cut tail
contradicts the head, and an older but genuine head contradicts the anchor. Whoever can write both
the database and the home directory can put back older copies of both: keep a copy of the anchor
elsewhere to notice that. Method: hash chain with HMAC-SHA256 (Schneier and Kelsey, 1999).

Beside it runs a chain of plain hashes, of which every hundredth row and every export signs the head
(`signing.py`): that one anybody can verify who has the public key (`export.py`, `tandem_audit.py`).
"""

from __future__ import annotations

import hmac
import json
import os
import tempfile
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from sqlalchemy import Connection

from tandem.core.clock import Clock
from tandem.core.principal import LOCAL
from tandem.governance.authorise import Scope
from tandem.governance.repo import AuditRows, Entry, Head
from tandem.governance.signing import EVERY, Signer, row_hash
from tandem.store.canonical import canonical
from tandem.store.sql import Sql, after_commit
from tandem.store.vault import Vault, mac

PURPOSE = "audit"
START = "0" * 64
"""What stands before the first row, as its MAC and as its hash."""
PROBLEMS_LIMIT = 100
BECAUSE: ContextVar[Mapping[str, object]] = ContextVar("because", default=MappingProxyType({}))
"""What every row says on top of its detail while one request is served: the apply of a project that the deed belongs to."""
LIST_LIMIT = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """What `verify` found."""

    ok: bool
    count: int
    """Rows that are there."""
    problems: tuple[str, ...] = ()
    """What is wrong, each naming its row; at most `PROBLEMS_LIMIT`."""


class Audit:
    """Appends to the chain, lists it and verifies it."""

    def __init__(self, sql: Sql, vault: Vault, clock: Clock, anchor: Path) -> None:
        self._sql, self._clock, self._anchor = sql, clock, anchor
        self._key = vault.derive(PURPOSE)
        self._rows = AuditRows()
        self.signer = Signer(vault)

    def append(
        self, conn: Connection, *, actor: str, action: str, subject: str, team: str, detail: Mapping[str, object] | None = None
    ) -> Entry:
        """Adds a row inside the caller's writing transaction, so that the deed and its record are one.

        Args:
            conn: the connection of a `Sql.write()`.
            actor: the name of the principal.
            action: what was done, such as `key.create`.
            subject: to what, such as `key/ci`.
            team: whose thing it is; only this team, admins and auditors see the row.
            detail: what else is worth knowing; JSON, and never a secret.

        Raises:
            Invalid: the detail is not JSON, or holds a `Secret`.
        """
        entry = self._add(conn, actor, action, subject, team, {**(detail or {}), **BECAUSE.get()})
        if (entry.seq + 1) % EVERY == 0:
            last = {"key": self.signer.public, "signature": self.signer.head(entry.seq, entry.hash)}
            self._add(conn, LOCAL.name, "audit.checkpoint", "audit", LOCAL.team, last)
        return entry

    def _add(self, conn: Connection, actor: str, action: str, subject: str, team: str, detail: Mapping[str, object]) -> Entry:
        head = self._rows.head(conn) or Head(entries=0, last_mac=START, head_mac="")
        before = START if head.entries == 0 else self._rows.hash_of(conn, head.entries) or START
        entry = Entry(
            seq=head.entries + 1,
            at=self._clock.now(),
            actor=actor,
            team=team,
            action=action,
            subject=subject,
            detail=canonical(detail),
            mac="",
        )
        entry = replace(entry, mac=self._mac(entry, head.last_mac), hash=_hash(entry, before))
        moved = Head(entries=entry.seq, last_mac=entry.mac, head_mac=self._head_mac(entry.seq, entry.mac))
        self._rows.add(conn, entry, moved)
        anchor = self._read_anchor()
        # An anchor that the chain contradicts is evidence: it is left as it is until somebody has looked at it.
        if anchor == "absent" or (isinstance(anchor, Head) and anchor.entries < entry.seq and self._agrees(conn, anchor)):
            after_commit(conn, "audit.anchor", lambda: self._write_anchor(moved))
        return entry

    def list(
        self, scope: Scope, *, before: int | None = None, subject: str | None = None, action: str | None = None, limit: int = 100
    ) -> tuple[Entry, ...]:
        """Rows of the scope, newest first; `before` continues an earlier page below that `seq`."""
        with self._sql.read() as conn:
            return self._rows.list(
                conn, scope, before=before, subject=subject, action=action, limit=max(1, min(limit, LIST_LIMIT))
            )

    def span(self, conn: Connection, since: int | None, until: int | None) -> tuple[int, int, str]:
        """The first and the last row of a time, and the hash before the first."""
        first, last = self._rows.span(conn, since, until)
        head = self._rows.head(conn)
        first = first or (0 if head is None else head.entries) + 1
        before = START if first == 1 else self._rows.hash_of(conn, first - 1) or START
        return first, max(first - 1, last or 0), before

    def page(self, after: int, limit: int) -> tuple[Entry, ...]:
        """Rows by their number, those behind `after`; of every team."""
        with self._sql.read() as conn:
            return self._rows.page(conn, after, limit)

    def verify(self) -> AuditReport:
        """Recomputes the whole chain: linear in the number of rows, constant in memory."""
        problems: tuple[str, ...] = ()
        # The anchor first: what it tells was committed before, so the database must have it by now.
        anchor = self._read_anchor()
        with self._sql.read() as conn:
            head = self._rows.head(conn)
            expected, last, before, count = 1, START, START, 0
            for entry in self._rows.every(conn):
                count += 1
                problems += self._look(entry, expected, last, before)
                expected, last, before = entry.seq + 1, entry.mac, entry.hash
            problems += self._end(head, expected - 1, last)
            problems += self._compare(conn, anchor, count)
        return AuditReport(ok=not problems, count=count, problems=problems[:PROBLEMS_LIMIT])

    def _look(self, entry: Entry, expected: int, last: str, before: str) -> tuple[str, ...]:
        if entry.seq > expected:
            missing = f"row {expected} is" if entry.seq == expected + 1 else f"rows {expected} to {entry.seq - 1} are"
            return (f"Before row {entry.seq}, {missing} missing.",)
        if entry.seq < expected or not hmac.compare_digest(entry.mac.encode(), self._mac(entry, last).encode()):
            return (f"Row {entry.seq} ({entry.action} {entry.subject}) was changed, moved or added without the key.",)
        if entry.hash != _hash(entry, before):
            return (f"Row {entry.seq} ({entry.action} {entry.subject}) has another hash than its words and the row before it.",)
        return ()

    def _end(self, head: Head | None, seq: int, last: str) -> tuple[str, ...]:
        if head is None:
            return ("The head is missing.",) if seq else ()
        if not self._genuine(head):
            return ("The head was changed without the key.",)
        if (head.entries, head.last_mac) != (seq, last):
            return (
                f"The head ends with row {head.entries}, but the chain ends with row {seq} or with another one of that number.",
            )
        return ()

    def _compare(self, conn: Connection, anchor: Head | Literal["absent", "false"], count: int) -> tuple[str, ...]:
        match anchor:
            case "absent":
                return (f"The anchor {self._anchor} is missing, so a cut tail cannot be ruled out.",) if count else ()
            case "false":
                return (f"The anchor {self._anchor} was changed without the key; move it away once you know why.",)
            case Head() if self._agrees(conn, anchor):
                return ()
            case Head():
                return (
                    f"The anchor {self._anchor} knows a row {anchor.entries} that is gone or replaced: "
                    "the tail was cut, or an older copy was put back.",
                )

    def _agrees(self, conn: Connection, anchor: Head) -> bool:
        return anchor.entries == 0 or self._rows.mac_of(conn, anchor.entries) == anchor.last_mac

    def _mac(self, entry: Entry, last: str) -> str:
        row = canonical([entry.seq, entry.at, entry.actor, entry.team, entry.action, entry.subject, entry.detail])
        return mac(self._key, b"row", last.encode(), row.encode()).hex()

    def _head_mac(self, entries: int, last: str) -> str:
        return mac(self._key, b"head", str(entries).encode(), last.encode()).hex()

    def _genuine(self, head: Head) -> bool:
        return hmac.compare_digest(head.head_mac.encode(), self._head_mac(head.entries, head.last_mac).encode())

    def _read_anchor(self) -> Head | Literal["absent", "false"]:
        try:
            found = json.loads(self._anchor.read_bytes())
            anchor = Head(entries=int(found["entries"]), last_mac=str(found["last_mac"]), head_mac=str(found["head_mac"]))
        except FileNotFoundError:
            return "absent"
        except (OSError, ValueError, KeyError, TypeError):
            return "false"
        return anchor if self._genuine(anchor) else "false"

    def _write_anchor(self, head: Head) -> None:
        # Best effort: the commit has happened, and an anchor that lags is still an anchor.
        try:
            handle, temporary = tempfile.mkstemp(dir=self._anchor.parent, prefix=f".{self._anchor.name}.")
            try:
                with os.fdopen(handle, "w") as out:
                    json.dump({"entries": head.entries, "last_mac": head.last_mac, "head_mac": head.head_mac}, out)
                    out.flush()
                    os.fsync(out.fileno())
                os.replace(temporary, self._anchor)
            except OSError:
                os.unlink(temporary)
        except OSError:
            return


def _hash(entry: Entry, before: str) -> str:
    try:
        return row_hash(before, entry.seq, entry.at, entry.actor, entry.team, entry.action, entry.subject, entry.detail)
    except ValueError:  # the hash before is none
        return ""
