from __future__ import annotations

import msgspec
import numpy as np
import polars as pl
import pytest

from tandem.data.check import infer
from tandem.data.profile import profile


def test_a_number_in_numbers() -> None:
    values = np.random.default_rng(1).normal(size=500)
    frame = pl.DataFrame({"x": values, "n": np.arange(500)}).with_columns(pl.when(pl.col("n") > 9).then("x").alias("x"))
    got = profile(frame, infer(frame)).columns[0]
    seen = values[10:]
    assert (got.count, got.nulls, got.distinct) == (490, 10, 490)
    assert got.mean == pytest.approx(seen.mean())
    assert got.std == pytest.approx(seen.std(ddof=1))
    assert got.quantiles is not None
    assert got.quantiles["p25"] == pytest.approx(np.quantile(seen, 0.25))
    assert list(got.quantiles) == ["p01", "p05", "p25", "p50", "p75", "p95", "p99"]
    assert got.histogram is not None
    assert len(got.histogram.counts) == 20
    assert sum(got.histogram.counts) == 490
    assert (got.histogram.edges[0], got.histogram.edges[-1]) == (got.min, got.max)


def test_texts_times_truths_and_nothing() -> None:
    frame = pl.DataFrame(
        {
            "c": ["b", "a", "b", None],
            "t": pl.Series(["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"] * 2).str.to_datetime(time_unit="us", time_zone="UTC"),
            "f": [True, True, False, True],
            "e": pl.Series([None] * 4, dtype=pl.Float64),
            "k": [3.0] * 4,
        }
    )
    got = profile(frame, infer(frame))
    by_name = {column.name: column for column in got.columns}
    assert [(top.value, top.count) for top in by_name["c"].top] == [("b", 2), ("a", 1)]
    assert by_name["t"].min == "2026-01-01T00:00:00Z"
    assert [(top.value, top.count) for top in by_name["f"].top] == [("true", 3), ("false", 1)]
    assert (by_name["e"].count, by_name["e"].nulls, by_name["e"].mean) == (0, 4, None)
    assert by_name["k"].std == 0
    assert msgspec.json.decode(got.to_json())["rows"] == 4


@pytest.mark.parametrize("few", [0, 100])
def test_texts_are_counted_in_parts_as_they_are_at_once(few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tandem.data.profile.COUNTED", 7)
    monkeypatch.setattr("tandem.data.profile.FEW", few)
    frame = pl.DataFrame({"c": [None if n % 11 == 5 else f"v{n % n_of}" for n, n_of in zip(range(50), [3, 4] * 25, strict=True)]})
    got = profile(frame, infer(frame)).columns[0]
    seen = frame["c"].drop_nulls()
    assert (got.count, got.distinct) == (len(seen), seen.n_unique())
    counts = {value: seen.to_list().count(value) for value in set(seen)}
    assert [(top.value, top.count) for top in got.top] == sorted(counts.items(), key=lambda each: (-each[1], each[0]))
