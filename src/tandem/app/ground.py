"""What everything else stands on: the home and its stores, the key, the audit, who may, what is registered."""

from __future__ import annotations

import os
import secrets
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tandem.core.clock import Clock, SystemClock
from tandem.core.money import nano
from tandem.core.secret import Secret
from tandem.gateway.repo import Routes
from tandem.governance.audit import Audit
from tandem.governance.keys import Keys
from tandem.governance.ledger import Ledger
from tandem.jobs.repo import Runs
from tandem.jobs.rounds import always
from tandem.registry.registry import Registry
from tandem.settings import Settings
from tandem.store.blobs import Blobs
from tandem.store.duty import Duty
from tandem.store.owner import shared_vault
from tandem.store.sql import Sql, migrate
from tandem.store.vault import Vault


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """The stores of a home, and the nouns that every part knows."""

    settings: Settings
    clock: Clock
    server: Secret | None
    """The address of a PostgreSQL database; None: files of the home."""
    vault: Vault
    sql: Sql
    blobs: Blobs
    duty: Duty | None
    audit: Audit
    keys: Keys
    ledger: Ledger
    table: Routes
    """Providers and endpoints."""
    runs: Runs
    registry: Registry

    @property
    def home(self) -> Path:
        """The directory of this process's own files."""
        return self.settings.home

    @property
    def shared(self) -> Path:
        """The directory that every machine sees."""
        return self.settings.shared

    @property
    def lake(self) -> Path:
        """Where datasets lie."""
        return self.shared / "lake"

    @property
    def work(self) -> Path:
        """Uploads, and what is under way."""
        return self.shared / "work"

    @property
    def hour_price(self) -> int:
        """What an hour of computing costs, in nano-dollars."""
        return nano(self.settings.server.hour_price or "0")

    def mine(self) -> bool:
        """Whether this process is the one that does what only one may do."""
        return always() if self.duty is None else self.duty.mine()


def lay(settings: Settings) -> Ground:
    """Opens the stores of a home, and brings them to this version."""
    home, shared, clock = settings.home, settings.shared, SystemClock()
    server = settings.database()
    vault = Vault.load(home, os.environ) if server is None else shared_vault(server, shared, os.environ)
    url = f"sqlite:///{home / 'control.db'}" if server is None else server.reveal()
    migrate(url)
    sql, blobs = Sql(url), Blobs(shared / "blobs")
    audit = Audit(sql, vault, clock, shared / "audit.head")
    return Ground(
        settings=settings,
        clock=clock,
        server=server,
        vault=vault,
        sql=sql,
        blobs=blobs,
        duty=None if server is None else Duty(server, clock),
        audit=audit,
        keys=Keys(sql, vault, clock, audit),
        ledger=Ledger(server or home / "ledger.db", clock),
        table=Routes(sql, clock, audit),
        runs=Runs(sql, clock),
        registry=Registry(sql, blobs, audit, clock),
    )


def machine(home: Path) -> str:
    """The name of this home among those that share a store: made once, of the machine's own name and chance."""
    path = home / "machine"
    with suppress(FileExistsError), path.open("x") as file:
        file.write(f"{socket.gethostname()}-{secrets.token_hex(4)}")
    return path.read_text()
