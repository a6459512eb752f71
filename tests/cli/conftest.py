"""Commands run in this process against a fake platform on loopback."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tandem.cli.main import main
from tandem_sdk.fake import FakePlatform


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    code: int
    out: str
    err: str

    def json(self) -> object:
        return json.loads(self.out)


class Shell:
    """Runs commands."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capsys, self._monkeypatch = capsys, monkeypatch

    def __call__(self, *words: str, stdin: str | None = None) -> Done:
        if stdin is not None:
            self._monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        code = main(words)
        captured = self._capsys.readouterr()
        return Done(code, captured.out, captured.err)


@pytest.fixture
def platform(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakePlatform]:
    with FakePlatform() as platform:
        monkeypatch.setenv("TANDEM_URL", platform.url)
        monkeypatch.setenv("TANDEM_KEY", "tdm_test")
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
        yield platform


@pytest.fixture
def tandem(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    return Shell(capsys, monkeypatch)
