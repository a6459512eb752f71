"""The demo is a test: every step of the story holds, from the wheel and its extra alone, far from any checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.journeys.conftest import CONSTRAINTS, with_uv
from tests.ports import free_port

pytestmark = [pytest.mark.journey, pytest.mark.slow, pytest.mark.files]


def test_the_whole_story_holds(tmp_path: Path, wheel: Path) -> None:
    """What `pip install "tandem-ai[ml]" && tandem demo` does."""
    clean = tmp_path / "clean"
    with_uv(clean, "--compile-bytecode", *CONSTRAINTS, f"tandem-ai[ml] @ {wheel.as_uri()}")
    outside = ("TANDEM_", "OPENAI_", "PYTHON", "VIRTUAL_ENV")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(outside)}
    path = os.pathsep.join(each for each in environment["PATH"].split(os.pathsep) if each != str(Path(sys.executable).parent))
    done = subprocess.run(
        [clean / "bin" / "tandem", "demo", "--once", "--port", str(free_port())],
        env={**environment, "PATH": path, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for step in range(1, 12):
        assert f"\n{step}. " in done.stdout
    assert "FAILED" not in done.stdout
    assert "verdict       inconclusive" in done.stdout
    assert "verdict       regressed" in done.stdout
    assert "ledger and upstream's bill agree" in done.stdout
    assert "What was shown" in done.stdout
