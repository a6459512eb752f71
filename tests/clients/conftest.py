"""Clients of an environment of their own, before a platform whose endpoints speak every protocol of providers."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.conftest import ROOT, Platform, mock_upstream
from tests.ports import free_port

HERE = Path(__file__).parent
PYTHON = ROOT / ".venv-clients" / "bin" / "python"
PROVIDERS = {
    "openai": ("/v1", "gpt-4o-mini"),
    "anthropic": ("/anthropic/v1", "claude-haiku-4-5"),
    "gemini": ("/v1beta", "gemini-2.5-flash"),
}
PROVIDER = """
[providers.{name}]
base_url = "{url}"
keys = ["env:MOCK_KEY"]

[endpoints.{name}]
kind = "chat"
route = [{{ target = "{name}/{model}" }}]
retries = 0
"""
EMBEDDER = """
[endpoints.embedder]
kind = "embed"
route = [{ target = "openai/text-embedding-3-small" }]
"""
PROTOCOLS = sorted(PROVIDERS)
FACTS = "radius: 17.9\ntexture: 10.4\nverdict: malignant\nExplain the risk score in two sentences."
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="  # one pixel
POOR = "0.000001"
"""A cap in US dollars that has room for no call."""


class Client:
    """A driven client in its own process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def _line(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the client ended with {self._process.wait(10)}"
        return json.loads(line)

    def begun(self) -> list[str]:
        return list(self._line()["ok"])

    def _ask(self, deed: str, arguments: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"deed": deed, "arguments": arguments}) + "\n")
        self._process.stdin.flush()
        return self._line()

    def does(self, deed: str, **arguments: Any) -> Any:
        """What the client returns."""
        said = self._ask(deed, arguments)
        assert "ok" in said, said
        return said["ok"]

    def fails(self, deed: str, **arguments: Any) -> Any:
        """What the client raises."""
        said = self._ask(deed, arguments)
        assert "error" in said, said
        return said["error"]


@contextmanager
def driven(script: str, platform: Platform) -> Iterator[Client]:
    """Runs a script of this folder in the clients' environment; in CI one that is missing is a failure, as every skip is."""
    if not PYTHON.exists():
        pytest.skip(f"{PYTHON.parents[1]} is missing: `make clients` makes it.")
    words = [PYTHON, HERE / script, f"{platform.url}/v1", platform.key("clients")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            client = Client(process)
            client.begun()
            yield client
        finally:
            process.kill()


@pytest.fixture(scope="module")
def poor(across: Platform) -> str:
    """A key that can pay for nothing."""
    key = across.key("poor")
    across.api("PUT", "/budgets/key/poor", json={"cap": POOR, "window": "day"})
    time.sleep(1.0)  # a new key and a new cap hold within a second
    return key


@pytest.fixture(scope="module")
def across(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform with one endpoint for each protocol, named after it."""
    home = tmp_path_factory.mktemp("clients") / "home"
    home.mkdir(mode=0o700)
    with mock_upstream() as url:
        rows = [PROVIDER.format(name=name, url=url + root, model=model) for name, (root, model) in PROVIDERS.items()]
        (home / "tandem.toml").write_text("".join([*rows, EMBEDDER]))
        running = Platform(home=home, port=free_port(), mock_url=url)
        try:
            running.up()
            yield running
        finally:
            running.down()
