"""Prompts under a gate: evaluated with a suite, refused when worse, promoted when not, and what the door then serves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.journeys.conftest import ADMIN, TLS, Platform, bearer, platform, until

pytestmark = [pytest.mark.journey, pytest.mark.slow, pytest.mark.alone]

ROWS = 90
GOOD = "Explain this case:\namount: {{ amount }}\nrisk score: {{ risk }}\n\nWhat stands out?"
SAME = "Look at this case:\namount: {{ amount }}\nrisk score: {{ risk }}\n\nSay what stands out."
WORSE = "Explain this case:\nrisk score: {{ risk }}\n\nWhat stands out about {{ amount | length }} digits?"
DECISION = """
from dataclasses import dataclass

from tandem.decisions import Calls


@dataclass
class Case:
    amount: str


@dataclass
class Opinion:
    text: str


def decide(case: Case, calls: Calls) -> Opinion:
    said = calls.chat("assistant", prompt="prompt/explain@production", variables={"amount": case.amount, "risk": "0.5"})
    return Opinion(text=said.text)
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    folder = tmp_path_factory.mktemp("suites")
    with platform(folder, workers=2) as running:
        lines = ["id,amount,risk,wanted"]
        lines += [f"r{number},{120 + number}.25,0.{10 + number % 90},amount is {120 + number}.25" for number in range(ROWS)]
        running.api("POST", "/datasets/cases?format=csv&id=id", content="\n".join(lines).encode())
        for template in (GOOD, WORSE, SAME):
            body = {"template": template, "variables": {"amount": "string", "risk": "string"}}
            running.api("POST", "/prompts/explain", json=body)
        suite = {
            "data": "dataset/cases",
            "endpoint": "assistant",
            "expected": "wanted",
            "sources": ["amount", "risk"],
            "scorers": [
                {"scorer": "contains", "name": "restates"},
                {"scorer": "grounded"},
                {"scorer": "latency", "options": {"seconds": 60}},
                {"scorer": "cost", "options": {"usd": 0.01}},
            ],
            "max_tokens": 200,
        }
        running.api("POST", "/suites/explain", json=suite)
        running.api("PUT", "/gates/prompt/explain", json={"suite": "suite/explain"})
        yield running


def evaluate(home: Platform, prompt: str, key: str = ADMIN, **more: object) -> Any:
    body = {"kind": "evaluate", "name": "explain", "inputs": {"prompt": prompt, "suite": "suite/explain", **more}}
    started = httpx2.post(f"{home.url}/api/v1/runs", json=body, headers=bearer(key), timeout=60, verify=TLS)
    assert started.status_code == 202, started.text
    return ended(home, started.json()["id"])


def ended(home: Platform, run: str) -> Any:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        found = home.api("GET", f"/runs/{run}")
        if found["state"] in ("succeeded", "failed", "cancelled"):
            return found
        time.sleep(0.1)
    raise AssertionError(f"{run} did not end")


def promote(home: Platform, version: int) -> httpx2.Response:
    url = f"{home.url}/api/v1/assets/prompt/explain/promote"
    return httpx2.post(url, json={"version": version}, headers=bearer(ADMIN), timeout=60, verify=TLS)


def test_a_worse_prompt_is_refused_and_an_equal_one_passes(home: Platform) -> None:
    unproven = promote(home, 1)
    assert unproven.status_code == 403
    assert unproven.json()["error"]["hint"] == "Run: tandem eval prompt/explain@1 --suite suite/explain@1"

    first = evaluate(home, "prompt/explain@1")
    assert first["state"] == "succeeded", first["reason"]
    out = first["outputs"]
    assert out["metrics"]["restates"]["value"] == 1.0
    assert out["metrics"]["restates"]["n"] == ROWS
    assert set(out["metrics"]) == {"restates", "grounded", "latency", "cost", "weighted"}
    assert out["asked"]["answers"] == ROWS
    assert out["asked"]["cost"] > 0
    assert out["asked"]["models"] == ["gpt-4o-mini"]
    assert out["comparison"] is None
    assert promote(home, 1).status_code == 200

    worse = evaluate(home, "prompt/explain@2")["outputs"]
    assert worse["metrics"]["restates"]["value"] == 0.0
    assert worse["comparison"]["verdict"]["outcome"] == "regressed"
    refused = promote(home, 2)
    assert refused.status_code == 403
    error = refused.json()["error"]
    assert (error["code"], error["report"]["verdict"]["outcome"]) == ("gate_refused", "regressed")
    assert error["report"]["champion_ref"] == "prompt/explain@1"

    same = evaluate(home, "prompt/explain@3")["outputs"]
    assert same["comparison"]["verdict"]["outcome"] == "non-inferior"
    done = promote(home, 3)
    assert done.status_code == 200, done.text
    assert done.json()["report"]["verdict"]["outcome"] == "non-inferior"
    rows = home.api("GET", "/audit?limit=3")
    assert rows[0]["detail"]["gate"]["metric"] == "restates"


def test_asking_the_same_again_costs_nothing_unless_it_is_wanted_fresh(home: Platform) -> None:
    key = home.key("careful", role="editor")

    def spent() -> int:
        home.settle()
        return int(home.api("GET", "/spend?scope=key/careful")["attempts"])

    one = evaluate(home, "prompt/explain@1", key)
    assert spent() == ROWS
    again = evaluate(home, "prompt/explain@1", key)
    assert (again["outputs"]["reused"], again["outputs"]["evaluation"]) == (ROWS, one["outputs"]["evaluation"])
    assert spent() == ROWS
    fresh = evaluate(home, "prompt/explain@1", key, fresh=True, repeats=2)
    assert fresh["outputs"]["asked"]["agreement"]["texts"] <= 1
    assert fresh["outputs"]["asked"]["answers"] == 2 * ROWS
    assert spent() == 3 * ROWS


def test_the_worst_rows_are_told_with_what_was_answered(home: Platform) -> None:
    run = evaluate(home, "prompt/explain@2")["id"]
    found = home.api("GET", f"/runs/{run}/rows?limit=3&content=true")
    assert (found["metric"], found["total"], len(found["lines"])) == ("restates", ROWS, 3)
    answer = found["lines"][0]["answers"][0]
    assert answer["grades"]["restates"] == 0.0
    assert "risk score is" in answer["text"]
    assert home.api("GET", f"/traces/{answer['trace']}")["calls"]
    assert home.api("GET", f"/runs/{run}/rows?limit=3")["lines"][0]["answers"][0]["text"] is None


def test_what_the_budget_does_not_pay_is_not_asked_and_what_was_answered_stays(home: Platform) -> None:
    key = home.key("poor", role="editor")
    home.api("PUT", "/budgets/key/poor", json={"cap": "0.004", "window": "total"})
    broke = evaluate(home, "prompt/explain@1", key)
    assert broke["state"] == "failed"
    assert "over_budget" in broke["reason"]
    kept = home.api("GET", f"/runs/{broke['id']}/rows?limit=1000")
    assert not kept["whole"]
    assert 0 < kept["total"] < ROWS
    home.api("PUT", "/budgets/key/poor", json={"cap": "1", "window": "total"})
    whole = evaluate(home, "prompt/explain@1", key)
    assert (whole["state"], whole["outputs"]["reused"]) == ("succeeded", kept["total"])
    home.settle()
    assert home.api("GET", "/spend?scope=key/poor")["attempts"] == ROWS


def test_soon_no_worker_serves_the_old_version_and_a_rollback_is_one_command(home: Platform) -> None:
    home.api("POST", "/decisions/second", json={"source": DECISION, "entry": "decide"})
    home.api("POST", "/assets/decision/second/promote", json={"version": 1})
    key = home.key("asker")
    production = home.api("GET", "/assets/prompt/explain")["aliases"]["production"]["version"]
    assert production == 3

    def asked() -> httpx2.Response:
        address = f"{home.url}/v1/decide/second"
        return httpx2.post(address, json={"amount": "7.50"}, headers=bearer(key), timeout=30, verify=TLS)

    def served() -> set[str]:
        """Which prompt versions new connections are served, over enough of them to meet every worker."""
        found = set()
        for _ in range(12):
            reply = asked()
            assert reply.status_code == 200, reply.text
            found |= prompts(reply.headers["x-tandem-trace-id"])
        return found

    def prompts(trace: str) -> set[str]:
        """The prompt versions that a trace names, once it is there."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            reply = httpx2.get(f"{home.url}/api/v1/traces/{trace}", headers=bearer(ADMIN), timeout=30, verify=TLS)
            calls = reply.json()["calls"] if reply.status_code == 200 else []
            named = {ref for call in calls for ref in call["attributes"].get("versions", {}) if ref.startswith("prompt/")}
            if named:
                return named
            time.sleep(0.05)
        raise AssertionError(trace)

    until(lambda: {asked().status_code for _ in range(12)} == {200}, "every worker knows the key and the decision")
    until(lambda: served() == {"prompt/explain@3"}, "what was published is served")
    command = [sys.executable, "-m", "tandem", "rollback", "prompt/explain", "production", "--json"]
    environment = {**os.environ, "TANDEM_URL": home.url, "TANDEM_KEY": ADMIN}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=True)
    assert json.loads(done.stdout)["version"] == 1
    until(lambda: served() == {"prompt/explain@1"}, "so is what was rolled back")
    assert promote(home, 3).status_code == 200
    until(lambda: served() == {"prompt/explain@3"}, "and what is promoted again")
    assert home.api("GET", "/audit?limit=2")[1]["action"] == "alias.rollback"


def test_a_killed_evaluation_goes_on_and_asks_nothing_twice_but_its_last_batch(tmp_path: Path) -> None:
    with platform(tmp_path, mock=("--latency", "60")) as home:
        lines = ["id,amount"] + [f"r{number},{number}.25" for number in range(120)]
        home.api("POST", "/datasets/cases?format=csv&id=id", content="\n".join(lines).encode())
        home.api("POST", "/prompts/explain", json={"template": "amount: {{ amount }}", "variables": {"amount": "string"}})
        scorers = [{"scorer": "regex", "options": {"pattern": "amount is"}}]
        suite = {"data": "dataset/cases", "endpoint": "assistant", "scorers": scorers, "max_tokens": 64}
        home.api("POST", "/suites/explain", json=suite)
        body = {"kind": "evaluate", "name": "explain", "inputs": {"prompt": "prompt/explain", "suite": "suite/explain"}}
        run = home.api("POST", "/runs", json=body)["id"]
        deadline = time.monotonic() + 30
        while home.api("GET", f"/runs/{run}")["progress"] < 0.3:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert home.process is not None
        for pid in home.pids("control"):
            os.kill(pid, signal.SIGKILL)
        home.wait()
        found = ended(home, run)
        assert (found["state"], found["reason"]) == ("succeeded", None)
        assert found["outputs"]["asked"]["rows"] == 120
        assert found["outputs"]["reused"] > 0
        billed = httpx2.get(f"{home.mock_url}/bill").json()["totals"]["requests"]
        assert 120 <= billed <= 120 + 16
