"""A whole platform in its own processes, with a mock upstream, for journeys."""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import re
import signal
import sqlite3
import ssl
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import psycopg
import pytest

from tests.ports import free_port
from tests.postgres import Server

ROOT = Path(__file__).parents[2]
ON_SERVER = os.environ.get("JOURNEYS_ON") == "postgres"
"""Whether everything that lasts lies on a PostgreSQL server in this run."""
CONSTRAINTS = ("--constraint", str(ROOT / "requirements.lock"))
TLS = ssl.create_default_context()
"""Made once: a client that makes its own spends 60 ms on it, at every request."""
ADMIN = "tdm_admin_for_tests_0123456789"
TOML = """
[server]
drain_seconds = 3

[providers.mock]
protocol = "openai"
base_url = "{mock}/v1"
keys = ["env:MOCK_KEY"]

[endpoints.assistant]
kind = "chat"
route = [{{ target = "mock/gpt-4o-mini" }}]
"""


@dataclass
class Platform:
    """`tandem up` on a home of its own, or another command that serves."""

    home: Path
    port: int
    mock_url: str
    workers: int = 1
    process: subprocess.Popen[bytes] | None = None
    environment: dict[str, str] = field(default_factory=dict)
    host: str = "127.0.0.1"
    serves: str = "up"
    inside: list[str] = field(default_factory=list)
    """What the command begins with."""

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def up(self) -> None:
        environment = {**os.environ, "TANDEM_ADMIN_KEY": ADMIN, "MOCK_KEY": "mk", **self.environment}
        command = [*self.inside, sys.executable, "-m", "tandem", self.serves]
        command += ["--home", str(self.home), "--port", str(self.port), "--host", self.host]
        log = (self.home.parent / "up.log").open("ab")
        self.process = subprocess.Popen(
            [*command, "--workers", str(self.workers)], env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL
        )
        log.close()
        self.wait()

    def log(self) -> str:
        return (self.home.parent / "up.log").read_text(errors="replace")

    def wait(self, path: str = "/health/ready", seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert self.process is not None
            if self.process.poll() is not None:
                raise AssertionError(f"tandem {self.serves} ended with {self.process.returncode}:\n{self.log()}")
            with contextlib.suppress(httpx2.HTTPError):
                if httpx2.get(self.url + path, timeout=2, verify=TLS).status_code == 200:
                    return
            time.sleep(0.05)
        raise AssertionError(f"{path} was not 200 within {seconds} s:\n{self.log()}")

    def down(self, number: int = signal.SIGTERM) -> int:
        if self.process is None or self.process.poll() is not None:
            return -1
        self.process.send_signal(number)
        return self.process.wait(30)

    def pids(self, kind: str) -> list[int]:
        """Processes of a kind (`door`, `control`) of this home."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    words = (entry / "cmdline").read_bytes().split(b"\0")
                    if kind.encode() in words and str(self.home).encode() in words and b"up" not in words:
                        found.append(int(entry.name))
        return found

    def api(self, method: str, path: str, **request: Any) -> Any:
        reply = httpx2.request(method, f"{self.url}/api/v1{path}", headers=bearer(ADMIN), timeout=60, verify=TLS, **request)
        assert reply.status_code < 400, reply.text
        return reply.json()

    def rows(self, store: str, sql: str) -> list[tuple[Any, ...]]:
        """What a store holds, past the platform: `control`, `ledger` or `traces`, of which every day is asked."""
        url = self.environment.get("TANDEM_STORE__URL") or self.environment.get("STORE")  # or as a cluster's file names it
        if url is not None:
            return on_server(url, store, sql)
        files = sorted((self.home / "traces").glob("traces-*.db")) if store == "traces" else [self.home / f"{store}.db"]
        found: list[tuple[Any, ...]] = []
        for file in files:
            with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as db:
                found += db.execute(sql).fetchall()
        return found

    def key(self, name: str, **more: Any) -> str:
        return str(self.api("POST", "/keys", json={"name": name, **more})["key"])

    def chat(self, key: str, *, tokens: int = 8, stream: bool = False, headers: dict[str, str] | None = None) -> httpx2.Response:
        body = {"model": "assistant", "max_tokens": tokens, "stream": stream, "messages": [{"role": "user", "content": "hello"}]}
        url, sent = f"{self.url}/v1/chat/completions", {**bearer(key), **(headers or {})}
        return httpx2.post(url, json=body, headers=sent, timeout=30, verify=TLS)

    def settle(self, seconds: float = 20.0) -> None:
        """Waits until every journal record was moved and nothing runs."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.moved():
                rows = {row["check"]: row for row in self.api("GET", "/doctor")}
                if rows["ledger"]["detail"].startswith("0 "):
                    return
            time.sleep(0.1)
        raise AssertionError("The books did not settle.")

    def moved(self) -> bool:
        """Whether the books hold what the doors of this home wrote down until now."""
        done = dict(self.rows("ledger", "SELECT segment, done FROM journal"))
        for path in (self.home / "journal").glob("*.jnl"):
            with contextlib.suppress(FileNotFoundError):  # emptied and removed
                if path.stat().st_size > done.get(path.stem, 0):
                    return False
        return True


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@contextlib.contextmanager
def mock_upstream(*arguments: str) -> Iterator[str]:
    """`tandem mock` in a process of its own; yields its URL."""
    command = [sys.executable, "-m", "tandem", "mock", "--port", "0", "--json", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    try:
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        found = re.search(r"http://[0-9.:]+", line)
        assert found is not None, line
        yield str(json.loads(line).get("url", found[0]))
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def on_server(url: str, store: str, sql: str) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = []
    with psycopg.connect(url, autocommit=True) as db:
        days = "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'traces~_%' ESCAPE '~' ORDER BY nspname"
        schemas = [name for (name,) in db.execute(days).fetchall()] if store == "traces" else [store]
        for schema in schemas:
            db.execute("SELECT set_config('search_path', %s, false)", ("public" if schema == "control" else schema,))
            asked = db.execute(sql.encode())
            found += asked.fetchall() if asked.description else []
    return found


@functools.cache
def server() -> Server:
    """One for the whole run, where journeys are to be made on PostgreSQL."""
    made = Server()
    atexit.register(made.close)
    return made


def stores() -> dict[str, str]:
    """What the environment says of where things lie: files, or a new database of the server for `JOURNEYS_ON=postgres`."""
    if not ON_SERVER:
        return {}
    return {"TANDEM_STORE__URL": server().database(f"home_{uuid4().hex}")}


@contextlib.contextmanager
def platform(folder: Path, *, workers: int = 1, mock: tuple[str, ...] = ()) -> Iterator[Platform]:
    home = folder / "home"
    home.mkdir(mode=0o700)
    with mock_upstream(*mock) as mock_url:
        (home / "tandem.toml").write_text(TOML.format(mock=mock_url))
        running = Platform(home=home, port=free_port(), mock_url=mock_url, workers=workers, environment=stores())
        try:
            running.up()
            yield running
        finally:
            running.down()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """One platform for the journeys of a module that leave it as they found it."""
    with platform(tmp_path_factory.mktemp("house")) as running:
        yield running


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tandem as it is published."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    built = subprocess.run(pip, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    (found,) = folder.glob("tandem_ai-*.whl")
    return found


def with_pip(folder: Path, *what: str) -> None:
    """A clean environment with `what` in it."""
    venv.create(folder, with_pip=True)
    subprocess.run([folder / "bin" / "python", "-m", "pip", "install", "--quiet", *what], check=True, cwd=folder)


def with_uv(folder: Path, *what: str) -> None:
    """The same, in seconds where its cache holds what was asked for."""
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "--quiet", "--python", sys.executable, folder], check=True)
    subprocess.run([*uv, "pip", "install", "--quiet", "--python", folder, *what], check=True, cwd=folder)


def until(true: Callable[[], Any], what: str = "it comes", seconds: float = 120.0) -> Any:
    """Waits for what is true soon, and returns it."""
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s"
        time.sleep(0.05)
    return found
