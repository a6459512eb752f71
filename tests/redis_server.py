"""A Redis server of the suite's own, started once a worker when a test first needs it, and thrown away."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ports import free_port

SERVER = shutil.which("redis-server") or shutil.which("valkey-server")
needed = pytest.mark.skipif(SERVER is None, reason="needs redis-server")


class RedisServer:
    """One server on a port of its own; it can be stopped and started again in the middle of a test. It keeps nothing on disk."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        """
        Args:
            host: the address it listens on.
        """
        self.host = host
        self.folder = Path(tempfile.mkdtemp(prefix="tandem-redis-", dir="/tmp"))
        self.port = free_port()
        self.url = f"redis://{host}:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        assert SERVER is not None
        kept = ["--dir", str(self.folder), "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen(
            [SERVER, "--bind", self.host, "--protected-mode", "no", "--port", str(self.port), *kept],
            stdout=subprocess.DEVNULL,
            cwd=self.folder,
        )
        self._wait()

    def stop(self) -> None:
        """Ends it at once, as a crash does; everything it knew is lost."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(20)
            self._process = None

    def freeze(self) -> None:
        """It takes connections and answers nobody."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It does all that it was sent meanwhile."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def flush(self) -> None:
        """Drops all its data; it goes on."""
        self.run("FLUSHALL")

    def run(self, *words: str | int) -> object:
        """Sends one command; returns its reply."""
        import redis

        with redis.Redis.from_url(self.url, decode_responses=True) as client:
            reply: object = client.execute_command(*words)
        return reply

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _wait(self) -> None:
        import redis

        assert self._process is not None
        for _ in range(400):
            assert self._process.poll() is None, "Redis did not start"
            try:
                assert self.run("PING")
                return
            except redis.ConnectionError:
                time.sleep(0.05)
        raise AssertionError("Redis did not answer")


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """The server; a test that stops it starts it again, and a test that needs it empty flushes it."""
    if SERVER is None:
        pytest.skip("needs redis-server")
    server = RedisServer()
    yield server
    server.close()
