"""The composition root: the only file that knows every adapter. It builds, it does not decide."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

from tandem.core.clock import SystemClock
from tandem.settings import Settings


def door(settings: Settings, worker: int, ready: Callable[[int], None]) -> None:
    """Runs one door worker until it is told to end. Imports nothing heavy."""
    import uvloop

    from tandem.decisions.target import Decisions
    from tandem.gateway.call import Door
    from tandem.gateway.door import Handler
    from tandem.gateway.metrics import Metrics
    from tandem.gateway.snapshot import Replica
    from tandem.gateway.transport import Pool
    from tandem.gateway.upstream import Hosts
    from tandem.gateway.wires.served import Answering
    from tandem.gateway.worker import Bind, serve
    from tandem.governance.admit import Purse
    from tandem.governance.digest import PEPPER
    from tandem.governance.ledger import Ledger
    from tandem.observability.journal import Journal
    from tandem.serving.door import Predictions
    from tandem.store.vault import Vault

    home, clock, options = settings.home, SystemClock(), settings.server
    vault = Vault.load(home, os.environ)
    journal = Journal(home / "journal")
    held = Door(
        replica=Replica(home / "replica.db", vault.derive(PEPPER), clock),
        purse=Purse(ledger=Ledger(home / "ledger.db", clock), boot=journal.boot, clock=clock),
        journal=journal, vault=vault, clock=clock, metrics=Metrics(str(worker)),
    )  # fmt: skip
    bind = Bind(
        host=options.host, port=options.port, cert=options.cert, key=options.key,
        trusted_proxies=frozenset(options.trusted_proxies), drain_seconds=options.drain_seconds,
    )  # fmt: skip

    async def main() -> None:
        answering = Answering(
            Hosts(vault),
            {
                "predict": Predictions(),
                "decide": Decisions(workers=settings.decisions.workers, seconds=settings.decisions.deadline_seconds),
            },
        )
        handler = Handler(door=held, answering=answering, control=Pool(f"unix:{control_socket(home)}"))
        await serve(handler, bind, ready=ready, fault=_fault)

    uvloop.run(main())


def control_socket(home: Path) -> Path:
    """Where the control process of a home listens."""
    return home / "control.sock"


def _fault(error: BaseException) -> None:
    print(f"tandem door: a bug: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
    if os.environ.get("TANDEM_DEBUG"):
        import traceback

        traceback.print_exception(error)
