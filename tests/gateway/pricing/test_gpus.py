"""What NVML tells of GPUs: by a stand-in for its library, and by the library itself on a machine without a driver."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.governance.bills.office import Office, office, used

from tandem.core.clock import micros
from tandem.core.endpoint import Provider
from tandem.core.principal import LOCAL
from tandem.gateway.pricing.gpus import Gpu, gpus
from tandem.gateway.pricing.meters import Meters
from tandem.gateway.pricing.repo import Throughputs
from tandem.gateway.repo import Routes
from tandem.governance.authorise import ALL

CARD = Gpu(index=0, name="NVIDIA H200", busy=0.73, used=41 * 2**30, memory=140 * 2**30, watts=512.4)


class NVMLError(Exception):
    pass


def library(*cards: Gpu, fails: str = "") -> Any:
    """A stand-in with the functions that are asked; `fails` names one that raises."""
    shut: list[bool] = []

    def asked(name: str, answer: Any) -> Any:
        def ask(*given: Any) -> Any:
            if fails == name:
                raise NVMLError(name)
            return answer(*given)

        return ask

    answers = {
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: shut.append(True),
        "nvmlDeviceGetCount": lambda: len(cards),
        "nvmlDeviceGetHandleByIndex": lambda index: cards[index],
        "nvmlDeviceGetName": lambda card: card.name.encode(),
        "nvmlDeviceGetMemoryInfo": lambda card: SimpleNamespace(used=card.used, total=card.memory),
        "nvmlDeviceGetUtilizationRates": lambda card: SimpleNamespace(gpu=round(card.busy * 100)),
        "nvmlDeviceGetPowerUsage": lambda card: round(card.watts * 1000),
    }
    return SimpleNamespace(NVMLError=NVMLError, shut=shut, **{name: asked(name, answer) for name, answer in answers.items()})


def test_each_card_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    made = library(CARD)
    monkeypatch.setitem(sys.modules, "pynvml", made)
    (found,) = gpus()
    assert found == CARD
    assert found.told == "NVIDIA H200, 73% busy, 41 of 140 GiB, 512 W"
    assert made.shut == [True]


def test_a_card_that_does_not_say_what_it_draws_is_told_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", library(CARD, fails="nvmlDeviceGetPowerUsage"))
    (found,) = gpus()
    assert found.watts is None
    assert found.told == "NVIDIA H200, 73% busy, 41 of 140 GiB"


@pytest.mark.parametrize("fails", ["nvmlInit", "nvmlDeviceGetCount", "nvmlDeviceGetUtilizationRates", "nvmlShutdown"])
def test_what_does_not_answer_is_none(monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", library(CARD, fails=fails))
    assert gpus() == ((CARD,) if fails == "nvmlShutdown" else ())


def test_without_the_library_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert gpus() == ()


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="there is a driver here")
def test_without_a_driver_there_is_none() -> None:
    pytest.importorskip("pynvml")
    assert gpus() == ()


@pytest.fixture
def books(tmp_path: Path) -> Any:
    found = office(tmp_path)
    yield found
    found.sql.close()


def idle(index: int, *, busy: float = 0.0) -> Gpu:
    return Gpu(index=index, name="card", busy=busy, used=0, memory=2**30)


def drive(books: Office, busy: list[float], address: str = "http://127.0.0.1:8000/v1", calls: int = 60) -> Throughputs:
    """One look every thirty seconds, with a call each second meanwhile."""
    table, kept = Routes(books.sql, books.clock, books.audit), Throughputs(books.sql)
    table.put_provider(Provider(name="gpu", protocol="openai", base_url=address, hour_price="2"), by=LOCAL)
    looks = [(idle(0), idle(1, busy=share)) for share in (0.0, *busy)]
    meters = Meters(table, kept, books.traces, books.clock, lambda url: None, lambda: looks.pop(0))
    meters._read["gpu"] = books.clock.now()  # traces alone are looked at later
    meters.step()
    for number in range(calls):
        books.call(used(input=900, output=100), target="gpu/m", at=f"2026-08-10T00:00:{number % 60:02d}Z")
    for left in reversed(range(len(busy))):
        books.clock.advance(30)
        if not left:
            meters._read.clear()
        meters.step()
    return kept


def test_tokens_are_counted_over_the_time_a_gpu_was_busy(books: Office) -> None:
    assert books.clock.now() == micros("2026-08-10T00:00:00Z")
    (found,) = drive(books, [0.5, 1.0, 1.0, 0.0]).list(ALL)
    assert (found.tokens, found.micros, found.source) == (60_000, 75_000_000, "traces and NVML")


def test_a_machine_elsewhere_is_not_measured_by_the_gpu_here(books: Office) -> None:
    assert [each.source for each in drive(books, [1.0, 1.0, 1.0], "http://gpu-1.example:8000/v1").list(ALL)] == ["traces"]


@pytest.mark.parametrize(("busy", "calls"), [([0.1, 0.1, 0.1], 60), ([1.0, 1.0, 1.0], 40)])
def test_too_little_measures_nothing_by_it(books: Office, busy: list[float], calls: int) -> None:
    assert all(each.source == "traces" for each in drive(books, busy, calls=calls).list(ALL))
