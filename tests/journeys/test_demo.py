"""The demo is a test: every step of the story holds, from one command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.journey, pytest.mark.slow]


def test_the_whole_story_holds(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("TANDEM_", "OPENAI_"))}
    done = subprocess.run(
        [sys.executable, "-m", "tandem", "demo", "--once", "--port", "0"],
        env={**environment, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for step in range(1, 12):
        assert f"\n{step}. " in done.stdout
    assert "FAILED" not in done.stdout
    assert "verdict       inconclusive" in done.stdout
    assert "verdict       regressed" in done.stdout
    assert "ledger and upstream's bill agree" in done.stdout
