"""Work that goes round: when it is done, by whom, and what becomes of what fails."""

from __future__ import annotations

import pytest

from tandem.core.errors import Unavailable
from tandem.jobs.rounds import Rounds


class Wheel:
    """Rounds whose work stops them after so many."""

    def __init__(self, *results: object, mine: tuple[bool, ...] = ()) -> None:
        self.left, self.mine, self.done = list(results), list(mine), 0
        self.told: list[str] = []
        self.rounds = Rounds(self.work, 0.001, mine=self.turn, at_once=True)

    def turn(self) -> bool:
        return self.mine.pop(0) if self.mine else True

    def work(self) -> object:
        self.done += 1
        result = self.left.pop(0)
        if not self.left:
            self.rounds.stop()
        if isinstance(result, Exception):
            raise result
        return result

    def run(self) -> Wheel:
        self.rounds.run(lambda error: self.told.append(str(error)))
        return self


def test_it_goes_round_until_it_is_told_to_stop() -> None:
    assert Wheel(None, None, None).run().done == 3


def test_what_fails_is_told_once_and_tried_again() -> None:
    away, full = Unavailable("away"), OSError("full")
    assert Wheel(away, away, full, full, None, full, None).run().told == ["away", "full", "full"]


def test_a_bug_ends_the_rounds() -> None:
    with pytest.raises(KeyError):
        Wheel(KeyError("x"), None).run()


def test_a_process_that_is_not_on_duty_leaves_the_work_alone() -> None:
    wheel = Wheel(None, mine=(False, False, True)).run()
    assert (wheel.done, wheel.mine) == (1, [])


def test_what_has_more_to_do_is_begun_again_without_a_pause() -> None:
    wheel = Wheel(True, True, None)
    wheel.rounds._seconds = 3600.0  # a pause would not end
    wheel.rounds._at_once = True
    assert wheel.run().done == 3
