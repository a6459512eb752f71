"""What stands in for the door and the lake where evaluations are tested: answers made by a function, rows from a list."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tandem.core.principal import Principal
from tandem.evaluation.rows import Question, Wanted
from tandem.gateway.inside import SECONDS, Said

Say = Callable[[str, Mapping[str, Any]], str | Said]
"""(last message, body) → the answer's text, or all of it."""


class Fake:
    """Answers every chat request by a function; remembers who asked what."""

    def __init__(self, say: Say) -> None:
        self.say = say
        self.asked: list[Mapping[str, Any]] = []
        self.askers: set[str] = set()
        self._lock = threading.Lock()

    def post(self, path: str, body: Mapping[str, Any], by: Principal, *, seconds: float = SECONDS) -> Said:
        assert path == "/v1/chat/completions"
        with self._lock:
            self.asked.append(body)
            self.askers.add(by.name)
        said = self.say(body["messages"][-1]["content"], body)
        return said if isinstance(said, Said) else answered(said)


def answered(text: str, *, model: str = "small", seconds: float = 0.25) -> Said:
    return Said(status=200, body={"model": model, "choices": [{"message": {"content": text}}]}, trace="", seconds=seconds)


def refused(status: int, code: str) -> Said:
    return Said(status=status, body={"error": {"code": code, "message": "No."}}, trace="", seconds=0.1)


def reader(rows: Sequence[Mapping[str, str | int | float | bool | None]]) -> Callable[[Wanted], tuple[Question, ...]]:
    """Reads the columns that are wanted of these rows; their ids are `r0`, `r1`, …"""

    def read(wanted: Wanted) -> tuple[Question, ...]:
        return tuple(
            Question(id=f"r{place}", values={name: row[name] for name in wanted.columns}) for place, row in enumerate(rows)
        )

    return read
