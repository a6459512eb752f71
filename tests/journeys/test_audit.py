"""The audit leaves a running platform and is verified without it; usage is asked of what was really called."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

import tandem_audit
from tests.journeys.conftest import ADMIN, ON_SERVER, TLS, Platform, bearer, platform, until

pytestmark = pytest.mark.journey


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with platform(tmp_path_factory.mktemp("audit")) as house:
        yield house


def tandem(house: Platform, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TANDEM_URL": house.url, "TANDEM_KEY": ADMIN}
    return subprocess.run([sys.executable, "-m", "tandem", *words], env=environment, capture_output=True, text=True, check=False)


def test_others_verify_an_export_and_find_what_was_forged(place: Platform, tmp_path: Path) -> None:
    for number in range(60):  # beyond a checkpoint, with the rows of the start and of the teams
        place.key(f"k{number}", team=f"t{number}")
    key, first, second = tmp_path / "audit.pub", tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    assert tandem(place, "audit", "key", "--to", str(key)).returncode == 0
    assert tandem(place, "audit", "export", "--to", str(first)).returncode == 0
    assert tandem(place, "audit", "export", "--to", str(second)).returncode == 0
    alone = [sys.executable, "-I", "-S", str(tandem_audit.__file__), "--key-file", str(key)]
    done = subprocess.run([*alone, str(second), "--extends", str(first)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "audit.checkpoint" in second.read_text()
    place.rows("control", "UPDATE audit SET actor = 'nobody' WHERE seq = 5")
    assert tandem(place, "audit", "verify").returncode == 5
    forged = tmp_path / "forged.jsonl"
    tandem(place, "audit", "export", "--to", str(forged))
    found = subprocess.run([*alone, str(forged)], capture_output=True, text=True, check=False)
    assert (found.returncode, "Row 5" in found.stdout) == (5, True)
    place.rows("control", "UPDATE audit SET actor = 'admin' WHERE seq = 5 AND action LIKE 'key.%'")


def test_usage_is_of_the_calls_that_were_made(place: Platform, tmp_path: Path) -> None:
    team = place.key("reader", team="red", role="viewer")
    other = place.key("stranger", team="blue", role="viewer")
    answered = until(lambda: (reply := place.chat(team)).status_code == 200 and reply, "the door knows the key")
    trace = answered.headers["x-tandem-trace-id"]

    def used(key: str, **query: str) -> list[dict[str, object]]:
        reply = httpx2.get(f"{place.url}/api/v1/usage", params=query, headers=bearer(key), timeout=30, verify=TLS)
        assert reply.status_code == 200, reply.text
        return list(reply.json())

    (use,) = until(lambda: used(team, asset="mock/gpt-4o-mini"), "the call is there")
    assert (use["trace"], use["principal"], use["endpoint"], use["team"]) == (trace, "reader", "assistant", "red")
    assert used(other) == []
    assert [row["trace"] for row in used(ADMIN, principal="reader")] == [trace]
    file = tmp_path / "used.csv"
    assert tandem(place, "audit", "usage", "--principal", "reader", "-o", str(file)).returncode == 0
    (row,) = csv.DictReader(io.StringIO(file.read_text()))
    assert (row["trace"], row["targets"]) == (trace, "mock/gpt-4o-mini")
    newest = place.api("GET", "/audit?limit=1")[0]
    assert (newest["action"], newest["actor"], newest["detail"]["principal"]) == ("usage.export", "admin", "reader")
    listed = json.loads(tandem(place, "audit", "usage", "--endpoint", "assistant", "--json").stdout)
    assert listed[0]["trace"] == trace


def test_the_documents_of_an_answer_are_found_by_name(place: Platform) -> None:
    path = "/indexes/rules/documents?document=leave.md&reader=everyone"
    run = place.api("POST", path, content=b"# Leave\n\nEverybody has thirty days of leave.\n")["id"]
    until(lambda: place.api("GET", f"/runs/{run}")["state"] == "succeeded", "the index is made")
    place.api("POST", "/assets/index/rules/promote", json={"version": 1})
    body = {"model": "rules", "messages": [{"role": "user", "content": "How many days of leave?"}]}

    def ask() -> httpx2.Response:
        return httpx2.post(f"{place.url}/v1/chat/completions", json=body, headers=bearer(ADMIN), timeout=30, verify=TLS)

    trace = until(lambda: (reply := ask()).status_code == 200 and reply, "it answers").headers["x-tandem-trace-id"]
    (listed,) = place.api("GET", "/indexes/rules/documents")["documents"]
    found = until(lambda: place.api("GET", "/usage?document=leave.md"), "the call is there")
    assert (found[0]["trace"], found[0]["documents"], found[0]["assets"]) == (trace, [listed["id"]], ["index/rules@1"])
    assert place.api("GET", f"/usage?document={listed['id']}")[0]["trace"] == trace
    assert place.api("GET", "/usage?document=other.md") == []
    assert (place.home / "search").exists() is not ON_SERVER
