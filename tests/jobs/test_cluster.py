"""Pieces of a work as tasks of a Ray cluster: the same answers through the death of a process, and no secret told."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.jobs import works
from tests.ports import free_port

from tandem.core.errors import Broken, Conflict, Invalid
from tandem.jobs.pieces import Compute, crew, each

ray = pytest.importorskip("ray")
from tandem.jobs import cluster  # noqa: E402  # it imports Ray


def test_every_piece_is_answered_once_and_few_are_under_way(ray_cluster: str) -> None:
    made, found = list[int](), dict[int, int]()
    with crew(Compute(ray=ray_cluster), works.square) as doing:
        assert doing.at_once == cluster.EACH * 2
        for key, answer in each(doing, ((made.append(number), (number, number))[1] for number in range(40))):
            assert key not in found
            found[key] = answer
            assert len(made) - len(found) < doing.at_once
    assert found == {number: number * number for number in range(40)}
    assert doing.tally.waited > 0
    assert doing.tally.took > 0


def test_a_piece_whose_process_is_killed_is_done_again(ray_cluster: str, tmp_path: Path) -> None:
    with crew(Compute(ray=ray_cluster), works.killed_once) as doing:
        doing.give("it", tmp_path / "mark")
        key, process = doing.take()
    assert key == "it"
    assert process not in (0, os.getpid())
    assert (tmp_path / "mark").exists()


def test_a_piece_that_kills_every_process_is_given_up(ray_cluster: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "AGAIN", 1)
    with crew(Compute(ray=ray_cluster), works.killed) as doing:
        doing.give("it", 1)
        with pytest.raises(Broken, match="lost on the Ray cluster 2 times"):
            doing.take()


def test_errors_come_back_as_they_were(ray_cluster: str) -> None:
    with crew(Compute(ray=ray_cluster), works.picky) as doing:
        doing.give("it", 3)
        with pytest.raises(Invalid, match="Three is not taken") as caught:
            doing.take()
    assert (caught.value.field, caught.value.hint) == ("number", "Take another.")
    with crew(Compute(ray=ray_cluster), works.wrong) as doing:
        doing.give("it", 0)
        with pytest.raises(Broken, match="ZeroDivisionError"):
            doing.take()


def test_a_node_of_another_version_is_refused(ray_cluster: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "__version__", "99")
    with crew(Compute(ray=ray_cluster), works.square) as doing:
        doing.give("it", 1)
        with pytest.raises(Conflict, match="the platform is 99"):
            doing.take()


def test_the_environment_of_the_platform_stays_with_it(ray_cluster: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TANDEM_MASTER_KEY", "secret")
    with crew(Compute(ray=ray_cluster), works.seen) as doing:
        assert dict(each(doing, [(name, name) for name in ("TANDEM_MASTER_KEY", "PATH")])) == {
            "TANDEM_MASTER_KEY": False,
            "PATH": True,
        }


def test_a_cluster_that_does_not_answer_is_said_in_time() -> None:
    """In a process of its own: Ray goes on trying, and ends the process that it is in."""
    asking = f"""
from tandem.core.errors import Unavailable
from tandem.jobs import cluster
from tandem.jobs.pieces import Compute, crew
cluster.SECONDS = 0.5
try:
    with crew(Compute(ray="127.0.0.1:{free_port()}"), len):
        pass
except Unavailable as error:
    print(error)
"""
    told = subprocess.run([sys.executable, "-c", asking], capture_output=True, text=True, check=True)
    assert "cannot be joined: no answer within 0.5 s" in told.stdout
    assert "compute.ray" in told.stdout
