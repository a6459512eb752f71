"""How long the first delta of a stream takes, target by target in turn: what a gateway adds before a model is heard."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping

from bench import load, upstream
from bench.bars import Bar
from bench.figures import Report, Round, percentile, rows
from bench.stage import Failed, Target

LOAD = "first delta of a stream"
END = b"data: [DONE]"
OURS, DIRECT = "tandem", "upstream alone"
WARM_UP = 3
"""Streams of each before it counts."""


class Listener:
    """One kept connection that asks for streams, one after the other."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._request = load.request(target, load.CHAT, load.streamed(target.model))
        self._socket: socket.socket | None = None

    def first(self) -> float:
        """Asks once and hears the stream to its end; microseconds until its first delta was here.

        Raises:
            Failed: there was none, or the stream broke off.
        """
        try:
            try:
                taken = self._first()
            except ConnectionError:
                self.close()
                taken = 0.0
            return taken or self._first()  # a server closes a connection that was idle for long: once more, anew
        except OSError as error:
            raise Failed(f"{self.target.name}: {error}") from None

    def _first(self) -> float:
        """The same; 0 where the connection was closed before anything came."""
        if self._socket is None:
            self._socket = socket.create_connection(load.address(self.target), timeout=30)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        begun = time.perf_counter()
        self._socket.sendall(self._request)
        data, taken = b"", 0.0
        while END not in data or not data.endswith(b"0\r\n\r\n"):
            piece = self._socket.recv(65536)
            if not piece:
                break
            data += piece
            if not taken and upstream.TICK in data:
                taken = (time.perf_counter() - begun) * 1e6
        if not data:
            self.close()
            return 0.0
        if not taken or END not in data:
            raise Failed(f"{self.target.name} broke a stream off: {data[:200]!r}.")
        if not data.endswith(b"0\r\n\r\n") or b"connection: close" in data[:1000].lower():
            self.close()
        return taken

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def measure(targets: Mapping[str, Target], calls: int, rounds: int) -> Report:
    """`calls` streams of each target in each round, in turn; the report tells what is added to the upstream's own.

    Raises:
        Failed: the upstream or our own door breaks a stream off. Another one that does is left out, and the report says so.
    """
    listeners = {name: Listener(target) for name, target in targets.items()}
    measured: list[Round] = []
    left_out: list[str] = []

    def hear(name: str) -> float:
        """One stream; who cannot be heard is left out from then on."""
        try:
            taken = listeners[name].first()
            if not taken:
                raise Failed(f"{name} closed the connection.")
        except Failed as failure:
            if name in (OURS, DIRECT):
                raise
            left_out.append(f"without {name}: {failure}")
            listeners.pop(name).close()
            return 0.0
        return taken

    try:
        for name in WARM_UP * tuple(listeners):
            if name in listeners:
                hear(name)
        for _ in range(rounds):
            heard: dict[str, list[float]] = {name: [] for name in listeners}
            for _ in range(calls):
                for name in tuple(listeners):
                    heard[name].append(hear(name))
            measured += [_round(name, heard[name]) for name in listeners]
    finally:
        for listener in listeners.values():
            listener.close()
    measured = [one for one in measured if one.target in listeners]
    table = rows(measured, {(name, LOAD): (DIRECT, LOAD) for name in listeners if name != DIRECT})
    found = {row.target: row for row in table}
    notes = [*left_out, f"{calls} streams of each target in each of {rounds} rounds, one after the other, in turn."]
    if OURS in found and DIRECT in found:
        added = (found[OURS].p99 - found[DIRECT].p99) / 1e3
        notes.append(Bar(what="added p99 of the first delta", value=added, bar=2, unit=" ms").line())
    return Report(title="The first delta of a stream", rows=table, notes=notes, rounds=measured)


def _round(name: str, taken: list[float]) -> Round:
    return Round(
        target=name,
        load=LOAD,
        requests=len(taken),
        per_second=len(taken) / (sum(taken) / 1e6),
        p50=percentile(taken, 0.5),
        p99=percentile(taken, 0.99),
    )
