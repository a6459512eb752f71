"""Whether a shared directory and a PostgreSQL server belong together: both know the fingerprint of one root.

A directory that is not mounted looks like an empty one, and a new master key made there would seal what no other machine
can open. So the first start writes the fingerprint to the server, and every later one compares before it makes anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tandem.core.errors import Invalid
from tandem.core.secret import Secret
from tandem.store.raw import PostgresRows
from tandem.store.vault import MARK_FILE, Vault

WHAT = "The store"


def shared_vault(url: Secret, folder: Path, environment: Mapping[str, str]) -> Vault:
    """The vault of the directory that all machines of a server share.

    Raises:
        Invalid: the directory is not there, or is not the one that this server's machines share.
        Unavailable: the server does not answer.
        Broken: as `Vault.load`.
    """
    if not folder.is_dir():
        raise Invalid(
            f"There is no directory {folder}.", hint="Mount it, or make it once for all machines.", field="store.folder"
        )
    rows = PostgresRows(url, WHAT)
    try:
        with rows.writing():
            rows.run("CREATE TABLE IF NOT EXISTS tandem_owner (one BIGINT PRIMARY KEY CHECK (one = 1), root TEXT NOT NULL)")
            known = rows.one("SELECT root FROM tandem_owner")
            if known is not None and not (folder / MARK_FILE).exists():
                raise _strange(folder)
            vault = Vault.load(folder, environment)
            if known is None:
                rows.run("INSERT INTO tandem_owner VALUES (1, ?)", (vault.root,))
            elif known[0] != vault.root:
                raise _strange(folder)
            return vault
    finally:
        rows.close()


def _strange(folder: Path) -> Invalid:
    return Invalid(
        f"{folder} is not the directory that the machines of this PostgreSQL server share.",
        hint="Is it mounted? [store] folder names the same directory on every machine, or another server belongs to it.",
        field="store.folder",
    )
