"""Exact nearest neighbours over unit vectors in memory: NumPy where it is installed, plain Python where it is not.

It knows rows and numbers only.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from heapq import nsmallest
from importlib import import_module
from importlib.util import find_spec
from operator import mul
from typing import Any

HAS_NUMPY = find_spec("numpy") is not None
"""Decides nothing but speed: without it the same sums are done by Python."""
FAINT = 1e-6
"""A similarity that is none."""
DIGITS = 9
"""Decimals of a similarity that count: sums in another order differ behind them, and ties go by id."""
SLACK = 1e-5
"""More than sums of float32 are wrong by."""


def pack(values: Sequence[float]) -> bytes:
    """Numbers as float32, little endian, scaled to length 1 (or left at 0)."""
    norm = sum(map(mul, values, values)) ** 0.5
    numbers = array("f", [value / norm for value in values] if norm > 0 else values)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


def unpack(data: bytes) -> array[float]:
    """The numbers of `pack`."""
    numbers = array("f")
    numbers.frombytes(data)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def similarity(one: array[float], other: array[float]) -> float:
    """The dot product of two unit vectors, to the decimals that count."""
    product: float = sum(map(mul, one, other))
    return round(product, DIGITS)


class Matrix:
    """The vectors of one version: blocks of rows, each block one document's, each row with an id."""

    def __init__(self, blocks: Sequence[tuple[int, Sequence[int], bytes]], *, numpy: bool = HAS_NUMPY) -> None:
        """
        Args:
            blocks: (block, one id per row, rows × dimensions as float32 in little endian); every row as long as the others.
        """
        whole = [(block, ids, data) for block, ids, data in blocks if ids and len(data) % (4 * len(ids)) == 0]
        self._size = len(whole[0][2]) // len(whole[0][1]) // 4 if whole else 0
        self._blocks = [(block, ids, data) for block, ids, data in whole if len(data) == 4 * self._size * len(ids)]
        self._names = frozenset(block for block, _, _ in self._blocks)
        self._numpy: Any = import_module("numpy") if numpy and self._blocks else None
        if self._numpy is None:
            self._rows = {block: unpack(data) for block, _, data in self._blocks}
            return
        np = self._numpy
        joined = b"".join(data for _, _, data in self._blocks)
        self._table = np.frombuffer(joined, dtype="<f4").reshape(-1, self._size)
        self._ids = np.concatenate([np.asarray(ids, dtype="i8") for _, ids, _ in self._blocks])
        self._owners = np.concatenate([np.full(len(ids), block, dtype="i8") for block, ids, _ in self._blocks])

    def nearest(self, query: bytes, allowed: frozenset[int], limit: int) -> list[int]:
        """Ids of the rows whose dot product with `query` is highest, best first; only rows of `allowed` blocks are compared.

        Args:
            query: float32, little endian; of another length than the rows it finds nothing.
        """
        if len(query) != 4 * self._size or not self._names & allowed:
            return []
        scored = self._plain(unpack(query), allowed) if self._numpy is None else self._fast(query, allowed, limit)
        best = nsmallest(limit, scored, key=lambda pair: (-pair[0], pair[1]))
        return [identifier for score, identifier in best if score > FAINT]

    def _plain(self, wanted: array[float], allowed: frozenset[int]) -> list[tuple[float, int]]:
        scored: list[tuple[float, int]] = []
        for block, ids, _ in self._blocks:
            if block in allowed:
                rows = self._rows[block]
                scored += [
                    (similarity(rows[place * self._size : (place + 1) * self._size], wanted), identifier)
                    for place, identifier in enumerate(ids)
                ]
        return scored

    def _fast(self, query: bytes, allowed: frozenset[int], limit: int) -> list[tuple[float, int]]:
        np = self._numpy
        table, ids = self._table, self._ids
        if not self._names <= allowed:
            mask = np.isin(self._owners, np.fromiter(allowed, dtype="i8"))
            table, ids = table[mask], ids[mask]
        wanted = np.frombuffer(query, dtype="<f4")
        if len(table) > limit:
            rough = table @ wanted
            bound = np.partition(rough, len(rough) - limit)[len(rough) - limit]
            near = rough >= bound - SLACK  # ties at the bound stay in, so that the order never hangs on chance
            table, ids = table[near], ids[near]
        scores = (table.astype("f8") @ wanted.astype("f8")).round(DIGITS)
        pairs: list[tuple[float, int]] = list(zip(scores.tolist(), ids.tolist(), strict=True))
        return pairs
