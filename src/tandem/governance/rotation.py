"""The master key is replaced while everything runs: who may, what is sealed anew, how far that is. It knows no store.

Old keys open until nothing is sealed under them; a process that is killed goes on where it was, because
what is still to be done is seen by looking at what is there.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection

from tandem.core.clock import Clock
from tandem.core.principal import LOCAL, Principal
from tandem.governance.audit import Audit
from tandem.governance.authorise import authorise
from tandem.observability.content import Subjects
from tandem.store import rotate
from tandem.store.sql import Sql
from tandem.store.vault import Vault


class Sealing(Protocol):
    """A store that keeps something sealed under the master key."""

    def stale(self) -> int:
        """How much is sealed under another key than the present one."""
        ...

    def reseal(self) -> int:
        """Seals some of it anew and returns how much; 0 when nothing is left that can be."""
        ...


class Keeper(Protocol):
    """A table whose rows hold sealed texts."""

    def stale(self, vault: Vault) -> int: ...
    def reseal(self, vault: Vault) -> int: ...


class Resealing:
    """Such a table, with the vault."""

    def __init__(self, keeper: Keeper, vault: Vault) -> None:
        self._keeper, self._vault = keeper, vault

    def stale(self) -> int:
        return self._keeper.stale(self._vault)

    def reseal(self) -> int:
        return self._keeper.reseal(self._vault) if self.stale() else 0


class SubjectKeys:
    """The keys of the subjects, under which all content is."""

    def __init__(self, subjects: Subjects) -> None:
        self._subjects, self._begun = subjects, False

    def stale(self) -> int:
        return self._subjects.stale()

    def reseal(self) -> int:
        count = self._subjects.reseal_keys()
        if not count and self._begun:
            self._subjects.forget_old_keys()
        self._begun = count > 0
        return count


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Which master key there is, and how far its replacement is."""

    fingerprint: str
    before: tuple[str, ...]
    """Keys that still open; none when nothing is being replaced."""
    left: Mapping[str, int]
    """What is still sealed under them, by store."""
    outside: bool
    """Whether the key comes from the environment, and is replaced there."""


class Rotation:
    """Replaces the master key of a home."""

    def __init__(
        self,
        home: Path,
        vault: Vault,
        sql: Sql,
        audit: Audit,
        clock: Clock,
        stores: Mapping[str, Sealing],
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self._home, self._vault, self._sql, self._audit, self._clock = home, vault, sql, audit, clock
        self._stores, self._environment = stores, environment
        self._lock = threading.Lock()

    def standing(self, by: Principal) -> Standing:
        """How it stands.

        Raises:
            Forbidden: `by` may not audit.
        """
        authorise(by, "audit")
        before = self._vault.before
        return Standing(
            fingerprint=self._vault.fingerprint,
            before=before,
            left={name: store.stale() for name, store in self._stores.items()} if before else {},
            outside=rotate.given_outside(self._environment),
        )

    def begin(self, by: Principal) -> Standing:
        """Makes a new master key; what is sealed under the old one is sealed anew from now on, in the background.

        Raises:
            Forbidden: `by` is no admin.
            Conflict: the key comes from the environment, or the last replacement is not over.
        """
        authorise(by, "admin")
        with self._lock, self._sql.write() as conn:
            old = self._vault.fingerprint
            new = rotate.begin(self._home, self._vault, self._environment)
            self._note(conn, by, "vault.rotate", {"from": old, "to": new})
        return self.standing(by)

    def step(self) -> bool:
        """Seals some of what is left anew; True when there was something to do."""
        before = self._vault.before
        if not before:
            return False
        with self._lock:
            done = {name: store.reseal() for name, store in self._stores.items()}
            if any(done.values()):
                return True
            left = {name: count for name, store in self._stores.items() if (count := store.stale())}
            rotate.finish(self._home, self._vault, self._environment)
            with self._sql.write() as conn:
                detail = {"key": self._vault.fingerprint, "gone": before, "unreadable": left}
                self._note(conn, LOCAL, "vault.settle", detail)
        return True

    def _note(self, conn: Connection, by: Principal, action: str, detail: Mapping[str, object]) -> None:
        self._audit.append(conn, actor=by.name, action=action, subject="vault/master", team=by.team, detail=detail)
