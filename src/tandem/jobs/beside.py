"""Pieces of one work in processes beside this one, on the same machine.

The work is sent to each process once. A process that dies takes the work with it: the Run fails, and done again it goes on behind
the pieces that were kept. When this process ends, however it ends, so do they.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait as ended
from typing import Any, Generic

from tandem.core.errors import Broken
from tandem.jobs.pieces import Answer, Key, Piece, Tally

_work: list[Callable[[Any], Any]] = []
"""The work of this process, where it is one of those beside another."""


class Beside(Generic[Key, Piece, Answer]):
    """Has as many pieces done at once as there are processes."""

    def __init__(self, pool: ProcessPoolExecutor, processes: int) -> None:
        self.at_once, self.tally = processes, Tally()
        self._pool = pool
        self._under_way: dict[Future[tuple[Answer, float, float]], Key] = {}

    def give(self, key: Key, piece: Piece) -> None:
        with _translated():
            self._under_way[self._pool.submit(_do, piece)] = key

    def take(self) -> tuple[Key, Answer]:
        begun = time.perf_counter()
        done = next(iter(wait(self._under_way, return_when=FIRST_COMPLETED).done))
        with _translated():
            answer, took, cpu = done.result()
        self.tally.waited += time.perf_counter() - begun
        self.tally.took += took
        self.tally.cpu += cpu
        return self._under_way.pop(done), answer


@contextmanager
def opened(processes: int, work: Callable[[Piece], Answer]) -> Iterator[Beside[Any, Piece, Answer]]:
    """Processes that do the pieces of a work; what is under way at the end is dropped."""
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _begin, (work,))
    try:
        yield Beside(pool, processes)
    finally:
        for process in list(pool._processes.values()):  # `kill_workers` does the same from Python 3.14 on
            process.kill()
        pool.shutdown(cancel_futures=True)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except BrokenProcessPool:
        raise Broken(
            "A process that did a piece of the work died.",
            hint="Most often the machine ran out of memory: set compute.processes lower, and begin again; what is done is kept.",
        ) from None


def _begin(work: Callable[[Any], Any]) -> None:
    """Of a process beside another: takes the work, and ends with the other."""
    _work.append(work)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        ended([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _do(piece: Any) -> tuple[Any, float, float]:
    """One piece: the answer, and seconds by the clock and of processor time."""
    begun, spent = time.perf_counter(), time.process_time()
    answer = _work[0](piece)
    return answer, time.perf_counter() - begun, time.process_time() - spent
