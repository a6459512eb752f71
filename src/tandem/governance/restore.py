"""A home from a backup: everything is looked at in a directory beside it, then put in place in one step. It knows no wire.

Whoever was erased since the backup stays erased: the keys come from the file beside the backups, which every
erasure writes again, and the backup itself holds neither a key nor a name.
"""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tandem.core.clock import Clock
from tandem.core.errors import Broken, Conflict, Invalid, NotFound
from tandem.governance.audit import Audit
from tandem.governance.backup import ANCHOR, CONTROL, PURPOSE, SUBJECTS, keys_beside
from tandem.governance.ledger import Ledger
from tandem.governance.people.repo import forget
from tandem.observability.content import copy_of_keys
from tandem.observability.traces import Traces
from tandem.store.archive import Manifest, Progress, sync_folder, unpack
from tandem.store.sql import Sql, migrate
from tandem.store.vault import KEY_FILE, Vault

BLOB = re.compile(r"blobs/sha256/([0-9a-f]{2})/([0-9a-f]{62})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """A home that was put in place, and what was found in it."""

    home: str
    at: int
    """The moment it shows, UTC microseconds."""
    files: int
    size: int
    subjects: int
    """Subjects whose content can be read."""
    audit_ok: bool
    audit_rows: int
    audit_problems: tuple[str, ...]
    unbooked: int
    """Attempts that are traced and not in the books."""
    under_way: int
    """Attempts that were under way at that moment: the next start books them at their reservation, as `crashed`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What a restore needs beside the backup."""

    keys: Path | None = None
    """The subjects' keys; None looks beside the backup."""
    without_keys: bool = False
    """Whether to go on without them, so that no content can be read."""
    key_file: Path | None = None
    """The master key, where neither the backup nor the environment has it."""
    environment: Mapping[str, str]


def restore(archive: Path, home: Path, given: Given, clock: Clock, *, progress: Progress) -> Restored:
    """Puts a home in place of nothing, after everything in it was looked at.

    Raises:
        NotFound: there is no such backup, or no keys beside it.
        Conflict: the home is not empty.
        Invalid: it is no whole backup, or was not written under this master key.
        Broken: there is no master key, or not the right one.
        OSError: the disk takes nothing.
    """
    if not archive.is_file():
        raise NotFound(f"There is no backup {archive}.", hint="Name the file that `tandem backup` wrote.")
    if home.exists() and (not home.is_dir() or any(home.iterdir())):
        raise Conflict(f"{home} is not empty.", hint="Name a new directory by --home; a restore replaces nothing.")
    home.parent.mkdir(parents=True, exist_ok=True)
    staged = home.with_name(f".{home.name}.restoring")
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(mode=0o700)
    try:
        manifest, genuine = unpack(archive, staged, progress)
        _same_names(archive, staged, manifest)
        vault = _vault(staged, given)
        if not genuine(vault.derive(PURPOSE)):
            raise Invalid(f"{archive} was not written under this master key, or its manifest was changed.", hint="Give another.")
        subjects = _keys(archive, staged, given, vault.fingerprint)
        found = _look(archive, staged, home, manifest, vault, clock, subjects)
        for folder in sorted({path.parent for path in staged.rglob("*")}):
            sync_folder(folder)
        os.rename(staged, home)
        sync_folder(home.parent)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return found


def _same_names(archive: Path, staged: Path, manifest: Manifest) -> None:
    """Every blob has the content that its name says, every database its structure."""
    for name, member in manifest.members.items():
        blob = BLOB.fullmatch(name)
        if blob is not None and member.sha256 != blob[1] + blob[2]:
            raise Invalid(f"{archive} holds a damaged file: {name}.", hint="It was damaged before the backup; give an older one.")
        if name.endswith(".db"):
            with closing(sqlite3.connect(staged / name)) as db:
                told = db.execute("PRAGMA quick_check(1)").fetchone()[0]
            if told != "ok":
                raise Invalid(f"{archive} holds a damaged database: {name}: {told}.", hint="Give an older backup.")
    if CONTROL not in manifest.members:
        raise Invalid(f"{archive} holds no home: {CONTROL} is missing.", hint="Name the file that `tandem backup` wrote.")


def _vault(staged: Path, given: Given) -> Vault:
    if given.key_file is not None:
        try:
            shutil.copyfile(given.key_file, staged / KEY_FILE)
        except OSError as error:
            raise Invalid(
                f"{given.key_file} cannot be read: {error.strerror}.", hint="Name the file of the master key."
            ) from None
        (staged / KEY_FILE).chmod(0o600)
    try:
        return Vault.load(staged, given.environment)
    except Broken as error:
        raise Broken(
            str(error.message).replace(str(staged), "the backup"),
            hint="Give the master key by --key-file or TANDEM_MASTER_KEY; a backup made with --with-key has it itself.",
        ) from None


def _keys(archive: Path, staged: Path, given: Given, fingerprint: str) -> int:
    if given.without_keys:
        return 0
    keys = given.keys or keys_beside(archive, fingerprint)
    if not keys.is_file():
        raise NotFound(
            f"The subjects' keys are missing: there is no {keys}.",
            hint="Name them by --keys FILE, or go on by --without-keys: no prompt and no answer can be read then.",
        )
    shutil.copyfile(keys, staged / SUBJECTS)
    (staged / SUBJECTS).chmod(0o600)
    try:
        return copy_of_keys(staged / SUBJECTS)
    except sqlite3.Error as error:
        raise Invalid(f"{keys} holds no keys: {error}.", hint="Name the newest one, beside the backups.") from None


def _look(archive: Path, staged: Path, home: Path, manifest: Manifest, vault: Vault, clock: Clock, subjects: int) -> Restored:
    url = f"sqlite:///{staged / CONTROL}"
    migrate(url)
    sql = Sql(url)
    audit = Audit(sql, vault, clock, staged / ANCHOR)
    report = audit.verify()
    with sql.write() as conn:
        detail = {"backup": archive.name, "at": manifest.about["at"], "subjects": subjects}
        forget(conn)  # whoever was signed out, and any link that was used, since the backup
        audit.append(conn, actor="restore", action="home.restore", subject="home", team="default", detail=detail)
    sql.close()
    ledger, traces = Ledger(staged / "ledger.db", clock), Traces(staged / "traces")
    try:
        unbooked = sum(not ledger.has_booked(*attempt) for attempt in traces.every_attempt())
        under_way, boots = ledger.running(), ledger.boots()
    finally:
        ledger.close()
        traces.close()
    journal = staged / "journal"
    journal.mkdir(mode=0o700)
    for boot in boots:  # an empty segment of a worker that does not live: the mover books what it left and frees its leases
        (journal / f"{boot}.000000.jnl").touch(mode=0o600)
    return Restored(
        home=str(home),
        at=int(str(manifest.about["at"])),
        files=len(manifest.members),
        size=manifest.size,
        subjects=subjects,
        audit_ok=report.ok,
        audit_rows=report.count,
        audit_problems=report.problems,
        unbooked=unbooked,
        under_way=under_way,
    )
