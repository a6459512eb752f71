"""The wheel alone, in a clean environment: it starts, answers, and shows the console."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from tests.journeys.conftest import CONSTRAINTS, with_pip, with_uv
from tests.ports import free_port

pytestmark = [pytest.mark.journey, pytest.mark.slow, pytest.mark.files]


@pytest.mark.parametrize("install", [with_pip, with_uv])
def test_the_wheel_starts_and_shows_the_console(tmp_path: Path, wheel: Path, install: Callable[..., None]) -> None:
    install(tmp_path / "clean", *CONSTRAINTS, str(wheel))
    for file in ("healthcare/second_opinion.py", "insurance/world.py"):
        assert list((tmp_path / "clean").glob(f"lib/python*/site-packages/tandem/cli/examples/{file}")), file
    tandem = tmp_path / "clean" / "bin" / "tandem"
    subprocess.run([tandem, "init", tmp_path / "desk", "--what", "documents", "--yes"], check=True, cwd=tmp_path)
    assert (tmp_path / "desk" / "run.sh").exists(), "templates and examples are in the wheel"
    port, home = free_port(), tmp_path / "home"
    environment = {**os.environ, "TANDEM_ADMIN_KEY": "tdm_wheel"}
    environment.pop("PYTHONPATH", None)
    command = [tmp_path / "clean" / "bin" / "tandem", "up", "--home", home, "--port", str(port)]
    process = subprocess.Popen(command, env=environment, cwd=tmp_path, stdin=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 60
        while True:
            assert process.poll() is None
            assert time.monotonic() < deadline
            with contextlib.suppress(httpx2.HTTPError):
                if httpx2.get(f"{url}/health/ready", timeout=2).status_code == 200:
                    break
            time.sleep(0.1)
        page = httpx2.get(f"{url}/", follow_redirects=True, timeout=10)
        assert page.status_code in (200, 401)
        assert "<title>" in page.text
        assert "Tandem" in page.text
        with httpx2.Client(base_url=url, timeout=10) as browser:
            signed = browser.post("/console/sign-in", data={"key": "tdm_wheel"}, headers={"sec-fetch-site": "same-origin"})
            assert signed.status_code in (200, 302, 303)
            assert "tandem_session" in browser.cookies
            assert browser.get("/").status_code == 200
            assert browser.get("/assets").status_code == 200
    finally:
        process.terminate()
        process.wait(60)
