"""Pieces in processes beside this one: the same answers, and nothing is left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.jobs import works

from tandem.core.errors import Broken, Invalid
from tandem.jobs.pieces import Compute, crew, each

TWO = Compute(processes=2)
ASKER = """
import time
from pathlib import Path
from tandem.jobs.pieces import Compute, crew, each
from tests.jobs.works import process
if __name__ == "__main__":
    with crew(Compute(processes=2), process) as doing:
        print(*{answer for _, answer in each(doing, enumerate([0.3] * 4))}, flush=True)
        time.sleep(600)
"""


def test_every_piece_is_answered_once_by_several_processes() -> None:
    with crew(TWO, works.square) as doing:
        assert doing.at_once == 2
        assert dict(each(doing, ((number, number) for number in range(20)))) == {number: number**2 for number in range(20)}
        assert doing.tally.took > 0
    with crew(TWO, works.process) as doing:
        assert len({answer for _, answer in each(doing, enumerate([0.3] * 4))} - {os.getpid()}) == 2


def test_errors_come_back_as_they_were() -> None:
    with crew(TWO, works.picky) as doing, pytest.raises(Invalid, match="Three is not taken") as caught:
        list(each(doing, enumerate(range(5))))
    assert (caught.value.field, caught.value.hint) == ("number", "Take another.")


def test_a_process_that_dies_is_told_with_what_to_do() -> None:
    with crew(TWO, works.killed) as doing, pytest.raises(Broken, match="died") as caught:
        list(each(doing, enumerate(range(5))))
    assert "compute.processes" in str(caught.value.hint)


def test_they_end_with_whoever_asks_however_it_ends(tmp_path: Path) -> None:
    script = tmp_path / "asker.py"
    script.write_text(ASKER)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True, env=environment) as asker:
        assert asker.stdout is not None
        beside = [int(number) for number in asker.stdout.readline().split()]
        assert len(beside) == 2
        asker.kill()
    until = time.monotonic() + 30
    while any(map(lives, beside)):
        assert time.monotonic() < until
        time.sleep(0.05)


def lives(process: int) -> bool:
    """Whether it runs; one that has ended may wait to be buried."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False
