"""The learned router: a prompt's text in, each model's chance to answer well out, and which model is asked. Pure Python.

The text becomes a hashed set of words and pairs of words, weighted by how rare they are. Every bucket of the hash holds a
row of small weights: one for each cluster of prompts (how near the prompt is to it), one for each model (a ridge
regression), one for the text's length as a vector. The rows of a prompt are added, all their weights at once, as whole
numbers of many digits, so a decision costs some tens of microseconds and no library. Of a prompt that is near to no
cluster nothing was learned: there the models' overall means count. It knows no dataset and no training.

Sources: clusters as Avengers-Pro has them (Zhang et al. 2025, arXiv 2508.12631); feature hashing (Weinberger et al. 2009).
"""

from __future__ import annotations

import base64
import binascii
import math
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import mul
from struct import Struct

import msgspec

from tandem.core.errors import Invalid

FORMAT = "tandem-router-1"
HEAD, TAIL = 2_000, 1_000
"""Characters of a prompt that are looked at; what is between them in a longer one is not."""
LEAST_BITS, MOST_BITS = 6, 14
MOST_CLUSTERS, MOST_MODELS = 128, 64
MOST_BYTES = 4 << 20
"""Of a file; the trained ones are below a megabyte."""
LANE = 4
"""Bytes that the sum of one weight over all words may take."""
ZERO = 128
"""The byte that means no weight."""
_PIECE = re.compile(r"[^\W\d_]+|\d+|[^\w\s]|_")


class Scored(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a router did on rows that it had not seen when it was asked about them, and the best single model on the same."""

    folds: int
    quality: float
    """Mean score of the models it chose, whatever they cost."""
    best: str
    """The model with the highest mean score."""
    best_quality: float
    gain: float
    low: float
    high: float
    """Quality minus that of the best model, with its 95 % interval."""
    brier: float
    """Mean squared difference of chance and score."""


class Described(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file of a learned router: JSON, the weights as deflated bytes in base64."""

    format: str
    models: tuple[str, ...]
    means: tuple[float, ...]
    """Each model's mean score in training: what is known without looking at a prompt."""
    data: str
    """`sha256:…` of the outcomes it learned from."""
    seen: str
    """Fingerprints of the questions it learned from, by which they are left out of a score; empty when there were too many."""
    rows: int
    seed: int
    bits: int
    """There are 2 to the power of so many buckets."""
    clusters: int
    familiar: tuple[float, float]
    """Cosines to the nearest cluster: at the first or below a prompt is strange, at the second or above well known."""
    sharpness: float
    """How much nearer a cluster must be to count for much more."""
    blend: float
    """Share of the clusters in a chance; the regression has the rest."""
    table: tuple[tuple[float, ...], ...]
    """clusters × models: the mean score of each model near each cluster."""
    intercepts: tuple[float, ...]
    scales: tuple[float, ...]
    """What one step of a byte is worth: clusters, models, length."""
    weights: str
    scored: Scored


def words(text: str) -> set[str]:
    """What is looked at of a text: words, pairs of words, and its form (how long, how it begins and ends).

    A number counts by its digits, not by its value. The work is bounded: of a long text the beginning and the end count.
    """
    size = len(text)
    if size > HEAD + TAIL:
        text = f"{text[:HEAD]} {text[-TAIL:]}"
    lines = text.count("\n")
    pieces = [piece if not piece.isdigit() else "0" * min(len(piece), 4) for piece in _PIECE.findall(text.lower())]
    found = set(pieces)
    found.update([f"{one} {other}" for one, other in pairwise(pieces)])
    found.add(f"\x02l{size.bit_length()}")
    found.add(f"\x02w{min(len(pieces), 1023).bit_length()}")
    found.add(f"\x02n{min(lines, 63).bit_length()}")
    if pieces:
        begins, ends = " ".join(pieces[:3]), " ".join(pieces[-3:])
        found.update((f"\x02f{pieces[0]}", f"\x02e{pieces[-1]}", f"\x02ff{begins}", f"\x02ee{ends}"))
    return found


def buckets(text: str, bits: int) -> set[int]:
    """The places of a text's words in a table of 2 to the power of `bits` rows."""
    mask, crc = (1 << bits) - 1, zlib.crc32
    return {crc(word.encode("utf-8", "replace")) & mask for word in words(text)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a router makes of a prompt."""

    chances: tuple[float, ...]
    """For each model the chance to answer well, between 0 and 1."""
    near: float
    """Cosine to the nearest cluster of prompts."""
    trust: float
    """How much what was learned counts, between 0 and 1; the rest are the models' overall means."""


class LearnedRouter:
    """A trained router, ready to be asked. It does not change."""

    __slots__ = ("_ask", "_columns", "_lanes", "_rows", "described", "models")

    def __init__(self, described: Described, weights: bytes) -> None:
        """Use `load`; `weights` are checked there."""
        self.described = described
        self.models = described.models
        self._lanes = described.clusters + len(described.models) + 1
        self._rows = _rows(weights, self._lanes)
        self._columns = tuple(zip(*described.table, strict=True))
        self._ask = Struct(f"<{self._lanes}I")

    def look(self, text: str) -> Look:
        """What to expect of each of `models` for this prompt."""
        told, rows = self.described, self._rows
        places = buckets(text, told.bits)
        total = sum([rows[place] for place in places])
        less = ZERO * len(places)
        sums = [
            (lane - less) * scale
            for lane, scale in zip(self._ask.unpack(total.to_bytes(LANE * self._lanes, "little")), told.scales, strict=True)
        ]
        near, plain, length = sums[: told.clusters], sums[told.clusters : -1], math.sqrt(max(sums[-1], 1e-9))
        size = math.sqrt(sum(map(mul, near, near))) or 1.0
        top = max(near)
        shares = [math.exp((each - top) / size * told.sharpness) for each in near]
        strange, known = told.familiar
        trust = min(1.0, max(0.0, (top / length - strange) / (known - strange)))
        near_by, alone, overall = trust * told.blend / sum(shares), trust * (1 - told.blend), 1 - trust
        chances = [
            min(1.0, max(0.0, near_by * sum(map(mul, shares, column)) + alone * (start + each / length) + overall * mean))
            for column, start, each, mean in zip(self._columns, told.intercepts, plain, told.means, strict=True)
        ]
        return Look(chances=tuple(chances), near=top / length, trust=trust)


def _rows(weights: bytes, lanes: int) -> list[int]:
    """One whole number per bucket, each weight in `LANE` bytes of it."""
    rows = []
    for start in range(0, len(weights), lanes):
        wide = bytearray(LANE * lanes)
        wide[::LANE] = weights[start : start + lanes]
        rows.append(int.from_bytes(wide, "little"))
    return rows


def load(data: bytes) -> LearnedRouter:
    """A router from its file.

    Raises:
        Invalid: it is none, or damaged; `field` says where.
    """
    if len(data) > MOST_BYTES:
        raise Invalid(f"A router's file of {len(data)} bytes is too large; {MOST_BYTES} are allowed.", field="router")
    try:
        told = msgspec.json.decode(data, type=Described)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise Invalid(f"This is no file of a learned router: {error}.", field="router", hint=_HINT) from None
    _check(told)
    return LearnedRouter(told, _weights(told))


_HINT = "Train it again with `tandem route train`."


def _check(told: Described) -> None:
    """That all parts fit each other."""
    models, clusters = len(told.models), told.clusters
    numbers = (*told.means, *told.intercepts, *told.scales, *told.familiar, *(each for row in told.table for each in row))
    for field, fits in (
        ("format", told.format == FORMAT),
        ("models", 2 <= models <= MOST_MODELS and len(set(told.models)) == models and all(told.models)),
        ("bits", LEAST_BITS <= told.bits <= MOST_BITS),
        ("clusters", 1 <= clusters <= MOST_CLUSTERS),
        ("table", len(told.table) == clusters and all(len(row) == models for row in told.table)),
        ("means", len(told.means) == models),
        ("intercepts", len(told.intercepts) == models),
        ("scales", len(told.scales) == clusters + models + 1),
        ("numbers", all(math.isfinite(number) and abs(number) < 1e6 for number in numbers)),
        ("familiar", told.familiar[1] - told.familiar[0] >= 1e-6),
        ("sharpness", 0 < told.sharpness <= 1_000),
        ("blend", 0 <= told.blend <= 1),
        ("rows", told.rows > 0),
    ):
        if not fits:
            raise Invalid(f"This file of a learned router does not fit together: {field}.", field=field, hint=_HINT)


def _weights(told: Described) -> bytes:
    """The bytes of all buckets. What is not exactly as long as the file says is refused, before it fills the memory."""
    wanted = (told.clusters + len(told.models) + 1) << told.bits
    try:
        inflate = zlib.decompressobj()
        weights = inflate.decompress(base64.b64decode(told.weights, validate=True), wanted + 1)
    except (binascii.Error, zlib.error, ValueError) as error:
        raise Invalid(f"The weights of this learned router are damaged: {error}.", field="weights", hint=_HINT) from None
    if len(weights) != wanted or not inflate.eof or inflate.unused_data:
        raise Invalid(
            f"The weights of this learned router are not the {wanted} bytes they should be.", field="weights", hint=_HINT
        )
    return weights


def pack(weights: bytes) -> str:
    """Weights as the file holds them."""
    return base64.b64encode(zlib.compress(weights, 9)).decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A model that may be asked."""

    model: str
    cost: int | None
    """Nano-dollars to expect; None when no price is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What was decided, best first, and by what."""

    candidate: Candidate
    chance: float | None
    """None of a model that the router never learned about."""
    enough: bool
    """Whether the chance is within the tolerance of the best one."""


def decide(chances: Mapping[str, float], candidates: Sequence[Candidate], tolerance: float) -> list[Choice]:
    """The candidates in the order they are to be asked: first the cheapest that is good enough.

    Good enough is whose chance is at most `tolerance` below the best candidate's. Those come by cost, equal ones by
    chance, those without a price behind the priced; then the others by chance; at last those without a chance, as given.
    So 0 asks who answers best, whatever it costs, and 1 asks the cheapest.

    Args:
        chances: model → chance, of `LearnedRouter.look`.
        candidates: who may be asked, each once.
        tolerance: chance that may be given up for a lower cost, between 0 and 1.

    Raises:
        Invalid: the tolerance is not between 0 and 1.

    >>> small, large = Candidate(model="small", cost=1), Candidate(model="large", cost=9)
    >>> [choice.candidate.model for choice in decide({"small": 0.7, "large": 0.75}, [large, small], 0.1)]
    ['small', 'large']
    """
    if not 0 <= tolerance <= 1:
        raise Invalid(f"A tolerance of {tolerance} makes no sense.", field="tolerance", hint="Use 0 to 1.")
    best = max((chances[each.model] for each in candidates if each.model in chances), default=0.0)
    made = []
    for each in candidates:
        chance = chances.get(each.model)
        made.append(Choice(candidate=each, chance=chance, enough=chance is not None and chance >= best - tolerance))
    return sorted(made, key=_turn)


def _turn(choice: Choice) -> tuple[int, float, float]:
    if choice.chance is None:
        return 2, 0.0, 0.0
    cost = math.inf if choice.candidate.cost is None else choice.candidate.cost
    return (0, cost, -choice.chance) if choice.enough else (1, -choice.chance, cost)
