"""`tandem up`: one command that starts the control process and the door workers, and keeps them running."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tandem.core.errors import Conflict, Invalid, TandemError
from tandem.observability.reserve import RESERVE_BYTES
from tandem.settings import Settings, load
from tandem.store.room import check_room, translated

if TYPE_CHECKING:
    from tandem.app import Role

ALREADY = 3
"""Exit code of a second start on the same home."""
UNUSABLE = 2
"""Exit code of a child that cannot work with what it was given."""
YOUNG_SECONDS = 2.0
"""A child that dies younger than this is started again later and later."""
LONGEST_WAIT = 5.0
SETTLED_SECONDS = 30.0
"""Once a child has lived so long, what its next one finds wrong was changed meanwhile, and the others go on."""
HOME = Path(os.environ.get("TANDEM_HOME", "~/.tandem")).expanduser()
HOME_HELP = "Directory that holds everything of the embedded default."
CONFIG_HELP = "Settings file instead of HOME/tandem.toml."
F = TypeVar("F", bound=Callable[..., Any])


def common(command: F) -> F:
    """The options that every process of a home takes."""
    options = (
        click.option("--home", type=click.Path(path_type=Path, file_okay=False), default=HOME, show_default=True, help=HOME_HELP),
        click.option("--port", type=int, default=None, help="The one port. [default: 8400]"),
        click.option("--host", default=None, help="Address to listen on. [default: 127.0.0.1]"),
        click.option("--workers", type=int, default=None, help="Door worker processes. [default: 1]"),
        click.option(
            "--config", type=click.Path(path_type=Path, dir_okay=False), default=None, envvar="TANDEM_CONFIG", help=CONFIG_HELP
        ),
        click.option("--cert", default=None, help="PEM certificate; with --key the port speaks TLS."),
        click.option("--key", default=None, help="PEM private key of --cert."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What the command line said itself."""

    home: Path
    port: int | None
    host: str | None
    workers: int | None
    config: Path | None
    cert: str | None
    key: str | None

    def arguments(self, settings: Settings) -> list[str]:
        """The same words for a child process, with paths made absolute."""
        words = ["--home", str(settings.home)]
        for name in ("port", "host", "workers", "config", "cert", "key"):
            value = getattr(self, name)
            if value is not None:
                path = name in ("config", "cert", "key")
                words += [f"--{name}", str(Path(value).resolve()) if path else str(value)]
        return words

    def settings(self) -> Settings:
        """The settings with the command line's own words on top.

        Raises:
            Invalid: the file or a word means nothing.
        """
        home = self.home.expanduser().resolve()
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        settings = load(home, config=self.config)
        words = {
            name: getattr(self, name) for name in ("port", "host", "workers", "cert", "key") if getattr(self, name) is not None
        }
        server = replace(settings.server, **words)
        if not 0 < server.port <= 65535 or not 1 <= server.workers <= 256:
            raise Invalid(
                f"Port {server.port} with {server.workers} workers cannot be.", hint="Ports go to 65535, workers from 1 to 256."
            )
        for path in (server.cert, server.key):
            if path is not None and not Path(path).is_file():
                raise Invalid(f"There is no file {path}.", hint="TLS needs --cert and --key, both PEM files.")
        return replace(settings, server=server)


class Supervisor:
    """Starts the children, starts them again when they die, and ends them in order."""

    def __init__(self, given: Given, role: Role) -> None:
        self.settings = given.settings()
        self._role = role
        self._given = given
        self._arguments = given.arguments(self.settings)
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._born: dict[str, float] = {}
        self._deaths: dict[str, int] = {}
        self._due: dict[str, float] = {}
        self._settled: set[str] = set()
        self._stopping = self._renewal = False
        self._retiring: list[subprocess.Popen[bytes]] = []
        self._socket = _listening(self.settings.server.host, self.settings.server.port)
        """Shared by all door workers: as long as it is open, a caller waits instead of being refused."""
        self._alive = os.pipe()
        """Its writing end closes with this process; the children wait for that."""

    def run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGHUP, self._ask_renewal)
        self._start("control")
        for worker in range(self.settings.server.workers):
            self._start(f"door-{worker}")
        while not self._stopping:
            time.sleep(0.1)
            self._mend()
            if self._renewal:
                self._renewal = False
                self._renew()
        return self._end()

    def _start(self, name: str) -> None:
        self._children[name] = self._spawn(name, None)
        self._born[name] = time.monotonic()

    def _spawn(self, name: str, ready: int | None) -> subprocess.Popen[bytes]:
        kind, _, number = name.partition("-")
        command = [sys.executable, "-m", "tandem", kind, *self._arguments, "--parent", str(self._alive[0])]
        descriptors = [self._alive[0]]
        if kind == "control":
            command += ["--role", self._role]
        if number:
            command += ["--number", number, "--socket", str(self._socket.fileno())]
            descriptors.append(self._socket.fileno())
        if ready is not None:
            command += ["--ready", str(ready)]
            descriptors.append(ready)
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, pass_fds=descriptors)

    def _renew(self) -> None:
        """SIGHUP: new processes take over one by one, with new settings and new code; no connection is refused."""
        try:
            self._given.settings()
        except TandemError as error:
            _say(f"nothing was renewed: {error}")
            return
        for name in [name for name in self._children if name.startswith("door")]:
            reader, writer = os.pipe()
            fresh = self._spawn(name, writer)
            os.close(writer)
            with os.fdopen(reader, "rb") as said:
                accepted = said.read(1)  # ends empty when the process dies before it accepts
            if not accepted:
                _say(f"the new {name} did not start; the old one goes on.")
                fresh.kill()
                fresh.wait()
                continue
            old, self._children[name], self._born[name] = self._children[name], fresh, time.monotonic()
            old.terminate()
            self._retiring.append(old)
        self._children["control"].terminate()  # `_mend` starts the next one; the doors go on meanwhile

    def _mend(self) -> None:
        """Starts what has died again: at once if it had lived, later and later if it dies young."""
        now = time.monotonic()
        self._retiring = [old for old in self._retiring if old.poll() is None]
        for name, child in list(self._children.items()):
            code = child.poll()
            if code is None:
                if now - self._born[name] > SETTLED_SECONDS:
                    self._settled.add(name)
                continue
            if code == UNUSABLE and name not in self._settled:  # the child said why, and trying again changes nothing
                self._stopping = True
                return
            if name not in self._due:
                young = now - self._born[name] < YOUNG_SECONDS
                self._deaths[name] = self._deaths.get(name, 0) + 1 if young else 0
                wait = min(LONGEST_WAIT, 0.1 * 2 ** (self._deaths[name] - 1)) if young else 0.0
                self._due[name] = now + wait
                _say(f"{name} ended with {code}; it is started again{f' in {wait:g} s' if wait else ''}.")
            if now >= self._due[name]:
                del self._due[name]
                self._start(name)

    def _stop(self, number: int, frame: object) -> None:
        self._stopping = True

    def _ask_renewal(self, number: int, frame: object) -> None:
        self._renewal = True

    def _end(self) -> int:
        """Doors drain first, control goes last, so that what they wrote is moved."""
        failed = any(child.poll() == UNUSABLE for child in self._children.values())
        patience = self.settings.server.drain_seconds + 5
        self._socket.close()
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
        for old in self._retiring:
            old.kill()
            old.wait()
        return 1 if failed else 0


def _say(text: str) -> None:
    """Tells on stderr; a log on a full disk is no reason for the supervisor to end."""
    with suppress(OSError):
        click.echo(f"tandem: {text}", err=True)


def _listening(host: str, port: int) -> socket.socket:
    """The one port, open.

    Raises:
        Conflict: somebody else has it.
        Invalid: the address is none of this machine's.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family, backlog=2048)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise Conflict(f"Port {port} of {host} is in use.", hint="Give another --port, or stop what listens there.") from None
        raise Invalid(
            f"{host}:{port} cannot be listened on: {error.strerror or error}.", hint="Give an address of this machine."
        ) from None


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
        click.echo(
            f"tandem: {home} is in use by process {pid}.\n  → Stop it with `kill {pid}`, or give another --home.", err=True
        )
        raise SystemExit(ALREADY) from None
    os.ftruncate(file, 0)
    os.pwrite(file, str(os.getpid()).encode(), 0)
    return file


@click.command(short_help="Start everything from one command.")
@common
def up(
    home: Path, port: int | None, host: str | None, workers: int | None, config: Path | None, cert: str | None, key: str | None
) -> None:
    """Start the platform: door workers and one control process, all in one home directory.

    The first start prints the admin key once, or takes it from TANDEM_ADMIN_KEY.
    """
    _supervise(Given(home=home, port=port, host=host, workers=workers, config=config, cert=cert, key=key), "all")


@click.command(short_help="Start one of several machines that answer.")
@common
def serve(
    home: Path, port: int | None, host: str | None, workers: int | None, config: Path | None, cert: str | None, key: str | None
) -> None:
    """Start the doors and the control process of one machine of several; `tandem work` does their Runs.

    All of them share the PostgreSQL server of [store] url and the directory of [store] folder. What stands in HOME is this
    machine's own.
    """
    given = Given(home=home, port=port, host=host, workers=workers, config=config, cert=cert, key=key)
    check_shared(given.settings(), "serve")
    _supervise(given, "serve")


@click.command(short_help="Do the Runs of machines that answer.")
@click.option("--home", type=click.Path(path_type=Path, file_okay=False), default=HOME, show_default=True, help=HOME_HELP)
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False), envvar="TANDEM_CONFIG", help=CONFIG_HELP)
def work(home: Path, config: Path | None) -> None:
    """Do the work of Runs: training, evaluation, indexes, batches. Any number of these share one queue.

    When one dies, another takes over what it was doing. Its own model calls go to [server] inside_url.
    """
    from tandem.app.process import work as perform

    settings = Given(home=home, port=None, host=None, workers=None, config=config, cert=None, key=None).settings()
    check_shared(settings, "work")
    if settings.server.inside_url is None:
        raise Invalid(
            "A process that only works has no door of its own for judges and embeddings.",
            hint="Set [server] inside_url to the address of one, or of the balancer before them.",
            field="server.inside_url",
        )
    with translated(f"The home {settings.home}"):
        held = hold(settings.home)
    perform(settings)
    os.close(held)


def check_shared(settings: Settings, command: str) -> None:
    """Looks whether there is something that several machines can share.

    Raises:
        Invalid: there is not.
    """
    if settings.database() is None:
        raise Invalid(
            f"`tandem {command}` is one of several processes, and they need a PostgreSQL server to share.",
            hint='Set [store] url = "env:NAME", or run `tandem up`, which needs none.',
            field="store.url",
        )
    if settings.store.folder is None:
        raise Invalid(
            f"`tandem {command}` needs a directory that every machine sees.",
            hint="Set [store] folder; models, datasets, uploads and the master key lie there.",
            field="store.folder",
        )


def _supervise(given: Given, role: Role) -> None:
    settings = given.settings()
    with translated(f"The home {settings.home}"):
        held = hold(settings.home)
    check_room(settings.home, settings.server.workers * RESERVE_BYTES)
    code = Supervisor(given, role).run()
    os.close(held)
    raise SystemExit(code)


@click.command(hidden=True)
@common
@click.option("--number", type=int, default=0)
@click.option("--parent", type=int, default=None)
@click.option("--socket", "listening", type=int, default=None)
@click.option("--ready", type=int, default=None)
def door(
    home: Path,
    port: int | None,
    host: str | None,
    workers: int | None,
    config: Path | None,
    cert: str | None,
    key: str | None,
    number: int,
    parent: int | None,
    listening: int | None,
    ready: int | None,
) -> None:
    """One door worker; `tandem up` starts it."""
    from tandem.app.door import door as answer

    given = Given(home=home, port=port, host=host, workers=workers, config=config, cert=cert, key=key)
    _end_with(parent)
    with _once():
        answer(given.settings(), number, listening, lambda: None if ready is None else _tell(ready))


@click.command(hidden=True)
@common
@click.option("--parent", type=int, default=None)
@click.option("--role", type=click.Choice(["all", "serve"]), default="all")
def control(
    home: Path,
    port: int | None,
    host: str | None,
    workers: int | None,
    config: Path | None,
    cert: str | None,
    key: str | None,
    parent: int | None,
    role: Role,
) -> None:
    """The control process; `tandem up` starts it."""
    from tandem.app.process import control as run

    given = Given(home=home, port=port, host=host, workers=workers, config=config, cert=cert, key=key)
    _end_with(parent)
    with _once():
        run(given.settings(), role)


@contextmanager
def _once() -> Iterator[None]:
    """What a child refuses on purpose it would refuse again: it says why once, and the supervisor ends.

    What another time may mend, such as a full disk, ends this child alone.
    """
    try:
        with translated("The home"):
            yield
    except TandemError as error:
        if error.retryable:
            raise
        from tandem.cli.fail import report

        report(error, as_json=False)
        raise SystemExit(UNUSABLE) from None


def _tell(ready: int) -> None:
    """Tells the supervisor that this worker accepts calls."""
    os.write(ready, b"1")
    os.close(ready)


def _end_with(parent: int | None) -> None:
    """Ends this process when the supervisor is gone, however it went: then its end of the pipe closes."""
    if parent is None:
        return

    def watch() -> None:
        os.read(parent, 1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()
