"""What scoring and training cost: on the books once, through a cap that is full, a kill, and the cap being raised."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.journeys.conftest import Platform, platform, until
from tests.journeys.test_scoring import ROWS, ended, many, order, rows

pytestmark = pytest.mark.journey
PARTS = 5


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform where an hour costs $3,600, with rows to score in `many`."""
    with platform(tmp_path_factory.mktemp("priced")) as running:
        running.down()
        settings: Path = running.home / "tandem.toml"
        settings.write_text(settings.read_text().replace("[server]", '[server]\nhour_price = "3600"'))
        running.up()
        running.api("POST", "/datasets/many?format=parquet", content=many())
        yield running


def spent(house: Platform) -> int:
    """Nano-dollars of everybody, today and yesterday."""
    return sum(day["cost"] for day in house.api("GET", "/cost/spend?days=2")["days"])


def test_a_training_and_a_scoring_cost_what_the_books_say(house: Platform) -> None:
    cells = "".join(f"{n % 9 + 0.25},{n % 5 + 0.5},{'ab'[n % 9 > 4]}\n" for n in range(180))
    house.api("POST", "/datasets/zone?format=csv", content="x,y,z\n" + cells)
    inputs = {"data": "dataset/zone", "target": "z", "folds": 2}
    trained = ended(house, house.api("POST", "/runs", json={"kind": "train", "name": "zone", "inputs": inputs}))
    assert trained["outputs"]["cost"] == spent(house) > 0
    house.api("POST", "/assets/model/zone/promote", json={"version": 1})

    before = spent(house)
    house.api("PUT", "/budgets/org", json={"cap": f"{before / 1e9 + 0.001:.9f}", "window": "total"})
    run = order(house, "many-scored", "many")

    def waits() -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = house.api("GET", f"/runs/{run['id']}")
        except (AssertionError, httpx2.HTTPError):  # while the control process starts again
            return None
        return found if found["state"] == "running" and found["stage"].startswith("waiting: org has used its cap") else None

    until(waits)
    first = spent(house)
    assert first > before
    (control,) = house.pids("control")
    os.kill(control, signal.SIGKILL)
    until(lambda: control not in house.pids("control") and waits())
    assert spent(house) == first, "what was booked before the kill is not booked again"
    house.api("PUT", "/budgets/org", json={"cap": "1000000", "window": "total"})
    done = ended(house, run)
    assert done["state"] == "succeeded", done["reason"]
    assert rows(house, done["outputs"]["asset"]).height == ROWS
    assert spent(house) - before == done["outputs"]["cost"]
    days = house.api("GET", "/cost/spend?days=2")["days"]
    assert sum(day["attempts"] for day in days) == 2 + PARTS + 1
    told = [row for row in house.api("GET", "/audit?action=run.cost") if row["subject"] == f"run/{run['id']}"]
    assert [row["detail"]["cost"] for row in told] == [done["outputs"]["cost"]]

    house.api("PUT", "/budgets/org", json={"cap": "0.001", "window": "total"})
    run = order(house, "dropped", "many")
    until(waits)
    house.down()
    house.up()
    until(waits)
    house.api("POST", f"/runs/{run['id']}/cancel")
    assert ended(house, run)["state"] == "cancelled"
