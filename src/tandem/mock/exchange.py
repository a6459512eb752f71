"""One request to the model: faults, waits, frames and the bill, in that order. It knows no wording and no grammar.

Without waits and faults the whole reply is one synchronous write. Otherwise a task paces it, and `close`
books exactly one row on every path: finished, cut by a fault, left by the client, stopped with the server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Protocol

from tandem.core.clock import Clock
from tandem.mock import prices
from tandem.mock.bill import Bill, Outcome, Row
from tandem.mock.faults import NOTHING, Plan
from tandem.mock.http import Connection, Request, head
from tandem.mock.openai_reply import EmbeddingReply, Stamp
from tandem.mock.rerank import RerankReply
from tandem.mock.settings import MockSettings

Plain = EmbeddingReply | RerankReply
"""Replies without words, which are never streamed."""
_AT_ONCE = 4_000
"""Tokens of a stream that is written at once; a longer one minds how fast the client reads."""
_BATCH = 64 * 1024
"""Bytes after which an unpaced stream looks whether the client still reads."""
_LAST = b"0\r\n\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What all exchanges of a server share."""

    settings: MockSettings
    clock: Clock
    bill: Bill
    random: Random


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """Who asks, and when."""

    id: str
    micros: int
    key: str
    """Fingerprint of the key."""
    call: str | None
    attempt: str | None
    headers: Mapping[str, str]
    """Of the reply."""
    media: str = "text/event-stream; charset=utf-8"
    """Of the reply, where it is a stream."""


class Spoken(Protocol):
    """An answer in a protocol's own words; each says how it opens, goes on and closes."""

    @property
    def tokens(self) -> int: ...
    @property
    def prompt_tokens(self) -> int: ...
    @property
    def cached_tokens(self) -> int: ...
    @property
    def written_tokens(self) -> int: ...
    @property
    def written_hour_tokens(self) -> int: ...
    def whole(self, stamp: Stamp) -> bytes: ...
    def opening(self, stamp: Stamp) -> list[bytes]: ...
    def deltas(self, stamp: Stamp, size: int) -> list[tuple[bytes, int]]: ...
    def closing(self, stamp: Stamp) -> list[bytes]: ...
    def broken(self) -> bytes: ...


class Exchange:
    """A request that has reached the model."""

    def __init__(
        self,
        bench: Bench,
        connection: Connection,
        request: Request,
        arrival: Arrival,
        price: prices.Row,
        reply: Spoken | Plain,
        plan: Plan,
    ) -> None:
        self.bench = bench
        self.connection = connection
        self.request = request
        self.arrival = arrival
        self.price = price
        self.reply = reply
        self.plan = plan
        self.stamp = Stamp(mark=arrival.id[4:], created=arrival.micros // 1_000_000, model=price.model)
        self.produced = 0
        """Output tokens generated so far, where the reply is streamed."""
        self.streamed = False
        self.task: asyncio.Task[None] | None = None
        self._generating: float | None = None
        """Monotonic time at which the model began a reply that is not streamed."""
        self._closed = False

    def begin(self, *, stream: bool) -> None:
        """Answers now where nothing has to be waited for, else starts the task that will."""
        self.streamed = stream
        settings = self.bench.settings
        at_once = self.plan is NOTHING and not (settings.latency_ms or settings.per_token_ms or settings.jitter_ms)
        self.bench.bill.open += 1
        if at_once and not stream:
            body = self.reply.whole(self.stamp)
            self.close("ok")
            self.connection.send(self._head(len(body)) + body)
            self.connection.finish(self.request)
        elif at_once and not isinstance(self.reply, Plain) and self.reply.tokens <= _AT_ONCE:
            self._stream_at_once(self.reply)
        else:
            self.task = asyncio.get_running_loop().create_task(self._run())

    def close(self, outcome: Outcome) -> None:
        """Books the row, the first time it is called."""
        if self._closed:
            return
        self._closed = True
        self.bench.bill.open -= 1
        reply, arrival = self.reply, self.arrival
        completion = self._generated() if self.streamed or outcome != "ok" else reply.tokens
        self.bench.bill.add(
            Row(
                id=arrival.id,
                micros=arrival.micros,
                model=self.price.model,
                key=arrival.key,
                call=arrival.call,
                attempt=arrival.attempt,
                stream=self.streamed,
                prompt_tokens=reply.prompt_tokens,
                cached_tokens=reply.cached_tokens,
                written_tokens=reply.written_tokens,
                completion_tokens=completion,
                price=self.price.name,
                cost_nano=prices.cost(
                    self.price,
                    reply.prompt_tokens,
                    reply.cached_tokens,
                    completion,
                    reply.written_tokens,
                    reply.written_hour_tokens,
                ),
                outcome=outcome,
                fault=self.plan.specs,
            )
        )

    def gone(self, outcome: Outcome) -> None:
        """The client left, or the server stops: the generation ends here."""
        self.close(outcome)
        if self.task is not None:
            self.task.cancel()

    def _generated(self) -> int:
        """Tokens generated up to now: of a stream those in frames begun, else what the pace allowed for."""
        if self.streamed or self._generating is None:
            return self.produced
        per_token = self.bench.settings.per_token_ms / 1000
        passed = self.bench.clock.monotonic() - self._generating
        return self.reply.tokens if per_token <= 0 else min(self.reply.tokens, max(0, int(passed / per_token)))

    def _head(self, length: int | None) -> bytes:
        """Status line and headers; `length` None announces a stream."""
        headers = dict(self.arrival.headers)
        if length is not None:
            headers["content-type"] = "application/json"
            headers["content-length"] = str(length)
        else:
            headers["content-type"] = self.arrival.media
            headers["cache-control"] = "no-cache"
            if self.request.http_1_0:
                self.request.keep_alive = False
            else:
                headers["transfer-encoding"] = "chunked"
        return head(200, headers, self.request)

    def _chunk(self, data: bytes) -> bytes:
        return data if self.request.http_1_0 else b"%x\r\n%b\r\n" % (len(data), data)

    def _stream_at_once(self, reply: Spoken) -> None:
        deltas = reply.deltas(self.stamp, self.bench.settings.delta_tokens)
        frames = [*reply.opening(self.stamp), *(frame for frame, _ in deltas), *reply.closing(self.stamp)]
        self.produced = reply.tokens
        self.close("ok")
        last = b"" if self.request.http_1_0 else _LAST
        self.connection.send(b"".join([self._head(None), *map(self._chunk, frames), last]))
        self.connection.finish(self.request)

    async def _run(self) -> None:
        await self._wait(self.bench.settings.latency_ms)
        if self.streamed and not isinstance(self.reply, Plain):
            await self._stream(self.reply)
        else:
            await self._whole()

    async def _whole(self) -> None:
        """A reply in one piece; a fault that counts deltas acts in the middle of its body."""
        ending = self.plan.ending
        kind = ending.kind if ending is not None else ""
        if kind == "stall":
            await self._slowly(self._head(2), self.plan.slow_headers)
            await asyncio.Event().wait()
        self._generating = self.bench.clock.monotonic()
        await self._wait(self.bench.settings.per_token_ms * self.reply.tokens)
        self._generating, self.produced = None, self.reply.tokens
        body = self.reply.whole(self.stamp)
        half = body[: len(body) // 2]
        if kind.startswith("malformed"):
            body = half
        await self._slowly(self._head(len(body)), self.plan.slow_headers)
        if kind.startswith(("cut", "stall")):
            await self._slowly(half, self.plan.drip)
            await self._end_badly(kind)
            return
        await self._slowly(body[:-1], self.plan.drip)
        self.close("ok")
        self.connection.send(body[-1:])
        self.connection.finish(self.request)

    async def _stream(self, reply: Spoken) -> None:
        """Frame after frame at the pace that is set; faults act before the delta they name."""
        settings, ending = self.bench.settings, self.plan.ending
        kind = ending.kind if ending is not None else ""
        await self._slowly(self._head(None), self.plan.slow_headers)
        if kind == "stall":
            await asyncio.Event().wait()
        deltas = reply.deltas(self.stamp, settings.delta_tokens)
        act = min(int(ending.value), len(deltas)) if ending is not None else -1
        paced = bool(settings.per_token_ms or settings.jitter_ms or self.plan.drip)
        pending = list(map(self._chunk, reply.opening(self.stamp)))
        due = self.bench.clock.monotonic()
        for at, (frame, tokens) in enumerate(deltas):
            if at == act and kind.startswith(("cut", "stall", "error")):
                await self._put(pending)
                await self._end_badly(kind)
                return
            if paced:
                await self._put(pending)
                due += self._jittered(settings.per_token_ms * tokens)
                await asyncio.sleep(max(0.0, due - self.bench.clock.monotonic()))
            self.produced += tokens
            broken = at == act and kind.startswith("malformed")
            pending.append(self._chunk(frame[: len(frame) // 2] + b"\n\n" if broken else frame))
            if paced or len(pending) * len(frame) > _BATCH:
                await self._put(pending)
        if kind.startswith(("cut", "stall", "error")):
            await self._put(pending)
            await self._end_badly(kind)
            return
        pending += map(self._chunk, reply.closing(self.stamp))
        final = pending.pop()
        await self._put(pending)
        self.close("ok")
        self.connection.send(final if self.request.http_1_0 else final + _LAST)
        self.connection.finish(self.request)

    async def _end_badly(self, kind: str) -> None:
        if kind.startswith("stall"):
            await asyncio.Event().wait()
        self.close("cut")
        if kind.startswith("error") and not isinstance(self.reply, Plain):
            last = b"" if self.request.http_1_0 else _LAST
            self.connection.send(self._chunk(self.reply.broken()) + last)
            self.connection.finish(self.request)
            return
        self.connection.finish(self.request, close=True)

    async def _put(self, pending: list[bytes]) -> None:
        """Writes what is pending, and waits for the client where it is slow."""
        data = b"".join(pending)
        pending.clear()
        await self._slowly(data, self.plan.drip)

    async def _slowly(self, data: bytes, ms: float) -> None:
        """Writes at once, or byte by byte `ms` milliseconds apart."""
        if not ms:
            self.connection.send(data)
            await self.connection.drain()
            return
        for at in range(len(data)):
            self.connection.send(data[at : at + 1])
            await asyncio.sleep(ms / 1000)

    def _jittered(self, ms: float) -> float:
        """Seconds of a wait of `ms` milliseconds with jitter."""
        jitter = self.bench.settings.jitter_ms
        return (ms + (self.bench.random.random() * jitter if jitter else 0.0)) / 1000

    async def _wait(self, ms: float) -> None:
        seconds = self._jittered(ms)
        if seconds > 0:
            await asyncio.sleep(seconds)
