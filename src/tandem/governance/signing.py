"""The audit's signature: what anybody can verify who has the public key. It knows no table.

Each row carries the SHA-256 of the hash before it and of itself; heads of that chain are signed with
Ed25519 (RFC 8032). The private key is derived in the vault and never leaves it. `tandem_audit.py`
verifies the same from outside, in one file; tests keep both equal.
"""

from __future__ import annotations

import base64
import hashlib

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tandem.store.canonical import canonical
from tandem.store.vault import Vault

PURPOSE = "audit-signing"
ROW, HEAD, EXPORT = b"tandem-audit-row-1\n", b"tandem-audit-head-1\n", b"tandem-audit-export-1\n"
START = "0" * 64
"""The hash before the first row."""
CHECKPOINT = "audit.checkpoint"
EVERY = 100
"""Rows between two checkpoints."""


def row_hash(before: str, seq: int, at: int, actor: str, team: str, action: str, subject: str, detail: str) -> str:
    """The hash of a row of the audit, after the one before it."""
    row = canonical([seq, at, actor, team, action, subject, detail]).encode()
    return hashlib.sha256(ROW + bytes.fromhex(before) + row).hexdigest()


class Signer:
    """Signs with the home's own key."""

    def __init__(self, vault: Vault) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(vault.derive(PURPOSE))
        raw = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.public = "ed25519:" + base64.b64encode(raw).decode()
        """The public key, as `tandem audit key` shows it."""
        self.fingerprint = hashlib.sha256(raw).hexdigest()[:16]

    def head(self, entries: int, last: str) -> str:
        """The signature of the chain up to a row, in hex."""
        return self._key.sign(HEAD + canonical({"entries": entries, "hash": last}).encode()).hex()

    def export(self, end: dict[str, object]) -> str:
        """The signature of an export's last line, in hex."""
        return self._key.sign(EXPORT + canonical(end).encode()).hex()
