"""A PostgreSQL server of the suite's own, started once a worker when a test first needs it, and thrown away."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.ports import free_port

PLACES = os.pathsep.join([os.environ.get("PATH", ""), *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True))])
INITDB, SERVER = shutil.which("initdb", path=PLACES), shutil.which("postgres", path=PLACES)
PRESENT = INITDB is not None and SERVER is not None
needed = pytest.mark.skipif(not PRESENT, reason="needs PostgreSQL's initdb and postgres")


def unprivileged(folder: Path) -> Callable[[], None] | None:
    """PostgreSQL refuses to run as root, so root hands the folder to somebody else and becomes them."""
    if os.geteuid() != 0:
        return None
    entry = pwd.getpwnam("postgres" if any(each.pw_name == "postgres" for each in pwd.getpwall()) else "nobody")
    os.chown(folder, entry.pw_uid, entry.pw_gid)

    def become() -> None:
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)

    return become


class Server:
    """One server on a port of its own; it can be stopped and started again in the middle of a test."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        """
        Args:
            host: the address it listens on; its whole network is let in.
        """
        assert INITDB is not None
        self.folder = Path(tempfile.mkdtemp(prefix="tandem-pg-", dir="/tmp"))
        self.host, self.port = host, free_port()
        self._become = unprivileged(self.folder)
        self._process: subprocess.Popen[bytes] | None = None
        subprocess.run(
            [INITDB, "-D", str(self.folder / "data"), "-U", "tandem", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C"],
            check=True,
            stdout=subprocess.DEVNULL,
            preexec_fn=self._become,
            cwd="/",
        )
        with (self.folder / "data" / "pg_hba.conf").open("a") as rules:
            rules.write("host all all samenet trust\n")
        self.start()

    def url(self, database: str, *, driver: str = "") -> str:
        return f"postgresql{driver}://tandem@{self.host}:{self.port}/{database}"

    def start(self) -> None:
        assert SERVER is not None
        options = ["-c", f"listen_addresses={self.host}", "-c", "fsync=off"]
        self._process = subprocess.Popen(
            [SERVER, "-D", str(self.folder / "data"), "-p", str(self.port), "-k", str(self.folder), *options],
            stderr=subprocess.DEVNULL,
            preexec_fn=self._become,
            cwd="/",
        )
        self._wait()

    def stop(self) -> None:
        """Ends it at once, as a crash does."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)  # its children too, without a word
            self._process.wait(20)
            self._process = None

    def run(self, statement: str, database: str = "postgres") -> None:
        import psycopg

        with psycopg.connect(self.url(database), autocommit=True) as conn:
            conn.execute(statement.encode())

    def database(self, name: str) -> str:
        """A new, empty database; returns its URL."""
        self.run(f"CREATE DATABASE {name}")
        return self.url(name)

    def holding(self, word: bytes) -> list[str]:
        """Files of tables that hold these bytes, once the server has written what it had in memory."""
        self.run("CHECKPOINT")
        return [str(path) for path in (self.folder / "data" / "base").rglob("*") if path.is_file() and word in path.read_bytes()]

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _wait(self) -> None:
        import psycopg

        assert self._process is not None
        for _ in range(400):
            assert self._process.poll() is None, "PostgreSQL did not start"
            try:
                psycopg.connect(self.url("postgres"), connect_timeout=2).close()
                return
            except psycopg.OperationalError:
                time.sleep(0.05)
        raise AssertionError("PostgreSQL did not answer")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """The server; a test that stops it starts it again."""
    if not PRESENT:
        pytest.skip("needs PostgreSQL's initdb and postgres")
    server = Server()
    yield server
    server.close()
