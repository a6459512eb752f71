"""What people wrote and were answered, kept apart from the records and encrypted per subject.

A subject is the end user that a call names, else the calling principal. Records know it by a random
`sub_…` alone; what that stands for, and the key of the content, are one row here, sealed under the
platform's master key. Deleting the row makes every copy of the content unreadable and every record
nameless, wherever it lies: nothing but this row leads from one to the other.

Copies of the rows are written beside backups, which hold none themselves, and again after each erasure.
"""

from __future__ import annotations

import hmac
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tandem.core.clock import MICROS
from tandem.core.errors import Broken
from tandem.core.ids import new_id
from tandem.store.room import transaction, translated

NONCE = 12
KEY_BYTES = 32
WHAT = "The keys of the subjects"
RESEALED = 500
"""Keys that are sealed anew in one transaction."""
REMEMBERED = 7 * 86_400 * MICROS
"""How long it is known that somebody was erased: longer than any call that was under way then can last."""

SCHEMA = """
PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA secure_delete=ON; PRAGMA busy_timeout=10000;
CREATE TABLE IF NOT EXISTS people (
    id TEXT PRIMARY KEY, digest BLOB NOT NULL UNIQUE, sealed BLOB NOT NULL, made_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS erased (digest BLOB PRIMARY KEY, id TEXT NOT NULL, at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS erasures (one INTEGER PRIMARY KEY CHECK (one = 1), count INTEGER NOT NULL) STRICT;
INSERT OR IGNORE INTO erasures VALUES (1, 0);
CREATE TABLE IF NOT EXISTS copies (
    path TEXT PRIMARY KEY, backup TEXT NOT NULL, at INTEGER NOT NULL, erasures INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
"""


class Vault(Protocol):
    """The part of `store.vault.Vault` that is needed here."""

    def derive(self, purpose: str) -> bytes: ...
    def seal(self, purpose: str, plaintext: bytes, aad: bytes = b"") -> bytes: ...
    def open(self, purpose: str, sealed: bytes, aad: bytes = b"") -> bytes: ...
    def stale(self, sealed: bytes) -> bool: ...
    def anew(self, purpose: str, sealed: bytes, aad: bytes = b"") -> bytes: ...


class SegmentSeal:
    """Seals content inside one journal segment, so that nothing readable ever touches the disk."""

    def __init__(self, vault: Vault, segment: str) -> None:
        self._cipher = AESGCM(vault.derive(f"journal:{segment}"))

    def seal(self, content: bytes) -> bytes:
        nonce = os.urandom(NONCE)
        return nonce + self._cipher.encrypt(nonce, content, None)

    def open(self, sealed: bytes) -> bytes:
        return self._cipher.decrypt(sealed[:NONCE], sealed[NONCE:], None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A file with the keys, written beside backups."""

    path: str
    backup: str
    """The newest backup beside it."""
    at: int
    """When that backup was made, UTC microseconds."""
    fault: str = ""
    """Why the file still holds keys that were erased since; empty when it holds none."""


class Subjects:
    """The keys and names of the subjects; written by the control process, and by a backup that notes where it lies."""

    def __init__(self, path: Path, vault: Vault) -> None:
        self._path, self._vault = path, vault
        self._pepper = vault.derive("subjects")
        self._lock = threading.RLock()
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.executescript(SCHEMA)
        self._adopt()

    def keep(self, name: str, content: bytes, *, begun: int, now: int) -> tuple[str, bytes]:
        """How records call this subject, and the content under its key, which is made when there is none.

        Args:
            name: the end user, or `principal:NAME`.
            content: empty for none.
            begun: when the call was begun; of a call that was under way when its subject was erased, nothing is kept.

        Returns:
            The `sub_…` and the sealed content, empty when nothing is kept.

        Raises:
            Unavailable: the disk is full.
        """
        digest = self._digest(name)
        with self._lock:
            row = self._db.execute("SELECT id, at FROM erased WHERE digest = ?", (digest,)).fetchone()
            if row is not None and begun <= row[1]:
                return str(row[0]), b""
            identifier, key = self._row(digest) or self._make(name, digest, now)
        return identifier, _seal(key, identifier, content) if content else b""

    def open(self, identifier: str, sealed: bytes) -> bytes | None:
        """The content, or None when the subject was erased."""
        with self._lock:
            row = self._db.execute("SELECT sealed FROM people WHERE id = ?", (identifier,)).fetchone()
        if row is None:
            return None
        key = self._vault.open("subject", row[0], identifier.encode())[:KEY_BYTES]
        try:
            return AESGCM(key).decrypt(sealed[:NONCE], sealed[NONCE:], identifier.encode())
        except InvalidTag:
            return None

    def seal(self, name: str, content: bytes, now: int, *, begun: int | None = None) -> bytes:
        """Content under the subject's key as one piece, for stores whose rows do not say whose they are; `unseal` opens it.

        Args:
            begun: as `keep`; None means now. Empty comes back when nothing is kept.
        """
        identifier, sealed = self.keep(name, content, begun=now if begun is None else begun, now=now)
        return identifier.encode() + b":" + sealed if sealed else b""

    def seal_all(self, contents: Sequence[tuple[str, bytes]], now: int) -> tuple[bytes, ...]:
        """As `seal`, for (subject, content) pairs by the thousand: new subjects are written in one transaction.

        Raises:
            Unavailable: the disk is full; no subject was made.
        """
        with self._lock, transaction(self._db, WHAT):
            return tuple([self.seal(name, content, now) for name, content in contents])

    def unseal(self, piece: bytes) -> bytes | None:
        """What `seal` was given, or None when its subject was erased."""
        identifier, colon, sealed = piece.partition(b":")
        return self.open(identifier.decode("ascii", errors="replace"), sealed) if colon else None

    def name(self, identifier: str) -> str | None:
        """Whom a `sub_…` stands for; None when the subject was erased."""
        with self._lock:
            row = self._db.execute("SELECT sealed FROM people WHERE id = ?", (identifier,)).fetchone()
        return None if row is None else self._vault.open("subject", row[0], identifier.encode())[KEY_BYTES:].decode()

    def find(self, name: str) -> str | None:
        """The `sub_…` of a subject that is known here, or was erased lately."""
        digest = self._digest(name)
        with self._lock:
            for table in ("people", "erased"):
                row = self._db.execute(f"SELECT id FROM {table} WHERE digest = ?", (digest,)).fetchone()
                if row is not None:
                    return str(row[0])
        return None

    def erase(self, name: str, now: int) -> bool:
        """Deletes the subject's row for good; True when there was one.

        When it returns, no page of the file and of its write-ahead log holds the row any more.
        """
        digest = self._digest(name)
        with self._lock:
            with transaction(self._db, WHAT):
                row = self._db.execute("DELETE FROM people WHERE digest = ? RETURNING id", (digest,)).fetchone()
                if row is not None:
                    self._db.execute("INSERT OR REPLACE INTO erased VALUES (?, ?, ?)", (digest, row[0], now))
                    self._db.execute("UPDATE erasures SET count = count + 1")
            self._wipe()
        return row is not None

    def note(self, path: Path, backup: Path, now: int) -> None:
        """Writes a copy of the keys to `path`, beside `backup`, and remembers it for the next erasure.

        Raises:
            Unavailable: the disk is full.
            OSError: the copy cannot be written.
        """
        with self._lock, transaction(self._db, WHAT):
            self._db.execute(
                "INSERT OR REPLACE INTO copies VALUES (?, ?, ?, (SELECT count FROM erasures))", (str(path), str(backup), now)
            )
        self._copy(path)

    def refresh(self, now: int) -> Sequence[Copy]:
        """Writes the copies again that still hold what was erased since, and returns every copy that is known."""
        with self._lock:
            with transaction(self._db, WHAT):
                self._db.execute("DELETE FROM erased WHERE at < ?", (now - REMEMBERED,))
            (count,) = self._db.execute("SELECT count FROM erasures").fetchone()
            rows = self._db.execute("SELECT path, backup, at, erasures FROM copies ORDER BY path").fetchall()
            return [
                Copy(path=path, backup=backup, at=at, fault=self._again(Path(path), count) if known < count else "")
                for path, backup, at, known in rows
            ]

    def copies(self) -> Sequence[Copy]:
        """Every copy that is known, and which of them are behind."""
        with self._lock:
            rows = self._db.execute("SELECT path, backup, at, erasures = (SELECT count FROM erasures) FROM copies").fetchall()
        return [
            Copy(path=path, backup=backup, at=at, fault="" if whole else "It was not rewritten since the last erasure.")
            for path, backup, at, whole in rows
        ]

    def reseal(self, name: str, sealed: bytes) -> tuple[str, bytes]:
        """What an earlier version kept under a name, as it is kept now; without content when the key is gone."""
        row = self._row(self._digest(name))
        if row is None:
            return new_id("sub"), b""
        identifier, key = row
        try:
            return identifier, _seal(key, identifier, AESGCM(key).decrypt(sealed[:NONCE], sealed[NONCE:], name.encode()))
        except (InvalidTag, ValueError):
            return identifier, b""

    def stale(self) -> int:
        """Subjects whose key is sealed under another master key than the present one."""
        return sum(1 for _ in self._stale())

    def reseal_keys(self, limit: int = RESEALED) -> int:
        """Seals keys of subjects anew under the present master key, `limit` in one transaction; returns how many.

        Raises:
            Unavailable: the disk is full.
        """
        done = 0
        with self._lock, transaction(self._db, WHAT):
            for identifier, sealed in self._stale():
                try:
                    again = self._vault.anew("subject", sealed, identifier.encode())
                except Broken:  # damaged: it says so when somebody asks for its content
                    continue
                self._db.execute("UPDATE people SET sealed = ? WHERE id = ?", (again, identifier))
                done += 1
                if done >= limit:
                    break
        return done

    def forget_old_keys(self) -> None:
        """Leaves no page of the file that holds what was sealed anew as it was before."""
        with self._lock:
            self._wipe()

    def _stale(self) -> Iterator[tuple[str, bytes]]:
        after = ""
        while True:
            with self._lock:
                query = "SELECT id, sealed FROM people WHERE id > ? ORDER BY id LIMIT ?"
                rows = self._db.execute(query, (after, RESEALED)).fetchall()
            yield from ((identifier, sealed) for identifier, sealed in rows if self._vault.stale(sealed))
            if len(rows) < RESEALED:
                return
            after = rows[-1][0]

    def close(self) -> None:
        self._db.close()

    def _digest(self, name: str) -> bytes:
        return hmac.digest(self._pepper, name.encode(errors="surrogatepass"), "sha256")

    def _row(self, digest: bytes) -> tuple[str, bytes] | None:
        row = self._db.execute("SELECT id, sealed FROM people WHERE digest = ?", (digest,)).fetchone()
        return None if row is None else (row[0], self._vault.open("subject", row[1], row[0].encode())[:KEY_BYTES])

    def _make(self, name: str, digest: bytes, now: int, key: bytes | None = None) -> tuple[str, bytes]:
        identifier, key = new_id("sub"), key or os.urandom(KEY_BYTES)
        sealed = self._vault.seal("subject", key + name.encode(errors="replace"), identifier.encode())
        with translated(WHAT):
            self._db.execute("INSERT INTO people VALUES (?, ?, ?, ?)", (identifier, digest, sealed, now))
        return identifier, key

    def _again(self, path: Path, count: int) -> str:
        try:
            if not path.exists():
                return f"There is no {path.name} in {path.parent}; if it was moved, delete it there."
            self._copy(path)
        except OSError as error:
            return f"It cannot be written: {error.strerror or error}."
        with transaction(self._db, WHAT):
            self._db.execute("UPDATE copies SET erasures = ? WHERE path = ?", (count, str(path)))
        return ""

    def _copy(self, path: Path) -> None:
        part = path.with_name(f".{path.name}.part")
        part.unlink(missing_ok=True)
        with self._lock:
            try:
                self._db.execute("VACUUM INTO ?", (str(part),))
            except sqlite3.Error as error:
                raise OSError(f"{path}: {error}") from error
        part.chmod(0o600)
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(path)

    def _wipe(self) -> None:
        """Leaves nothing of deleted rows in free pages, in the gaps of pages and in the write-ahead log."""
        with translated(WHAT):
            self._db.execute("VACUUM")
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _adopt(self) -> None:
        """Takes over the rows of an earlier version, which held names in the clear."""
        if self._db.execute("SELECT 1 FROM sqlite_master WHERE name = 'subjects'").fetchone() is None:
            return
        with transaction(self._db, WHAT):
            for name, sealed, made_at in self._db.execute("SELECT subject, key, made_at FROM subjects").fetchall():
                digest = self._digest(name)
                if self._row(digest) is None:
                    self._make(name, digest, made_at, self._vault.open("subject", sealed, name.encode()))
            self._db.execute("DROP TABLE subjects")
        self._wipe()


def copy_of_keys(path: Path) -> int:
    """The number of subjects whose key is in a copy.

    Raises:
        sqlite3.Error: the file is no such copy.
    """
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        return int(db.execute("SELECT count(*) FROM people").fetchone()[0])


def _seal(key: bytes, identifier: str, content: bytes) -> bytes:
    nonce = os.urandom(NONCE)
    return nonce + AESGCM(key).encrypt(nonce, content, identifier.encode())
