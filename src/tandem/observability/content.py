"""What people wrote and were answered, kept apart from the records and encrypted per subject.

A subject is the end user that a call names, else the calling principal. Its key is random, sealed
under the platform's master key and stored once; deleting that row makes every copy of the subject's
content unreadable, wherever it lies.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tandem.store.room import translated

NONCE = 12


class Vault(Protocol):
    """The part of `store.vault.Vault` that is needed here."""

    def derive(self, purpose: str) -> bytes: ...
    def seal(self, purpose: str, plaintext: bytes, aad: bytes = b"") -> bytes: ...
    def open(self, purpose: str, sealed: bytes, aad: bytes = b"") -> bytes: ...


class SegmentSeal:
    """Seals content inside one journal segment, so that nothing readable ever touches the disk."""

    def __init__(self, vault: Vault, segment: str) -> None:
        self._cipher = AESGCM(vault.derive(f"journal:{segment}"))

    def seal(self, content: bytes) -> bytes:
        nonce = os.urandom(NONCE)
        return nonce + self._cipher.encrypt(nonce, content, None)

    def open(self, sealed: bytes) -> bytes:
        return self._cipher.decrypt(sealed[:NONCE], sealed[NONCE:], None)


class Subjects:
    """The keys of the subjects; used by the control process only."""

    def __init__(self, path: Path, vault: Vault) -> None:
        self._vault = vault
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.executescript(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA secure_delete=ON; PRAGMA busy_timeout=10000;"
            "CREATE TABLE IF NOT EXISTS subjects (subject TEXT PRIMARY KEY, key BLOB NOT NULL, made_at INTEGER NOT NULL) STRICT;"
        )

    def _key(self, subject: str, *, make_at: int | None) -> bytes | None:
        with self._lock:
            row = self._db.execute("SELECT key FROM subjects WHERE subject = ?", (subject,)).fetchone()
            if row is not None:
                return self._vault.open("subject", row[0], subject.encode())
            if make_at is None:
                return None
            key = os.urandom(32)
            sealed = self._vault.seal("subject", key, subject.encode())
            with translated("The keys of the subjects"):
                self._db.execute("INSERT INTO subjects VALUES (?, ?, ?)", (subject, sealed, make_at))
            return key

    def seal(self, subject: str, content: bytes, now: int) -> bytes:
        """Encrypts content under the subject's key, which is made when there is none."""
        key = self._key(subject, make_at=now)
        assert key is not None
        nonce = os.urandom(NONCE)
        return nonce + AESGCM(key).encrypt(nonce, content, subject.encode())

    def open(self, subject: str, sealed: bytes) -> bytes | None:
        """The content, or None when the subject was erased."""
        key = self._key(subject, make_at=None)
        if key is None:
            return None
        try:
            return AESGCM(key).decrypt(sealed[:NONCE], sealed[NONCE:], subject.encode())
        except InvalidTag:  # sealed under an earlier key of a subject that was erased and came back
            return None

    def erase(self, subject: str) -> bool:
        """Deletes the subject's key; True when there was one."""
        with self._lock, translated("The keys of the subjects"):
            return self._db.execute("DELETE FROM subjects WHERE subject = ?", (subject,)).rowcount > 0

    def close(self) -> None:
        self._db.close()
