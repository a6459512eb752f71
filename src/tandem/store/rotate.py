"""The master key is replaced: a new one beside the old, and the old one let go of once nothing is sealed under it.

Every step is one file put in place, so that whatever kills the process, the next start finds a key for
everything: the root is sealed under the new key first, then the key file names both, then the mark
says which is the present one. It knows no table: what is sealed elsewhere is sealed anew by whoever keeps it.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from pathlib import Path

from tandem.core.errors import Conflict
from tandem.store.vault import KEY_BYTES, KEY_FILE, MARK_FILE, VARIABLE, Vault, keep_root, key_lines, replace_file


def given_outside(environment: Mapping[str, str]) -> bool:
    """Whether the key comes from outside of the home, so that nobody in here can replace it."""
    return bool(environment.get(VARIABLE, "").strip())


def begin(home: Path, vault: Vault, environment: Mapping[str, str]) -> str:
    """Makes a new key the present one, here and for every process that comes across it; returns its fingerprint.

    Raises:
        Conflict: the key comes from outside, or the last replacement is not over.
    """
    if given_outside(environment):
        raise Conflict(
            "The master key comes from the environment, so it is replaced there.",
            hint=f"Start again with the new key as {VARIABLE} and the present one as {VARIABLE}_BEFORE.",
        )
    if vault.before:
        raise Conflict(f"The key {vault.before[0]} is being replaced already.", hint="`tandem vault show` tells how far that is.")
    old, new = key_lines(home / KEY_FILE)[0], os.urandom(KEY_BYTES)
    fresh = Vault(new, before=[old], root=vault.reveal_root())
    keep_root(home, fresh)
    replace_file(home / KEY_FILE, b"".join(base64.b64encode(key) + b"\n" for key in (new, old)))
    replace_file(home / MARK_FILE, f"{fresh.fingerprint} {fresh.root}\n".encode())
    vault.take(fresh)
    return fresh.fingerprint


def finish(home: Path, vault: Vault, environment: Mapping[str, str]) -> None:
    """Lets go of the earlier keys; nothing may be sealed under them any more."""
    if not given_outside(environment):
        present = key_lines(home / KEY_FILE)[0]
        replace_file(home / KEY_FILE, base64.b64encode(present) + b"\n")
    keep_root(home, vault, alone=True)
    vault.forget()
