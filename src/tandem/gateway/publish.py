"""Writes the replica that doors read: one transaction for the snapshot and the key feed."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import msgspec

from tandem.core.principal import Principal
from tandem.gateway.snapshot import SCHEMA, Snapshot
from tandem.store.room import transaction, translated

REPLICA = "The policy for the doors"


class Publisher:
    """The only writer of `replica.db`; runs in the control process."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, timeout=5, check_same_thread=False)
        with translated(REPLICA):
            self._db.executescript(SCHEMA)

    def key_version(self) -> int:
        """The version of the key feed that the replica holds."""
        row = self._db.execute("SELECT max(version) FROM keys").fetchone()
        return int(row[0] or 0)

    def snapshot_version(self) -> int:
        row = self._db.execute("SELECT version FROM snapshot").fetchone()
        return int(row[0]) if row else 0

    def write(self, snapshot: Snapshot | None, version: int, keys: Sequence[tuple[bytes, Principal | None]]) -> None:
        """Swaps in a snapshot and applies key changes of the feed's `version`, together.

        A revoked key stays as a row without body, so that workers which hold it learn of it.

        Raises:
            Unavailable: the disk is full, or somebody else holds the file.
        """
        with transaction(self._db, REPLICA):
            if snapshot is not None:
                body = msgspec.msgpack.encode(snapshot)
                self._db.execute("INSERT OR REPLACE INTO snapshot VALUES (1, ?, ?)", (snapshot.version, body))
            for digest, principal in keys:
                who = None if principal is None else msgspec.msgpack.encode(principal)
                self._db.execute("INSERT OR REPLACE INTO keys VALUES (?, ?, ?)", (digest, version, who))

    def beat(self, at: int) -> None:
        """Says that control lives and has nothing newer."""
        with translated(REPLICA):
            self._db.execute("INSERT OR REPLACE INTO beat VALUES (1, ?)", (at,))

    def close(self) -> None:
        self._db.close()
