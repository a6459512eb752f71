"""The control process: built, run with what goes on beside it, and ended in order."""

from __future__ import annotations

import fcntl
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

from tandem.app import Role, control_socket
from tandem.app.control import App, build
from tandem.app.log import log
from tandem.core.collector import settle
from tandem.core.errors import TandemError
from tandem.settings import Settings


def control(settings: Settings, role: Role = "all") -> None:
    """Runs the control process until it is told to end."""
    with running(settings, role) as built:
        control_socket(settings.home).unlink(missing_ok=True)
        config = uvicorn.Config(
            built.web,
            uds=str(control_socket(settings.home)),
            log_level="warning",
            access_log=False,
            lifespan="off",
            server_header=False,
        )
        uvicorn.Server(config).run()


def work(settings: Settings) -> None:
    """Does the work of Runs until it is told to end."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: stop.set())
    with running(settings, "work"):
        stop.wait()


@contextmanager
def running(settings: Settings, role: Role) -> Iterator[App]:
    """The control process, built, with what runs beside it; ended in order."""
    lock = os.open(settings.home / "control.lock", os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)  # an earlier control process of this home may still be ending
    built = build(settings, role)
    if built.admin is not None:
        print(
            f"\n  The admin key of this home, shown once:\n\n    {built.admin}\n\n  Keep it; `tandem login` asks for it.\n",
            flush=True,
        )

    def whole(work: Callable[[], object]) -> None:
        try:
            work()
        except (TandemError, OSError) as error:  # half a control process would go unnoticed; the next one tries again
            log("control", error)
            os.kill(os.getpid(), signal.SIGTERM)

    threads = [threading.Thread(target=whole, args=(work,), name=name, daemon=True) for name, work in built.background.items()]
    settle()
    for thread in threads:
        thread.start()
    yield built
    built.close()
    os.close(lock)
