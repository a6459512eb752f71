"""One worker of the door, put together. Imports nothing heavy."""

from __future__ import annotations

import os
from collections.abc import Callable

import uvloop

from tandem.app import BOARD, CACHE, control_socket
from tandem.app.log import log
from tandem.core.clock import SystemClock
from tandem.data.corpus.shelf import Shelf
from tandem.data.features.redis import RedisReading
from tandem.data.features.repo import Store
from tandem.decisions.answer import Answers
from tandem.decisions.target import Decisions
from tandem.gateway.cache import Cache
from tandem.gateway.call import Door
from tandem.gateway.door import Handler
from tandem.gateway.metrics import Metrics
from tandem.gateway.routing.board import Board
from tandem.gateway.snapshot import Replica
from tandem.gateway.transport import Pool
from tandem.gateway.upstream import Hosts
from tandem.gateway.wires.served import Answering
from tandem.gateway.worker import Bind, serve, take_files
from tandem.governance import lend
from tandem.governance.admit import Purse
from tandem.governance.digest import PEPPER
from tandem.governance.ledger import Ledger
from tandem.governance.shared import SharedBooks
from tandem.observability.journal import Journal
from tandem.serving.door import Predictions
from tandem.serving.target import Models
from tandem.settings import Settings
from tandem.store.vault import Vault


def door(settings: Settings, worker: int, listening: int | None, ready: Callable[[], None]) -> None:
    """Runs one door worker until it is told to end."""
    take_files()
    clock, vault = SystemClock(), Vault.load(settings.shared, os.environ)
    held = _held(settings, worker, vault, clock)

    async def main() -> None:
        handler = Handler(
            door=held,
            answering=_answering(settings, vault, clock),
            control=Pool(f"unix:{control_socket(settings.home)}"),
            board=Board(settings.home / BOARD, str(worker)),
        )
        await serve(handler, _bind(settings, listening), ready=ready, fault=lambda error: log("door", error))

    uvloop.run(main())


def _held(settings: Settings, worker: int, vault: Vault, clock: SystemClock) -> Door:
    """What a worker holds: policy, purse, journal."""
    home, redis = settings.home, settings.redis()
    journal = Journal(home / "journal")
    ledger = Ledger(settings.database() or home / "ledger.db", clock)
    return Door(
        replica=Replica(home / "replica.db", vault.derive(PEPPER), clock, vault.derive(lend.PURPOSE)),
        purse=Purse(ledger=SharedBooks(ledger, redis, clock) if redis else ledger, boot=journal.boot, clock=clock),
        journal=journal,
        vault=vault,
        clock=clock,
        metrics=Metrics(str(worker)),
    )


def _answering(settings: Settings, vault: Vault, clock: SystemClock) -> Answering:
    """Who answers: hosts, models, decisions, documents."""
    home, server, redis = settings.home, settings.database(), settings.redis()
    store = Store(server or home / "features.db")
    reading = store if redis is None else RedisReading(store, redis, clock)
    models = Models(trust=settings.serving.trust, host_memory=settings.serving.host_mib, memory=settings.serving.door_mib)
    return Answering(
        Hosts(vault, Cache(home / CACHE, vault, clock)),
        {
            "predict": Predictions(models, features=reading, quick=redis is None and server is None),
            "decide": Decisions(workers=settings.decisions.workers, seconds=settings.decisions.deadline_seconds),
            "chat": Answers(Shelf(server or settings.shared / "search")),
        },
    )


def _bind(settings: Settings, listening: int | None) -> Bind:
    options = settings.server
    return Bind(
        host=options.host,
        port=options.port,
        socket=listening,
        cert=options.cert,
        key=options.key,
        trusted_proxies=frozenset(options.trusted_proxies),
        drain_seconds=options.drain_seconds,
    )
