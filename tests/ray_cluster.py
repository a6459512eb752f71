"""A Ray cluster of the suite's own: one node of two processors, started once a worker when a test first needs it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ports import free_port

ROOT = Path(__file__).parents[1]
PATHS = os.pathsep.join((str(ROOT), str(ROOT / "src")))
"""Where its processes find Tandem, and the works of the tests."""


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[str]:
    """Its address; skipped where Ray is not installed."""
    pytest.importorskip("ray")
    folder, port = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp")), free_port()
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus=2"]
    command += [f"--port={port}", f"--temp-dir={folder}", "--object-store-memory=100000000", "--include-dashboard=false"]
    environment = {**os.environ, "PYTHONPATH": PATHS, "RAY_USAGE_STATS_ENABLED": "0"}
    with (folder / "start.log").open("wb") as log:
        node = subprocess.Popen([*command, "--node-ip-address=127.0.0.1"], env=environment, stdout=log, stderr=log)
    try:
        until = time.monotonic() + 60
        while b"Ray runtime started" not in (folder / "start.log").read_bytes():
            assert node.poll() is None, (folder / "start.log").read_text()
            assert time.monotonic() < until
            time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        node.terminate()
        node.wait(30)
        shutil.rmtree(folder, ignore_errors=True)
