"""Ports that several tests at once may listen on: each is given away once while its taker lives."""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path

FIRST, LAST = 20_000, 32_000
"""Below what Linux and macOS give to outgoing connections, which would take a port between its choice and its use."""
CLAIMS = Path(tempfile.gettempdir()) / f"tandem-test-ports-{os.getuid()}"


def free_port(following: int = 0) -> int:
    """A port that nobody listens on and that no other test process was given; with as many free ones after it."""
    for _ in range(1000):
        port = random.SystemRandom().randrange(FIRST, LAST - following)
        if all(map(_claimed, range(port, port + following + 1))):
            return port
    raise AssertionError(f"No port from {FIRST} to {LAST} is free.")


def _claimed(port: int) -> bool:
    """Whether the port is ours from now on: the lock on its file ends with this process."""
    CLAIMS.mkdir(mode=0o700, exist_ok=True)
    claim = os.open(CLAIMS / str(port), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with contextlib.suppress(OSError), socket.socket() as probe:
        fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        probe.bind(("127.0.0.1", port))
        return True
    os.close(claim)
    return False
