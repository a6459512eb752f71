"""`tandem up`: one command that starts the control process and the door workers, and keeps them running."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import click

from tandem.core.errors import Invalid
from tandem.settings import Settings, load

ALREADY = 3
"""Exit code of a second start on the same home."""
PATIENCE_SECONDS = 30.0


def home_option(required: bool = False):  # type: ignore[no-untyped-def]
    default = Path(os.environ.get("TANDEM_HOME", "~/.tandem")).expanduser()
    return click.option(
        "--home", type=click.Path(path_type=Path, file_okay=False), default=default, show_default=True,
        help="Directory that holds everything of the embedded default.",
    )  # fmt: skip


def settings_of(home: Path, config: Path | None, port: int | None, workers: int | None, host: str | None) -> Settings:
    """The settings with the command line's own words on top."""
    home = home.expanduser().resolve()
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    settings = load(home, config=config)
    server = settings.server
    server = replace(
        server, port=server.port if port is None else port, workers=server.workers if workers is None else workers,
        host=server.host if host is None else host,
    )  # fmt: skip
    if not 0 <= server.port <= 65535 or not 1 <= server.workers <= 256:
        raise Invalid(f"Port {server.port} with {server.workers} workers cannot be.", hint="Ports go to 65535, workers from 1 to 256.")
    return replace(settings, server=server)


class Supervisor:
    """Starts the children, starts them again when they die, and ends them in order."""

    def __init__(self, settings: Settings, arguments: list[str]) -> None:
        self.settings = settings
        self._arguments = arguments
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._born: dict[str, float] = {}
        self._deaths: dict[str, int] = {}
        self._stopping = False

    def run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        self._start("control")
        for worker in range(self.settings.server.workers):
            self._start(f"door-{worker}")
        while not self._stopping:
            time.sleep(0.1)
            self._mend()
        return self._end()

    def _start(self, name: str) -> None:
        kind, _, number = name.partition("-")
        command = [sys.executable, "-m", "tandem", kind, *self._arguments]
        if number:
            command += ["--number", number]
        self._children[name] = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
        self._born[name] = time.monotonic()

    def _mend(self) -> None:
        for name, child in list(self._children.items()):
            code = child.poll()
            if code is None:
                if time.monotonic() - self._born[name] > PATIENCE_SECONDS:
                    self._deaths[name] = 0
                continue
            if code == 2:  # the child said why: settings, keys or the port are wrong; trying again changes nothing
                self._stopping = True
                return
            self._deaths[name] = self._deaths.get(name, 0) + 1
            wait = min(5.0, 0.1 * 2 ** (self._deaths[name] - 1))
            click.echo(f"tandem: {name} ended with {code}; it is started again in {wait:g} s.", err=True)
            time.sleep(wait)
            self._start(name)

    def _stop(self, number: int, frame: object) -> None:
        self._stopping = True

    def _end(self) -> int:
        """Doors drain first, control goes last, so that what they wrote is moved."""
        failed = any(child.poll() == 2 for child in self._children.values())
        patience = self.settings.server.drain_seconds + 5
        for group in ("door", "control"):
            names = [name for name in self._children if name.startswith(group)]
            for name in names:
                self._children[name].terminate()
            for name in names:
                try:
                    self._children[name].wait(patience)
                except subprocess.TimeoutExpired:
                    self._children[name].kill()
                    self._children[name].wait()
        return 1 if failed else 0


def hold(home: Path) -> int:
    """Takes the home's lock for the life of this process.

    Raises:
        SystemExit: somebody else runs on this home; code 3, and the pid is named.
    """
    file = os.open(home / "tandem.pid", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = os.read(file, 32).decode().strip() or "unknown"
        click.echo(f"tandem: {home} is in use by process {pid}.\n  → Stop it with `kill {pid}`, or give another --home.", err=True)
        raise SystemExit(ALREADY) from None
    os.ftruncate(file, 0)
    os.pwrite(file, str(os.getpid()).encode(), 0)
    return file


@click.command(short_help="Start everything from one command.")
@home_option()
@click.option("--port", type=int, default=None, help="The one port. [default: 8400]")
@click.option("--host", default=None, help="Address to listen on. [default: 127.0.0.1]")
@click.option("--workers", type=int, default=None, help="Door worker processes. [default: 1]")
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False), default=None, help="Settings file instead of HOME/tandem.toml.")
def up(home: Path, port: int | None, host: str | None, workers: int | None, config: Path | None) -> None:
    """Start the platform: door workers and one control process, all in one home directory.

    The first start prints the admin key once, or takes it from TANDEM_ADMIN_KEY.
    """
    settings = settings_of(home, config, port, workers, host)
    held = hold(settings.home)
    server = settings.server
    arguments = ["--home", str(settings.home), "--port", str(server.port), "--host", server.host, "--workers", str(server.workers)]
    if config is not None:
        arguments += ["--config", str(config.resolve())]
    code = Supervisor(settings, arguments).run()
    os.close(held)
    raise SystemExit(code)


def child_options(command):  # type: ignore[no-untyped-def]
    for option in (
        home_option(),
        click.option("--port", type=int, default=None),
        click.option("--host", default=None),
        click.option("--workers", type=int, default=None),
        click.option("--config", type=click.Path(path_type=Path), default=None),
    ):
        command = option(command)
    return command


@click.command(hidden=True)
@child_options
@click.option("--number", type=int, default=0)
def door(home: Path, port: int | None, host: str | None, workers: int | None, config: Path | None, number: int) -> None:
    """One door worker; `tandem up` starts it."""
    from tandem import app

    settings = settings_of(home, config, port, workers, host)
    app.door(settings, number, lambda bound: None)


@click.command(hidden=True)
@child_options
def control(home: Path, port: int | None, host: str | None, workers: int | None, config: Path | None) -> None:
    """The control process; `tandem up` starts it."""
    from tandem import app

    app.control(settings_of(home, config, port, workers, host))
