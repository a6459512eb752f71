"""Answers that are given again: to the same question of the same team, at the same endpoint, under the same policy.

One SQLite file for all workers of a home; what it holds is encrypted, ends by its own time, is bounded in bytes, and can be
lost without harm. Erasing a subject deletes its answers and keeps those of calls that are still under way from coming in.
It knows no wire: what a caller was sent is kept and sent again.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

import msgspec

from tandem.core.clock import MICROS, Clock
from tandem.core.errors import Broken
from tandem.gateway.asked import Fields, Headers, Prompted, Reply
from tandem.gateway.call import Call
from tandem.gateway.guard import Guarding
from tandem.gateway.routing.when import names
from tandem.gateway.translate import DROPPED
from tandem.observability.content import digester
from tandem.store.vault import Vault

PURPOSE = "cache"
LARGEST = 1024 * 1024
"""Bytes of an answer that is kept."""
ROOM = 256 * 1024 * 1024
"""Bytes that all answers of a home may take; the oldest go first."""
SWEEP = 64
"""Answers that are kept between two looks at what is over."""
WAITING = 256
"""Answers that wait to be written; beyond them none is kept."""
OF_THE_TRACE = frozenset({b"traceparent", b"tracestate"})
ATTEMPTS, PAUSE_SECONDS = 20, 0.02
"""How often, and how soon after each other, a file is opened that somebody else is making."""
SCHEMA = """
PRAGMA journal_mode=WAL;
PRAGMA synchronous=OFF;
PRAGMA secure_delete=ON;
PRAGMA busy_timeout=2000;
DROP TABLE IF EXISTS answers;
CREATE TABLE IF NOT EXISTS kept (
    key BLOB PRIMARY KEY, subject BLOB NOT NULL,
    at INTEGER NOT NULL, until INTEGER NOT NULL,
    size INTEGER NOT NULL, sealed BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS kept_by_subject ON kept (subject);
CREATE INDEX IF NOT EXISTS kept_by_age ON kept (at);
CREATE TABLE IF NOT EXISTS forgotten (subject BLOB PRIMARY KEY, at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
"""


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """An answer as it can be given again."""

    content_type: bytes
    said: bytes
    """What the caller was sent."""
    recorded: bytes
    """The same as it is kept in traces."""
    trace: str
    """Of the call that was answered first."""
    at: int
    cost: int | None
    """Nano-dollars that it did cost."""
    dropped: bytes = b""
    """Fields of the question that the provider had no place for."""


_kept = msgspec.msgpack.Decoder(Kept)


class Cache:
    """The answers of one home, as one process sees them."""

    def __init__(self, path: Path, vault: Vault, clock: Clock) -> None:
        self._path, self._vault, self._clock = path, vault, clock
        self._digest = digester(vault)
        self._reads: sqlite3.Connection | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="cache")
        self._writes: sqlite3.Connection | None = None
        self._since = 0
        self._waiting = 0

    def find(self, key: bytes) -> Kept | None:
        """The answer to a question, if there is one that is not over."""
        try:
            db = self._reads = self._reads or _open(self._path)
            row = db.execute("SELECT until, sealed FROM kept WHERE key = ?", (key,)).fetchone()
        except sqlite3.Error:  # a cache that cannot be read is an empty one
            return None
        if row is None or row[0] <= self._clock.now():
            return None
        try:
            return _kept.decode(self._vault.open(PURPOSE, row[1], key))
        except (Broken, msgspec.DecodeError):
            return None

    def keep(self, key: bytes, subject: str, kept: Kept, *, begun: int, seconds: int) -> None:
        """Keeps an answer, beside the event loop; one too many is not kept.

        Args:
            subject: whose it is: the end user, or `principal:NAME`.
            begun: when its call was begun, UTC microseconds.
        """
        if self._waiting < WAITING:
            self._waiting += 1
            self._thread.submit(self._keep, key, self._digest(subject), kept, begun, seconds)

    def erase(self, subject: str) -> int:
        """Deletes the answers of a subject, and those of its calls that are under way when they come; how many there were.

        Raises:
            sqlite3.Error: they cannot be deleted.
        """
        return self.forget(self._digest(subject), self._clock.now())

    def forget(self, digest: bytes, at: int) -> int:
        """As `erase`, of the subject of this digest, that was erased at this UTC time (microseconds).

        Raises:
            sqlite3.Error: they cannot be deleted.
        """
        db = _open(self._path)
        try:
            db.execute("BEGIN IMMEDIATE")
            db.execute("INSERT OR REPLACE INTO forgotten VALUES (?, ?)", (digest, at))
            count = db.execute("DELETE FROM kept WHERE subject = ?", (digest,)).rowcount
            db.execute("COMMIT")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            db.close()
        return count

    def close(self) -> None:
        self._thread.shutdown(wait=True)
        for db in (self._reads, self._writes):
            if db is not None:
                db.close()

    def _keep(self, key: bytes, subject: bytes, kept: Kept, begun: int, seconds: int) -> None:
        self._waiting -= 1
        with suppress(sqlite3.Error):  # a full or locked disk costs an answer that is asked for again
            db = self._writes = self._writes or _open(self._path)
            sealed = self._vault.seal(PURPOSE, msgspec.msgpack.encode(kept), key)
            db.execute(
                "INSERT OR REPLACE INTO kept SELECT ?, ?, ?, ?, ?, ?"
                " WHERE NOT EXISTS (SELECT 1 FROM forgotten WHERE subject = ? AND at >= ?)",
                (key, subject, kept.at, kept.at + seconds * MICROS, len(sealed), sealed, subject, begun),
            )
            self._since += 1
            if self._since >= SWEEP:
                self._since = 0
                self._sweep(db)

    def _sweep(self, db: sqlite3.Connection) -> None:
        """Deletes what is over, and the oldest where there is too much."""
        db.execute("DELETE FROM kept WHERE until <= ?", (self._clock.now(),))
        (size,) = db.execute("SELECT coalesce(sum(size), 0) FROM kept").fetchone()
        while size > ROOM:
            rows = db.execute("SELECT key, size FROM kept ORDER BY at LIMIT 256").fetchall()
            db.executemany("DELETE FROM kept WHERE key = ?", [(key,) for key, _ in rows])
            size -= sum(each for _, each in rows)


class Teed:
    """A reply that remembers what the caller was sent, up to a bound."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._pieces: list[bytes] = []
        self._size = 0
        self.content_type = b""
        self.dropped = b""
        self.ended = False

    @property
    def said(self) -> bytes | None:
        """All of it; None where it was too much, or did not end."""
        return b"".join(self._pieces) if self.ended and self._size <= LARGEST else None

    def send(self, status: int, headers: Headers, body: bytes = b"") -> None:
        self._head(status, headers)
        self._add(body)
        self.ended = status == 200
        self._reply.send(status, headers, body)

    def begin(self, status: int, headers: Headers) -> None:
        self._head(status, headers)
        self._reply.begin(status, headers)

    def write(self, data: bytes) -> None:
        self._add(data)
        self._reply.write(data)

    async def drain(self) -> None:
        await self._reply.drain()

    def end(self) -> None:
        self.ended = True
        self._reply.end()

    def _head(self, status: int, headers: Headers) -> None:
        told = dict(headers)
        self.content_type, self.dropped = told.get(b"content-type", b"application/json"), told.get(DROPPED, b"")

    def _add(self, data: bytes) -> None:
        self._size += len(data)
        if self._size <= LARGEST:
            self._pieces.append(data)


def key_of(call: Call, asked: Prompted, body: bytes, guards: Guarding | None) -> bytes:
    """What makes two questions the same: team, endpoint with its route and bounds, policy version, end user, wire, every byte.

    Args:
        body: as the caller sent it: what guards have masked in it may be another secret each time.
    """
    assert call.principal is not None
    assert call.endpoint is not None
    by_caller = any(name.startswith("principal.") for target in call.endpoint.route for name in names(target.when))
    own: Fields = tuple(pair for pair in asked.headers if pair[0] not in OF_THE_TRACE)
    told = (
        call.principal.org,
        call.principal.team,
        call.principal.id if by_caller else "",
        call.endpoint,
        "" if guards is None else guards.ref,
        call.subject,
        asked.verb,
        asked.dialect,
        own,
        body,
    )
    return blake2b(msgspec.msgpack.encode(told), digest_size=32).digest()


def subject_of(call: Call) -> str:
    """Whose answer it is, as traces keep it."""
    assert call.principal is not None
    return call.subject or f"principal:{call.principal.name}"


async def give(call: Call, kept: Kept, reply: Reply) -> None:
    """Answers a call with a kept answer: admitted, recorded, at its true cost, which is nothing.

    Raises:
        RateLimited: a limit of calls has no room.
    """
    now = call.door.clock.now()
    if call.admit(0, 0, ()):
        await call.reserve()
    call.answered_before = True
    call.stage("cache", now)
    call.attributes["tandem.cache"] = _told(kept)
    call.keep(kept.recorded)
    call.close("ok", 200)
    age = max(0, (now - kept.at) // MICROS)
    headers: Headers = [
        (b"content-type", kept.content_type),
        (b"x-tandem-trace-id", call.trace.encode()),
        (b"x-tandem-cache", b"hit"),
        (b"age", b"%d" % age),
    ]
    if kept.dropped:
        headers.append((DROPPED, kept.dropped))
    if kept.content_type.startswith(b"text/event-stream"):
        reply.begin(200, headers)
        reply.write(kept.said)
        reply.end()
    else:
        reply.send(200, headers, kept.said)


def _told(kept: Kept) -> Mapping[str, object]:
    return {"from": kept.trace, "saved_nano_usd": kept.cost}


def take(call: Call, teed: Teed) -> Kept | None:
    """The answer of a call that went well, as it can be given again; None where it did not."""
    said = teed.said
    if said is None or not call.attempts or call.attempts[-1].outcome != "ok":
        return None
    costs = [attempt.cost for attempt in call.attempts]
    return Kept(
        content_type=teed.content_type,
        said=said,
        recorded=b"".join(call.answer),
        trace=call.trace,
        at=call.door.clock.now(),
        cost=None if None in costs else sum(cost or 0 for cost in costs),
        dropped=teed.dropped,
    )


def _open(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, timeout=2, check_same_thread=False)
    for left in range(ATTEMPTS, -1, -1):
        try:
            db.executescript(SCHEMA)
            break
        except sqlite3.OperationalError:  # several processes make it at once; SQLite does not wait for that by itself
            if not left:
                db.close()
                raise
            time.sleep(PAUSE_SECONDS)
    return db
