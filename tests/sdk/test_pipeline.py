"""What a pipeline is written with: outside of a Run it is plain Python."""

from __future__ import annotations

import pytest

from tandem_sdk.errors import Invalid
from tandem_sdk.pipeline import KEEPER, Asset, Context, Dataset, pipeline, step


@step(retries=2, timeout="10m", uses=["polars"])
def double(number: int, times: int = 2) -> int:
    """Doubles."""
    return number * times


@pipeline
def nightly(tandem: Context | None, start: int = 1) -> int:
    return double(double(start), times=5)


def test_outside_of_a_run_steps_and_pipelines_are_their_functions() -> None:
    assert double(4) == 8
    assert nightly(None, start=3) == 30
    assert (double.__name__, double.__doc__, double.__wrapped__) == ("double", "Doubles.", double.function)  # type: ignore[attr-defined]
    assert (double.retries, double.timeout, double.cache, double.uses) == (2, 600.0, True, ("polars",))


def test_whoever_keeps_is_told_every_argument_by_name() -> None:
    told: list[object] = []

    class Keeps:
        sources = ()

        def step(self, step: object, arguments: dict[str, object]) -> object:
            told.append(dict(arguments))
            return double.do(arguments)

        def frame(self, ref: str) -> object:
            return f"rows of {ref}"

    before = KEEPER.set(Keeps())  # type: ignore[arg-type]
    try:
        assert nightly(None) == 10
        assert Dataset(ref="dataset/a@1").frame() == "rows of dataset/a@1"
    finally:
        KEEPER.reset(before)
    assert told == [{"number": 1, "times": 2}, {"number": 2, "times": 5}]


@pytest.mark.parametrize(("timeout", "seconds"), [(None, None), (3, 3.0), ("90s", 90.0), ("2h", 7200.0)])
def test_a_timeout_is_seconds_or_a_span(timeout: str | float | None, seconds: float | None) -> None:
    assert step(timeout=timeout)(lambda: None).timeout == seconds


@pytest.mark.parametrize("timeout", ["soon", "10", "0s", 0, -1, float("nan"), "400d"])
def test_what_is_no_timeout_is_refused(timeout: str | float) -> None:
    with pytest.raises(Invalid, match="no timeout"):
        step(timeout=timeout)


@pytest.mark.parametrize("retries", [-1, 11])
def test_retries_are_bounded(retries: int) -> None:
    with pytest.raises(Invalid):
        step(retries=retries)


def test_an_asset_is_its_name_and_its_content() -> None:
    assert str(Asset(ref="model/a@1")) == "model/a@1"
    assert Asset(ref="model/a@1", metrics={"mae": 1.0}) == Asset(ref="model/a@1")
    with pytest.raises(Invalid, match="in a Run"):
        Dataset(ref="dataset/a@1").frame()
