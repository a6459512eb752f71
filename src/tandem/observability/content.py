"""What people wrote and were answered, kept apart from the records and encrypted per subject.

A subject is the end user that a call names, else the calling principal. Records know it by a random
`sub_…` alone; what that stands for, and the key of the content, are one row here, sealed under the
platform's master key. Deleting the row makes every copy of the content unreadable and every record
nameless, wherever it lies: nothing but this row leads from one to the other. Rows lie in an SQLite file
or on a PostgreSQL server.

Copies of the rows are written beside backups, which hold none themselves, and again after each erasure.
"""

from __future__ import annotations

import hmac
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tandem.core.clock import MICROS, SystemClock
from tandem.core.errors import Broken
from tandem.core.ids import new_id
from tandem.core.secret import Secret
from tandem.store.raw import PostgresRows, Row, Rows, SqliteRows, tables

NONCE = 12
KEY_BYTES = 32
WHAT = "The keys of the subjects"
RESEALED = 500
"""Keys that are sealed anew in one transaction."""
REMEMBERED = 7 * 86_400 * MICROS
"""How long it is known that somebody was erased: longer than any call that was under way then can last."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS people (
    id TEXT PRIMARY KEY, digest BLOB NOT NULL UNIQUE, sealed BLOB NOT NULL, made_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS erased (digest BLOB PRIMARY KEY, id TEXT NOT NULL, at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS erasures (one INTEGER PRIMARY KEY CHECK (one = 1), count INTEGER NOT NULL) STRICT;
INSERT INTO erasures VALUES (1, 0) ON CONFLICT DO NOTHING;
CREATE TABLE IF NOT EXISTS copies (
    path TEXT PRIMARY KEY, backup TEXT NOT NULL, at INTEGER NOT NULL, erasures INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
"""
PEOPLE = ("people",)
FOUND = "SELECT id, sealed, NULL FROM people WHERE digest = ? UNION ALL SELECT id, NULL, at FROM erased WHERE digest = ?"


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


Seen = Sequence[tuple[str, bytes, int | None]]
"""What is known of a subject: how records call it, and its key or when it was erased; both, where it came back since."""


def _key_for(seen: Seen, begun: int) -> tuple[str, bytes] | None:
    """The subject and its key; an empty key where it was erased after `begun`; None where it has to be made."""
    known = None
    for identifier, key, at in seen:
        if at is not None and begun <= at:
            return identifier, b""
        if key:
            known = identifier, key
    return known


class Keeping:
    """`Subjects.keep` for the calls of one batch, which all had ended before it was made.

    Who is erased while it is used has no call in it that was begun later: what it seals under the key that is gone was to go.
    """

    def __init__(self, look: Callable[[str], Seen], make: Callable[[str, int, int], tuple[str, bytes]]) -> None:
        self._look, self._make = look, make
        self._seen: dict[str, Seen] = {}

    def keep(self, name: str, content: bytes, *, begun: int, now: int) -> tuple[str, bytes]:
        """As `Subjects.keep`."""
        seen = self._seen.get(name)
        if seen is None:
            seen = self._seen[name] = self._look(name)
        found = _key_for(seen, begun)
        if found is None:
            found = self._make(name, begun, now)
            del self._seen[name]
        identifier, key = found
        return identifier, _seal(key, identifier, content) if content and key else b""


class Subjects:
    """The keys and names of the subjects. Safe for several threads; several processes share file or server."""

    def __init__(self, place: Path | Secret, vault: Vault) -> None:
        """Opens the keys, and makes their tables where there are none.

        Args:
            place: a file, or the URL of a PostgreSQL database, where they lie in the schema `subjects`.

        Raises:
            Unavailable: the store is full or away.
        """
        self._vault, self._digest = vault, digester(vault)
        server = isinstance(place, Secret)
        self._where = ""
        if isinstance(place, Secret):
            self._rows: Rows = PostgresRows(place, WHAT, schema="subjects")
            self._where = " of this machine; the one that wrote it writes it again within the hour"
        else:
            self._rows = SqliteRows(place, SystemClock(), WHAT, thorough=True)
        with self._rows.writing():
            for statement in tables(SCHEMA, server=server):
                self._rows.run(statement)
        if not server:
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
            Unavailable: the store is full or away.
        """
        return self.keeping().keep(name, content, begun=begun, now=now)

    def keeping(self) -> Keeping:
        """Keeps many calls that have ended already, and looks up each subject once."""
        return Keeping(self._looked, self._made)

    def open(self, identifier: str, sealed: bytes) -> bytes | None:
        """The content, or None when the subject was erased."""
        row = self._rows.one("SELECT sealed FROM people WHERE id = ?", (identifier,))
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
        begun = now if begun is None else begun
        return _piece(*(self._known(self._digest(name), begun) or self._made(name, begun, now)), content)

    def seal_all(self, contents: Sequence[tuple[str, bytes]], now: int) -> tuple[bytes, ...]:
        """As `seal`, for (subject, content) pairs by the thousand: new subjects are written in one transaction.

        Raises:
            Unavailable: the store is full or away; no subject was made.
        """
        with self._rows.writing():
            keys = {name: self._kept(name, now, now) for name in {name for name, _ in contents}}
        return tuple(_piece(*keys[name], content) for name, content in contents)

    def unseal(self, piece: bytes) -> bytes | None:
        """What `seal` was given, or None when its subject was erased."""
        identifier, colon, sealed = piece.partition(b":")
        return self.open(identifier.decode("ascii", errors="replace"), sealed) if colon else None

    def name(self, identifier: str) -> str | None:
        """Whom a `sub_…` stands for; None when the subject was erased."""
        row = self._rows.one("SELECT sealed FROM people WHERE id = ?", (identifier,))
        return None if row is None else self._vault.open("subject", row[0], identifier.encode())[KEY_BYTES:].decode()

    def find(self, name: str) -> str | None:
        """The `sub_…` of a subject that is known here, or was erased lately."""
        digest = self._digest(name)
        for table in ("people", "erased"):
            row = self._rows.one(f"SELECT id FROM {table} WHERE digest = ?", (digest,))
            if row is not None:
                return str(row[0])
        return None

    def erase(self, name: str, now: int) -> bool:
        """Deletes the subject's row for good; True when there was one.

        When it returns, no page of the file and of its write-ahead log holds the row any more. On a server, the files of
        the table do not, unless a transaction from before the erasure is still open: they lose it with the next one. What
        the server writes beside its tables keeps the row longer, and nobody reads it there without the master key, under
        which it is sealed: its write-ahead log until that is recycled (with the default settings within some checkpoints,
        later where a slot or a slow standby holds it back), and archived logs, base backups and dumps for as long as you
        keep them.

        Raises:
            Unavailable: the store is full or away, or somebody reads all keys; ask again, it may be done in part.
        """
        digest = self._digest(name)
        with self._rows.writing():
            row = self._rows.one("DELETE FROM people WHERE digest = ? RETURNING id", (digest,))
            if row is not None:
                self._rows.run(
                    "INSERT INTO erased VALUES (?, ?, ?) ON CONFLICT (digest) DO UPDATE SET id = excluded.id, at = excluded.at",
                    (digest, row[0], now),
                )
                self._rows.run("UPDATE erasures SET count = count + 1")
        self._rows.wipe(PEOPLE)
        return row is not None

    def erased(self, since: int) -> Sequence[tuple[bytes, int]]:
        """Digests of whom was erased after a UTC time (microseconds) and when, as far as it is remembered."""
        return [(bytes(digest), at) for digest, at in self._rows.all("SELECT digest, at FROM erased WHERE at > ?", (since,))]

    def note(self, path: Path, backup: Path, now: int) -> None:
        """Writes a copy of the keys to `path`, beside `backup`, and remembers it for the next erasure.

        Raises:
            Unavailable: the store is full or away.
            OSError: the copy cannot be written.
        """
        with self._rows.writing():
            self._rows.run(
                "INSERT INTO copies VALUES (?, ?, ?, (SELECT count FROM erasures)) ON CONFLICT (path)"
                " DO UPDATE SET backup = excluded.backup, at = excluded.at, erasures = excluded.erasures",
                (str(path), str(backup), now),
            )
        self._copy(path)

    def refresh(self, now: int) -> Sequence[Copy]:
        """Writes the copies again that still hold what was erased since, and returns every copy that is known.

        A copy on the disk of another machine is written again by that machine, within the hour.
        """
        with self._rows.writing():
            self._rows.run("DELETE FROM erased WHERE at < ?", (now - REMEMBERED,))
        ((count,),) = self._rows.all("SELECT count FROM erasures")  # before any copy is written: one that is newer is no harm
        rows = self._rows.all("SELECT path, backup, at, erasures FROM copies ORDER BY path")
        return [
            Copy(path=path, backup=backup, at=at, fault=self._again(Path(path), count) if known < count else "")
            for path, backup, at, known in rows
        ]

    def copies(self) -> Sequence[Copy]:
        """Every copy that is known, and which of them are behind."""
        rows = self._rows.all("SELECT path, backup, at, erasures = (SELECT count FROM erasures) FROM copies")
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
            Unavailable: the store is full or away.
        """
        done = 0
        with self._rows.writing():
            for identifier, sealed in self._stale():
                try:
                    again = self._vault.anew("subject", sealed, identifier.encode())
                except Broken:  # damaged: it says so when somebody asks for its content
                    continue
                self._rows.run("UPDATE people SET sealed = ? WHERE id = ?", (again, identifier))
                done += 1
                if done >= limit:
                    break
        return done

    def forget_old_keys(self) -> None:
        """Leaves nothing in the files of the keys of what was sealed anew as it was before; `erase` says what a server keeps."""
        self._rows.wipe(PEOPLE)

    def close(self) -> None:
        self._rows.close()

    def _stale(self) -> Iterator[tuple[str, bytes]]:
        for page in self._pages():
            yield from ((row[0], row[2]) for row in page if self._vault.stale(row[2]))

    def _pages(self) -> Iterator[list[Row]]:
        """All rows of `people`, by id."""
        after = ""
        while rows := self._rows.all("SELECT * FROM people WHERE id > ? ORDER BY id LIMIT ?", (after, RESEALED)):
            yield rows
            after = rows[-1][0]

    def _row(self, digest: bytes) -> tuple[str, bytes] | None:
        row = self._rows.one("SELECT id, sealed FROM people WHERE digest = ?", (digest,))
        return None if row is None else (row[0], self._key(row[0], row[1]))

    def _key(self, identifier: str, sealed: bytes) -> bytes:
        return self._vault.open("subject", sealed, identifier.encode())[:KEY_BYTES]

    def _looked(self, name: str) -> Seen:
        return self._seen(self._digest(name))

    def _seen(self, digest: bytes) -> Seen:
        rows = self._rows.all(FOUND, (digest, digest))
        return [(identifier, b"" if sealed is None else self._key(identifier, sealed), at) for identifier, sealed, at in rows]

    def _known(self, digest: bytes, begun: int) -> tuple[str, bytes] | None:
        return _key_for(self._seen(digest), begun)

    def _made(self, name: str, begun: int, now: int) -> tuple[str, bytes]:
        with self._rows.writing():
            return self._kept(name, begun, now)

    def _kept(self, name: str, begun: int, now: int) -> tuple[str, bytes]:
        """As `_known`; made where nobody else was faster. Only inside `writing`, so that one key wins."""
        digest = self._digest(name)
        return self._known(digest, begun) or self._make(name, digest, now, os.urandom(KEY_BYTES))

    def _make(self, name: str, digest: bytes, now: int, key: bytes) -> tuple[str, bytes]:
        identifier = new_id("sub")
        sealed = self._vault.seal("subject", key + name.encode(errors="replace"), identifier.encode())
        self._rows.run("INSERT INTO people VALUES (?, ?, ?, ?)", (identifier, digest, sealed, now))
        return identifier, key

    def _again(self, path: Path, count: int) -> str:
        try:
            if not path.exists():
                return f"There is no {path.name} in {path.parent}{self._where}; if it was moved, delete it there."
            self._copy(path)
        except OSError as error:
            return f"It cannot be written: {error.strerror or error}."
        with self._rows.writing():
            self._rows.run("UPDATE copies SET erasures = ? WHERE path = ?", (count, str(path)))
        return ""

    def _copy(self, path: Path) -> None:
        """An SQLite file of the keys as they are now, wherever they lie: a restored home opens it as its own."""
        part = path.with_name(f".{path.name}.part")
        part.unlink(missing_ok=True)
        part.touch(mode=0o600)
        with self._rows.writing():
            try:
                self._fill(part)
            except sqlite3.Error as error:
                raise OSError(f"{path}: {error}") from error
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(path)

    def _fill(self, path: Path) -> None:
        with closing(sqlite3.connect(path)) as copy:
            copy.executescript(f"PRAGMA journal_mode=OFF; {SCHEMA} DELETE FROM erasures;")
            for page in self._pages():
                copy.executemany("INSERT INTO people VALUES (?, ?, ?, ?)", page)
            for table, marks in (("erased", "?, ?, ?"), ("erasures", "?, ?"), ("copies", "?, ?, ?, ?")):
                copy.executemany(f"INSERT INTO {table} VALUES ({marks})", self._rows.all(f"SELECT * FROM {table}"))
            copy.commit()

    def _adopt(self) -> None:
        """Takes over the rows of an earlier version, which held names in the clear."""
        if self._rows.one("SELECT 1 FROM sqlite_master WHERE name = 'subjects'") is None:
            return
        with self._rows.writing():
            for name, sealed, made_at in self._rows.all("SELECT subject, key, made_at FROM subjects"):
                digest = self._digest(name)
                if self._row(digest) is None:
                    self._make(name, digest, made_at, self._vault.open("subject", sealed, name.encode()))
            self._rows.run("DROP TABLE subjects")
        self._rows.wipe(PEOPLE)


def digester(vault: Vault) -> Callable[[str], bytes]:
    """How a subject is known without its name: the same on every machine of a platform, and to nobody without its root."""
    pepper = vault.derive("subjects")
    return lambda name: hmac.digest(pepper, name.encode(errors="surrogatepass"), "sha256")


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


def _piece(identifier: str, key: bytes, content: bytes) -> bytes:
    return identifier.encode() + b":" + _seal(key, identifier, content) if content and key else b""
