"""A whole door in one process: replica, purse, journal, handler and HTTP server, in front of the mock upstream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from tandem.core.clock import Clock, SystemClock
from tandem.core.endpoint import Endpoint, Target
from tandem.core.policy import Budget
from tandem.core.principal import Principal
from tandem.gateway.call import Door
from tandem.gateway.door import Handler, streams
from tandem.gateway.http1 import Server
from tandem.gateway.metrics import Metrics
from tandem.gateway.prices import price_of
from tandem.gateway.publish import Publisher
from tandem.gateway.snapshot import Host, Replica, Snapshot
from tandem.gateway.target import Target as Answerer
from tandem.gateway.transport import Pool
from tandem.gateway.upstream import Hosts
from tandem.gateway.wires.served import Answering
from tandem.governance.admit import Lender, Purse
from tandem.governance.digest import PEPPER, digest
from tandem.governance.ledger import Ledger
from tandem.mock.serve import MockHandle, running
from tandem.mock.settings import MockSettings
from tandem.observability.content import Subjects
from tandem.observability.journal import Journal
from tandem.observability.move import Mover
from tandem.observability.traces import Traces
from tandem.store.vault import Vault

KEY = "tdm_test"
DEMO = Principal(id="key_1", name="demo", team="risk", scopes=("any-version",))


@dataclass
class House:
    """One door with everything behind it."""

    home: Path
    url: str
    mock: MockHandle
    publisher: Publisher
    handler: Handler
    ledger: Ledger
    traces: Traces
    subjects: Subjects
    mover: Mover
    snapshot: Snapshot
    server: Server
    faults: list[BaseException] = field(default_factory=list)

    def publish(self, **changes: object) -> None:
        """Swaps in a changed snapshot."""
        self.snapshot = replace(self.snapshot, version=self.snapshot.version + 1, **changes)  # type: ignore[arg-type]
        self.publisher.write(self.snapshot, 0, [])
        self.handler.door.replica.refresh()

    def cap(self, dollars_nano: int, scope: str = "key/demo") -> None:
        self.ledger.set_budget(Budget(scope=scope, cap=dollars_nano, window="total"))
        self.publish(budgets={**self.snapshot.budgets, scope: ("total",)})

    def move(self) -> None:
        while self.mover.step():
            pass


@asynccontextmanager
async def house(
    home: Path,
    targets: Mapping[str, Answerer] | None = None,
    settings: MockSettings | None = None,
    lender: Callable[[Ledger, Clock], Lender] = lambda ledger, clock: ledger,
) -> AsyncIterator[House]:
    clock = SystemClock()
    vault = Vault(bytes(32))
    async with running(settings or MockSettings(port=0)) as mock:
        host = Host(name="mock", protocol="openai", base_url=f"{mock.url}/v1", keys=(vault.seal("provider", b"mk", b"mock"),))
        now = clock.now()
        price = price_of("gpt-4o-mini", "openai", now)
        embed = price_of("text-embedding-3-small", "openai", now)
        assert price is not None
        assert embed is not None
        snapshot = Snapshot(
            version=1,
            compiled_at=now,
            hosts={"mock": host},
            endpoints={
                "assistant": Endpoint(name="assistant", kind="chat", route=(Target(target="mock/gpt-4o-mini"),), retries=2),
                "embedder": Endpoint(name="embedder", kind="embed", route=(Target(target="mock/text-embedding-3-small"),)),
            },
            prices={"mock/gpt-4o-mini": price, "mock/text-embedding-3-small": embed},
        )
        publisher = Publisher(home / "replica.db")
        publisher.write(snapshot, 1, [(digest(vault.derive(PEPPER), KEY), DEMO)])
        journal = Journal(home / "journal")
        door = Door(
            replica=Replica(home / "replica.db", vault.derive(PEPPER), clock, vault.derive("lent-keys")),
            purse=Purse(ledger=lender(Ledger(home / "ledger.db", clock), clock), boot=journal.boot, clock=clock),
            journal=journal,
            vault=vault,
            clock=clock,
            metrics=Metrics("0"),
        )
        handler = Handler(door=door, answering=Answering(Hosts(vault), targets or {}), control=Pool(f"unix:{home}/none.sock"))
        faults: list[BaseException] = []
        server = Server(handler, stream_path=streams, on_fault=faults.append)
        port = await server.listen("127.0.0.1", 0)
        ledger, traces = Ledger(home / "ledger.db", clock), Traces(home / "traces")
        subjects = Subjects(home / "subjects.db", vault)
        mover = Mover(home / "journal", traces=traces, subjects=subjects, books=ledger, vault=vault, clock=clock)
        try:
            yield House(
                home,
                f"http://127.0.0.1:{port}",
                mock,
                publisher,
                handler,
                ledger,
                traces,
                subjects,
                mover,
                snapshot,
                server,
                faults,
            )
            assert faults == []
        finally:
            await server.drain(1)
            await handler.answering.close()
            await handler.control.close()
            door.purse.close()
            door.journal.close()
            door.replica.close()
            ledger.close()
            traces.close()
            subjects.close()
            publisher.close()
            await asyncio.sleep(0)


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as found:
        yield found
