"""A home that an earlier version wrote: this version starts on it, and everything in it is found again."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tandem.batches.files import KEPT_SECONDS
from tandem.store.migrations import versions
from tests.journeys.conftest import ADMIN, TLS, Platform, bearer, mock_upstream
from tests.ports import free_port
from tests.store.make_home import FACTS, HOMES, PERSON, SAID

pytestmark = [pytest.mark.journey, pytest.mark.slow, pytest.mark.files]

ALL = sorted(HOMES.glob("*.tar.gz"))


@pytest.fixture(params=ALL, ids=lambda path: path.name.partition(".")[0])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    place = tmp_path / "home"
    place.mkdir(mode=0o700)
    with tarfile.open(request.param) as tar:
        tar.extractall(place, filter="data")
    return place


@pytest.fixture
def house(home: Path) -> Iterator[Platform]:
    with mock_upstream() as mock:
        text = (home / "tandem.toml").read_text().splitlines()
        lines = [f'base_url = "{mock}/v1"' if line.startswith("base_url") else line for line in text]
        (home / "tandem.toml").write_text("\n".join([*lines, "[traces]", "retention_days = 36500"]))
        running = Platform(home=home, port=free_port(), mock_url=mock)
        running.up()
        try:
            yield running
        finally:
            running.down()


def test_there_is_one_of_this_schema_and_of_the_one_before() -> None:
    """Who changes the schema keeps a home of it: `python -m tests.store.make_home REVISION`."""
    written = {path.name.partition("_")[0].removeprefix("m") for path in Path(versions.__path__[0]).glob("m*.py")}
    kept = {path.name.partition(".")[0] for path in ALL}
    assert set(sorted(written)[-2:]) <= kept
    assert all(path.stat().st_size < 200_000 for path in ALL)


def test_a_backup_of_an_earlier_home_is_restored(home: Path, tmp_path: Path) -> None:
    """What was backed up before an upgrade comes back after it."""
    command = [sys.executable, "-m", "tandem"]
    made = subprocess.run(
        [*command, "backup", str(tmp_path / "old"), "--home", str(home), "--with-key", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    path = json.loads(made.stdout)["path"]
    again = tmp_path / "again"
    done = subprocess.run([*command, "restore", path, "--home", str(again), "--json"], capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    assert (told["audit_ok"], told["unbooked"]) == (True, 0)


def test_everything_is_found_again(house: Platform) -> None:
    facts: dict[str, Any] = json.loads((house.home / FACTS).read_text())
    report = house.api("POST", "/audit/verify")
    assert report["ok"], report
    assert report["count"] >= facts["audit"]
    found = house.api("GET", "/assets")
    assert sorted(f"{row['kind']}/{row['name']}@{row['newest']['version']}" for row in found) == facts["assets"]
    assert house.api("GET", "/assets/prompt/greeting/2")["digest"] == facts["digest"]
    assert [[row["scope"], row["window"], row["cap"]] for row in house.api("GET", "/budgets")] == facts["budgets"]
    assert house.api("GET", "/spend?scope=org")["cost"] == facts["spend"]
    assert sorted(row["name"] for row in house.api("GET", "/keys")) == facts["keys"]
    assert {row["name"]: row["teams"] for row in house.api("GET", "/persons")} == facts.get("persons", {})
    bound = {row["name"]: [row["owner"], row["models"]] for row in house.api("GET", "/keys") if row["owner"]}
    assert bound == facts.get("bound", {})
    assert [row["name"] for row in house.api("GET", "/monitors")] == facts.get("monitors", [])
    if "batch" in facts:
        with httpx2.Client(base_url=f"{house.url}/v1", headers=bearer(ADMIN), timeout=30, verify=TLS) as http:
            batch = http.get(f"/batches/{facts['batch']}").json()
            assert batch["request_counts"] == {"total": 1, "completed": 1, "failed": 0}
            if batch["created_at"] > time.time() - KEPT_SECONDS:  # later, its files have expired
                assert json.loads(http.get(f"/files/{batch['output_file_id']}/content").content)["custom_id"] == "past"
    trace = house.api("GET", f"/traces/{facts['trace']}?content=1")
    assert trace["cost"] == facts["cost"]
    assert trace["calls"][0]["subject"] == PERSON
    (text,) = trace["content"].values()
    assert SAID in text["request"]
    answered = house.chat(ADMIN)
    assert answered.status_code == 200, answered.text


def test_who_called_an_earlier_version_can_be_erased(house: Platform) -> None:
    facts = json.loads((house.home / FACTS).read_text())
    reply = httpx2.post(f"{house.url}/api/v1/subjects/{PERSON}/erase", headers=bearer(ADMIN), timeout=60, verify=TLS)
    assert reply.status_code == 200, reply.text
    assert (reply.json()["contents"], reply.json()["named_in"], reply.json()["complete"]) == (1, [], True)
    (text,) = house.api("GET", f"/traces/{facts['trace']}?content=1")["content"].values()
    assert text["erased"]
    assert [path for path in house.home.rglob("*") if path.is_file() and PERSON.encode() in path.read_bytes()] == []
