"""One work in many pieces: done here one after the other, or beside each other by processes or a Ray cluster.

It does not know what the work is: that is anything that can be called with a piece and answers. The same piece gets the same
answer wherever it is done. What is kept of the answers, the process that asks keeps.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from tandem.core.errors import Unavailable

Key = TypeVar("Key")
Piece = TypeVar("Piece")
Answer = TypeVar("Answer")
Said = TypeVar("Said")
Given = TypeVar("Given", contravariant=True)
Taken = TypeVar("Taken", covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compute:
    """Who does heavy work in pieces."""

    processes: int = 1
    """How many processes fit the trials of a search or score the parts of a dataset beside each other; one is that of the Run."""
    ray: str = ""
    """A Ray cluster that does it instead: `auto`, `HOST:PORT` of its head, seen from one of its nodes, or `ray://HOST:PORT`."""


HERE = Compute()


@dataclass(slots=True)
class Tally:
    """What the pieces took, in seconds."""

    took: float = 0.0
    """By the clock, all of them together."""
    waited: float = 0.0
    """By the clock, of this process while it waited for them: here that is the same, and less where they are done at once."""
    cpu: float = 0.0
    """Of processor time, of other processes."""

    @property
    def beyond(self) -> float:
        """Seconds of work that this process did not live through itself; less than none where it waited for its turn."""
        return self.took - self.waited


class Crew(Protocol[Key, Given, Taken]):
    """Whoever does the pieces of one work."""

    tally: Tally

    @property
    def at_once(self) -> int:
        """Pieces that may be given before one is taken."""
        ...

    def give(self, key: Key, piece: Given) -> None:
        """Has a piece done."""
        ...

    def take(self) -> tuple[Key, Taken]:
        """Waits for the next answer, in whatever order they come.

        Raises:
            TandemError: what the work raised.
            Broken: the piece was lost more often than it is tried.
        """
        ...


@dataclass(slots=True)
class Here(Generic[Key, Piece, Answer]):
    """This process does the pieces itself, in their order."""

    work: Callable[[Piece], Answer]
    tally: Tally = field(default_factory=Tally)
    _given: deque[tuple[Key, Piece]] = field(default_factory=deque)

    at_once = 1

    def give(self, key: Key, piece: Piece) -> None:
        self._given.append((key, piece))

    def take(self) -> tuple[Key, Answer]:
        key, piece = self._given.popleft()
        begun = time.perf_counter()
        answer = self.work(piece)
        seconds = time.perf_counter() - begun
        self.tally.took += seconds
        self.tally.waited += seconds
        return key, answer


@contextmanager
def crew(compute: Compute, work: Callable[[Piece], Answer]) -> Iterator[Crew[Any, Piece, Answer]]:
    """Whoever does the pieces of a work; what is under way at the end is dropped.

    Raises:
        Unavailable: Ray is not installed, or the cluster does not answer.
    """
    if not compute.ray and compute.processes == 1:
        yield Here(work)
        return
    if not compute.ray:
        from tandem.jobs.beside import opened

        with opened(compute.processes, work) as beside:
            yield beside
        return
    try:
        from tandem.jobs.cluster import joined
    except ModuleNotFoundError:
        raise Unavailable(
            "The settings name a Ray cluster, and Ray is not installed.",
            hint="Install it with: pip install 'tandem-ai[ray]', or take compute.ray out of the settings.",
        ) from None
    with joined(compute.ray, work) as found:
        yield found


def each(crew: Crew[Key, Piece, Answer], pieces: Iterable[tuple[Key, Piece]]) -> Iterator[tuple[Key, Answer]]:
    """The answers to all pieces, as they come; a piece is made when there is room for it."""
    under_way = 0
    for key, piece in pieces:
        crew.give(key, piece)
        under_way += 1
        if under_way == crew.at_once:
            yield crew.take()
            under_way -= 1
    for _ in range(under_way):
        yield crew.take()


def together(crew: Crew[Key, Piece, Answer], talks: Mapping[Key, Generator[Piece, Answer, Said]]) -> dict[Key, Said]:
    """What each of several talks comes to, in which every piece follows from the answers before.

    They are begun in their order, and as many are under way as the crew does pieces at once.
    """
    waiting, ended, under_way = deque(talks), dict[Key, Said](), 0
    while waiting or under_way:
        if waiting and under_way < crew.at_once:
            key, answer = waiting.popleft(), None
        else:
            key, answer = crew.take()
            under_way -= 1
        try:
            crew.give(key, next(talks[key]) if answer is None else talks[key].send(answer))
            under_way += 1
        except StopIteration as end:
            ended[key] = end.value
    return {key: ended[key] for key in talks}
