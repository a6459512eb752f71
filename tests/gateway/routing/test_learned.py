"""The learned router at work: exact sums, bounded work, damaged files, the order of candidates, and no library."""

from __future__ import annotations

import base64
import math
import subprocess
import sys
import tracemalloc
import zlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.core.errors import Invalid
from tandem.gateway.routing import learned
from tandem.gateway.routing.learned import (
    FORMAT,
    HEAD,
    TAIL,
    ZERO,
    Candidate,
    Described,
    Scored,
    buckets,
    decide,
    load,
    pack,
    words,
)

SCORED = Scored(folds=5, quality=0.5, best="a", best_quality=0.5, gain=0.0, low=-0.1, high=0.1, brier=0.2)
BITS, CLUSTERS, MODELS = 6, 3, ("a", "b")
LANES = CLUSTERS + len(MODELS) + 1
WEIGHTS = bytes((7 * place + 13) % 256 for place in range(LANES << BITS))


def described(**other: object) -> Described:
    told = Described(
        format=FORMAT,
        models=MODELS,
        means=(0.4, 0.6),
        data="sha256:1",
        seen="",
        rows=100,
        seed=0,
        bits=BITS,
        clusters=CLUSTERS,
        familiar=(-0.5, 0.5),
        sharpness=8.0,
        blend=0.5,
        table=((0.9, 0.1), (0.5, 0.5), (0.2, 0.8)),
        intercepts=(0.4, 0.6),
        scales=(0.01, 0.02, 0.03, 0.001, 0.002, 0.5),
        weights=pack(WEIGHTS),
        scored=SCORED,
    )
    return msgspec.structs.replace(told, **other)


def file(**other: object) -> bytes:
    return msgspec.json.encode(described(**other))


def plainly(text: str) -> list[float]:
    """The chances by the formula, weight by weight."""
    told = described()
    sums = [
        sum((WEIGHTS[place * LANES + lane] - ZERO) for place in buckets(text, BITS)) * told.scales[lane] for lane in range(LANES)
    ]
    near = sums[:CLUSTERS]
    size = math.sqrt(sum(each**2 for each in near)) or 1.0
    shares = [math.exp(each / size * told.sharpness) for each in near]
    length = math.sqrt(max(sums[-1], 1e-9))
    found = []
    for model in range(len(MODELS)):
        near_it = sum(share * row[model] for share, row in zip(shares, told.table, strict=True)) / sum(shares)
        learnt = told.blend * near_it + (1 - told.blend) * (told.intercepts[model] + sums[CLUSTERS + model] / length)
        trust = min(1, max(0, (max(near) / length - told.familiar[0]) / (told.familiar[1] - told.familiar[0])))
        chance = trust * learnt + (1 - trust) * told.means[model]
        found.append(min(1.0, max(0.0, chance)))
    return found


@given(st.text(max_size=400))
def test_adding_whole_rows_is_the_formula(text: str) -> None:
    assert load(file()).look(text).chances == pytest.approx(plainly(text))


def test_sums_do_not_spill_into_their_neighbours() -> None:
    """The most words a text can have, each with the largest weight, fit into a lane."""
    assert 255 * (2 * (HEAD + TAIL + 1) + 7) < 1 << (8 * learned.LANE)
    full = load(file(weights=pack(b"\xff" * (LANES << BITS)), bits=BITS))
    near = full.look(" ".join(f"w{chr(97 + n % 26)}{chr(97 + n // 26)}" for n in range(600))).chances
    assert near == pytest.approx(full.look("w").chances, abs=1)
    assert all(0 <= chance <= 1 for chance in near)


@pytest.mark.parametrize("text", ["", " ", "\x00", "\ud800", "e\u0301 \U0001f600", "123 ², 4_5", "a" * 1_000_000])
def test_any_text_has_chances(text: str) -> None:
    assert all(0 <= chance <= 1 for chance in load(file()).look(text).chances)


def test_of_a_long_text_the_beginning_and_the_end_are_looked_at() -> None:
    head, tail = "begin " * 400, " end" * 300
    assert words(f"{head}{'x ' * 5_000}{tail}") == words(f"{head}{'y ' * 5_000}{tail}")
    assert words(f"{head}{'x ' * 5_000}{tail}") != words(f"other {head}{'x ' * 5_000}{tail}")
    assert len(words("a b c d " * 1_000_000)) < 20


def test_case_and_the_value_of_a_number_do_not_matter_but_its_length_does() -> None:
    assert words("Add 12 to 34") == words("add 99 to 10")
    assert words("add 1 to 34") != words("add 99 to 34")


def test_of_a_strange_prompt_only_the_means_are_known() -> None:
    stranger, friend = load(file(familiar=(5e5, 6e5))), load(file(familiar=(-3.0, -2.0)))
    look = stranger.look("anything at all")
    assert (look.trust, look.chances) == (0, pytest.approx((0.4, 0.6)))
    assert friend.look("anything at all").trust == 1
    assert friend.look("anything at all").chances != pytest.approx((0.4, 0.6))


def cut(weights: bytes) -> str:
    return base64.b64encode(zlib.compress(weights)[:-3]).decode()


def followed(weights: bytes) -> str:
    return base64.b64encode(zlib.compress(weights) + b"more").decode()


def test_weights_that_would_fill_the_memory_are_not_inflated() -> None:
    bomb = file(weights=pack(bytes(1 << 26)))
    tracemalloc.start()
    try:
        with pytest.raises(Invalid, match="not the 384 bytes"):
            load(bomb)
        assert tracemalloc.get_traced_memory()[1] < 1 << 23
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("damage", "field"),
    [
        ({"format": "tandem-router-0"}, "format"),
        ({"models": ("a", "a")}, "models"),
        ({"models": ("a",)}, "models"),
        ({"models": ("a", "")}, "models"),
        ({"bits": 40}, "bits"),
        ({"bits": 7}, "weights"),
        ({"clusters": 0}, "clusters"),
        ({"clusters": 2}, "table"),
        ({"table": ((0.1, 0.2), (0.1, 0.2), (0.1,))}, "table"),
        ({"table": ((0.1, 0.2), (0.1, 0.2), (0.1, 1e300))}, "numbers"),
        ({"means": (0.1,)}, "means"),
        ({"intercepts": (0.1, 0.2, 0.3)}, "intercepts"),
        ({"scales": (1.0,)}, "scales"),
        ({"familiar": (0.2, 0.2)}, "familiar"),
        ({"sharpness": 0.0}, "sharpness"),
        ({"blend": 1.5}, "blend"),
        ({"rows": 0}, "rows"),
        ({"weights": "§"}, "weights"),
        ({"weights": "AAAA"}, "weights"),
        ({"weights": pack(WEIGHTS[:-1])}, "weights"),
        ({"weights": pack(WEIGHTS + b"\0")}, "weights"),
        ({"weights": cut(WEIGHTS)}, "weights"),
        ({"weights": followed(WEIGHTS)}, "weights"),
        ({"weights": pack(bytes(1 << 26))}, "weights"),
    ],
)
def test_a_damaged_file_is_refused(damage: dict[str, object], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        load(file(**damage))
    assert caught.value.field == field


@pytest.mark.parametrize("data", [b"", b"{}", b"[1]", b"\xff\xfe", file()[:-1], file().replace(b'"rows":100', b'"rows":"many"')])
def test_what_is_no_router_is_refused(data: bytes) -> None:
    with pytest.raises(Invalid, match="no file of a learned router"):
        load(data)


def test_a_file_beyond_all_bounds_is_not_read() -> None:
    with pytest.raises(Invalid, match="too large"):
        load(b" " * (learned.MOST_BYTES + 1))


def names(chances: dict[str, float], costs: dict[str, int | None], tolerance: float) -> list[str]:
    candidates = [Candidate(model=model, cost=cost) for model, cost in costs.items()]
    return [choice.candidate.model for choice in decide(chances, candidates, tolerance)]


def test_the_cheapest_that_is_good_enough_comes_first() -> None:
    chances, costs = {"s": 0.5, "m": 0.7, "l": 0.75}, {"l": 90, "m": 30, "s": 10}
    assert names(chances, costs, 0.0) == ["l", "m", "s"]
    assert names(chances, costs, 0.06) == ["m", "l", "s"]
    assert names(chances, costs, 0.3) == ["s", "m", "l"]


def test_what_is_not_known_comes_late() -> None:
    assert names({"a": 0.5, "b": 0.5}, {"new": 1, "a": None, "b": 9}, 0.1) == ["b", "a", "new"]
    assert names({}, {"x": 2, "y": 1}, 0.1) == ["x", "y"]
    assert decide({"a": 0.5}, [], 0.5) == []


@pytest.mark.parametrize("tolerance", [-0.1, 1.1, math.nan])
def test_a_tolerance_outside_of_chances_is_refused(tolerance: float) -> None:
    with pytest.raises(Invalid, match="tolerance"):
        decide({}, [], tolerance)


@given(
    chances=st.dictionaries(st.sampled_from("abcdef"), st.floats(0, 1)),
    costs=st.dictionaries(st.sampled_from("abcdef"), st.none() | st.integers(0, 99), min_size=1),
    tolerance=st.floats(0, 1),
)
def test_nobody_is_lost_and_the_first_is_good_enough(
    chances: dict[str, float], costs: dict[str, int | None], tolerance: float
) -> None:
    order = names(chances, costs, tolerance)
    assert sorted(order) == sorted(costs)
    known = [model for model in costs if model in chances]
    if known:
        best = max(chances[model] for model in known)
        enough = [model for model in known if chances[model] >= best - tolerance]
        assert order[0] in enough
        priced = [cost for model in enough if (cost := costs[model]) is not None]
        assert costs[order[0]] == (min(priced) if priced else None)


def test_it_imports_no_library_for_numbers() -> None:
    code = (
        "import sys; from tandem.gateway.routing.learned import load; "
        "load(sys.stdin.buffer.read()).look('What is 2 + 2?'); "
        "sys.exit(' '.join({name.partition('.')[0] for name in sys.modules} & {'numpy', 'scipy', 'sklearn', 'polars'}) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], input=file(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
