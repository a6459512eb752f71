from __future__ import annotations

import asyncio
import gc
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tandem.core.errors import Broken, TimedOut, Unavailable
from tandem.serving import joined
from tandem.serving.joined import Joined

FOREVER = 1e12


class Model:
    """Doubles its rows when it is let go; a row of -1 breaks whatever it is part of."""

    def __init__(self, *, at_once: int = 1) -> None:
        self.asked: list[list[int]] = []
        self.deadlines: list[float] = []
        self.free = asyncio.Event()
        self.calls = Joined(self.predict, at_once=at_once)

    async def predict(self, rows: list[int], until: float) -> Sequence[int]:
        self.asked.append(rows)
        self.deadlines.append(until)
        await self.free.wait()
        if -1 in rows:
            raise Broken("There is no answer to -1.")
        if -2 in rows:
            raise ZeroDivisionError
        return [2 * row for row in rows]

    def ask(self, *rows: int, until: float = FOREVER) -> asyncio.Task[Sequence[int]]:
        return asyncio.create_task(self.calls.ask(list(rows), until))


async def turns() -> None:
    """Lets all that can go on go on."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_call_that_is_alone_is_asked_at_once() -> None:
    model = Model()
    model.free.set()
    for row in range(3):
        assert await model.ask(row) == [2 * row]
    assert model.asked == [[0], [1], [2]]
    assert model.calls.idle


async def test_calls_that_arrive_meanwhile_are_one_prediction() -> None:
    model = Model()
    calls = [model.ask(1), model.ask(2, 3), model.ask(4, until=FOREVER + 1), model.ask(5)]
    await turns()
    assert model.asked == [[1]]
    model.free.set()
    assert await asyncio.gather(*calls) == [[2], [4, 6], [8], [10]]
    assert model.asked == [[1], [2, 3, 4, 5]]
    assert model.deadlines[1] == FOREVER + 1
    assert model.calls.idle


async def test_no_more_rows_are_joined_than_may_be() -> None:
    model = Model()
    calls = [model.ask(0), model.ask(*range(joined.ROWS)), model.ask(1), model.ask(*range(joined.ROWS * 2)), model.ask(2)]
    await turns()
    model.free.set()
    await asyncio.gather(*calls)
    assert [len(rows) for rows in model.asked] == [1, joined.ROWS, 1, joined.ROWS * 2, 1]


async def test_one_calls_rows_fail_no_other() -> None:
    model = Model()
    calls = [model.ask(0), model.ask(1), model.ask(-1), model.ask(2)]
    await turns()
    model.free.set()
    first, one, bad, two = await asyncio.gather(*calls, return_exceptions=True)
    assert (first, one, two) == ([0], [2], [4])
    assert isinstance(bad, Broken)
    assert model.asked == [[0], [1, -1, 2], [1], [-1], [2]]


async def test_a_deadline_is_each_calls_own() -> None:
    model = Model()
    now = asyncio.get_running_loop().time()
    first, late, patient = model.ask(0), model.ask(1, until=now), model.ask(2)
    with pytest.raises(TimedOut):
        await late
    model.free.set()
    assert await asyncio.gather(first, patient) == [[0], [4]]
    assert model.asked == [[0], [2]]


async def test_whoever_leaves_is_left_out() -> None:
    model = Model()
    first, gone, other = model.ask(0), model.ask(1), model.ask(2)
    await turns()
    gone.cancel()
    model.free.set()
    assert await asyncio.gather(first, other) == [[0], [4]]
    assert model.asked == [[0], [2]]


async def test_the_first_may_leave_too() -> None:
    model = Model()
    first, other = model.ask(0), model.ask(1)
    await turns()
    first.cancel()
    model.free.set()
    assert await other == [2]
    assert model.calls.idle


async def test_too_many_are_refused() -> None:
    model = Model()
    calls = [model.ask(row) for row in range(joined.WAITING + 2)]
    await turns()
    model.free.set()
    refused = [said for said in await asyncio.gather(*calls, return_exceptions=True) if isinstance(said, Unavailable)]
    assert len(refused) == 1
    assert refused[0].retry_after == 1.0


async def test_a_fault_of_ours_leaves_nobody_waiting() -> None:
    model = Model()
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context["exception"]))
    first, one, other = model.ask(0), model.ask(1), model.ask(-2)
    await turns()
    model.free.set()
    assert await first == [0]
    for call in (one, other):
        with pytest.raises(Unavailable, match="given up"):
            await call
    gc.collect()
    assert [type(fault) for fault in told] == [ZeroDivisionError]
    assert model.calls.idle


async def test_two_may_be_under_way() -> None:
    model = Model(at_once=2)
    calls = [model.ask(row) for row in range(4)]
    await turns()
    assert model.asked == [[0], [1]]
    model.free.set()
    assert await asyncio.gather(*calls) == [[0], [2], [4], [6]]
    assert model.asked[2] == [2, 3]


@settings(deadline=None)
@given(st.lists(st.tuples(st.lists(st.integers(-1, 9), max_size=300), st.integers(0, 3), st.booleans()), max_size=30))
def test_whatever_happens_each_gets_its_own(calls: list[tuple[list[int], int, bool]]) -> None:
    """Calls of any size that arrive at any time, some of which leave: each that stays gets its rows' answers or its own error."""

    async def play() -> None:
        model = Model()
        model.free.set()
        tasks = []
        for rows, pause, leaves in calls:
            tasks.append(model.ask(*rows))
            for _ in range(pause):
                await asyncio.sleep(0)
            if leaves:
                tasks[-1].cancel()
        said = await asyncio.gather(*tasks, return_exceptions=True)
        for (rows, _, leaves), one in zip(calls, said, strict=True):
            if isinstance(one, asyncio.CancelledError):
                assert leaves
            elif -1 in rows:
                assert isinstance(one, Broken)
            else:
                assert list(one) == [2 * row for row in rows]  # type: ignore[arg-type]
        await turns()
        assert model.calls.idle

    asyncio.run(play())
