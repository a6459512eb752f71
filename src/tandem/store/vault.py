"""The master key: keys derived from it, and small secrets sealed under it. It knows no table and no network.

Derivation is HKDF-SHA256 (RFC 5869); sealing is AES-256-GCM (NIST SP 800-38D) with a random 96-bit
nonce and a key of its own per purpose, good for 2³² seals each.

    sealed = version (1 byte) | key fingerprint (4) | nonce (12) | ciphertext and tag
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tandem.core.errors import Broken, Invalid

VARIABLE = "TANDEM_MASTER_KEY"
KEY_FILE = "master.key"
MARK_FILE = "master.mark"
"""Holds the fingerprint of the key this home was sealed under, so that a lost key is noticed at the start."""
KEY_BYTES = 32
VERSION = b"\x01"
PRINT_BYTES, NONCE_BYTES, TAG_BYTES = 4, 12, 16
HEADER_BYTES = len(VERSION) + PRINT_BYTES
PURPOSES = 64
"""Purposes whose cipher is kept ready."""


class Vault:
    """Everything that is done with one master key.

    >>> vault = Vault(bytes(32))
    >>> vault.open("provider", vault.seal("provider", b"sk-1"))
    b'sk-1'
    """

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise Invalid(f"A master key has {KEY_BYTES} bytes, this one {len(key)}.", hint=_MAKE)
        self._key = key
        self._ciphers: dict[str, AESGCM] = {}
        self.fingerprint = self._expand("fingerprint")[:PRINT_BYTES].hex()
        """Tells keys apart without telling anything about them; may be printed."""

    @classmethod
    def load(cls, home: Path, environment: Mapping[str, str]) -> Vault:
        """The vault of a home: its key from `TANDEM_MASTER_KEY`, else from `master.key`, which the first start makes.

        Raises:
            Invalid: the key is malformed, or others than its owner may read the file.
            Broken: the key is lost, or is not the one this home was sealed under.
        """
        mark = home / MARK_FILE
        text = environment.get(VARIABLE, "").strip()
        if text:
            vault = cls(_decode(text, VARIABLE))
        else:
            path = home / KEY_FILE
            if not path.exists():
                if mark.exists():
                    raise Broken(
                        f"The master key is lost: {path} is missing, and what {home} holds is sealed under it.",
                        hint=f"Restore {path} from a backup, or set {VARIABLE}; without it what was sealed stays unreadable.",
                    )
                _create(path, base64.b64encode(os.urandom(KEY_BYTES)) + b"\n")
            vault = cls(_decode(_private(path), str(path)))
        if not mark.exists():
            _create(mark, vault.fingerprint.encode() + b"\n")
        known = mark.read_text().strip()
        if known != vault.fingerprint:
            raise Broken(
                f"The master key {vault.fingerprint} is not the one {home} was sealed under ({known}).",
                hint=f"Give the key with the fingerprint {known} by {VARIABLE} or {home / KEY_FILE}.",
            )
        return vault

    def derive(self, purpose: str) -> bytes:
        """32 bytes that belong to this purpose and tell nothing about the master key or other purposes."""
        return self._expand(f"derive:{purpose}")

    def seal(self, purpose: str, plaintext: bytes, aad: bytes = b"") -> bytes:
        """Encrypts and authenticates; `aad` is authenticated only, and must be given again to open."""
        header = VERSION + bytes.fromhex(self.fingerprint)
        nonce = os.urandom(NONCE_BYTES)
        return header + nonce + self._cipher(purpose).encrypt(nonce, plaintext, header + aad)

    def open(self, purpose: str, sealed: bytes, aad: bytes = b"") -> bytes:
        """What `seal` was given.

        Raises:
            Broken: it was sealed under another master key, for another purpose or `aad`, or was altered.
        """
        header, nonce = sealed[:HEADER_BYTES], sealed[HEADER_BYTES : HEADER_BYTES + NONCE_BYTES]
        if len(sealed) < HEADER_BYTES + NONCE_BYTES + TAG_BYTES or header[:1] != VERSION:
            raise Broken(
                "What was to be opened is not something this vault sealed.",
                hint="The row or file is damaged; restore it from a backup.",
            )
        if header[1:].hex() != self.fingerprint:
            raise Broken(
                f"This was sealed under the master key {header[1:].hex()}, but the vault has {self.fingerprint}.",
                hint=f"Give the right key by {VARIABLE} or {KEY_FILE}.",
            )
        try:
            return self._cipher(purpose).decrypt(nonce, sealed[HEADER_BYTES + NONCE_BYTES :], header + aad)
        except InvalidTag:
            raise Broken(
                f"What was sealed for '{purpose}' cannot be opened: it was altered, or belongs to something else.",
                hint="Restore it from a backup.",
            ) from None

    def _cipher(self, purpose: str) -> AESGCM:
        cipher = self._ciphers.get(purpose)
        if cipher is None:
            if len(self._ciphers) >= PURPOSES:
                self._ciphers.clear()
            cipher = self._ciphers[purpose] = AESGCM(self._expand(f"seal:{purpose}"))
        return cipher

    def _expand(self, info: str) -> bytes:
        return HKDF(SHA256(), KEY_BYTES, salt=b"tandem", info=info.encode()).derive(self._key)

    def __repr__(self) -> str:
        return f"Vault({self.fingerprint})"


def mac(key: bytes, *parts: bytes) -> bytes:
    """HMAC-SHA256 over parts, each preceded by its length, so that no two lists of parts look alike."""
    state = hmac.new(key, digestmod="sha256")
    for part in parts:
        state.update(len(part).to_bytes(8, "big"))
        state.update(part)
    return state.digest()


_MAKE = "Make one with: openssl rand -base64 32"


def _decode(text: str, source: str) -> bytes:
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise Invalid(f"{source} does not hold {KEY_BYTES} bytes in base64.", hint=_MAKE)
    return key


def _private(path: Path) -> str:
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        raise Invalid(f"Others may read the master key: {path} has the mode {mode:04o}.", hint=f"Run: chmod 600 {path}")
    return path.read_text().strip()


def _create(path: Path, content: bytes) -> None:
    # mkstemp makes it 0600; link fails where the file exists, so of two first starts one wins and both read its key.
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            pass
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        os.unlink(temporary)
