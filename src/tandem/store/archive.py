"""An archive of a directory: files in a tar, each with size and digest in a manifest that closes it. It knows no home.

The manifest is the last member and bears a MAC over everything, so an archive that was cut, changed or never
finished is not one. Databases come in as snapshots of one moment: a read transaction is opened on each before
any is copied (SQLite's write-ahead log keeps what they see), and what is copied is compacted, so that nothing of
deleted rows comes along.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import os
import sqlite3
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from tandem.core.errors import Invalid
from tandem.store.canonical import canonical
from tandem.store.vault import mac

MANIFEST = "MANIFEST.json"
VERSION = 1
CHUNK = 1 << 20
MANIFEST_BYTES = 256 * 1024 * 1024
PAGES = 2048
"""Pages of a database that are copied between two reports."""

Progress = Callable[[float, str], None]
"""(fraction between 0 and 1, what is going on) → nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One file of an archive."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What an archive holds and says of itself."""

    about: Mapping[str, object]
    members: Mapping[str, Member]

    @property
    def size(self) -> int:
        """Bytes of all members."""
        return sum(member.size for member in self.members.values())


class Snapshots:
    """Databases as they were at one moment, held open until they are copied."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._held = ExitStack()
        self._databases: dict[Path, sqlite3.Connection] = {}
        try:
            for path in paths:
                db = self._held.enter_context(closing(sqlite3.connect(path, isolation_level=None, timeout=10)))
                db.execute("BEGIN")
                db.execute("SELECT count(*) FROM sqlite_master").fetchone()
                self._databases[path] = db
        except BaseException:
            self._held.close()
            raise

    def copy(self, path: Path, target: Path) -> None:
        """Writes the database as it was to `target`, compacted."""
        with closing(sqlite3.connect(target, isolation_level=None)) as copied:
            self._databases[path].backup(copied, pages=PAGES)
            copied.execute("PRAGMA journal_mode=DELETE")
            copied.execute("VACUUM")

    def close(self) -> None:
        self._held.close()


class Packer:
    """Writes one archive, member after member; `close` writes the manifest."""

    def __init__(self, out: IO[bytes], key: bytes) -> None:
        self._tar = tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT)  # noqa: SIM115  # closed in `close`
        self._key = key
        self._members: dict[str, Member] = {}

    def add(self, name: str, path: Path) -> int:
        """Adds the file as it is now; returns its bytes. A file that grows meanwhile is taken as far as it was."""
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            counted = _Counted(file, size)
            info = tarfile.TarInfo(name)
            info.size, info.mode = size, 0o600
            self._tar.addfile(info, counted)
        self._members[name] = Member(size=size, sha256=counted.digest.hexdigest())
        return size

    def close(self, about: Mapping[str, object]) -> Manifest:
        """Writes the manifest and ends the archive."""
        manifest = Manifest(about=about, members=self._members)
        plain = _plain(manifest)
        text = json.dumps({**plain, "mac": _sign(self._key, plain)}).encode()
        info = tarfile.TarInfo(MANIFEST)
        info.size, info.mode = len(text), 0o600
        self._tar.addfile(info, io.BytesIO(text))
        self._tar.close()
        return manifest


class _Counted(io.RawIOBase):
    """Reads exactly `size` bytes of a file and digests them."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file, self._left = file, size
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        self.digest.update(data)
        return data


def unpack(archive: Path, target: Path, progress: Progress) -> tuple[Manifest, Callable[[bytes], bool]]:
    """Extracts an archive into the empty directory `target` and compares every member with the manifest.

    Returns:
        The manifest, and a test whether a key is the one it was written under.

    Raises:
        Invalid: it is no archive, was cut or changed, or holds something that has no place in one.
    """
    found: dict[str, Member] = {}
    closing_text: bytes | None = None
    total = max(1, archive.stat().st_size)
    try:
        with archive.open("rb") as file, tarfile.open(fileobj=file, mode="r|") as tar:
            for info in tar:
                if closing_text is not None:
                    raise _no_archive(archive, "something stands behind its manifest")
                source = tar.extractfile(info) if info.isreg() else None
                if source is None:
                    raise _no_archive(archive, f"'{info.name}' is no plain file")
                if info.name == MANIFEST:
                    closing_text = source.read(MANIFEST_BYTES)
                    continue
                if info.name in found:
                    raise _no_archive(archive, f"'{info.name}' stands twice")
                found[info.name] = _extract(source, target / _safe(archive, info.name))
                progress(min(1.0, file.tell() / total), info.name)
    except (tarfile.TarError, EOFError) as error:
        raise _no_archive(archive, str(error)) from None
    if closing_text is None:
        raise _no_archive(archive, "it was cut before its end")
    manifest, stated = _read(archive, closing_text)
    if found != dict(manifest.members):
        differing = sorted(name for name in {*found, *manifest.members} if found.get(name) != manifest.members.get(name))
        raise _no_archive(archive, f"{len(differing)} file(s) differ from the manifest, such as '{differing[0]}'")
    return manifest, lambda key: hmac.compare_digest(_sign(key, _plain(manifest)).encode(), stated.encode())


@contextmanager
def into_place(target: Path) -> Iterator[IO[bytes]]:
    """A file that becomes `target` when the block ends well, whole and on the disk, and is gone otherwise.

    A process that is killed meanwhile leaves a hidden `.part` beside it, which the next one overwrites.
    """
    part = target.with_name(f".{target.name}.part")
    handle = os.open(part, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(handle, "wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Brings the names in a directory to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _extract(source: IO[bytes], path: Path) -> Member:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    digest, size = hashlib.sha256(), 0
    with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as out:
        while data := source.read(CHUNK):
            out.write(data)
            digest.update(data)
            size += len(data)
        out.flush()
        os.fsync(out.fileno())
    return Member(size=size, sha256=digest.hexdigest())


def _safe(archive: Path, name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or not path.parts or ".." in path.parts or "\0" in name or str(path) != name:
        raise _no_archive(archive, f"'{name}' leads out of it")
    return path


def _read(archive: Path, text: bytes) -> tuple[Manifest, str]:
    try:
        told = json.loads(text)
        if told["version"] != VERSION:
            raise _no_archive(archive, f"it has the version {told['version']}, and this reads {VERSION}")
        members = {str(name): Member(size=int(row["size"]), sha256=str(row["sha256"])) for name, row in told["members"].items()}
        return Manifest(about=dict(told["about"]), members=members), str(told["mac"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise _no_archive(archive, "its manifest cannot be read") from None


def _plain(manifest: Manifest) -> dict[str, object]:
    members = {name: {"size": member.size, "sha256": member.sha256} for name, member in sorted(manifest.members.items())}
    return {"version": VERSION, "about": dict(manifest.about), "members": members}


def _sign(key: bytes, plain: Mapping[str, object]) -> str:
    return mac(key, b"archive", canonical(plain).encode()).hex()


def _no_archive(archive: Path, why: str) -> Invalid:
    return Invalid(f"{archive} is no whole backup: {why}.", hint="Nothing was put in place; give another backup.")
