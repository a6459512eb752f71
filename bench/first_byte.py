"""How long the first delta of a stream takes, target by target in turn: what a gateway adds before a model is heard."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

from bench import load, upstream
from bench.bars import Bar
from bench.figures import Report, Round, percentile, rows
from bench.stage import Failed, Target

LOAD = "first delta of a stream"
END = b"data: [DONE]"
OURS, DIRECT = "tandem", "upstream alone"


class Listener:
    """One kept connection that asks for streams, one after the other."""

    def __init__(self, target: Target) -> None:
        self.target = target
        body = json.dumps(
            {"model": target.model, "max_tokens": 200, "stream": True, "messages": [{"role": "user", "content": load.PROMPT}]},
            separators=(",", ":"),
        ).encode()
        parts = urlsplit(target.url)
        self._address = (parts.hostname or "", parts.port or 80)
        more = "".join(f"{name}: {value}\r\n" for name, value in target.headers)
        head = (
            f"POST {load.CHAT} HTTP/1.1\r\nhost: {parts.netloc}\r\nauthorization: Bearer {target.key}\r\n{more}"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        self._request = head.encode() + body
        self._socket: socket.socket | None = None

    def first(self) -> float:
        """Asks once and hears the stream to its end; microseconds until its first delta was here.

        Raises:
            Failed: there was none, or the stream broke off.
        """
        if self._socket is None:
            self._socket = socket.create_connection(self._address, timeout=30)
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
    """`calls` streams of each target in each round, in turn; the report tells what is added to the upstream's own."""
    listeners = {name: Listener(target) for name, target in targets.items()}
    measured: list[Round] = []
    try:
        for listener in listeners.values():
            for _ in range(3):
                listener.first()  # warm-up
        for _ in range(rounds):
            taken: dict[str, list[float]] = {name: [] for name in listeners}
            for _ in range(calls):
                for name, listener in listeners.items():
                    taken[name].append(listener.first())
            measured += [_round(name, values) for name, values in taken.items()]
    finally:
        for listener in listeners.values():
            listener.close()
    table = rows(measured, {(name, LOAD): (DIRECT, LOAD) for name in targets if name != DIRECT})
    found = {row.target: row for row in table}
    notes = [f"{calls} streams of each target in each of {rounds} rounds, one after the other, in turn."]
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
