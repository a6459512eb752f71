"""The master key: keys derived from it, and small secrets sealed under it. It knows no table and no network.

Derivation is HKDF-SHA256 (RFC 5869); sealing is AES-256-GCM (NIST SP 800-38D) with a random 96-bit
nonce and a key of its own per purpose, good for 2³² seals each.

    sealed = version (1 byte) | key fingerprint (4) | nonce (12) | ciphertext and tag

The key can be replaced (`rotate.py`). What is sealed is then sealed anew; what is derived stays, because
digests of keys and the audit's chain could not be made again: it comes from the root, which is the
first key of the home, and is kept sealed under the present one in `master.root`.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tandem.core.errors import Broken, Invalid

VARIABLE = "TANDEM_MASTER_KEY"
BEFORE_VARIABLE = "TANDEM_MASTER_KEY_BEFORE"
"""The key that `TANDEM_MASTER_KEY` takes the place of, until everything is sealed anew."""
KEY_FILE = "master.key"
"""The present key, and behind it, a line each, those that are still needed to open what is not sealed anew."""
ROOT_FILE = "master.root"
MARK_FILE = "master.mark"
"""Fingerprints of the key this home is sealed under and of its root, so that a lost key is noticed at the start."""
ROOT = "root"
"""The purpose under which the root is sealed."""
KEY_BYTES = 32
VERSION = b"\x01"
PRINT_BYTES, NONCE_BYTES, TAG_BYTES = 4, 12, 16
HEADER_BYTES = len(VERSION) + PRINT_BYTES
PURPOSES = 64
"""Purposes whose cipher is kept ready."""


class Vault:
    """Everything that is done with one master key, and with those before it while they are needed.

    >>> vault = Vault(bytes(32))
    >>> vault.open("provider", vault.seal("provider", b"sk-1"))
    b'sk-1'
    """

    def __init__(
        self,
        key: bytes,
        *,
        before: Sequence[bytes] = (),
        root: bytes | None = None,
        again: Callable[[], Vault | None] = lambda: None,
    ) -> None:
        """
        Args:
            before: earlier keys, which open and do not seal.
            root: what everything is derived from; None: the key itself.
            again: reads the keys anew, when something was sealed under one that is not known; None when nothing changed.
        """
        for each in (key, *before):
            if len(each) != KEY_BYTES:
                raise Invalid(f"A master key has {KEY_BYTES} bytes, this one {len(each)}.", hint=_MAKE)
        self._again, self._lock = again, threading.Lock()
        self._root = key if root is None else root
        self.root = fingerprint_of(self._root)
        self._ciphers: dict[tuple[str, str], AESGCM] = {}
        self._ring: dict[str, bytes] = {}
        self.fingerprint = ""
        """Tells keys apart without telling anything about them; may be printed."""
        self._take(key, before)

    @classmethod
    def load(cls, home: Path, environment: Mapping[str, str]) -> Vault:
        """The vault of a home: its key from `TANDEM_MASTER_KEY`, else from `master.key`, which the first start makes.

        Raises:
            Invalid: the key is malformed, or others than its owner may read the file.
            Broken: the key is lost, or is not the one this home was sealed under.
        """
        mark = home / MARK_FILE
        again: Callable[[], Vault | None] = _never
        if environment.get(VARIABLE, "").strip():
            keys = _given(environment)
        else:
            path = home / KEY_FILE
            if not path.exists():
                if mark.exists():
                    raise Broken(
                        f"The master key is lost: {path} is missing, and what {home} holds is sealed under it.",
                        hint=f"Restore {path} from a backup, or set {VARIABLE}; without it what was sealed stays unreadable.",
                    )
                _create(path, base64.b64encode(os.urandom(KEY_BYTES)) + b"\n")
            keys, again = key_lines(path), _watching(home, environment)
        prints = [fingerprint_of(key) for key in keys]
        if not mark.exists():
            _create(mark, f"{prints[0]}\n".encode())
        known, *rest = mark.read_text().split()
        if known not in prints:
            raise Broken(
                f"The master key {prints[0]} is not the one {home} was sealed under ({known}).",
                hint=f"Give the key with the fingerprint {known} by {VARIABLE} or {home / KEY_FILE}.",
            )
        root = _rooted(home, keys, rest[0] if rest else known)
        vault = cls(keys[0], before=keys[1:], root=root, again=again)
        if vault.fingerprint != known:  # it was replaced: the root is sealed under the new one before anything else is
            keep_root(home, vault)
            replace_file(mark, f"{vault.fingerprint} {vault.root}\n".encode())
        return vault

    @property
    def before(self) -> tuple[str, ...]:
        """Fingerprints of the earlier keys that are still known."""
        return tuple(print for print in self._ring if print != self.fingerprint)

    def take(self, other: Vault) -> None:
        """Becomes another vault of the same home, in place: whoever holds this one seals under the other's key from now on."""
        if other.root != self.root:
            raise Broken("That is the vault of another home.")
        self._take(other._ring[other.fingerprint], [other._ring[print] for print in other.before])

    def stale(self, sealed: bytes) -> bool:
        """Whether this was sealed under another key than the present one."""
        return sealed[len(VERSION) : HEADER_BYTES].hex() != self.fingerprint

    def anew(self, purpose: str, sealed: bytes, aad: bytes = b"") -> bytes:
        """The same, sealed under the present key.

        Raises:
            Broken: as `open`.
        """
        return self.seal(purpose, self.open(purpose, sealed, aad), aad)

    def forget(self) -> None:
        """Lets go of the earlier keys."""
        self._take(self._ring[self.fingerprint], ())

    def reveal_root(self) -> bytes:
        """What everything is derived from; for the vault that takes this one's place."""
        return self._root

    def sealed_root(self) -> bytes:
        """The root, sealed under the present key."""
        return self.seal(ROOT, self._root)

    def _take(self, key: bytes, before: Iterable[bytes]) -> None:
        ring = {fingerprint_of(each): each for each in (key, *before)}
        with self._lock:
            self._ring = ring
            self.fingerprint = fingerprint_of(key)
            self._ciphers = {name: cipher for name, cipher in self._ciphers.items() if name[0] in ring}

    def derive(self, purpose: str) -> bytes:
        """32 bytes that belong to this purpose and tell nothing about the master key or other purposes."""
        return _expand(self._root, f"derive:{purpose}")

    def seal(self, purpose: str, plaintext: bytes, aad: bytes = b"") -> bytes:
        """Encrypts and authenticates; `aad` is authenticated only, and must be given again to open."""
        print = self.fingerprint
        header = VERSION + bytes.fromhex(print)
        nonce = os.urandom(NONCE_BYTES)
        return header + nonce + self._cipher(print, purpose).encrypt(nonce, plaintext, header + aad)

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
        print = header[1:].hex()
        if print not in self._ring and (found := self._again()) is not None:  # the key was replaced by another process
            self.take(found)
        if print not in self._ring:
            raise Broken(
                f"This was sealed under the master key {print}, but the vault has {self.fingerprint}.",
                hint=f"Give the right key by {VARIABLE} or {KEY_FILE}.",
            )
        try:
            return self._cipher(print, purpose).decrypt(nonce, sealed[HEADER_BYTES + NONCE_BYTES :], header + aad)
        except InvalidTag:
            raise Broken(
                f"What was sealed for '{purpose}' cannot be opened: it was altered, or belongs to something else.",
                hint="Restore it from a backup.",
            ) from None

    def _cipher(self, print: str, purpose: str) -> AESGCM:
        cipher = self._ciphers.get((print, purpose))
        if cipher is None:
            key = self._ring.get(print)
            if key is None:  # it was let go of between two lines
                raise Broken(f"The master key {print} is no more.", hint="Try again.")
            if len(self._ciphers) >= PURPOSES:
                self._ciphers.clear()
            cipher = self._ciphers[(print, purpose)] = AESGCM(_expand(key, f"seal:{purpose}"))
        return cipher

    def __repr__(self) -> str:
        return f"Vault({self.fingerprint})"


def mac(key: bytes, *parts: bytes) -> bytes:
    """HMAC-SHA256 over parts, each preceded by its length, so that no two lists of parts look alike."""
    state = hmac.new(key, digestmod="sha256")
    for part in parts:
        state.update(len(part).to_bytes(8, "big"))
        state.update(part)
    return state.digest()


def fingerprint_of(key: bytes) -> str:
    """What tells a key apart from others and nothing about it."""
    return _expand(key, "fingerprint")[:PRINT_BYTES].hex()


def key_lines(path: Path) -> list[bytes]:
    """The keys of a file that its owner alone may read, the present one first.

    Raises:
        Invalid: others may read it, or it holds no keys.
    """
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        raise Invalid(f"Others may read the master key: {path} has the mode {mode:04o}.", hint=f"Run: chmod 600 {path}")
    return [_decode(line, str(path)) for line in path.read_text().split() or [""]]


def keep_root(home: Path, vault: Vault, *, alone: bool = False) -> None:
    """Keeps the root sealed under the vault's key, beside what there is unless `alone`."""
    path = home / ROOT_FILE
    lines = [] if alone or not path.exists() else path.read_text().split()
    if not any(not vault.stale(_bytes(line)) for line in lines):
        lines = [vault.sealed_root().hex(), *lines]
    replace_file(path, "".join(f"{line}\n" for line in lines).encode())


def replace_file(path: Path, content: bytes) -> None:
    """Puts a file of this content, which its owner alone may read, in the place of what there is; all of it or nothing."""
    temporary = _written(path, content)
    os.replace(temporary, path)
    _sync(path.parent)


def _expand(key: bytes, info: str) -> bytes:
    return HKDF(SHA256(), KEY_BYTES, salt=b"tandem", info=info.encode()).derive(key)


def _never() -> None:
    return None


def _watching(home: Path, environment: Mapping[str, str]) -> Callable[[], Vault | None]:
    """Reads the keys of a home anew, once for each time that their file was replaced."""
    path = home / KEY_FILE
    seen = [_stamp(path)]

    def again() -> Vault | None:
        now = _stamp(path)
        if now == seen[0]:
            return None
        seen[0] = now
        return Vault.load(home, environment)

    return again


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        told = path.stat()
    except OSError:
        return None
    return told.st_mtime_ns, told.st_ino


def _given(environment: Mapping[str, str]) -> list[bytes]:
    names = [name for name in (VARIABLE, BEFORE_VARIABLE) if environment.get(name, "").strip()]
    return [_decode(environment[name].strip(), name) for name in names]


def _rooted(home: Path, keys: Sequence[bytes], print: str) -> bytes:
    """The root of that fingerprint: one of the keys, or what `master.root` holds sealed under one of them.

    Raises:
        Broken: it is lost.
    """
    for key in keys:
        if fingerprint_of(key) == print:
            return key
    path = home / ROOT_FILE
    for line in path.read_text().split() if path.exists() else ():
        for key in keys:
            try:
                root = Vault(key).open(ROOT, _bytes(line))
            except Broken:
                continue
            if fingerprint_of(root) == print:
                return root
    raise Broken(
        f"The root of the home is lost: {path} is missing, or holds none that the master key opens.",
        hint=f"Restore {path} from a backup; without it no key and no audit can be verified.",
    )


def _bytes(line: str) -> bytes:
    try:
        return bytes.fromhex(line)
    except ValueError:
        return b""


_MAKE = "Make one with: openssl rand -base64 32"


def _decode(text: str, source: str) -> bytes:
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise Invalid(f"{source} does not hold {KEY_BYTES} bytes in base64.", hint=_MAKE)
    return key


def _create(path: Path, content: bytes) -> None:
    # link fails where the file exists, so of two first starts one wins and both read its key.
    temporary = _written(path, content)
    try:
        try:
            os.link(temporary, path)
        except FileExistsError:
            pass
        _sync(path.parent)
    finally:
        os.unlink(temporary)


def _written(path: Path, content: bytes) -> str:
    # mkstemp makes it 0600.
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    return temporary


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
