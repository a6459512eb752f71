"""Every page, asked over HTTP from an application of real packages."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import httpx2
import pytest

import tandem_audit
from tandem.console import about
from tandem.console.desk import NAVIGATION
from tandem.core.approval import Request
from tandem.core.asset import Ref
from tandem.core.endpoint import Endpoint, Target
from tandem.core.policy import Budget
from tandem.core.principal import LOCAL
from tandem.gateway.routing.board import Told
from tandem.gateway.routing.health import Resting
from tandem.governance.authorise import ALL, Scope
from tandem.governance.bills.export import by_hand
from tandem.governance.bills.reconcile import Asked
from tandem.governance.ledger import Want
from tandem.governance.people.lasting import SESSION_SECONDS
from tandem.governance.sessions import COOKIE
from tests.console.house import EVIL, House, every_page

PAGES = [
    "home",
    "endpoints",
    "assets",
    "asset",
    "model",
    "model-card",
    "model-production",
    "dataset",
    "dataset-added",
    "dataset-profile",
    "dataset-rows",
    "dataset-apart",
    "dataset-diff",
    "prompt",
    "prompt-evaluated",
    "suite",
    "release",
    "run-evaluated",
    "decision",
    "traces",
    "trace-decide",
    "trace-chat",
    "trace-erased",
    "trace-failing",
    "trace-unknown",
    "runs",
    "run",
    "run-running",
    "run-failed",
    "monitors",
    "monitor",
    "monitor-earlier",
    "monitor-new",
    "projects",
    "project",
    "requests",
    "reviews",
    "review",
    "review-done",
    "alerts",
    "people",
    "keys",
    "budgets",
    "costs",
    "audit",
    "missing",
]


TRY = "/alerts/oncall/test"


class Page(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.words.append(" ".join(data.split()))

    @property
    def text(self) -> str:
        return " ".join(self.words)

    def all(self, tag: str) -> Iterator[dict[str, str | None]]:
        return (attributes for name, attributes in self.tags if name == tag)

    @property
    def links(self) -> list[str]:
        return [str(each["href"]) for each in self.all("a") if each.get("href")]


async def page(client: httpx2.AsyncClient, address: str, status: int = 200) -> Page:
    answer = await client.get(address)
    assert answer.status_code == status, answer.text
    return Page(answer.text)


# --- the frame


AT = {href for href, _, _ in NAVIGATION}


@pytest.mark.parametrize("name", PAGES)
async def test_a_page_is_safe_whatever_people_wrote(house: House, name: str) -> None:
    async with house.client("ops") as client:
        answer = await client.get(every_page(house)[name])
    assert answer.status_code == (404 if name == "missing" else 200)
    assert answer.headers["content-security-policy"].startswith("default-src 'self'; ")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    shown = Page(answer.text)
    scripts = {str(script["src"]).partition("?v=")[0] for script in shown.all("script")}
    assert {"/console/static/htmx.min.js"} <= scripts <= {"/console/static/htmx.min.js", "/console/static/keys.js"}
    for tag, attributes in shown.tags:
        assert not any(attribute.startswith("on") or attribute == "style" for attribute in attributes), (tag, attributes)
        assert "javascript:" not in f"{attributes.get('href')}{attributes.get('action')}"
        assert tag != "img" or str(attributes["src"]).startswith("/assets/")
    assert "stolen" not in "".join(str(attributes) for tag, attributes in shown.tags if tag in ("script", "img"))
    titles = [word for word in shown.words if word.endswith(" · Tandem")]
    assert len(titles) == 1
    assert not house.faults


async def test_every_page_says_where_it_stands(house: House) -> None:
    nowhere = []
    async with house.client("ops") as client:
        for name, address in every_page(house).items():
            shown = Page((await client.get(address)).text)
            here = {each["href"] for each in shown.all("a") if each.get("aria-current") == "page" and each["href"] in AT}
            if len(here) != 1:
                nowhere.append(name)
    assert nowhere == []


async def test_every_page_has_a_title_of_its_own(house: House) -> None:
    titles = set()
    async with house.client("ops") as client:
        for address in ("/", "/endpoints", "/assets", "/traces", "/runs", "/keys", "/budgets", "/audit", "/assets/model/tumor"):
            titles.add((await page(client, address)).words[0])
        for address in ("/monitors", "/monitors/tumor-drift", "/requests", "/alerts"):
            titles.add((await page(client, address)).words[0])
    assert len(titles) == 13


async def test_every_link_of_every_page_leads_somewhere(house: House) -> None:
    found: set[str] = set()
    async with house.client("ops") as client:
        for address in every_page(house).values():
            found |= set(Page((await client.get(address)).text).links)
        for address in sorted(found):
            if address.startswith("/api/") or "#" in address:
                continue
            assert (await client.get(address, follow_redirects=True)).status_code == 200, address


@pytest.mark.parametrize("text", ["the name of a metric", "a note", "a run's stage", "an endpoint that never was"])
async def test_what_was_written_is_shown_as_text(house: House, text: str) -> None:
    where = {
        "the name of a metric": "model",
        "a note": "run-running",
        "a run's stage": "runs",
        "an endpoint that never was": "traces",
    }
    async with house.client("ops") as client:
        assert EVIL in (await page(client, every_page(house)[where[text]])).text


async def test_files_of_our_own_are_served_and_no_others(house: House) -> None:
    async with house.client() as client:
        style = await client.get("/console/static/console.css")
        assert style.headers["content-type"] == "text/css; charset=utf-8"
        assert "immutable" in style.headers["cache-control"]
        script = await client.get("/console/static/htmx.min.js")
        assert script.headers["content-type"] == "text/javascript; charset=utf-8"
        for name in ("pages.py", "htmx.LICENSE", "..%2fpages.py", ""):
            assert (await client.get(f"/console/static/{name}")).status_code in (401, 404)


# --- the way in


async def test_nobody_is_shown_the_way_in_and_led_on_to_what_was_asked(house: House) -> None:
    async with house.client() as client:
        asked = await client.get("/traces?endpoint=assistant")
        assert asked.status_code == 401
        form = {str(each.get("name")): str(each.get("value")) for each in Page(asked.text).all("input")}
        assert form["after"] == "/traces?endpoint=assistant"
        answer = await client.post("/console/sign-in", data={"key": house.tokens["vera"], "after": form["after"]})
        assert (answer.status_code, answer.headers["location"]) == (303, "/traces?endpoint=assistant")
        assert (await client.get("/traces")).status_code == 200


async def test_the_first_page_asks_for_a_key_without_being_an_error(house: House) -> None:
    async with house.client() as client:
        assert "Sign in" in (await page(client, "/")).text


async def test_the_cookie_is_kept_from_scripts_and_other_sites(house: House) -> None:
    async with house.client() as client:
        body = {"key": f" {house.tokens['vera']} ", "after": "/"}
        plain = (await client.post("/console/sign-in", data=body)).headers["set-cookie"]
        behind_tls = (await client.post("/console/sign-in", data=body, headers={"x-forwarded-proto": "https"})).headers[
            "set-cookie"
        ]
    parts = {part.strip().lower() for part in plain.split(";")[1:]}
    assert parts == {"httponly", "samesite=strict", "path=/", f"max-age={SESSION_SECONDS}"}
    assert "secure" in behind_tls.lower()


@pytest.mark.parametrize("key", ["", "tdm_nonsense", "gone"])
async def test_an_unknown_or_revoked_key_opens_nothing(house: House, key: str) -> None:
    async with house.client() as client:
        answer = await client.post("/console/sign-in", data={"key": house.tokens.get(key, key), "after": "/runs"})
        assert answer.status_code == 401
        assert "set-cookie" not in answer.headers
        shown = Page(answer.text)
        assert "This key is not known here." in shown.text
        assert next(each for each in shown.all("input") if each.get("name") == "after")["value"] == "/runs"
        assert house.tokens.get(key, "tdm_nonsense") not in answer.text


async def test_a_forged_cookie_is_nobody(house: House) -> None:
    async with house.client() as client:
        for value in ("x", "A" * 96, ""):
            assert (await client.get("/runs", headers={"cookie": f"{COOKIE}={value}"})).status_code == 401


@pytest.mark.parametrize(
    "after", ["//evil.example/", "https://evil.example", "/\\evil.example", "javascript:alert(1)", "/\nx: y", "evil"]
)
async def test_signing_in_leads_to_no_other_site(house: House, after: str) -> None:
    async with house.client() as client:
        answer = await client.post("/console/sign-in", data={"key": house.tokens["vera"], "after": after})
        assert answer.headers["location"] == "/"


async def test_signing_out_ends_it(house: House) -> None:
    async with house.client("vera") as client:
        assert (await client.get("/runs")).status_code == 200
        answer = await client.post("/console/sign-out")
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        assert (await client.get("/runs")).status_code == 401


@pytest.mark.parametrize(
    "address", ["/console/sign-in", "/console/sign-out", "/audit/verify", "/audit/erase", "/alerts/oncall/test"]
)
async def test_another_site_changes_nothing(house: House, address: str) -> None:
    async with house.client("ops") as client:
        for site in ("cross-site", "same-site"):
            answer = await client.post(address, data={"key": house.tokens["vera"]}, headers={"sec-fetch-site": site})
            assert answer.status_code == 403
            assert "set-cookie" not in answer.headers
        assert (await client.get("/runs")).status_code == 200


async def test_a_link_from_another_site_is_asked_once_more_from_our_own(house: House) -> None:
    async with house.client() as client:
        followed = await client.get("/traces", headers={"sec-fetch-site": "cross-site"})
        assert [each for each in Page(followed.text).all("meta") if each.get("http-equiv") == "refresh"]
        again = await client.get("/traces", headers={"sec-fetch-site": "same-origin"})
        assert not [each for each in Page(again.text).all("meta") if each.get("http-equiv") == "refresh"]


# --- who sees what


async def test_a_viewer_sees_the_own_team_only(house: House) -> None:
    async with house.client("otto") as client:
        home = await page(client, "/")
        assert "team/sales" in home.text
        assert "team/risk" not in home.text
        assert "tumor" not in home.text
        assert "vera" not in home.text
        assert len([link for link in (await page(client, "/traces")).links if link.startswith("/traces/")]) == 1
        for address in ("/assets/model/tumor", f"/traces/{house.marks['decide']}", f"/runs/{house.marks['trained']}"):
            shown = await page(client, address, 404)
            assert "Nothing here" in shown.text
        assert "No model yet." in (await page(client, "/assets")).text
        keys = (await page(client, "/keys")).text
        assert "otto" in keys
        assert "ada" not in keys


async def test_pictures_and_content_of_another_team_are_not_there(house: House) -> None:
    async with house.client("otto") as client:
        for address in ("/assets/model/tumor/1/members/plots/roc.png", f"/traces/{house.marks['plain0']}?content=1"):
            assert (await client.get(address)).status_code == 404


@pytest.mark.parametrize("name", ["vera", "ada", "grace"])
async def test_the_audit_is_for_those_who_may(house: House, name: str) -> None:
    async with house.client(name) as client:
        shown = await page(client, "/audit", 403)
        assert "Not allowed" in shown.text
        assert "auditor or admin" in shown.text
        assert (await client.post("/audit/verify")).status_code == 403
        home = await page(client, "/")
        assert "/audit" not in home.links
        assert "Verify the chain" not in home.text


async def test_an_auditor_sees_all_teams(house: House) -> None:
    async with house.client("iris") as client:
        assert "team/sales" in (await page(client, "/budgets")).text
        assert "tumor" in (await page(client, "/assets")).text


# --- what the pages say


async def test_home_tells_what_is_in_production_and_by_whose_leave(house: House) -> None:
    async with house.client("ops") as client:
        shown = await page(client, "/")
    for told in ("second-opinion", "ungated", "grace", "openai/gpt-4o-mini", "missing", "42%", "key/vera", "Verify the chain"):
        assert told in shown.text
    assert "/assets/decision/second-opinion/1" in shown.links
    assert f"/traces/{house.marks['unpriced']}" in shown.links


async def test_a_trace_tells_where_a_call_could_go(house: House) -> None:
    async with house.client("vera") as client:
        shown = await page(client, f"/traces/{house.marks['failing']}")
        alone = await page(client, f"/traces/{house.marks['plain0']}")
    for told in ("Where assistant could go", "left out", "its condition on metadata.", "$0.00012", "the provider failed"):
        assert told in shown.text
    assert "could go" not in alone.text  # there was nothing to choose


async def test_endpoints_show_who_rests_and_who_hears_only_some_of_the_calls(house: House) -> None:
    route = (Target(target="openai/gpt-4o-mini"), Target(target="openai/gpt-4o", role="canary", share=0.05))
    house.table.put_endpoint(Endpoint(name="assistant", kind="chat", route=route, sticky=True), by=LOCAL)
    rests = Resting(name="openai/gpt-4o-mini", since=1, until=2, outcome="overloaded", failures=5)
    house.resting.append(Told(worker="0", at=1, resting=[rests]))
    async with house.client("ops") as client:
        shown = await page(client, "/endpoints")
    for told in ("canary of 5 %", "rests: overloaded", "sticky"):
        assert told in shown.text


async def test_an_endpoint_shows_what_its_canary_and_its_shadow_said(house: House) -> None:
    async with house.client("ops") as client:
        shown = await page(client, "/endpoints/tumor")
        chat = await page(client, "/endpoints/assistant")
        assert (await client.get("/endpoints/none")).status_code == 404
    async with house.client("otto") as client:  # of another team
        assert (await client.get("/endpoints/tumor")).status_code == 404
    for told in ("rolled-back", "14.0 % of 30", "2.0 % of 150", "harm", "34.4 % of 32", "hears none now", "regressed"):
        assert told in shown.text, told
    assert "None so far." in chat.text
    assert "Shadows" not in chat.text


async def test_what_learns_online_is_seen_and_stopped(house: House) -> None:
    async with house.client("ops") as client:
        shown = await page(client, "/endpoints/tumor/online")
        beside = await page(client, "/endpoints/tumor")
        assert (await client.get("/endpoints/assistant/online")).status_code == 404
    for told in ("40 of 200 labels have come", "promoted", "0.163", "Stop learning", "never learned again", "0.21 to 0.23"):
        assert told in shown.text, told
    assert "3 steps" in beside.text
    assert "/endpoints/tumor/online" in beside.links


async def test_an_empty_home_says_what_to_type(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.person("ops", "admin")
    async with house.client("ops") as client:
        commands = {
            "/": "tandem promote model/tumor production",
            "/traces": "curl",
            "/assets": "tandem data add NAME FILE",
            "/runs": "tandem train NAME --data dataset/NAME --target COLUMN",
            "/endpoints": "tandem promote model/NAME production",
            "/budgets": "tandem budget set key/NAME --cap 5 --window day",
            "/keys": "tandem key create",
            "/people": "keys come and go without people",
            "/monitors": "tandem monitor add NAME",
            "/requests": "tandem monitor add NAME",
            "/reviews": "tandem review add TRACE",
            "/alerts": "tandem alert add NAME",
        }
        for address, command in commands.items():
            assert command in (await page(client, address)).text
    assert not house.faults


async def test_a_trace_explains_a_decision(house: House) -> None:
    async with house.client("vera") as client:
        shown = await page(client, f"/traces/{house.marks['decide']}")
    for told in ("A person should look at this.", "$0.0000324", "ungated", "grace"):
        assert told in shown.text
    assert "infer tumor" in shown.text
    assert {"/assets/dataset/biopsies/1", "/assets/decision/second-opinion/1"} <= set(shown.links)
    digest = house.registry.find(Ref.parse("dataset/biopsies@1"), Scope("risk")).digest
    assert any(each.get("title") == digest for each in shown.all("code"))
    bars = [each for each in shown.all("rect") if "span" in str(each.get("class")) and str(each.get("x", "")).endswith("%")]
    assert len(bars) == 11
    assert "worst area: 1032" not in shown.text
    assert "The model is uncertain" not in shown.text  # the reasons repeat what was found, so they are content


async def test_content_is_shown_when_it_is_asked_for(house: House) -> None:
    async with house.client("vera") as client:
        decided = await page(client, f"/traces/{house.marks['decide']}?content=1")
        assert decided.text.count("The model is uncertain (0.620).") == 2  # as the mark's reason, and beside the content
        shown = await page(client, f"/traces/{house.marks['plain0']}?content=1")
        assert "A biopsy review is advised." in shown.text
        assert EVIL in shown.text
        erased = await page(client, f"/traces/{house.marks['erased']}?content=1")
    assert "Erased." in erased.text
    assert "A biopsy review is advised." not in erased.text


async def test_a_refusal_and_a_failure_tell_why_and_what_next(house: House) -> None:
    async with house.client("ops") as client:
        failing = await page(client, f"/traces/{house.marks['failing']}")
        nobody = await page(client, f"/traces/{house.marks['nobody']}")
        unpriced = await page(client, f"/traces/{house.marks['unpriced']}")
    assert f"assistant: The provider answered {EVIL}" in failing.text
    assert "Ask it why." in failing.text
    assert "nobody: booked as reserved" in failing.text
    assert "Nothing was sent anywhere." in nobody.text
    assert "Cost unknown" in unpriced.text


async def test_traces_are_filtered_and_paged(house: House) -> None:
    async with house.client("ops") as client:
        some = await page(client, "/traces?endpoint=assistant&outcome=ok")
        none = await page(client, "/traces?outcome=nonsense")
        newest = [row.start for row in house.traces.list(team=None, limit=3)]
        later = await page(client, f"/traces?before={newest[1]}")
        odd = await client.get("/traces?before=soon")
    assert len([link for link in some.links if link.startswith("/traces/trc_")]) == 6
    assert "No trace fits this filter." in none.text
    assert f"/traces/{house.marks['unpriced']}" not in later.links
    assert odd.status_code == 400
    assert "before" in Page(odd.text).text


async def test_a_version_shows_its_gate_as_a_drawing(house: House) -> None:
    async with house.client("vera") as client:
        shown = await page(client, "/assets/model/tumor/production")
        first = await page(client, "/assets/model/tumor/1")
    labels = " ".join(str(each.get("aria-label")) for each in shown.all("svg"))
    if "tumor@2" in shown.text:  # the second one passed its gate
        assert "The difference is" in labels
        assert "0: no difference" in shown.text
        assert "−0.02: tolerated loss" in shown.text
    assert "roc_auc is" in " ".join(str(each.get("aria-label")) for each in first.all("svg"))
    assert "first version" in first.text
    assert "Effect or value" in first.text, "what the gate asks beside its metric has a table"
    assert re.search(r"bytes\s+✓\s+kept", first.text)


async def test_a_model_tells_where_it_does_worse_for_whom_and_what_it_answers_by(house: House) -> None:
    told = about.about(house.cards.about(house.registry.find(Ref.parse("model/tumor@1"), ALL)))
    assert told.importance is not None
    async with house.client("vera") as client:
        shown = await page(client, "/assets/model/tumor/1")
        card = await page(client, "/assets/model/tumor/1/card")
        await page(client, "/assets/model/tumor/99/card", 404)
    assert ("None was found." in shown.text) == (not told.weak)
    assert "Four of five such searches find" in shown.text
    assert "mean_radius < " in shown.text, "the groups of a column of numbers are its quartiles"
    assert "Furthest apart" in shown.text
    labels = [str(each.get("aria-label")) for each in shown.all("svg")]
    for counted in told.counted:
        assert f"Mean contribution of {counted.feature.name}" in labels
    assert "/assets/model/tumor/1/card" in shown.links
    assert "Not evaluated, or not recorded" in card.text
    assert {"/api/v1/assets/model/tumor/1/members/slices.json", "/api/v1/assets/model/tumor/1/card?as=md"} <= set(card.links)


def test_contributions_of_an_answer_are_read_leniently() -> None:
    tensor = {"name": "contributions", "data": [0.5, -2.0, 1.0, 0.0], "parameters": {"columns": '["a", "b"]'}}
    first, second = about.contributions(json.dumps({"outputs": [{"name": "label"}, tensor]}))
    assert [(each.column, each.value, each.percent) for each in first] == [("b", -2.0, 100.0), ("a", 0.5, 25.0)]
    assert [each.column for each in second] == ["a", "b"]
    for odd in ("", "no", "[]", '{"outputs": 1}', json.dumps({"outputs": [tensor | {"parameters": {"columns": 5}}]})):
        assert about.contributions(odd) == ()
    assert about.contributions(json.dumps({"outputs": [tensor | {"data": "x"}]})) == ()


async def test_lineage_leads_to_what_it_was_made_from_and_what_was_made_of_it(house: House) -> None:
    async with house.client("vera") as client:
        shown = await page(client, "/assets/dataset/biopsies/1")
    assert {"/assets/model/tumor/1", "/assets/model/tumor/2"} <= set(shown.links)
    assert "worst_area" in shown.text
    assert len([each for each in shown.all("path") if each.get("class") == "edge"]) >= 2


async def test_a_picture_is_a_picture_and_nothing_else(house: House) -> None:
    async with house.client("vera") as client:
        base = "/assets/model/tumor/1/members/"
        good = await client.get(f"{base}plots/roc.png")
        others = [await client.get(base + name) for name in ("metrics.json", "model.json", "nothing.png", "../1")]
    assert good.headers["content-type"] == "image/png"
    assert good.content.startswith(b"\x89PNG")
    assert good.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in good.headers["content-security-policy"]
    assert [answer.status_code for answer in others] == [404] * 4


async def test_a_page_posing_as_a_picture_is_not_shown(house: House) -> None:
    author = house.keys.list(LOCAL)[0].principal
    house.registry.publish(
        "model",
        "posing",
        members={"plots/evil.png": b"<script>window.stolen=4</script>"},
        meta={"signature": {"fields": [1]}, "origin": "imported", "metrics": {"x": EVIL}, "importances": {"a": "b"}},
        by=author,
    )
    async with house.client("ops") as client:
        assert (await client.get("/assets/model/posing/1/members/plots/evil.png")).status_code == 404
        assert EVIL in (await page(client, "/assets/model/posing/1")).text


async def test_a_model_of_numbers_shows_its_metrics_plots_and_training(house: House) -> None:
    author = house.keys.list(LOCAL)[0].principal
    estimate = {"value": 12.5, "low": 11.0, "high": 14.25, "n": 90}
    meta = {
        "task": "regression",
        "origin": "imported",
        "signature": {"fields": [{"name": "x"}]},
        "classes": [],
        "metrics": {"mae": estimate},
        "warnings": [f"Column 'x' tells the target. {EVIL}"],
        "calibration": {"way": "platt", "before": {**estimate, "value": 0.25}, "after": {**estimate, "value": 0.03}},
        "tuning": {"trials": 30, "pruned": 11, "folds": []},
    }
    members = {"plots/fit.png": b"\x89PNG\r\n\x1a\n"}
    house.registry.publish("model", "price", members=members, meta=meta, by=author)
    async with house.client("ops") as client:
        shown = await page(client, "/assets/model/price/1")
    for said in ("regression", "mae", "11.0000", "Column 'x' tells the target.", "platt: calibration error 0.2500 before"):
        assert said in shown.text
    assert "30 trials, 11 given up early" in shown.text
    assert EVIL in shown.text


async def test_a_decision_shows_its_source_and_a_prompt_its_words(house: House) -> None:
    async with house.client("vera") as client:
        decision = await page(client, "/assets/decision/second-opinion/1")
        prompt = await page(client, "/assets/prompt/explain/1")
    assert "def second_opinion(case: Case, calls: Calls) -> Opinion:" in decision.text
    assert "<script>window.stolen=3</script>" in decision.text
    assert "{{ probability }}" in prompt.text
    assert "system" in prompt.text


async def test_an_index_is_searched_as_its_reader(house: House) -> None:
    async with house.client("vera") as client:
        shown = await page(client, "/assets/index/handbook/1?q=who+reviews+a+biopsy")
        one = await page(client, "/assets/index/handbook/1?document=biopsy.md")
        hidden = await page(client, "/assets/index/handbook/1?document=prices.md&q=price+of+a+biopsy+review")
    assert "A biopsy is reviewed by two pathologists within three days." in shown.text
    assert list(shown.all("mark"))
    assert "by words 1" in shown.text
    assert EVIL in shown.text
    assert "two pathologists" in one.text
    for text in (shown.text, one.text, hidden.text):
        assert "agreed with sales" not in text
    assert "There is no such document that you may read." in hidden.text
    assert not house.faults


async def test_a_vector_is_read_on_the_page_of_its_service(house: House) -> None:
    async with house.client("vera") as client:
        view = await page(client, "/assets/view/spending/1")
        shown = await page(client, "/assets/service/lending/1?q=customer%3Dada+wanted%3D9")
        unknown = await page(client, "/assets/service/lending/1?q=customer%3Dnobody")
        wrong = await page(client, "/assets/service/lending/1?q=ada")
    assert "sum(amount) over 7d" in view.text
    assert "2 facts were pushed" in view.text
    assert "answers" in view.text
    for said in ("ok", "share", "0.75"):
        assert said in shown.text
    assert EVIL in shown.text
    assert unknown.text.count("not-found") == 3
    assert "'ada' is not COLUMN=VALUE" in wrong.text
    assert not house.faults


async def test_an_asset_shows_its_moves(house: House) -> None:
    async with house.client("vera") as client:
        shown = await page(client, "/assets/model/tumor")
        missing = await page(client, "/assets/model/nothing", 404)
        odd = await page(client, "/assets/spaceship/x", 404)
    assert "History of moves" in shown.text
    assert shown.text.count("promote") >= 1
    assert "There is no model 'nothing'." in missing.text
    assert "Nothing here" in odd.text


async def test_a_run_that_goes_on_is_asked_again_and_one_that_ended_is_not(house: House) -> None:
    async with house.client("vera") as client:
        running = await page(client, f"/runs/{house.marks['running']}")
        failed = await page(client, f"/runs/{house.marks['failed']}")
        done = await page(client, f"/runs/{house.marks['trained']}")
    assert [each.get("hx-trigger") for each in running.all("div") if each.get("id") == "run"] == ["every 2s"]
    assert [each.get("hx-trigger") for each in done.all("div") if each.get("id") == "run"] == [None]
    assert "There is no column 'diagnoses'." in failed.text
    assert "roc_auc" in done.text
    assert "$0.00125" in done.text
    assert "scikit-learn" in done.text
    assert any("plots/roc.png" in str(each["src"]) for each in done.all("img"))


async def test_keys_are_shown_without_their_secrets(house: House) -> None:
    async with house.client("ops") as client:
        answer = await client.get("/keys")
    assert "revoked" in answer.text
    for token in house.tokens.values():
        assert token not in answer.text
        assert token[4:20] not in answer.text


async def test_a_dataset_tells_how_its_rows_were_checked(house: House) -> None:
    async with house.client("ops") as client:
        shown = await page(client, "/assets/dataset/orders/2")
        assert "19 rows to" in shown.text
        assert "paid <= amount" in shown.text
        assert "column 'amount': is below 0" in shown.text
        assert {
            "/assets/dataset/orders/2/profile",
            "/assets/dataset/orders/2/rows",
            "/assets/dataset/orders/2/quarantine",
            "/assets/dataset/orders/1/diff/2",
        } <= set(shown.links)
        apart = await page(client, "/assets/dataset/orders/2/quarantine")
        assert {"40", "-1", "column 'amount': is below 0"} <= set(apart.words)
        none = await page(client, "/assets/dataset/orders/1/quarantine")
        assert "No rows were kept apart" in none.text


async def test_rows_are_read_page_by_page_and_by_a_condition(house: House) -> None:
    async with house.client("ops") as client:
        first = await page(client, "/assets/dataset/orders/2/rows")
        assert "Rows 1 to 50 of 59" in first.text
        assert "Rows 51 to 59 of 59" in (await page(client, "/assets/dataset/orders/2/rows?offset=50")).text
        assert "Rows 1 to 2 of 2" in (await page(client, "/assets/dataset/orders/2/rows?where=%22order%22+%3C+2")).text
        wrong = await page(client, "/assets/dataset/orders/2/rows?where=sum(amount)+%3E+2")
        assert "an aggregate, which looks at other rows" in wrong.text
        assert "Rows 1 to" not in wrong.text


async def test_a_profile_is_drawn(house: House) -> None:
    async with house.client("ops") as client:
        shown = await page(client, "/assets/dataset/orders/2/profile")
        assert "Histogram of amount, from 0 to 39" in {str(each.get("aria-label")) for each in shown.all("svg")}
        assert any(str(each.get("aria-label")).startswith("amount and paid: ") for each in shown.all("svg"))
        assert "Profile of" in (await page(client, "/assets/dataset/biopsies/1/profile")).text


async def test_what_a_version_changed_is_drawn(house: House) -> None:
    async with house.client("ops") as client:
        shown = await page(client, "/assets/dataset/orders/1/diff/2")
        assert "added 19 removed 0 changed 0" in shown.text
        assert "amount: shares per bin, then and now" in {str(each.get("aria-label")) for each in shown.all("svg")}
        await page(client, "/assets/dataset/orders/1/diff/9", 404)


async def test_budgets_are_bars_of_what_is_spent(house: House) -> None:
    account = next(account for account in house.ledger.accounts() if account.scope == "key/vera")
    async with house.client("vera") as client:
        shown = await page(client, "/budgets")
    labels = [str(each.get("aria-label")) for each in shown.all("svg")]
    assert any(label.startswith(f"{100 * account.settled / account.cap:.2f}".rstrip("0")) for label in labels)
    assert "key/vera" in shown.text
    assert "org" not in shown.text.split()


async def test_machines_that_share_the_books_are_told_to_who_may_audit(house: House) -> None:
    async with house.client("iris") as client:
        assert "Machines" not in (await page(client, "/budgets")).text
    house.ledger.seen("web-1", ["boot-1"])
    house.ledger.seen("web-2<b>", ["boot-2"])
    house.ledger.set_budget(Budget(scope="tag/shared", cap=1_000))
    house.ledger.lease("boot-2", [Want(scope="tag/shared", meter="day", need=10, like=10)])
    house.ledger._rows.run("UPDATE workers SET seen = seen - 120000000 WHERE boot = 'boot-2'")
    try:
        async with house.client("iris") as client:
            answer = await client.get("/budgets")
        assert "web-2&lt;b&gt;" in answer.text
        shown = Page(answer.text).text
        for text in ("Machines", "web-1", "lives", "away", "tandem doctor --let-go web-2<b>"):
            assert text in shown
        async with house.client("vera") as client:
            assert "web-1" not in (await page(client, "/budgets")).text
    finally:
        house.ledger.bury("boot-1")
        house.ledger.bury("boot-2")
        house.ledger.drop_budget("tag/shared", "day")


async def test_costs_are_bars_and_the_bill_is_told(house: House) -> None:
    columns = by_hand(["date=day", "model=model", "cost=usd"])
    bill = io.StringIO("day,model,usd\n2025-11-22,no-such-model,0.5\n")
    house.bills.reconcile(bill, "bill.csv", Asked(provider="mock", columns=columns), by=LOCAL)
    async with house.client("iris") as client:
        found = await page(client, "/costs")
    assert len([each for each in found.all("rect") if each.get("class") == "full"]) == 30
    for text in ("By model", "By endpoint", "By team", "billed, and not recorded here", "$0.5", "Budgets, looked ahead"):
        assert text in found.text
    assert "not enough data" in found.text
    async with house.client("vera") as client:
        assert "Last reconciliation" not in (await page(client, "/costs")).text


async def test_only_an_admin_erases_and_only_when_sure(house: House) -> None:
    async with house.client("iris") as client:
        assert "Erase a person" not in (await page(client, "/audit")).text
        assert (await client.post("/audit/erase", data={"subject": "patient-7", "sure": "true"})).status_code == 403
    async with house.client("ops") as client:
        assert "Erase a person" in (await page(client, "/audit")).text
        unsure = await client.post("/audit/erase", data={"subject": "patient-7"})
        assert (unsure.status_code, "the box was not ticked" in unsure.text) == (400, True)
        unknown = await client.post("/audit/erase", data={"subject": "<b>nobody</b>", "sure": "true"})
        assert (unknown.status_code, "<b>nobody" in unknown.text) == (404, False)
        again = await client.post("/audit/erase", data={"subject": "patient-7", "sure": "true"})
        assert again.status_code == 200
        assert "The report" in Page(again.text).text
        assert "sub_" in again.text
        assert (await client.get("/audit/erase")).headers["location"] == "/audit"


async def test_the_audit_proves_itself(house: House) -> None:
    async with house.client("iris") as client:
        listed = await page(client, "/audit?before=90")
        answer = await client.post("/audit/verify")
        back = await client.get("/audit/verify")
        older = await page(client, "/audit?before=3")
    assert "alias.promote" in listed.text
    assert "intact" in Page(answer.text).text
    assert back.headers["location"] == "/audit"
    assert "team.create" in older.text
    assert "alias.promote" not in older.text


async def test_an_address_that_is_nothing_is_a_page(house: House) -> None:
    async with house.client("ops") as client:
        for address in ("/traces/trc_nothing", "/runs/none", "/assets/model/tumor/99", "/assets/model/tumor/canary"):
            shown = await page(client, address, 404)
            assert "Nothing here" in shown.text
        for address in ("/nonsense", "/api/v1/nothing"):
            assert (await client.get(address)).json()["error"]["code"] == "not_found"
        browser = await client.get("/nonsense", headers={"accept": "text/html,*/*;q=0.8"})
    assert browser.status_code == 404
    assert "/nonsense is nothing here." in Page(browser.text).text


async def test_an_evaluation_shows_its_verdict_its_worst_rows_and_what_was_answered(house: House) -> None:
    async with house.client("ops") as client:
        shown = await page(client, f"/runs/{house.marks['evaluated']}")
        assert "regressed" in shown.text
        assert "-0.3500 [-0.5049, -0.2213]" in shown.text
        assert "10 of 40 rows" in shown.text
        assert "It is benign." in shown.text
        assert "the same text in 100 % of the rows" in shown.text
        assert "/assets/suite/explain/1" in shown.links
        prompt = await page(client, "/assets/prompt/explain/2")
        assert f"/runs/{house.marks['evaluated']}" in prompt.links
        assert "0.6500 [0.4951, 0.7787]" in prompt.text
        suite = await page(client, "/assets/suite/explain/1")
        assert "the.*|<" in suite.text


async def test_a_release_links_what_it_pins_and_says_what_names_it(house: House) -> None:
    async with house.client("ops") as client:
        shown = await page(client, "/assets/release/opinion/1")
    assert {"/assets/model/tumor/1", "/assets/suite/explain/1"} <= set(shown.links)
    assert "no alias" in shown.text


async def test_a_monitor_draws_then_and_now_and_tells_its_checks(house: House) -> None:
    async with house.client("vera") as client:
        listed = await page(client, "/monitors")
        shown = await page(client, "/monitors/tumor-drift")
        earlier = await page(client, "/monitors/tumor-drift?report=rpt_0")
        new = await page(client, "/monitors/new")
    assert "tumor-drift" in listed.text
    assert "every 1 h" in listed.text
    assert "This check raised an alarm." in shown.text
    assert "This check raised an alarm." not in earlier.text
    assert len([each for each in shown.all("rect") if each.get("class") == "then"]) == 5  # four bins and the legend
    assert any("effect 0.31" in str(each.get("aria-label")) for each in shown.all("svg"))
    assert f"/runs/{house.marks['trained']}" in shown.links
    assert "/monitors/tumor-drift?report=rpt_0" in shown.links
    assert "tandem monitor check new" in new.text


async def test_a_project_tells_what_it_declares_and_how_it_was_applied(house: House) -> None:
    async with house.client("vera") as client:
        listed, shown = await page(client, "/projects"), await page(client, "/projects/insurance")
        asset, endpoints = await page(client, "/assets/prompt/explain"), await page(client, "/endpoints")
        await page(client, "/projects/none", 404)
    assert {"insurance", "failed"} <= set(listed.text.split())
    assert "project.toml:30" in shown.text
    assert "c0ffee" in shown.text
    assert "alias/prompt/explain@dev is declared by the project insurance" in " ".join(asset.text.split())
    assert "project.toml:21" in endpoints.text


async def test_alerts_tell_how_they_go_and_admins_try_them(house: House) -> None:
    async with house.client("vera") as client:
        await page(client, "/alerts", 403)
        assert (await client.post("/alerts/oncall/test")).status_code == 403
    async with house.client("ops") as client:
        listed = await page(client, "/alerts")
        done = Page((await client.post("/alerts/oncall/test")).text)
        lost = Page((await client.post("/alerts/lost/test")).text)
        missing = await client.post("/alerts/none/test")
        back = await client.get("/alerts/oncall/test")
    assert "https://hooks.example.org/…" in listed.text
    assert "canary-token" not in listed.text
    assert "failing since" in listed.text
    assert "delivered oncall" in done.text
    assert "not delivered lost" in lost.text
    assert (missing.status_code, back.headers["location"]) == (404, "/alerts")
    assert "The monitor tumor-drift raised an alarm" in {message.title for message, _ in house.outside.told}


async def test_a_request_is_decided_by_who_may_approve(house: House) -> None:
    async with house.client("vera") as client:
        looked = await page(client, "/requests")
        refused = await client.post("/requests/req_0/approve")
    async with house.client("grace") as client:
        shown = await page(client, "/requests")
        missing = await client.post("/requests/req_none/decline")
        odd = await client.post("/requests/req_0/approve", headers={"sec-fetch-site": "cross-site"})
    assert not [each for each in looked.all("form") if "/requests/" in str(each.get("action"))]
    assert refused.status_code == 403
    assert odd.status_code == 403
    assert missing.status_code == 404
    assert {str(each.get("action")) for each in shown.all("form") if "/requests/" in str(each.get("action"))} == {
        "/requests/req_0/approve",
        "/requests/req_0/decline",
    }
    async with house.client("otto") as client:
        assert "tumor" not in (await page(client, "/requests")).text
        assert (await client.get("/monitors/tumor-drift")).status_code == 404
    async with house.client("ops") as client:
        assert (await client.get("/monitors/new?report=rpt_1")).status_code == 404


async def test_declining_a_request_leads_back_to_the_list(house: House) -> None:
    house.requests.open(
        Request(
            id="req_9", team="risk", subject="model/tumor@1", alias="production", reason="", monitor="new", report=None,
            run=house.marks["trained"], passed=True,
        )
    )  # fmt: skip
    async with house.client("grace") as client:
        answer = await client.post("/requests/req_9/decline")
    assert (answer.status_code, answer.headers["location"]) == (303, "/requests")
    assert house.requests.find("req_9", Scope("risk")).decided_by == "grace"


async def test_a_review_is_judged_and_the_next_one_follows(house: House) -> None:
    first, second = (review.id for review in house.ask_anew("plain2", "plain3"))
    async with house.client("ada") as client:
        begun = await client.get("/reviews/next?endpoint=assistant")
        assert (begun.status_code, begun.headers["location"]) == (303, f"/reviews/{first}?endpoint=assistant")
        shown = await page(client, begun.headers["location"])
        assert "A biopsy review is advised." in shown.text
        said = {"opinion": "right", "correction": "left over", "endpoint": "assistant"}
        judged = await client.post(f"/reviews/{first}", data=said)
        assert judged.status_code == 303
        assert judged.headers["location"] == f"/reviews/next?endpoint=assistant&after={first}&last={first}"
        following = await client.get(judged.headers["location"])
        assert following.headers["location"] == f"/reviews/{second}?endpoint=assistant&last={first}"
        ended = await client.get(f"/reviews/next?endpoint=assistant&after={second}")
        assert ended.headers["location"] == "/reviews?endpoint=assistant"  # nothing but the one that was skipped
        odd = await client.post(f"/reviews/{second}", data={"opinion": "fine"})
        foreign = await client.post(f"/reviews/{second}", data={"opinion": "right"}, headers={"sec-fetch-site": "cross-site"})
        explained = await page(client, f"/traces/{house.marks['plain2']}")
    assert (odd.status_code, foreign.status_code) == (400, 403)
    review, words = house.queue.reviews.find(first, Scope("risk"))
    assert (review.opinion, review.decided_by, words) == ("right", "ada", b"")
    assert "What was said of it" in explained.text


async def test_who_may_not_judge_reads_and_has_no_form(house: House) -> None:
    async with house.client("vera") as client:
        shown = await page(client, f"/reviews/{house.marks['review']}")
        refused = await client.get("/reviews/next")
        listed = await page(client, "/reviews")
    assert not [each for each in shown.all("form") if "/reviews/" in str(each.get("action"))]
    assert "The model is uncertain" in shown.text
    assert refused.status_code == 403
    assert "Begin to review" not in listed.text
    async with house.client("otto") as client:
        assert (await client.get(f"/reviews/{house.marks['review']}")).status_code == 404


async def test_words_about_an_erased_person_are_not_shown(house: House) -> None:
    async with house.client("ada") as client:
        shown = await page(client, f"/reviews/{house.marks['reviewed-erased']}")
    assert "Erased." in shown.text
    assert "It is 43." not in shown.text


async def test_a_rule_is_set_and_a_request_under_it_says_who_may_approve(house: House) -> None:
    async with house.client("grace") as client:
        refused = await client.post("/approvals", data={"action": "release"})
    async with house.client("ops") as client:
        made = await client.post("/approvals", data={"action": "release", "people": "2", "team": "risk", "hours": "5"})
        assert (made.status_code, made.headers["location"]) == (303, "/requests")
        dropped = await client.post("/approvals/drop", data={"action": "release", "team": "risk"})
        shown = await page(client, "/requests")
        odd = await client.post("/approvals", data={"action": "dance"})
    assert (refused.status_code, dropped.status_code, odd.status_code) == (403, 303, 400)
    (request,) = (each for each in house.requests.list(Scope("risk")) if each.does == "approval.drop")
    assert f"/requests/{request.id}/decline" in {str(each.get("action")) for each in shown.all("form")}
    assert f"/requests/{request.id}/approve" not in {str(each.get("action")) for each in shown.all("form")}, "ops asked for it"
    assert "0 of 2" in shown.text
    async with house.client("grace") as client:
        seen = await page(client, "/requests")
        done = await client.post(f"/requests/{request.id}/approve")
        again = await page(client, "/requests")
    assert f"/requests/{request.id}/approve" in {str(each.get("action")) for each in seen.all("form")}
    assert done.status_code == 303
    assert "1 of 2" in again.text
    assert f"/requests/{request.id}/approve" not in {str(each.get("action")) for each in again.all("form")}
    house.requests.decline(request.id, by=LOCAL)


async def test_the_audit_leaves_as_a_file_that_proves_itself(house: House) -> None:
    async with house.client("grace") as client:
        refused = await client.get("/audit/export")
    async with house.client("ops") as client:
        file = await client.get("/audit/export")
        shown = await page(client, "/audit")
    assert refused.status_code == 403
    assert "attachment" in file.headers["content-disposition"]
    assert tandem_audit.check(io.BytesIO(file.content), key=tandem_audit.read_key(house.audit.signer.public))["trusted"]
    assert house.audit.signer.public in shown.text


async def test_usage_is_filtered_and_leads_to_its_traces(house: House) -> None:
    async with house.client("ada") as client:
        all_of_it = await page(client, "/audit/usage")
        chat = await page(client, "/audit/usage?endpoint=assistant")
        none = await page(client, "/audit/usage?document=nothing.md")
        model = await page(client, "/audit/usage?asset=model/tumor")
    assert f"/traces/{house.marks['plain0']}" in links(all_of_it)
    assert f"/traces/{house.marks['plain0']}" in links(chat)
    assert f"/traces/{house.marks['plain0']}" not in links(model)
    assert "No call used that" in none.text
    assert "model/tumor@" in model.text
    assert "/api/v1/usage/export?format=csv&endpoint=assistant" in links(chat), "the export keeps the filter"
    async with house.client("otto") as client:
        assert f"/traces/{house.marks['plain0']}" not in links(await page(client, "/audit/usage"))


async def test_the_master_key_is_replaced_by_an_admin_who_is_sure(house: House) -> None:
    before = house.vault.fingerprint
    async with house.client("grace") as client:
        refused = await client.post("/audit/rotate", data={"sure": "true"})
    async with house.client("ops") as client:
        unsure = await client.post("/audit/rotate")
        assert before in (await page(client, "/audit")).text
        done = await client.post("/audit/rotate", data={"sure": "true"})
        under_way = await page(client, "/audit")
    assert (refused.status_code, unsure.status_code, done.status_code) == (403, 400, 303)
    assert before in under_way.text
    assert house.vault.fingerprint in under_way.text
    while house.rotation.step():
        pass
    assert house.vault.before == ()


def links(shown: Page) -> set[str]:
    return {str(each.get("href")) for each in shown.all("a")}
