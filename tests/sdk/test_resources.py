"""Every resource: what is asked, and what is made of the answer."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.sdk.watched import ALERT, MONITOR, REPORT, REQUEST

import tandem
import tandem_sdk
from tandem_sdk import (
    ApprovalNeeded,
    Asking,
    Choosing,
    Client,
    GateRefused,
    Invalid,
    KnownHost,
    Message,
    Model,
    Resting,
    RunFailed,
    Scoring,
    Standing,
    Target,
    TimedOut,
    Using,
)
from tandem_sdk.assets import split
from tandem_sdk.calls import tensors
from tandem_sdk.fake import Canned, FakePlatform
from tandem_sdk.runs import Run
from tandem_sdk.shape import plain

VERSION = {
    "ref": "model/tumor@2",
    "kind": "model",
    "name": "tumor",
    "version": 2,
    "digest": "sha256:ab",
    "aliases": ["production"],
}
ESTIMATE = {"value": 0.99, "low": 0.98, "high": 0.995, "n": 569, "level": 0.95}


def test_versions_of_both_packages_are_equal() -> None:
    assert tandem_sdk.__version__ == tandem.__version__


def test_everything_public_has_a_docstring() -> None:
    for name in tandem_sdk.__all__:
        value = getattr(tandem_sdk, name)
        assert isinstance(value, str) or value.__doc__


def test_assets(platform: FakePlatform, client: Client) -> None:
    platform.on("GET", "/api/v1/assets", [{"kind": "model", "name": "tumor", "newest": VERSION, "aliases": {"production": 2}}])
    newest = client.assets.list("model")[0].newest
    assert newest is not None
    assert newest.ref == "model/tumor@2"
    assert platform.asked[0].query == {"kind": "model"}
    alias = {
        "kind": "model",
        "name": "tumor",
        "alias": "production",
        "version": 2,
        "etag": 3,
        "moved_at": 5,
        "moved_by": "ann",
        "ungated": False,
    }
    platform.on(
        "GET",
        "/api/v1/assets/model/tumor",
        {
            "kind": "model",
            "name": "tumor",
            "versions": [VERSION],
            "aliases": {"production": {"version": 2, "etag": 3}},
            "history": [{"alias": alias, "action": "promote", "below": None, "evidence": ["sco_1"], "report": {"passed": True}}],
        },
    )
    asset = client.assets.show("model/tumor@production")
    assert asset.aliases["production"].etag == 3
    assert asset.history[0].alias.moved_by == "ann"


def test_a_version_by_alias_and_the_newest(platform: FakePlatform, client: Client) -> None:
    lineage = {"nodes": [{"ref": "model/tumor@2"}, {"ref": "dataset/b@1"}], "edges": [["dataset/b@1", "model/tumor@2"]]}
    platform.on("GET", "/api/v1/assets/model/tumor/production", {**VERSION, "lineage": lineage})
    platform.on("GET", "/api/v1/assets/model/tumor/2", {**VERSION, "lineage": lineage})
    platform.on("GET", "/api/v1/assets/model/tumor", {"kind": "model", "name": "tumor", "versions": [VERSION]})
    assert client.assets.version("model/tumor@production").version == 2
    assert client.assets.lineage("model/tumor").edges == (("dataset/b@1", "model/tumor@2"),)
    platform.on("GET", "/api/v1/assets/model/tumor/2/members/plots/roc.png", Canned(body=b"\x89PNG"))
    assert client.assets.member("model/tumor@2", "plots/roc.png") == b"\x89PNG"


def test_an_asset_without_versions(platform: FakePlatform, client: Client) -> None:
    platform.on("GET", "/api/v1/assets/model/tumor", {"kind": "model", "name": "tumor", "versions": []})
    with pytest.raises(Invalid, match="has no version yet"):
        client.assets.version("model/tumor")


@pytest.mark.parametrize("ref", ["tumor", "model/", "/tumor", "model/a/b", "model/tumor@", ""])
def test_what_names_no_asset(ref: str) -> None:
    with pytest.raises(Invalid, match="names no asset"):
        split(ref)


def test_names_cannot_climb_out_of_their_path(platform: FakePlatform, client: Client) -> None:
    with pytest.raises(tandem_sdk.NotFound):
        client.runs.show("../keys?x=1")
    assert platform.asked[0].path == "/api/v1/runs/../keys?x=1"
    assert platform.asked[0].query == {}


def test_promotion(platform: FakePlatform, client: Client) -> None:
    verdict = {
        "outcome": "improved",
        "metric": "roc_auc",
        "candidate": ESTIMATE,
        "champion": ESTIMATE,
        "difference": ESTIMATE,
        "margin": 0.02,
        "method": "DeLong",
    }
    done = {
        "kind": "model",
        "name": "tumor",
        "alias": "production",
        "version": 2,
        "etag": 4,
        "moved_at": 1,
        "moved_by": "ann",
        "ungated": False,
        "ref": "model/tumor@2",
        "passed": True,
        "verdict": verdict,
        "reasons": ["Better."],
        "endpoint": "tumor",
        "report": {
            "passed": True,
            "gate": {"metric": "roc_auc"},
            "candidate": ESTIMATE,
            "verdict": verdict,
            "reasons": ["Better."],
        },
    }
    platform.on("POST", "/api/v1/assets/model/tumor/promote", done)
    promotion = client.assets.promote("model/tumor@2", "production", etag=3)
    assert platform.asked[0].json() == {"version": 2, "alias": "production", "etag": 3}
    assert promotion.verdict is not None
    assert promotion.verdict.outcome == "improved"
    assert promotion.endpoint == "tumor"
    platform.on(
        "POST",
        "/api/v1/assets/model/tumor/promote",
        Canned(
            status=403,
            body={"error": {"code": "gate_refused", "message": "No.", "report": {"passed": False, "reasons": ["Worse."]}}},
        ),
    )
    with pytest.raises(GateRefused) as caught:
        client.assets.promote("model/tumor@2", "production")
    assert caught.value.report.reasons == ("Worse.",)


def test_what_a_model_says_about_itself_and_its_card(platform: FakePlatform, client: Client) -> None:
    platform.on("GET", "/api/v1/assets/model/tumor/2", VERSION)
    where = [{"column": "age", "missing": True}, {"column": "size", "high": 3.0}]
    weak = {"where": where, "n": 60, "difference": {"value": 0.2, "low": 0.1, "high": 0.3, "n": 30}}
    slices = {"loss": "mae", "found": [weak], "power": [{"share": 0.1, "difference": 0.4}], "new": 1}
    told = {"slices": slices, "fairness": [], "importance": {"features": [{"name": "age"}]}}
    platform.on("GET", "/api/v1/assets/model/tumor/2/about", told)
    about = client.assets.about("model/tumor@2")
    assert about.slices is not None
    assert [each.name for each in about.slices.found] == ["age is missing and size < 3"]
    assert about.importance is not None
    assert (about.fairness, about.importance.features[0].added) == ((), None)
    card = {"ref": "model/tumor@2", "digest": "sha256:3", "missing": ["Energy was not measured."]}
    platform.on("GET", "/api/v1/assets/model/tumor/2/card", card, Canned(body=b"# model/tumor@2"))
    assert client.assets.card("model/tumor@2").missing == ("Energy was not measured.",)
    assert (client.assets.card_text("model/tumor@2"), platform.asked[-1].query) == ("# model/tumor@2", {"as": "md"})


def test_a_promotion_without_a_version_means_the_newest(platform: FakePlatform, client: Client) -> None:
    platform.on("GET", "/api/v1/assets/model/tumor", {"kind": "model", "name": "tumor", "versions": [VERSION]})
    platform.on("GET", "/api/v1/assets/model/tumor/2", VERSION)
    platform.on("POST", "/api/v1/assets/model/tumor/promote", {"alias": "production", "version": 2})
    client.assets.promote("model/tumor", "production")
    assert platform.asked[-1].json() == {"version": 2, "alias": "production", "etag": None}


def test_rollback(platform: FakePlatform, client: Client) -> None:
    platform.on("POST", "/api/v1/assets/model/tumor/rollback", {"alias": "production", "version": 1, "etag": 5})
    assert client.assets.rollback("model/tumor", "production").version == 1


def test_contracts(platform: FakePlatform, client: Client) -> None:
    contract = {"columns": [{"name": "id", "dtype": "string"}], "id_column": "id"}
    platform.on("GET", "/api/v1/datasets/b/1/contract", contract)
    platform.on("PUT", "/api/v1/datasets/b/contract", contract)
    assert client.datasets.contract("b", 1) == contract
    assert client.datasets.set_contract("b", contract) == contract
    assert platform.asked[1].json() == contract


def run(state: str, **more: object) -> dict[str, object]:
    return {"id": "run_1", "kind": "train", "name": "tumor", "state": state, **more}


def test_a_training_is_started_and_waited_for(platform: FakePlatform, client: Client) -> None:
    outputs = {"asset": "model/tumor@1", "metrics": {"roc_auc": ESTIMATE, "weird": "text"}}
    platform.on("POST", "/api/v1/runs", Canned(status=202, body=run("queued")))
    platform.on(
        "GET",
        "/api/v1/runs/run_1",
        run("queued"),
        run("running", progress=0.5, stage="fold 3"),
        run("succeeded", outputs=outputs),
    )
    started = client.runs.train("tumor", data="dataset/b", target="diagnosis", params={"depth": 3}, exclude=["note"])
    sent = platform.asked[0].json()
    assert (sent["kind"], sent["name"]) == ("train", "tumor")
    expected = {
        "data": "dataset/b",
        "target": "diagnosis",
        "algorithm": None,
        "params": {"depth": 3},
        "seed": 7,
        "folds": 5,
        "positive": None,
        "baseline": True,
        "exclude": ["note"],
    }
    assert expected.items() <= sent["inputs"].items()
    seen: list[Run] = []
    done = client.runs.wait(started.id, seen.append, every=0.001)
    assert [look.state for look in seen] == ["queued", "running", "succeeded"]
    assert seen[1].stage == "fold 3"
    assert done.asset == "model/tumor@1"
    assert list(done.metrics) == ["roc_auc"]
    assert done.metrics["roc_auc"].high == 0.995


@pytest.mark.parametrize(("state", "words"), [("failed", "failed: no memory"), ("cancelled", "was cancelled: no memory")])
def test_a_run_that_ends_badly(platform: FakePlatform, client: Client, state: str, words: str) -> None:
    platform.on("GET", "/api/v1/runs/run_1", run(state, reason="no memory"))
    with pytest.raises(RunFailed, match=words):
        client.runs.wait("run_1")


def test_a_wait_may_end_before_the_run(platform: FakePlatform, client: Client) -> None:
    platform.on("GET", "/api/v1/runs/run_1", run("running"))
    with pytest.raises(TimedOut, match="still running; it goes on"):
        client.runs.wait("run_1", seconds=0, every=0.001)


def test_a_run_without_outputs() -> None:
    assert (Run(id="run_1").asset, Run(id="run_1").metrics) == ("", {})


def test_prompts(platform: FakePlatform, client: Client) -> None:
    platform.on("POST", "/api/v1/prompts/explain", {**VERSION, "ref": "prompt/explain@1"})
    client.prompts.add("explain", "Say {{ it }}.", variables={"it": "string"})
    client.prompts.add("explain", [Message(role="system", content="Be brief.")], model="assistant")
    assert platform.asked[0].json() == {"variables": {"it": "string"}, "template": "Say {{ it }}."}
    assert platform.asked[1].json() == {
        "variables": {},
        "messages": [{"role": "system", "content": "Be brief."}],
        "model": "assistant",
    }


def test_releases(platform: FakePlatform, client: Client) -> None:
    pins = ["model/fraud@3", "policy/strict@1", "prompt/explain@2"]
    platform.on("POST", "/api/v1/releases/triage", {**VERSION, "ref": "release/triage@1", "parents": pins})
    platform.on(
        "GET", "/api/v1/assets/model/fraud", {"kind": "model", "name": "fraud", "aliases": {"production": {"version": 3}}}
    )
    platform.on(
        "GET", "/api/v1/assets/prompt/explain", {"kind": "prompt", "name": "explain", "aliases": {"live": {"version": 2}}}
    )
    made = client.releases.add("triage", pins)
    assert platform.asked[0].json() == {"pins": pins}
    assert client.releases.standings(made) == (
        Standing(ref="model/fraud@3", version=3, there=True),
        Standing(ref="policy/strict@1", version=None, there=False),
        Standing(ref="prompt/explain@2", version=None, there=False),
    )
    assert [pin.there for pin in client.releases.standings(made, "live")] == [False, False, True]
    moved = [{"ref": "model/fraud@3", "moved": True}, {"ref": "policy/strict@2", "moved": False, "why": "It was moved since."}]
    platform.on("POST", "/api/v1/assets/release/triage/rollback", {"alias": "production", "version": 1, "pins": moved})
    assert [pin.why for pin in client.assets.rollback("release/triage", "production").pins] == ["", "It was moved since."]


def test_decisions(platform: FakePlatform, client: Client) -> None:
    platform.on("POST", "/api/v1/decisions/second-opinion", {**VERSION, "ref": "decision/second-opinion@1"})
    client.decisions.add("second-opinion", "def decide(): ...", entry="decide")
    assert platform.asked[0].json() == {"source": "def decide(): ...", "entry": "decide"}


def test_endpoints_and_providers(platform: FakePlatform, client: Client) -> None:
    endpoint = {
        "name": "assistant",
        "kind": "chat",
        "route": [{"target": "mock/gpt-4o-mini", "weight": 1, "priority": 0}],
        "etag": 1,
    }
    platform.on("GET", "/api/v1/endpoints", [endpoint])
    platform.on("PUT", "/api/v1/endpoints/assistant", endpoint)
    platform.on("DELETE", "/api/v1/endpoints/assistant", {"name": "assistant"})
    assert client.endpoints.list()[0].route == (Target(target="mock/gpt-4o-mini"),)
    route = [Target(target="mock/gpt-4o-mini")]
    client.endpoints.set("assistant", kind="chat", route=route, choosing=Choosing(retries=0), record_content=False)
    assert platform.asked[1].json() == {
        "kind": "chat",
        "route": [plain(Target(target="mock/gpt-4o-mini"))],
        "retries": 0,
        "record_content": False,
    }
    client.endpoints.drop("assistant")
    platform.on("GET", "/api/v1/targets/resting", [{"name": "mock/a", "worker": "1", "outcome": "quota", "until": 9}])
    platform.on("POST", "/api/v1/targets/wake", {"name": None})
    assert client.endpoints.resting() == (Resting(name="mock/a", worker="1", outcome="quota", until=9),)
    client.endpoints.wake()
    assert platform.asked[-1].json() == {"name": None}
    learns = {
        "endpoint": "e",
        "state": "learning",
        "plan": {"rule": {"need": "improved"}},
        "run": "run_1",
        "champion": "model/e@1",
    }
    platform.on("POST", "/api/v1/endpoints/e/online", learns)
    assert client.endpoints.start_online("e", every=50).plan.rule.need == "improved"
    assert platform.asked[-1].json()["every"] == 50
    platform.on("GET", "/api/v1/online", [learns])
    assert client.endpoints.learning()[0].champion == "model/e@1"
    provider = {
        "name": "mock",
        "protocol": "openai",
        "base_url": "http://x/v1",
        "keys": ["env:K"],
        "prices": None,
        "managed": "file:3",
    }
    platform.on("GET", "/api/v1/providers", [provider])
    platform.on("PUT", "/api/v1/providers/mock", provider)
    platform.on("PUT", "/api/v1/providers/groq", {**provider, "name": "groq"})
    platform.on("POST", "/api/v1/providers/mock/test", [{"check": "reply", "ok": False, "detail": "HTTP 401"}])
    assert client.providers.list()[0].managed == "file:3"
    client.providers.set("mock", protocol="openai", base_url="http://x/v1", keys=["env:K"])
    assert platform.asked[-1].json() == {"protocol": "openai", "base_url": "http://x/v1", "keys": ["env:K"]}
    client.providers.set("groq")
    assert platform.asked[-1].json() == {}
    platform.on("GET", "/api/v1/providers/known", [{"name": "groq", "variable": "GROQ_API_KEY", "models": 33}])
    platform.on("GET", "/api/v1/providers/groq/models", [{"model": "gpt-oss-20b", "input": "0.1", "context": 131072}])
    assert client.providers.known()[0] == KnownHost(name="groq", variable="GROQ_API_KEY", models=33)
    assert client.providers.models("groq")[0] == Model(model="gpt-oss-20b", input="0.1", context=131072)
    assert client.providers.test("mock", "gpt-4o-mini")[0].detail == "HTTP 401"


def test_keys(platform: FakePlatform, client: Client) -> None:
    made = {"key": "tdm_secret", "principal": {"name": "ci", "team": "onco", "endpoints": ["tumor"]}}
    platform.on("POST", "/api/v1/keys", Canned(status=201, body=made))
    platform.on("GET", "/api/v1/keys", [{"name": "ci", "team": "onco", "created_at": 5, "revoked_at": None}])
    platform.on("DELETE", "/api/v1/keys/ci", {})
    key = client.keys.create("ci", team="onco", endpoints=["tumor"])
    assert platform.asked[0].json() == {"name": "ci", "team": "onco", "endpoints": ["tumor"], "scopes": []}
    assert key.key == "tdm_secret"
    assert "tdm_secret" not in repr(key)
    assert client.keys.list()[0].created_at == 5
    client.keys.revoke("ci")


def test_budgets(platform: FakePlatform, client: Client) -> None:
    budget = {
        "scope": "key/ci",
        "window": "day",
        "cap": 2_000_000,
        "cap_usd": "0.002",
        "settled": 5,
        "reserved": 0,
        "start": 1,
        "end": 2,
    }
    platform.on("PUT", "/api/v1/budgets/key/ci", budget)
    platform.on("GET", "/api/v1/budgets", [budget])
    platform.on("DELETE", "/api/v1/budgets/key/ci", {})
    platform.on("GET", "/api/v1/spend", {"scope": "org", "cost": 7, "cost_usd": "0.000000007", "attempts": 2, "unpriced": 1})
    assert client.budgets.set("key/ci", "2e-3").cap == 2_000_000
    assert platform.asked[0].json() == {"cap": "0.002", "window": "day"}
    assert client.budgets.list()[0].cap_usd == "0.002"
    client.budgets.drop("key/ci", "month")
    assert platform.asked[-1].query == {"window": "month"}
    assert client.budgets.spend().unpriced == 1
    for cap in ("much", "nan", "Infinity", ""):
        with pytest.raises(Invalid, match="not an amount"):
            client.budgets.set("org", cap)


def test_gates(platform: FakePlatform, client: Client) -> None:
    gate = {
        "asset": "model/tumor",
        "alias": "production",
        "metric": "roc_auc",
        "minimum": 0.95,
        "margin": 0.02,
        "require": "improved",
    }
    platform.on("PUT", "/api/v1/gates/model/tumor", gate)
    platform.on("GET", "/api/v1/gates", [gate])
    assert client.gates.set("model/tumor", metric="roc_auc", minimum=0.95, require="improved").minimum == 0.95
    assert platform.asked[0].json() == {"alias": "production", "metric": "roc_auc", "minimum": 0.95, "require": "improved"}
    assert client.gates.list()[0].require == "improved"


def test_a_gate_with_a_suite_brings_its_own_metric(platform: FakePlatform, client: Client) -> None:
    stored = {"asset": "prompt/explain", "metric": "exact", "margin": 0.05, "suite": "suite/explain"}
    platform.on("PUT", "/api/v1/gates/prompt/explain", stored)
    assert client.gates.set("prompt/explain", suite="suite/explain").metric == "exact"
    assert platform.asked[0].json() == {"alias": "production", "require": "non-inferior", "suite": "suite/explain"}


def test_suites_and_evaluations(platform: FakePlatform, client: Client) -> None:
    platform.on("POST", "/api/v1/suites/explain", {"ref": "suite/explain@1", "kind": "suite", "name": "explain", "version": 1})
    scorers = [Scoring(scorer="exact"), Scoring(scorer="latency", name="fast", options={"seconds": 2}, weight=2)]
    made = client.suites.add(
        "explain",
        data="dataset/cases",
        endpoint="assistant",
        scorers=scorers,
        variables={"q": "question"},
        expected="wanted",
        asking=Asking(rows=50, repeats=2),
    )
    assert made.ref == "suite/explain@1"
    assert platform.asked[0].json() == {
        "data": "dataset/cases",
        "endpoint": "assistant",
        "scorers": [
            {"scorer": "exact", "name": "", "options": {}, "weight": 1.0},
            {"scorer": "latency", "name": "fast", "options": {"seconds": 2}, "weight": 2},
        ],
        "variables": {"q": "question"},
        "expected": "wanted",
        "sources": [],
        "metric": "",
        "rows": 50,
        "repeats": 2,
        "seed": 7,
        "temperature": 0.0,
        "max_tokens": 512,
    }
    platform.on("POST", "/api/v1/runs", {"id": "run_1", "kind": "evaluate"})
    assert client.runs.evaluate("prompt/explain@2", suite="suite/explain", fresh=True).id == "run_1"
    told = platform.asked[1].json()
    assert (told["kind"], told["name"], told["inputs"]["fresh"]) == ("evaluate", "explain", True)
    answer = {"trace": "trc_1", "grades": {"exact": 0.0}, "seconds": 0.5, "cost": 7, "text": "no", "why": {"exact": {}}}
    line = {"row": "r1", "grade": 0, "answers": [answer]}
    body = {"evaluation": "evl_1", "prompt": "prompt/explain@2", "suite": "suite/explain@1", "metric": "exact", "lines": [line]}
    platform.on("GET", "/api/v1/runs/run_1/rows", body)
    rows = client.runs.rows("run_1", limit=3, content=True)
    assert platform.asked[2].query == {"limit": "3", "content": "true"}
    assert (rows.lines[0].grade, rows.lines[0].answers[0].text) == (0.0, "no")


def test_traces_and_audit(platform: FakePlatform, client: Client) -> None:
    attempt = {
        "call": "cal_1",
        "attempt": 0,
        "target": "mock/x",
        "usage": {"input": 3, "source": "provider"},
        "cost": None,
        "reserved": 9,
    }
    call = {
        "id": "trc_1",
        "call": "cal_1",
        "parent": None,
        "start": 1,
        "end": 9,
        "spans": [{"name": "admit", "start": 1, "end": 2}],
        "attempts": [attempt],
        "attributes": {"snapshot": 4},
        "cost": None,
    }
    content = {"cal_1": {"request": "{}", "answer": "{}", "cut": False}, "cal_2": {"erased": True}}
    platform.on(
        "GET",
        "/api/v1/traces/trc_1",
        {"id": "trc_1", "calls": [call], "orphans": [], "cost": None, "cost_usd": None, "content": content},
    )
    platform.on("GET", "/api/v1/traces", [{"trace": "trc_1", "start": 1, "end": 2, "cost": 5}])
    trace = client.traces.show("trc_1", content=True)
    assert platform.asked[0].query == {"content": "1"}
    assert trace.cost is None
    assert trace.calls[0].attempts[0].cost is None
    assert trace.content is not None
    assert trace.content["cal_2"].erased
    assert client.traces.list(limit=5, endpoint="tumor")[0].trace == "trc_1"
    assert platform.asked[1].query == {"limit": "5", "endpoint": "tumor"}
    platform.on(
        "GET", "/api/v1/audit", [{"seq": 2, "at": 1, "actor": "ann", "action": "key.create", "detail": {"role": "viewer"}}]
    )
    platform.on("POST", "/api/v1/audit/verify", {"ok": False, "count": 2, "problems": ["Row 1 was changed."]})
    assert client.audit.list(before=3)[0].detail == {"role": "viewer"}
    assert client.audit.verify().problems == ("Row 1 was changed.",)


def test_subjects(platform: FakePlatform, client: Client) -> None:
    copy = {"path": "/b/subjects.keys", "backup": "/b/one", "at": 5, "fault": "It cannot be written."}
    told = {"id": "sub_1", "at": 7, "by": "ann", "contents": 2, "traces": 1, "copies": [copy], "complete": False, "mac": "ab"}
    platform.on("POST", "/api/v1/subjects/ann/x@example.org/erase", told)
    platform.on("POST", "/api/v1/erasures/verify", {"ok": True})
    found = client.subjects.erase("ann/x@example.org")
    assert (found.id, found.contents, found.copies[0].fault) == ("sub_1", 2, "It cannot be written.")
    assert found.report == told
    assert client.subjects.verify(found.report)
    assert json.loads(platform.asked[-1].body) == told


def test_prediction(platform: FakePlatform, client: Client) -> None:
    answer = {
        "model_name": "tumor",
        "model_version": "2",
        "outputs": [
            {"name": "probability", "datatype": "FP64", "shape": [2], "data": [0.9, 0.1]},
            {"name": "label", "datatype": "BYTES", "shape": [2], "data": ["M", "B"]},
            {
                "name": "contributions",
                "datatype": "FP64",
                "shape": [2, 2],
                "data": [1.5, 0.5, -1.0, -0.25],
                "parameters": {"columns": '["radius", "texture"]'},
            },
            {"name": "base", "datatype": "FP64", "shape": [2], "data": [0.1, 0.1]},
        ],
    }
    platform.on("POST", "/v2/models/tumor/versions/2/infer", Canned(body=answer, headers={"x-tandem-trace-id": "trc_5"}))
    said = client.predict("tumor@2", [{"radius": 14.2, "texture": 20}, {"radius": 9, "texture": 11}], explain=True)
    assert said.outputs == {"probability": (0.9, 0.1), "label": ("M", "B")}
    assert said.contributions == ({"radius": 1.5, "texture": 0.5}, {"radius": -1.0, "texture": -0.25})
    assert said.base == (0.1, 0.1)
    assert (said.model, said.version, said.trace) == ("tumor", "2", "trc_5")
    assert platform.asked[0].json() == {
        "inputs": [
            {"name": "radius", "shape": [2], "datatype": "FP64", "data": [14.2, 9]},
            {"name": "texture", "shape": [2], "datatype": "INT64", "data": [20, 11]},
        ],
        "parameters": {"explain": True},
    }


def test_an_explanation_that_does_not_fit_its_columns_is_not_guessed_at(platform: FakePlatform, client: Client) -> None:
    added = {"name": "contributions", "shape": [1, 2], "data": [1.0, 2.0], "parameters": {"columns": '["a"]'}}
    platform.on("POST", "/v2/models/m/infer", {"model_name": "m", "outputs": [added]})
    with pytest.raises(tandem_sdk.Broken, match="another number of values"):
        client.predict("m", [{"a": 1.0}], explain=True)


def test_wide_outputs_are_one_tuple_per_row(platform: FakePlatform, client: Client) -> None:
    answer = {
        "model_name": "m",
        "outputs": [{"name": "p", "shape": [2, 3], "data": [1, 2, 3, 4, 5, 6]}, {"name": "odd", "shape": [2, 4], "data": [1]}],
    }
    platform.on("POST", "/v2/models/m/infer", answer)
    said = client.predict("m", [{"a": True}, {"a": None}])
    assert said.outputs == {"p": ((1, 2, 3), (4, 5, 6)), "odd": (1,)}
    assert said.version is None


@pytest.mark.parametrize(
    ("rows", "words"),
    [([], "no rows"), ([{"a": 1}, {"a": "x"}], "mixes kinds"), ([{"a": True}, {"a": 1}], "mixes kinds"), ([7], "no object")],
)
def test_rows_that_make_no_tensor(rows: list[dict[str, object]], words: str) -> None:
    with pytest.raises(Invalid, match=words):
        tensors(rows)  # type: ignore[arg-type]


def test_windows_of_a_signal_become_one_tensor() -> None:
    sent = {"name": "x", "shape": [2, 3], "datatype": "FP64", "data": [1, None, 2.5, 4, 5, 6]}
    assert tensors([{"x": [1, None, 2.5]}, {"x": (4, 5, 6)}]) == [sent]
    assert tensors([{"seen": ["a", "b"]}, {"seen": []}])[0]["data"] == ['["a", "b"]', "[]"]
    with pytest.raises(Invalid, match="windows of different lengths"):
        tensors([{"x": [1, 2]}, {"x": [1]}])


@given(
    st.lists(
        st.dictionaries(st.sampled_from("abc"), st.none() | st.integers(-9, 9) | st.floats(-1, 1), min_size=1),
        min_size=1,
        max_size=5,
    )
)
def test_every_row_keeps_its_values_in_tensors(rows: list[dict[str, float | int | None]]) -> None:
    columns = {tensor["name"]: tensor["data"] for tensor in tensors(rows)}
    for index, row in enumerate(rows):
        for name, values in columns.items():
            assert isinstance(values, list)
            assert len(values) == len(rows)
            assert values[index] == row.get(str(name))


def test_chat(platform: FakePlatform, client: Client) -> None:
    answer = {
        "id": "x",
        "model": "gpt-4o-mini",
        "usage": {"prompt_tokens": 3, "completion_tokens": 1},
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi."}, "finish_reason": "stop"}],
    }
    platform.on("POST", "/v1/chat/completions", answer)
    said = client.chat("assistant", [Message(role="user", content="Hello")], temperature=0.0, stop=["\n"], seed=3, user="pat-1")
    assert (said.text, said.finish, said.model) == ("Hi.", "stop", "gpt-4o-mini")
    assert said.tokens is not None
    assert said.tokens.prompt_tokens == 3
    assert platform.asked[0].json() == {
        "model": "assistant",
        "messages": [{"role": "user", "content": "Hello"}],
        "temperature": 0.0,
        "stop": ["\n"],
        "seed": 3,
        "user": "pat-1",
    }


def test_decide_health_and_doctor(platform: FakePlatform, client: Client) -> None:
    platform.on("POST", "/v1/decide/second-opinion", Canned(body={"opinion": "benign"}, headers={"x-tandem-trace-id": "trc_2"}))
    platform.on("GET", "/health", {"status": "ok"})
    platform.on("GET", "/api/v1/doctor", [{"check": "disk", "ok": True, "detail": "900 MiB free", "hint": ""}])
    decision = client.decide("second-opinion", {"case": 1})
    assert (decision.output, decision.trace) == ({"opinion": "benign"}, "trc_2")
    assert client.health() == {"status": "ok"}
    assert client.doctor()[0].ok


def test_results_become_plain_json() -> None:
    assert plain(Run(id="run_1", outputs={"metrics": (1, 2)}))["outputs"] == {"metrics": [1, 2]}  # type: ignore[index]


def test_monitors(platform: FakePlatform, client: Client) -> None:
    platform.on("POST", "/api/v1/monitors", Canned(status=201, body=MONITOR))
    platform.on("GET", "/api/v1/monitors", [MONITOR])
    platform.on("GET", "/api/v1/monitors/m", MONITOR)
    platform.on("POST", "/api/v1/monitors/m/check", REPORT)
    platform.on("GET", "/api/v1/monitors/m/reports", [REPORT])
    platform.on("DELETE", "/api/v1/monitors/m", MONITOR)
    made = client.monitors.add("m", endpoint="credit", every=3600, on_alarm="retrain")
    assert made.every == 3600
    sent = platform.asked[0].json()
    assert (sent["endpoint"], sent["on_alarm"], sent["promote"], sent["threshold"]) == ("credit", "retrain", "ask", None)
    (listed,) = client.monitors.list()
    assert listed.newest is not None
    assert listed.newest.alarm
    assert client.monitors.show("m").alarmed
    report = client.monitors.check("m")
    assert report.findings[0].effect is not None
    assert report.findings[0].effect.low == 0.2
    assert report.findings[0].histogram is not None
    assert report.findings[0].histogram.now == (10, 140, 0)
    assert client.monitors.reports("m", 3) == (report,)
    assert platform.asked[-1].query == {"limit": "3"}
    client.monitors.remove("m")


def test_requests(platform: FakePlatform, client: Client) -> None:
    platform.on("GET", "/api/v1/requests", [REQUEST])
    platform.on("GET", "/api/v1/requests/req_1", REQUEST)
    promotion = {"alias": "production", "version": 2, "passed": True, "reasons": ["It is better."]}
    approved = {**REQUEST, "state": "approved", "decided_by": "ada", "decided_at": 9, "promotion": promotion}
    platform.on("POST", "/api/v1/requests/req_1/approve", approved)
    platform.on("POST", "/api/v1/requests/req_1/decline", {**REQUEST, "state": "declined"})
    assert client.requests.list("open")[0].passed
    assert platform.asked[0].query == {"state": "open", "limit": "50"}
    assert client.requests.show("req_1").state == "open"
    done = client.requests.approve("req_1", "seen")
    assert platform.asked[-1].json() == {"note": "seen"}
    assert done.promotion is not None
    assert done.promotion.version == 2
    assert client.requests.decline("req_1").state == "declined"


def test_the_audit_is_written_to_a_file(platform: FakePlatform, client: Client) -> None:
    platform.on("GET", "/api/v1/audit/export", Canned(body=b'{"a":1}\n'))
    platform.on("GET", "/api/v1/audit/key", {"key": "ed25519:x", "fingerprint": "f"})
    file = io.BytesIO()
    assert client.audit.export(file, since=5) == 8
    assert (file.getvalue(), platform.asked[0].query) == (b'{"a":1}\n', {"since": "5"})
    assert client.audit.key().key == "ed25519:x"


def test_the_master_key(platform: FakePlatform, client: Client) -> None:
    told = {"fingerprint": "a1b2c3d4", "before": ["00000000"], "left": {"subjects": 3}, "outside": False}
    platform.on("GET", "/api/v1/vault", told)
    platform.on("POST", "/api/v1/vault/rotate", Canned(status=202, body=told))
    assert client.vault.show() == client.vault.rotate()
    assert client.vault.show().left == {"subjects": 3}


def test_usage(platform: FakePlatform, client: Client) -> None:
    row = {"at": 5, "call": "cal_1", "trace": "trc_1", "assets": ["model/m@1"], "documents": [], "cost_usd": "0.1"}
    platform.on("GET", "/api/v1/usage", [row])
    platform.on("GET", "/api/v1/usage/export", Canned(body=b"at\n5\n"))
    (first,) = client.usage.list(Using(asset="model/m", since=3), limit=7)
    assert first.assets == ("model/m@1",)
    assert platform.asked[0].query == {"asset": "model/m", "since": "3", "limit": "7"}
    client.usage.list(after=first)
    assert platform.asked[-1].query == {"limit": "100", "before": "5", "call": "cal_1"}
    file = io.BytesIO()
    assert client.usage.export(file, Using(endpoint="chat"), format="csv") == 5
    assert platform.asked[-1].query == {"endpoint": "chat", "format": "csv"}


def test_approvals(platform: FakePlatform, client: Client) -> None:
    rule = {"action": "promote", "people": 2, "role": "approver", "team": None, "hours": 72, "managed": None}
    platform.on("PUT", "/api/v1/approvals/promote", rule)
    platform.on("GET", "/api/v1/approvals", [rule])
    platform.on("DELETE", "/api/v1/approvals/promote", {"action": "promote", "team": "risk"})
    assert client.approvals.set("promote", people=2).people == 2
    assert platform.asked[0].json() == {"people": 2, "role": "approver", "team": None, "hours": 72}
    assert client.approvals.list()[0].action == "promote"
    client.approvals.drop("promote", "risk")
    assert platform.asked[-1].query == {"team": "risk"}


def test_a_deed_that_waits_for_people_is_not_done(platform: FakePlatform, client: Client) -> None:
    headers = {"x-tandem-request": "req_1"}
    waiting = {**REQUEST, "people": 2, "waits_for": "2 people", "author": "ci"}
    platform.on("PUT", "/api/v1/budgets/team/risk", Canned(status=202, body=waiting, headers=headers))
    with pytest.raises(ApprovalNeeded, match="req_1 waits for 2 people") as caught:
        client.budgets.set("team/risk", "5")
    assert (caught.value.request.people, caught.value.request.author, caught.value.status) == (2, "ci", 202)
    asked = {**waiting, "deed": {"principal": {"name": "boss", "role": "admin"}}, "key": "tdm_canary"}
    platform.on(
        "POST", "/api/v1/keys", Canned(status=202, body=asked, headers=headers), Canned(status=202, body=waiting, headers=headers)
    )
    made = client.keys.create("boss", role="admin")
    assert (made.key, made.principal.role) == ("tdm_canary", "admin")
    assert made.request is not None
    assert "canary" not in repr(made)
    with pytest.raises(ApprovalNeeded):
        client.keys.create("boss", role="admin")
    platform.on("DELETE", "/api/v1/budgets/org", Canned(status=202, body=[1], headers=headers))
    with pytest.raises(ApprovalNeeded, match="a request waits for people"):
        client.budgets.drop("org")


def test_alerts(platform: FakePlatform, client: Client) -> None:
    platform.on("PUT", "/api/v1/alerts/ops", {**ALERT, "signing_secret": "whsec_canary"})
    made = client.alerts.add("ops", url="env:HOOK")
    assert made.signing_secret == "whsec_canary"
    assert "canary" not in repr(made)
    assert "on" not in platform.asked[0].json()  # type: ignore[operator]  # the platform's own default
    platform.on("GET", "/api/v1/alerts", [ALERT])
    platform.on("GET", "/api/v1/alerts/ops", ALERT)
    platform.on("POST", "/api/v1/alerts/ops/test", {"ok": False, "detail": "The receiver answered 500."})
    platform.on("DELETE", "/api/v1/alerts/ops", {"name": "ops"})
    assert client.alerts.list() == (client.alerts.show("ops"),)
    assert client.alerts.show("ops").delivery.undelivered == 1
    assert (client.alerts.test("ops").check, client.alerts.test("ops").ok) == ("alert ops", False)
    client.alerts.remove("ops")
    assert platform.asked[-1].method == "DELETE"
