"""What the whole suite makes of tests that fail always, once or never."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.passes import FEW, Pass, do

ONCE = """
from pathlib import Path
def test_once():
    seen = Path({seen!r})
    first, _ = not seen.exists(), seen.touch()
    assert not first
def test_never(): pass
"""
ALWAYS = "def test_always(): assert False\n"
MANY = "import pytest\n@pytest.mark.parametrize('n', range({n}))\ndef test_many(n): assert False\n"


def suite(folder: Path, text: str) -> Pass:
    file = folder / "test_made.py"
    file.write_text(text)
    return Pass(("--rootdir", str(folder), "-q", str(file)), {"PYTEST_ADDOPTS": ""})


@pytest.fixture
def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_fails_once_holds_and_is_told(ground: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert do(suite(ground, ONCE.format(seen=str(ground / "seen")))) == (True, ["test_made.py::test_once"])
    told = capfd.readouterr().out
    assert "Once more, alone: test_made.py::test_once" in told
    assert "1 failed, 1 passed" in told
    assert " 1 passed in" in told


def test_what_fails_always_fails_the_whole(ground: Path) -> None:
    assert do(suite(ground, ALWAYS)) == (False, [])


def test_many_failures_are_not_done_again(ground: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert do(suite(ground, MANY.format(n=FEW + 1))) == (False, [])
    assert "Once more" not in capfd.readouterr().out


def test_a_suite_that_cannot_be_read_or_has_no_test_fails(ground: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert do(suite(ground, "import nothing_of_this_name\n")) == (False, [])
    assert do(suite(ground, "")) == (False, [])
    assert "Once more" not in capfd.readouterr().out
