"""Latest: a few values that were computed from a store, each good for as long as the store's count of changes stands.

It knows no store.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Latest(Generic[Value]):
    """Values by name; of more than `most`, those that were used longest ago go. Safe for several threads."""

    def __init__(self, most: int) -> None:
        self._most, self._lock = most, threading.Lock()
        self._held: OrderedDict[Hashable, tuple[int, Value]] = OrderedDict()

    def find(self, name: Hashable, tick: int) -> Value | None:
        """What was kept under this name at this very count; None where there is no such thing."""
        with self._lock:
            known = self._held.get(name)
            if known is None or known[0] != tick:
                return None
            self._held.move_to_end(name)
            return known[1]

    def keep(self, name: Hashable, tick: int, value: Value) -> None:
        with self._lock:
            self._held[name] = (tick, value)
            self._held.move_to_end(name)
            while len(self._held) > self._most:
                self._held.popitem(last=False)

    def values(self) -> list[Value]:
        """Everything that is kept, of whatever count."""
        with self._lock:
            return [value for _, value in self._held.values()]

    def clear(self) -> None:
        with self._lock:
            self._held.clear()
