"""What workers tell of targets that rest, and that they forget when they are asked to."""

from __future__ import annotations

from pathlib import Path

import pytest

from tandem.core.errors import Unavailable
from tandem.gateway.routing.board import ASKED, Board, forget, read
from tandem.gateway.routing.health import REST, Health


def test_what_one_worker_saw_is_read_and_ends_by_its_own_time(tmp_path: Path) -> None:
    health, board = Health(), Board(tmp_path, "0")
    board.tend(health, 0)
    assert [told.resting for told in read(tmp_path, 0)] == [[]]
    health.note("p/a", "rate_limited", 0, 9.0)
    board.tend(health, 0)
    (told,) = read(tmp_path, 0)
    assert [(one.name, one.outcome) for one in told.resting] == [("p/a", "rate_limited"), ("p/a#1", "rate_limited")]
    (late,) = read(tmp_path, 9_000_001)
    assert late.resting == []


def test_nothing_is_written_where_nothing_changed(tmp_path: Path) -> None:
    health, board = Health(), Board(tmp_path, "0")
    board.tend(health, 0)
    file = tmp_path / "worker-0.json"
    file.unlink()
    board.tend(health, 1)
    assert not file.exists()


def test_every_worker_forgets_what_it_is_asked_to_and_only_once(tmp_path: Path) -> None:
    """BerriAI/litellm#25504: nobody can see or clear a cooldown."""
    workers = [(Health(), Board(tmp_path, str(number))) for number in range(2)]
    for health, _ in workers:
        for name in ("p/a", "q/b"):
            health.note(name, "rate_limited", 0, 60.0)
    forget(tmp_path, "p/a")
    for health, board in workers:
        board.tend(health, 0)
        assert {one.name for one in health.resting(0)} == {"q/b", "q/b#1"}
        health.note("p/a", "rate_limited", 0, 60.0)
        board.tend(health, 0)
        assert {one.name for one in health.resting(0)} == {"p/a", "p/a#1", "q/b", "q/b#1"}
    forget(tmp_path, None)
    for health, board in workers:
        board.tend(health, 0)
        assert health.resting(0) == []
    assert all(told.resting == [] for told in read(tmp_path, 0))


def test_a_new_worker_does_not_take_old_wishes_for_its_own(tmp_path: Path) -> None:
    forget(tmp_path, None)
    health, board = Health(), Board(tmp_path, "0")
    health.note("p/a", "rate_limited", 0, 60.0)
    board.tend(health, 0)
    assert health.resting(0)


def test_files_that_cannot_be_read_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "worker-0.json").write_bytes(b"{")
    (tmp_path / ASKED).write_bytes(b"\xff")
    assert read(tmp_path, 0) == []
    forget(tmp_path, "p/a")
    health, board = Health(), Board(tmp_path, "1")
    board.tend(health, REST)
    assert len(read(tmp_path, 0)) == 1


def test_a_wish_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable):
        forget(tmp_path / "file" / "below", "p/a")
