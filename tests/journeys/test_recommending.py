"""Recommendations through the whole platform: trained by command, gated, asked in every form, and scored for everybody."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import polars as pl
import pytest

from tandem_sdk import Client
from tests.journeys.conftest import ADMIN, Platform, bearer, platform, until
from tests.journeys.test_scoring import rows
from tests.training.test_recommend import frame

pytestmark = pytest.mark.journey


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform with the behaviour of three hundred users, and a model `shop` of it in production."""
    with platform(tmp_path_factory.mktemp("shop")) as running:
        running.api("POST", "/datasets/clicks?format=csv&time=at", content=frame().write_csv(datetime_format="%FT%TZ"))
        inputs = {"data": "dataset/clicks", "target": "article", "task": "recommendation", "user": "customer"}
        made = ended(running, running.api("POST", "/runs", json={"kind": "train", "name": "shop", "inputs": inputs}))
        assert made["outputs"]["baseline"]["asset"] == "model/shop-baseline@1"
        running.api("PUT", "/gates/model/shop", json={"metric": "ndcg@10", "margin": 0.01})
        running.api("POST", "/assets/model/shop/promote", json={"version": 1})
        yield running


def ended(shop: Platform, run: dict[str, Any]) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        found: dict[str, Any] = shop.api("GET", f"/runs/{run['id']}")
        return found if found["state"] in ("succeeded", "failed", "cancelled") else None

    found: dict[str, Any] = until(look)
    assert found["state"] == "succeeded", found["reason"]
    return found


def asked(shop: Platform, body: dict[str, Any]) -> httpx2.Response:
    def look() -> httpx2.Response | None:
        reply = httpx2.post(f"{shop.url}/v2/models/shop/infer", json=body, headers=bearer(ADMIN), timeout=30)
        return None if reply.status_code == 404 else reply

    reply: httpx2.Response = until(look)
    return reply


def told(reply: httpx2.Response) -> dict[str, Any]:
    assert reply.status_code == 200, reply.text
    return {each["name"]: each for each in reply.json()["outputs"]}


def test_rows_and_tensors_are_answered_alike(shop: Platform) -> None:
    simple = told(asked(shop, {"rows": [{"customer": "u4"}, {"seen": ["a81", "a82"]}], "parameters": {"k": 3}}))
    assert (simple["items"]["shape"], simple["items"]["datatype"]) == ([2, 3], "BYTES")
    assert simple["by"]["data"] == ["behaviour", "behaviour"]
    assert set(simple["items"]["data"][3:]) <= {f"a{article}" for article in range(80, 100)}
    tensors = [
        {"name": "customer", "shape": [2], "datatype": "BYTES", "data": ["u4", None]},
        {"name": "seen", "shape": [2], "datatype": "BYTES", "data": [None, '["a81", "a82"]']},
    ]
    assert told(asked(shop, {"inputs": tensors, "parameters": {"k": 3}})) == simple


def test_short_answers_are_filled_and_strangers_are_told_what_most_have(shop: Platform) -> None:
    got = told(asked(shop, {"rows": [{"customer": "nobody"}, {"customer": "u4", "candidates": ["a99"]}]}))
    assert got["by"]["data"] == ["popularity", "behaviour"]
    assert got["items"]["data"][11:] == [""] * 9
    assert got["scores"]["data"][11:] == [0.0] * 9


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"rows": [{"customer": "u4"}], "parameters": {"k": 101}}, "parameters.k"),
        ({"rows": [{"customer": "u4", "seen": [1]}]}, "rows[0].seen"),
        ({"rows": [{"customer": "u4", "candidates": "a9"}]}, "rows[0].candidates"),
        ({"rows": [{"customer": "u4", "country": "x"}]}, "rows[0]"),
    ],
)
def test_what_is_no_question_is_refused(shop: Platform, body: dict[str, Any], where: str) -> None:
    reply = asked(shop, body)
    assert reply.status_code in (400, 422), reply.text
    assert where.partition(".")[2] in reply.text or where in reply.text


def test_everybody_is_scored_at_once(shop: Platform) -> None:
    shop.api("POST", "/datasets/everybody?format=csv", content="customer,seen\nu4,\nu5,\nnobody,\nu6,no list\n")
    inputs = {"model": "shop", "data": "dataset/everybody"}
    ended(shop, shop.api("POST", "/runs", json={"kind": "predict", "name": "offers", "inputs": inputs}))
    got = rows(shop, "dataset/offers@1")
    single = told(asked(shop, {"rows": [{"customer": "u4"}]}))
    assert json.loads(got.filter(pl.col("customer") == "u4")["items"][0]) == single["items"]["data"]
    assert got["by"].to_list() == ["behaviour", "behaviour", "popularity", None]  # what the last says was seen is no list


def test_later_behaviour_is_evidence_and_known_pairs_are_not(shop: Platform) -> None:
    known = frame().head(200).write_csv(datetime_format="%FT%TZ")
    shop.api("POST", "/datasets/known?format=csv&time=at", content=known)
    path, body = "/assets/model/shop/1/evidence", {"dataset": "dataset/known"}
    reply = httpx2.post(f"{shop.url}/api/v1{path}", json=body, headers=bearer(ADMIN), timeout=60)
    assert (reply.status_code, reply.json()["error"]["code"]) == (403, "training_rows")
    pairs = set(frame().select("customer", "article").iter_rows())
    new = [(f"u{user}", f"a{user % 6 * 20 + number}") for user in range(60) for number in range(20)]
    lines = "\n".join(f"{user},{article}" for user, article in new if (user, article) not in pairs)
    shop.api("POST", "/datasets/later?format=csv", content=f"customer,article\n{lines}\n")
    made = shop.api("POST", path, json={"dataset": "dataset/later"})
    assert made["rows"] == len(lines.splitlines())


def test_a_monitor_of_what_recommendations_are_asked_is_refused(shop: Platform) -> None:
    asked(shop, {"rows": [{"customer": "u4"}]})
    body = {"endpoint": "shop", "question": "drift"}
    reply = httpx2.post(f"{shop.url}/api/v1/monitors", json={"name": "shop", **body}, headers=bearer(ADMIN), timeout=30)
    assert reply.status_code in (400, 422), reply.text
    assert "recommendations are asked is not watched" in reply.text


def test_the_console_shows_the_version(shop: Platform) -> None:
    with httpx2.Client(base_url=shop.url, timeout=30) as browser:
        browser.post("/console/sign-in", data={"key": ADMIN}, headers={"Sec-Fetch-Site": "same-origin"})
        page = browser.get("/assets/model/shop/1")
    assert page.status_code == 200
    assert "coverage@10" in page.text


def test_the_sdk_asks_for_a_user(shop: Platform) -> None:
    with Client(shop.url, ADMIN) as tandem:
        (items,) = tandem.predict("shop", [{"customer": "u4", "seen": ["a81"], "k": 5}]).outputs["items"]
    assert isinstance(items, tuple)
    assert len(items) == 5


def command(shop: Platform, *words: str) -> str:
    environment = {**os.environ, "TANDEM_URL": shop.url, "TANDEM_KEY": ADMIN}
    line = [sys.executable, "-m", "tandem", *words]
    return subprocess.run(line, env=environment, capture_output=True, text=True, check=True).stdout


def test_what_is_chosen_is_watched(shop: Platform, tmp_path: Path) -> None:
    """Forty people in one call: what they chose is told by command, line by line, and judged when the window is over."""
    monitor = {"name": "shop-hits", "endpoint": "shop", "question": "performance", "span": 3, "minimum": 30, "threshold": 0.1}
    shop.api("POST", "/monitors", json=monitor)
    reply = asked(shop, {"rows": [{"customer": f"u{number}"} for number in range(40)]})
    items, trace = told(reply)["items"]["data"], reply.headers["x-tandem-trace-id"]
    first = [{"trace": trace, "row": row + 1, "label": items[10 * row + 9]} for row in range(39)]  # the last one that was told
    lines = tmp_path / "chosen.jsonl"
    lines.write_text("\n".join(map(json.dumps, [*first, {"trace": trace, "row": 40, "label": [[]]}])))
    until(lambda: json.loads(command(shop, "outcome", "add", "shop", str(lines), "--json"))["kept"] == 40)

    def look() -> dict[str, Any] | None:
        found: dict[str, Any] = shop.api("POST", "/monitors/shop-hits/check")
        return found if found["verdict"] != "not-enough-data" else None

    report: dict[str, Any] = until(look)
    assert (report["n"], report["coverage"]) == (40, {"labelled": 1})
    findings = {each["subject"]: each for each in report["findings"]}
    assert findings["hit@10"]["now"]["value"] == 1.0
    assert findings["ndcg@10"]["now"]["value"] < 0.3
    assert "ndcg@10" in command(shop, "monitor", "show", "shop-hits")
    wrong = {"endpoint": "shop", "outcomes": [{"trace": trace, "label": ["a1", "a2"] * 21}]}
    refused = httpx2.post(f"{shop.url}/api/v1/outcomes", json=wrong, headers=bearer(ADMIN))
    assert (refused.status_code, "is of 42 rows; the call had 40" in refused.text) == (400, True), refused.text
