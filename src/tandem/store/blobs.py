"""Content-addressed files: `blobs/sha256/ab/cdef…`. A blob is written whole or not at all, and never changes.

It knows digests, not what the bytes mean nor who refers to them. Identity: SHA-256 (FIPS 180-4).
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from tandem.core.errors import Broken, Conflict, Invalid

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
CHUNK = 1 << 20
"""Bytes read at a time."""
GRACE_SECONDS = 3600.0
"""A younger blob may belong to a version that is being published at this moment."""


def digest_of(data: bytes) -> str:
    """The blob digest of bytes.

    >>> digest_of(b"")
    'sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'
    """
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def check_member(name: str) -> str:
    """The name itself if it can name a file inside a version: a relative path without `..`.

    Raises:
        Invalid: it cannot.
    """
    parts = name.split("/")
    plain = name.isprintable() and "\\" not in name and ":" not in name and len(name.encode(errors="replace")) <= 255
    if not plain or any(part in ("", ".", "..") for part in parts):
        raise Invalid(
            f"{name!r} cannot name a file of a version.", hint="Use a relative path such as model.onnx or data/part-0.parquet."
        )
    return name


class Blobs:
    """The files under one root directory."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._files = root / "sha256"
        self._temporary = root / "tmp"

    def put(self, data: bytes | Path) -> str:
        """Keeps the bytes, or a copy of the file, and returns `sha256:…`; the same content twice is one file.

        When it returns, the file and its name are on the disk (fsync of both).

        Raises:
            Invalid: the path is not a readable file.
        """
        self._temporary.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self._temporary)
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as out:
                digest = _write(data, out)
                out.flush()
                os.fsync(out.fileno())
            temporary.chmod(0o444)
            final = self.path(digest)
            made = not final.parent.exists()
            final.parent.mkdir(parents=True, exist_ok=True)
            # Also over a file that is there: it renews the age that `sweep` looks at, and heals a damaged one.
            temporary.replace(final)
            _sync_folder(final.parent)
            if made:
                _sync_folder(self._files)
                _sync_folder(self._root)
        finally:
            temporary.unlink(missing_ok=True)
        return digest

    def path(self, digest: str) -> Path:
        """Where a blob is, or would be.

        Raises:
            Invalid: the text is no blob digest.
        """
        if not DIGEST.fullmatch(digest):
            raise Invalid(f"'{digest[:80]}' is not a blob digest.", hint="Digests look like sha256: and 64 hexadecimal digits.")
        hexadecimal = digest.removeprefix("sha256:")
        return self._files / hexadecimal[:2] / hexadecimal[2:]

    def read(self, digest: str) -> bytes:
        """The bytes of a blob, after their digest was compared.

        Raises:
            Broken: the file is gone or its content has changed; the message names it.
        """
        path = self.path(digest)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise _lost(path) from None
        if digest_of(data) != digest:
            raise _damaged(path)
        return data

    def materialise(self, members: Mapping[str, str], target: Path) -> Path:
        """Puts blobs under their names into the directory `target`, all of them or none.

        Files are hard links where the file system allows it, so they must not be written to. A
        directory that is there already and holds exactly these files is left as it is.

        Args:
            members: file name (relative, with `/`) → blob digest.
            target: the directory to make; its parent must exist.

        Raises:
            Broken: a blob is gone or damaged.
            Conflict: `target` exists and holds something else.
            Invalid: a member's name leads out of the directory, or clashes with another.
        """
        check_members(members)
        if target.exists():
            return self._same(members, target)
        building = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        try:
            for name, digest in sorted(members.items()):
                self._place(digest, building / name)
            for folder in {building, *(inner.parent for inner in building.rglob("*"))}:
                _sync_folder(folder)
            building.chmod(0o755)
            try:
                building.rename(target)
            except OSError:
                if not target.exists():
                    raise
                return self._same(members, target)  # another process was first
            _sync_folder(target.parent)
        finally:
            shutil.rmtree(building, ignore_errors=True)
        return target

    def sweep(self, live: set[str], *, grace: float = GRACE_SECONDS) -> tuple[str, ...]:
        """Deletes the blobs that nobody refers to and returns their digests.

        Args:
            live: every digest that a version refers to.
            grace: seconds; what was written since is spared, because its version may be about to commit.
        """
        before = time.time() - grace  # the file system's clock, which wrote the ages
        for leftover in self._temporary.glob("*"):
            if _older(leftover, before):
                leftover.unlink(missing_ok=True)
        swept = []
        for path in sorted(self._files.glob("??/*")):
            digest = f"sha256:{path.parent.name}{path.name}"
            if digest not in live and _older(path, before):
                path.unlink(missing_ok=True)
                swept.append(digest)
        return tuple(swept)

    def _place(self, digest: str, final: Path) -> None:
        source = self.path(digest)
        final.parent.mkdir(parents=True, exist_ok=True)
        if not source.exists():
            raise _lost(source)
        try:
            os.link(source, final)
        except OSError:  # another file system, or one without hard links
            shutil.copyfile(source, final)
            final.chmod(0o444)
            with final.open("rb") as copied:
                os.fsync(copied.fileno())
        if _digest_of_file(final) != digest:
            raise _damaged(source)

    def _same(self, members: Mapping[str, str], target: Path) -> Path:
        found = {str(path.relative_to(target)): path for path in target.rglob("*") if not path.is_dir()}
        if set(found) != set(members) or any(_digest_of_file(found[name]) != digest for name, digest in members.items()):
            raise Conflict(f"{target} exists and holds something else.", hint="Remove it, or choose another directory.")
        return target


def check_members(members: Mapping[str, object]) -> None:
    """Looks at the names of a version's files together.

    Raises:
        Invalid: a name cannot be a member, or one is the directory of another.
    """
    for name in members:
        check_member(name)
        for parent in PurePosixPath(name).parents:
            if str(parent) in members:
                raise Invalid(f"'{parent}' is both a file and the directory of '{name}'.", hint="Rename one of them.")


def _write(data: bytes | Path, out: BinaryIO) -> str:
    if isinstance(data, bytes):
        out.write(data)
        return digest_of(data)
    state = hashlib.sha256()
    try:
        with data.open("rb") as source:
            while chunk := source.read(CHUNK):
                state.update(chunk)
                out.write(chunk)
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise Invalid(f"{data} cannot be read: {error.strerror}.", hint="Name a file that exists and is readable.") from None
    return f"sha256:{state.hexdigest()}"


def _digest_of_file(path: Path) -> str:
    with path.open("rb") as source:
        return f"sha256:{hashlib.file_digest(source, 'sha256').hexdigest()}"


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _older(path: Path, before: float) -> bool:
    try:
        return path.stat().st_mtime <= before
    except FileNotFoundError:
        return False


def _lost(path: Path) -> Broken:
    return Broken(f"The blob {path} is missing.", hint="Restore the file from a backup; its name is its SHA-256.")


def _damaged(path: Path) -> Broken:
    return Broken(
        f"The blob {path} is damaged: its content no longer has the digest it is named by.",
        hint="Restore the file from a backup, or publish the same content again.",
    )
