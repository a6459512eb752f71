"""Pieces of one work as tasks of a Ray cluster. Imports Ray; `tandem.jobs.pieces` asks for it.

The work is sent once, and each of the cluster's processes keeps it while it does pieces of it. A piece whose process dies is
done again. This process is the tasks' owner: when it ends, however it ends, so do they.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Generic

import ray
from ray.exceptions import RayError, RayTaskError

from tandem import __version__
from tandem.core.errors import Broken, Conflict, TandemError, Unavailable
from tandem.jobs.pieces import Answer, Key, Piece, Tally

SECONDS = 20.0
"""How long a cluster may take to answer."""
AGAIN = 3
"""How often a piece is done again whose process died."""
EACH, MOST = 2, 64
"""Pieces under way for each processor of the cluster, and in all: what lies in memory for them at one time."""
HINT = "Look at `ray status` there, and at compute.ray in the settings."


class Cluster(Generic[Key, Piece, Answer]):
    """Has the pieces done by a cluster that this process has joined."""

    def __init__(self, work: Callable[[Piece], Answer]) -> None:
        self.at_once = max(1, min(MOST, EACH * int(ray.cluster_resources().get("CPU", 1))))
        self.tally = Tally()
        self._held = [ray.put(work)]
        self._do = ray.remote(num_cpus=1, max_retries=AGAIN)(_do)
        self._under_way: dict[Any, Key] = {}

    def give(self, key: Key, piece: Piece) -> None:
        self._under_way[self._do.remote(self._held, __version__, piece)] = key

    def take(self) -> tuple[Key, Answer]:
        begun = time.perf_counter()
        with _translated():
            (done, *_), _ = ray.wait(list(self._under_way))
            answer, took, cpu = ray.get(done)
        self.tally.waited += time.perf_counter() - begun
        self.tally.took += took
        self.tally.cpu += cpu
        return self._under_way.pop(done), answer


@contextmanager
def joined(address: str, work: Callable[[Piece], Answer]) -> Iterator[Cluster[Any, Piece, Answer]]:
    """A cluster that does the pieces of a work; what is under way at the end is dropped.

    Raises:
        Unavailable: it does not answer.
    """
    _join(address)
    try:
        yield Cluster(work)
    finally:
        ray.shutdown()


def _join(address: str) -> None:
    """Joins the cluster; Ray itself would wait for it for minutes, or for ever."""
    why: list[str] = []

    def join() -> None:
        try:
            ray.init(address=address, log_to_driver=False, configure_logging=False)
            why.append("")
        except (OSError, RuntimeError, ValueError, RayError) as error:
            why.append(str(error))

    waiting = threading.Thread(target=join, daemon=True)
    waiting.start()
    waiting.join(SECONDS)
    if why != [""]:
        said = why[0] if why else f"no answer within {SECONDS:g} s"
        raise Unavailable(f"The Ray cluster at {address} cannot be joined: {said}", hint=HINT)


@contextmanager
def _translated() -> Iterator[None]:
    """What Ray says of a piece, as our errors."""
    try:
        yield
    except RayTaskError as error:
        if isinstance(error.cause, TandemError):
            raise error.cause from None
        if isinstance(error.cause, ImportError):
            raise Unavailable(
                f"A node of the Ray cluster lacks a library: {error.cause}", hint="Install there what is installed here."
            ) from None
        raise Broken(f"A piece of the work failed on the Ray cluster: {error.cause!r}", hint="Report this fault.") from None
    except RayError as error:
        raise Broken(
            f"A piece of the work was lost on the Ray cluster {AGAIN + 1} times: {type(error).__name__}.",
            hint="Most often that is a node running out of memory. " + HINT,
        ) from None


def _do(held: list[Any], version: str, piece: Any) -> tuple[Any, float, float]:
    """One piece, on a node: the answer, and seconds by the clock and of processor time."""
    if version != __version__:
        raise Conflict(
            f"A node of the Ray cluster has Tandem {__version__}, and the platform is {version}.",
            hint="Install the same version on every node.",
        )
    begun, spent = time.perf_counter(), time.process_time()
    answer = _work(held[0])(piece)
    return answer, time.perf_counter() - begun, time.process_time() - spent


@lru_cache(maxsize=1)
def _work(sent: Any) -> Callable[[Any], Any]:
    """The work, which this process fetches once."""
    return ray.get(sent)  # type: ignore[no-any-return]
