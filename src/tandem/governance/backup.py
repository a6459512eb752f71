"""A home as one file, while it lives. It knows what a home consists of, and no wire.

All databases are copied as they were at one moment between two passes of the mover, so that trace store and
books agree. Files are copied after that moment: they are written before a row names them and never changed, so
every row finds its file. The audit's anchor is copied before it, since it may lag behind its chain and not lead.

Never in a backup: the keys of the subjects, which lie beside it in a file of their own that every erasure
writes again; the journal, which holds content until it is moved; and, unless asked for, the master key.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tandem import __version__
from tandem.core.clock import Clock
from tandem.core.errors import Conflict, Invalid, NotFound
from tandem.governance.ledger import Ledger
from tandem.observability.content import Subjects
from tandem.observability.move import LOCK, Mover, between_passes
from tandem.observability.traces import Traces
from tandem.store.archive import Packer, Progress, Snapshots, into_place, sync_folder
from tandem.store.vault import KEY_FILE, Vault

PURPOSE = "backup"
ANCHOR = "audit.head"
CONTROL = "control.db"
SUBJECTS = "subjects.db"
APART = frozenset({"journal", "work", "served", "steps", "online", "replica.db", "cache.db", SUBJECTS, LOCK})
"""What is not copied: records under way, what is computed anew, and what lies apart."""
PASSING = (".lock", ".sock", ".part", "-wal", "-shm", "-journal", ".log", ".pid")
DELTA_LOG = "_delta_log"


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """A backup that was made."""

    path: str
    keys: str
    """The file with the keys of the subjects, which a restore needs beside it."""
    files: int
    size: int
    """Bytes of all files."""
    at: int
    """The moment it shows, UTC microseconds."""
    with_key: bool
    """Whether it holds the master key."""


def keys_beside(archive: Path, fingerprint: str) -> Path:
    """Where the keys of the subjects lie for the backups in one directory; the fingerprint tells homes apart."""
    return archive.with_name(f"subjects-{fingerprint}.keys")


def back_up(home: Path, target: Path, vault: Vault, clock: Clock, *, with_key: bool, progress: Progress) -> Backup:
    """Copies a home to the file `target`, which is there whole or not at all, and its subjects' keys beside it.

    Args:
        target: a file; an existing one is replaced.
        with_key: whether the master key goes in too.

    Raises:
        NotFound: there is no home.
        Invalid: the target lies inside the home.
        Conflict: another backup is being written to the same file.
        Unavailable, OSError: a disk is full or takes nothing.
    """
    if not (home / CONTROL).is_file():
        raise NotFound(f"{home} is no home: it has no {CONTROL}.", hint="Name it by --home or TANDEM_HOME.")
    if target.resolve().is_relative_to(home.resolve()):
        raise Invalid(f"{target} lies inside the home.", hint="Write it elsewhere, best to another disk.")
    target.parent.mkdir(parents=True, exist_ok=True)
    with _alone(target), tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as room:
        _settle(home, vault, clock)
        anchor = Path(room) / ANCHOR
        if (home / ANCHOR).exists():
            shutil.copyfile(home / ANCHOR, anchor)
        with between_passes(home / "journal"):
            databases = [path for path in _files(home) if path.suffix == ".db"]
            snapshots = Snapshots(databases)
            at = clock.now()
        try:
            with into_place(target) as out:
                packer = Packer(out, vault.derive(PURPOSE))
                files = _pack(home, packer, snapshots, databases, Path(room), with_key=with_key, progress=progress)
                about: dict[str, object] = {
                    "tandem": __version__,
                    "at": at,
                    "master": vault.fingerprint,
                    "with_key": with_key,
                }
                manifest = packer.close(about)
        finally:
            snapshots.close()
        keys = keys_beside(target, vault.fingerprint)
        subjects = Subjects(home / SUBJECTS, vault)
        try:
            subjects.note(keys.resolve(), target.resolve(), at)
        finally:
            subjects.close()
        sync_folder(target.parent)
    return Backup(path=str(target), keys=str(keys), files=files, size=manifest.size, at=at, with_key=with_key)


def _pack(
    home: Path, packer: Packer, snapshots: Snapshots, databases: list[Path], room: Path, *, with_key: bool, progress: Progress
) -> int:
    plain = [path for path in _files(home) if path.suffix != ".db" and path.name != ANCHOR]
    plain.sort(key=lambda path: DELTA_LOG not in path.parts)  # a table's log before what it names
    if with_key:
        plain.append(_key_file(home, room))
    total = max(1, sum(path.stat().st_size for path in (*databases, *plain) if path.exists()))
    done = count = 0
    if (room / ANCHOR).exists():
        packer.add(ANCHOR, room / ANCHOR)
        count += 1
    for path in databases:
        name, copied = str(path.relative_to(home)), room / "database"
        progress(min(1.0, done / total), name)
        snapshots.copy(path, copied)
        done += packer.add(name, copied)
        copied.unlink()
        count += 1
    for path in plain:
        name = KEY_FILE if path.name == KEY_FILE else str(path.relative_to(home))
        try:
            done += packer.add(name, path)
        except FileNotFoundError:  # a table's or a blob's leftover that was swept: no row of the snapshot names it
            continue
        count += 1
        progress(min(1.0, done / total), name)
    return count


def _key_file(home: Path, room: Path) -> Path:
    if (home / KEY_FILE).exists():
        return home / KEY_FILE
    raise Invalid(f"{home} holds no {KEY_FILE}.", hint="Its master key comes from TANDEM_MASTER_KEY: keep that one yourself.")


def _files(home: Path) -> list[Path]:
    """What belongs to a home and is copied, in order."""
    found = []
    for path in sorted(home.rglob("*")):
        first, inner = path.relative_to(home).parts[0], path.relative_to(home).parts
        if first in APART or path.name.endswith(PASSING) or first == KEY_FILE:
            continue
        if any(part.startswith(".") for part in inner) or inner[:2] == ("blobs", "tmp") or path.is_symlink():
            continue
        if path.is_file():
            found.append(path)
    return found


def _settle(home: Path, vault: Vault, clock: Clock) -> None:
    """Moves what a platform that does not run any more left in its journal; one that runs does that itself."""
    lock = os.open(home / "control.lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        ledger, traces = Ledger(home / "ledger.db", clock), Traces(home / "traces")
        subjects = Subjects(home / SUBJECTS, vault)
        try:
            traces.adopt(subjects)
            Mover(home / "journal", traces=traces, subjects=subjects, books=ledger, vault=vault, clock=clock).drain()
        finally:
            for store in (ledger, traces, subjects):
                store.close()
    finally:
        os.close(lock)


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """One backup at a time per directory: they share the file of keys."""
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for left in target.parent.glob(f".{target.name}.*"):  # of one that was killed
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
        yield
    except BlockingIOError:
        raise Conflict(f"Another backup is being written to {target.parent}.", hint="Wait for it to end.") from None
    finally:
        os.close(folder)
