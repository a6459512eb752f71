"""How many streams one core carries cleanly: 64 deltas each, one every 20 ms, and none late. README.md tells the method.

    python -m bench.streams [--counts 64,128,256,512] [--seconds 6] [--cores 0] [--load-cores 1] [--json FILE]

Delta k of a stream is due k times 20 ms after its first; it is late by what it comes after that. A stream in which no delta is
late by more than 100 ms, and which ends well, is clean. The upstream alone is measured the same way: what is late there is the
machine's.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import uvloop

from bench import command, load, stage, upstream
from bench.bars import Bar
from bench.figures import Report, Round, percentile, rows
from bench.stage import Failed, Target

DELTAS, DELTA_MS = 64, 20.0
LATE_MS = 100.0
PATTERNS = 24
WANTED = 256
END = b"data: [DONE]"
OURS, DIRECT, NGINX = "tandem", "upstream alone", "nginx"
PATIENCE_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How many streams, how long, where."""

    counts: tuple[int, ...] = (64, 128, 256, 512)
    seconds: float = 6.0
    """Each connection begins new streams for so long."""
    cores: str = "0"
    load_cores: str = "1"


@dataclass(slots=True, kw_only=True)
class Heard:
    """What the streams of one target were like."""

    clean: int = 0
    unclean: int = 0
    broken: int = 0
    late: list[float] = field(default_factory=list)
    """Milliseconds, of the latest delta of each stream."""
    first: list[float] = field(default_factory=list)
    """Microseconds until the first delta."""


class Stream(asyncio.Protocol):
    """One connection: a stream, then the next one, until it is told that it was the last."""

    def __init__(self, request: bytes, heard: Heard, until: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._request, self._heard, self._until = request, heard, until
        self.done: asyncio.Future[None] = self._loop.create_future()
        self._transport: asyncio.Transport | None = None
        self._tail = b""
        self._seen = 0
        self._begun = self._first = self._worst = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._ask()

    def _ask(self) -> None:
        assert self._transport is not None
        self._tail, self._seen, self._worst = b"", 0, 0.0
        self._begun = time.perf_counter()  # the loop counts in milliseconds
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        joined = self._tail + data
        self._tick(joined.count(upstream.TICK), now)
        # What is kept must not be counted again: less than the word itself, behind its last occurrence.
        behind = joined.rfind(upstream.TICK) + len(upstream.TICK)
        ended = END in joined and joined.endswith(b"0\r\n\r\n")
        self._tail = joined[max(behind if behind >= len(upstream.TICK) else 0, len(joined) - 64) :]
        if ended:
            self._close()

    def _tick(self, count: int, now: float) -> None:
        for _ in range(count):
            if self._seen == 0:
                self._first = now
                self._heard.first.append((now - self._begun) * 1e6)
            due = self._first + self._seen * DELTA_MS / 1e3
            self._worst = max(self._worst, (now - due) * 1e3)
            self._seen += 1

    def _close(self) -> None:
        if self._seen == DELTAS and self._worst <= LATE_MS:
            self._heard.clean += 1
        else:
            self._heard.unclean += 1
        self._heard.late.append(self._worst)
        if self._loop.time() < self._until:
            self._ask()
        elif not self.done.done():
            self.done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self._heard.broken += 1
            self.done.set_result(None)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


async def listen(target: Target, count: int, seconds: float) -> Heard:
    """Keeps `count` streams open at once for so long; they begin spread over the length of one."""
    request = load.request(target, load.CHAT, load.streamed(target.model))
    loop, heard = asyncio.get_running_loop(), Heard()
    until = loop.time() + seconds
    streams: list[Stream] = []
    for _ in range(count):
        _, stream = await loop.create_connection(lambda: Stream(request, heard, until), *load.address(target))
        streams.append(stream)
        await asyncio.sleep(DELTAS * DELTA_MS / 1e3 / count)
    _, waiting = await asyncio.wait([stream.done for stream in streams], timeout=seconds + PATIENCE_SECONDS)
    heard.broken += len(waiting)
    for stream in streams:
        stream.close()
    return heard


def measure(options: Options) -> Report:
    """Each count at each target.

    Raises:
        Failed: something does not start. Without nginx the rest is measured, and the report says so.
    """
    notes: list[str] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        own = stack.enter_context(upstream.running(folder, DIRECT, deltas=DELTAS, delta_ms=DELTA_MS, cores=options.load_cores))
        targets = [own]
        try:
            targets.append(stack.enter_context(stage.nginx(folder, own, own, 1, cores=options.cores))[1])
        except Failed as failure:
            notes.append(f"without nginx: {failure}")
        platform = stack.enter_context(stage.tandem(folder, {"paced": own}, cores=options.cores, patterns=PATTERNS))
        targets.append(platform.target)
        rounds: list[Round] = []
        held: dict[str, int] = {}
        for target in targets:
            uvloop.run(listen(target, 4, 1))  # warm-up
            for count in options.counts:
                one, told = _round(target, count, options.seconds)
                rounds.append(one)
                notes.append(told)
                if not one.refused and not one.broken:
                    held[target.name] = max(count, held.get(target.name, 0))
        spent = platform.spent
        stage.until(lambda: spent()[1] >= _asked(rounds), "Booking", 120)
    most = {name: held.get(name, 0) for name in (target.name for target in targets)}
    notes.append(f"all clean at once, at most: {', '.join(f'{name} {count}' for name, count in most.items())}.")
    notes.append(Bar(what="clean streams on one core", value=most[OURS], bar=WANTED, least=True).line())
    bases = {(one.target, one.load): (NGINX, one.load) for one in rounds if one.target == OURS}
    return Report(title="Streams at once, on one core", rows=rows(rounds, bases), notes=notes, rounds=rounds)


def _asked(rounds: Sequence[Round]) -> int:
    return sum(one.requests for one in rounds if one.target == OURS)


def _round(target: Target, count: int, seconds: float) -> tuple[Round, str]:
    """One count of streams; latencies are of the first delta, `refused` are those that were not clean."""
    before = target.cpu()
    heard = uvloop.run(listen(target, count, seconds))
    serving, everything = (after - earlier for after, earlier in zip(target.cpu(), before, strict=True))
    streams = heard.clean + heard.unclean
    late = f"latest delta of a stream, p99: {percentile(heard.late, 0.99):.0f} ms" if heard.late else "no stream ended"
    told = f"{target.name} at {count}: {heard.clean} of {streams} streams clean, {heard.broken} broken; {late}."
    return Round(
        target=target.name,
        load=f"{count} streams",
        requests=streams,
        per_second=streams / seconds,
        p50=percentile(heard.first, 0.5) if heard.first else 0.0,
        p99=percentile(heard.first, 0.99) if heard.first else 0.0,
        cpu=serving / max(1, streams) * 1e6,
        cpu_all=everything / max(1, streams) * 1e6,
        refused=heard.unclean,
        broken=heard.broken,
    ), told


def parser() -> argparse.ArgumentParser:
    options = Options()
    found = argparse.ArgumentParser(prog="python -m bench.streams", description="Counts the streams that one core carries.")
    found.add_argument("--counts", type=command.numbers, default=options.counts, help="streams at once, comma-separated")
    found.add_argument("--seconds", type=float, default=options.seconds, help="of each count")
    found.add_argument("--cores", default=options.cores, help="of nginx and of the platform, as taskset takes them")
    found.add_argument("--load-cores", default=options.load_cores, help="of the upstream and of this process")
    command.add_json(found)
    return found


def main() -> int:
    given = parser().parse_args()
    options = Options(counts=given.counts, seconds=given.seconds, cores=given.cores, load_cores=given.load_cores)
    stage.stay(options.load_cores)
    return command.run(lambda: [measure(options)], given.json)


if __name__ == "__main__":
    sys.exit(main())
