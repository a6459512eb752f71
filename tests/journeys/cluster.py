"""Machines that share one PostgreSQL server, one Redis server and one directory.

Each has a network of its own, whose cable can be pulled.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import psycopg

from tests.journeys.conftest import ADMIN, Platform, bearer
from tests.network import Network
from tests.postgres import Server
from tests.redis_server import RedisServer

DOOR, MOCK = 8400, 9101
BEFORE = 3
"""Calls that a machine answers before its cable is pulled."""
TOML = """
[server]
drain_seconds = 3
inside_url = "http://{first}:{door}"

[store]
url = "env:STORE"
redis = "env:COUNTERS"
folder = "{folder}"

[providers.mock]
protocol = "openai"
base_url = "http://127.0.0.1:{mock}/v1"
keys = ["env:MOCK_KEY"]

[endpoints.assistant]
kind = "chat"
route = [{{ target = "mock/gpt-4o-mini" }}]
"""


class Worker:
    """One `tandem work`."""

    def __init__(self, home: Path, command: list[str], environment: dict[str, str]) -> None:
        self._command, self._environment = [*command, "--home", str(home)], environment
        home.mkdir(mode=0o700)
        self.log = home.parent / f"{home.name}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command, env=self._environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )

    def end(self, number: int = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(30)


class Cluster:
    """Three machines that serve and two that work. Each that serves has an upstream of its own on its loopback address."""

    def __init__(self, folder: Path, network: Network, server: Server, redis: RedisServer) -> None:
        self.network, self.server, self.folder = network, server, folder
        self.shared = folder / "shared"
        self.shared.mkdir(mode=0o700)
        (folder / "tandem.toml").write_text("")
        url = server.database(f"cluster_{os.urandom(4).hex()}")
        self.environment = {**os.environ, "STORE": url, "COUNTERS": redis.url, "TANDEM_ADMIN_KEY": ADMIN, "MOCK_KEY": "mk"}
        self.environment["TANDEM_CONFIG"] = str(folder / "tandem.toml")
        self.machines: dict[str, Platform] = {}
        self.workers: dict[str, Worker] = {}
        self._mocks: list[subprocess.Popen[bytes]] = []
        for name in "abc":
            self._machine(name)
        first = self.machines["a"].host
        toml = TOML.format(first=first, door=DOOR, folder=self.shared, mock=MOCK)
        (folder / "tandem.toml").write_text(toml)
        for name in "de":
            network.machine(name)
            command = [*network.inside(name), sys.executable, "-m", "tandem", "work"]
            self.workers[name] = Worker(folder / f"home-{name}", command, self.environment)

    def _machine(self, name: str) -> None:
        address = self.network.machine(name)
        inside, place = self.network.inside(name), self.folder / name
        (place / "home").mkdir(mode=0o700, parents=True)
        command = [*inside, sys.executable, "-m", "tandem", "mock", "--host", "0.0.0.0", "--port", str(MOCK), "--latency", "5"]
        with (place / "mock.log").open("ab") as log:
            self._mocks.append(subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL))
        self.machines[name] = Platform(
            home=place / "home",
            port=DOOR,
            mock_url=f"http://{address}:{MOCK}",
            environment=self.environment,
            host=address,
            serves="serve",
            inside=inside,
        )

    def up(self) -> None:
        starting = [threading.Thread(target=machine.up) for machine in self.machines.values()]
        for thread in starting:
            thread.start()
        for worker in self.workers.values():
            worker.start()
        for thread in starting:
            thread.join()
        for machine in self.machines.values():
            machine.wait()

    def down(self) -> None:
        for machine in self.machines.values():
            with contextlib.suppress(Exception):
                machine.down()
        for worker in self.workers.values():
            with contextlib.suppress(Exception):
                worker.end()
        for mock in self._mocks:
            mock.kill()
            mock.wait()

    def bill(self) -> int:
        """Nano-dollars that the upstreams want."""
        bills = [
            httpx2.get(f"{machine.mock_url}/bill?limit=0", headers=bearer("mk")).json() for machine in self.machines.values()
        ]
        return sum(bill["totals"]["cost_nano"] for bill in bills)

    def spent(self, scope: str) -> int:
        """Nano-dollars that the ledger has booked of a scope."""
        return int(self.machines["a"].api("GET", f"/spend?scope={scope}")["cost"])

    def change(self, deed: Callable[[], object]) -> None:
        """Does what changes policy, and waits until every door has it."""
        before = {name: version(machine) for name, machine in self.machines.items()}
        deed()
        everywhere(self, lambda machine: version(machine) > before[self.named(machine)], "the new policy")

    def named(self, machine: Platform) -> str:
        return next(name for name, each in self.machines.items() if each is machine)

    def executor(self) -> str:
        """The worker that does a Run now."""
        with psycopg.connect(self.environment["STORE"]) as db:
            row = db.execute("SELECT executor_id FROM dbos.workflow_status WHERE status = 'PENDING'").fetchone()
        assert row is not None
        return next(name for name in self.workers if (self.folder / f"home-{name}" / "machine").read_text() == row[0])

    def age(self, name: str) -> None:
        """Lets a machine have been silent for an hour."""
        with psycopg.connect(self.environment["STORE"]) as db:
            db.execute("UPDATE ledger.workers SET seen = seen - 3600000000 WHERE machine = %s", (name,))

    def cut_off(self, name: str, key: str, count: int) -> list[tuple[int, str]]:
        """What a machine answers to a caller on that machine, whose cable is pulled after the first calls: status and trace."""
        command = [*self.network.inside(name), sys.executable, "-m", "tests.journeys.caller", self.machines[name].url, key]
        with subprocess.Popen([*command, str(count)], stdout=subprocess.PIPE, text=True) as caller:
            assert caller.stdout is not None
            lines = [caller.stdout.readline() for _ in range(BEFORE)]
            self.network.cut(name)
            lines += caller.stdout.readlines()
        assert caller.returncode == 0
        return [(int(line.split()[0]), line.split()[1]) for line in lines]

    def settle(self) -> None:
        for machine in self.machines.values():
            machine.settle(60)


def version(machine: Platform) -> int:
    """Of the policy that a machine's door has."""
    return int(httpx2.get(f"{machine.url}/health").json()["snapshot"])


@contextlib.contextmanager
def cluster(folder: Path, network: Network) -> Iterator[Cluster]:
    server, redis = Server(network.host), RedisServer(network.host)
    try:
        made = Cluster(folder, network, server, redis)
        try:
            made.up()
            yield made
        finally:
            made.down()
    finally:
        redis.close()
        server.close()


def everywhere(made: Cluster, ask: Any, what: str, seconds: float = 30.0) -> None:
    """Waits until `ask(machine)` is true of every machine."""
    deadline = time.monotonic() + seconds
    for name, machine in made.machines.items():
        while not ask(machine):
            assert time.monotonic() < deadline, f"{what}: not on {name} within {seconds:g} s"
            time.sleep(0.02)
