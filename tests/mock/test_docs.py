"""docs/mock.md is true: its sessions run, its tables are the product's own."""

from __future__ import annotations

import doctest
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tandem.mock import prices
from tandem.mock.command import mock
from tandem.mock.faults import KINDS, OPTIONS

PAGE = (Path(__file__).parents[2] / "docs" / "mock.md").read_text()
START = [sys.executable, "-c", "from tandem.mock.command import mock; mock()", "--port", "0", "--json"]


@pytest.fixture
def url() -> Iterator[str]:
    process = subprocess.Popen(START, stdout=subprocess.PIPE)
    assert process.stdout is not None
    yield str(msgspec.json.decode(process.stdout.readline())["url"])
    process.terminate()
    process.communicate(timeout=10)


def test_its_sessions_run(url: str) -> None:
    page = PAGE.replace("http://127.0.0.1:9101", url)
    test = doctest.DocTestParser().get_doctest(page, {}, "docs/mock.md", None, 0)
    failed, tried = doctest.DocTestRunner(optionflags=doctest.REPORT_NDIFF).run(test, clear_globs=False)
    for name in ("client", "claude", "mock"):
        test.globs[name].close()
    assert tried > 8
    assert failed == 0


def test_its_program_runs() -> None:
    [program] = [block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if ">>>" not in block]
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)


def test_its_commands_are_read() -> None:
    commands = re.findall(r"^\$ tandem mock (.*)$", PAGE, re.MULTILINE)
    assert commands
    for words in commands:
        mock.make_context("mock", words.split())


def test_its_tables_are_the_products() -> None:
    rows = dict(re.findall(r"^\| `([^`]+)` \| (.+) \|$", PAGE, re.MULTILINE))
    assert {name: rows[name] for name in KINDS} == {name: kind.meaning for name, kind in KINDS.items()}
    assert all(f"`{name}=" in PAGE for name in OPTIONS)
    for row in prices.TABLE.values():
        assert f"`{row.model}`" in PAGE
    for option in mock.params:
        if option.name not in ("host", "as_json", "latency", "seed"):
            assert any(name in PAGE for name in option.opts)
