"""One work in pieces: what comes of it here, and in which order talks go on."""

from __future__ import annotations

import sys
from collections.abc import Generator

import pytest
from tests.jobs.works import picky, square

from tandem.core.errors import Invalid, Unavailable
from tandem.jobs.pieces import HERE, Compute, Tally, crew, each, together


class Backwards:
    """Takes three pieces at once and answers the last one first."""

    at_once = 3

    def __init__(self) -> None:
        self.tally = Tally()
        self.given: list[tuple[str, int]] = []
        self.most = 0

    def give(self, key: str, piece: int) -> None:
        self.given.append((key, piece))
        self.most = max(self.most, len(self.given))

    def take(self) -> tuple[str, int]:
        key, piece = self.given.pop()
        return key, square(piece)


def talk(*pieces: int) -> Generator[int, int, list[int]]:
    heard = []
    for piece in pieces:
        heard.append((yield piece))
    return heard


def test_here_pieces_are_made_and_done_one_after_the_other() -> None:
    made: list[int] = []

    def pieces() -> Generator[tuple[int, int]]:
        for number in range(4):
            made.append(number)
            yield number, number

    with crew(HERE, square) as doing:
        for key, answer in each(doing, pieces()):
            assert (made[-1], answer) == (key, key * key)
    assert doing.tally.took == doing.tally.waited > 0 == doing.tally.beyond


def test_no_more_pieces_are_made_than_are_taken_at_once() -> None:
    doing, made = Backwards(), list[int]()

    def pieces() -> Generator[tuple[str, int]]:
        for number in range(8):
            made.append(number)
            yield str(number), number

    found = {}
    for key, answer in each(doing, pieces()):
        found[key] = answer
        assert len(made) - len(found) < 3
    assert found == {str(number): number * number for number in range(8)}
    assert doing.most == 3


def test_talks_go_on_beside_each_other_and_come_to_the_same() -> None:
    def talks() -> dict[str, Generator[int, int, list[int]]]:
        return {"a": talk(1, 2), "none": talk(), "b": talk(3), "c": talk(4, 5, 6), "d": talk(7)}

    with crew(HERE, square) as doing:
        here = together(doing, talks())
    beside = Backwards()
    assert together(beside, talks()) == here == {"a": [1, 4], "none": [], "b": [9], "c": [16, 25, 36], "d": [49]}
    assert beside.most == 3
    assert list(here) == ["a", "none", "b", "c", "d"]


def test_an_error_of_the_work_is_the_askers() -> None:
    with pytest.raises(Invalid, match="Three"), crew(HERE, picky) as doing:
        list(each(doing, enumerate(range(5))))


def test_without_ray_a_cluster_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "tandem.jobs.cluster", raising=False)
    with pytest.raises(Unavailable, match="tandem-ai\\[ray\\]"), crew(Compute(ray="auto"), square):
        pass
