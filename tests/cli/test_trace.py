"""The trace as people read it: a waterfall over both kinds of call, versions, gate, approver, cost."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from tandem.cli.waterfall import FULL, SLIVER, Line, bar, bounds, lines
from tandem_sdk import Call, Span, Trace
from tandem_sdk.fake import FakePlatform

T = 1_750_000_000_000_000
ESTIMATE = {"value": 0.9912, "low": 0.9801, "high": 0.9962, "n": 569, "level": 0.95}
VERDICT = {
    "outcome": "improved",
    "metric": "roc_auc",
    "candidate": ESTIMATE,
    "champion": ESTIMATE,
    "difference": {**ESTIMATE, "value": 0.01, "low": 0.001, "high": 0.02},
    "margin": 0.02,
    "method": "DeLong",
}
MODEL = {
    "digest": "sha256:" + "cd" * 32,
    "made_from": ["dataset/biopsies@1"],
    "data_digest": "sha256:" + "ab" * 32,
    "alias": "production",
    "approved_by": "ann",
    "gate": VERDICT,
    "ungated": False,
    "created_by": "ci",
    "run": "run_1",
}


def span(name: str, start: int, end: int, **more: object) -> dict[str, object]:
    return {"name": name, "start": T + start, "end": T + end, "attributes": {}, "error": None, **more}


def attempt(target: str, cost: int | None, **usage: object) -> dict[str, object]:
    return {
        "call": "c",
        "attempt": 0,
        "target": target,
        "usage": {"source": "none", **usage},
        "cost": cost,
        "reserved": 9,
        "outcome": "ok",
        "start": T,
        "end": T,
    }


def call(call: str, kind: str, endpoint: str, start: int, end: int, **more: object) -> dict[str, object]:
    return {
        "id": "trc_1",
        "call": call,
        "parent": None,
        "endpoint": endpoint,
        "kind": kind,
        "team": "onco",
        "principal": "app",
        "start": T + start,
        "end": T + end,
        "outcome": "ok",
        "status": 200,
        "cost": 0,
        "spans": [],
        "attempts": [],
        "attributes": {},
        "subject": None,
        **more,
    }


DECIDE = call(
    "cal_1",
    "decide",
    "second-opinion",
    0,
    40_000,
    subject="patient-17",
    spans=[span("identify", 0, 100), span("resolve", 100, 300), span("decide second-opinion", 200, 39_900)],
    attempts=[attempt("decision/second-opinion@1", 0)],
    attributes={
        "snapshot": 7,
        "versions": {"decision/second-opinion@1": {"digest": "sha256:ef", "ungated": True, "gate": None}},
        "review": 1,
    },
)
PREDICT = call(
    "cal_2",
    "predict",
    "tumor",
    1000,
    3000,
    parent="cal_1",
    spans=[span("infer tumor", 1100, 2900)],
    attempts=[attempt("model/tumor@1", 0)],
    attributes={"versions": {"model/tumor@1": MODEL}},
)
CHAT = call(
    "cal_3",
    "chat",
    "assistant",
    5000,
    39_000,
    parent="cal_1",
    cost=1050,
    spans=[span("chat gpt-4o-mini", 5100, 38_900)],
    attempts=[attempt("mock/gpt-4o-mini", 1050, source="provider", input=3, cache_read=2, output=1)],
    attributes={"prompt": "prompt/explain@3"},
)


def told(*calls: dict[str, object], **more: object) -> dict[str, object]:
    return {"id": "trc_1", "calls": list(calls), "orphans": [], "cost": 1050, "cost_usd": "0.00000105", "content": None, **more}


def test_a_route_is_shown_where_there_was_a_choice(tandem, platform: FakePlatform) -> None:
    chosen = {**CHAT, "attributes": {"tandem.route": [{"target": "mock/a"}]}}
    targets = [
        {"target": "mock/a", "state": "answered", "place": 1, "expected": "$0.001", "cost": 1050, "would_cost": 1050},
        {"target": "mock/b", "state": "left out", "why": "it lacks vision", "would_cost": 4200},
    ]
    platform.on("GET", "/api/v1/traces/trc_1", told(chosen))
    platform.on(
        "GET",
        "/api/v1/traces/trc_1/route",
        [{"call": "cal_3", "endpoint": "assistant", "strategy": "cheapest", "targets": targets}],
    )
    done = tandem("trace", "show", "trc_1")
    assert done.code == 0, done.err
    assert "Route of assistant (cheapest)" in done.out
    assert "it lacks vision" in done.out
    assert "$0.0000042" in done.out
    assert "tandem.route" not in done.out


def test_both_kinds_in_one_waterfall(tandem, platform: FakePlatform) -> None:
    platform.on("GET", "/api/v1/traces/trc_1", told(DECIDE, PREDICT, CHAT))
    done = tandem("trace", "show", "trc_1")
    assert done.code == 0
    out = done.out
    for line in (
        "trc_1",
        "outcome  ok (200)",
        "when     2025-06-15 15:06:40.000000 UTC, 40.0 ms",
        "who      key app, team onco",
        "for      patient-17",
        "cost     $0.00000105",
        "policy   snapshot 7",
    ):
        assert line in out.splitlines()
    labels = "decide second-opinion|identify|resolve|predict tumor|infer tumor|chat assistant|chat gpt-4o-mini"
    drawn = re.findall(rf"^( *)({labels}) +([0-9.]+)  ( *)", out, re.M)
    assert [(len(indent) // 2, label, float(ms)) for indent, label, ms, _ in drawn] == [
        (0, "decide second-opinion", 40.0),
        (1, "identify", 0.1),
        (1, "resolve", 0.2),
        (1, "decide second-opinion", 39.7),
        (2, "predict tumor", 2.0),
        (3, "infer tumor", 1.8),
        (2, "chat assistant", 34.0),
        (3, "chat gpt-4o-mini", 33.8),
    ]
    offsets = [len(space) for *_, space in drawn]
    assert offsets[0] == 0
    assert offsets[4] < offsets[6]


def test_versions_gate_and_approver(tandem, platform: FakePlatform) -> None:
    platform.on("GET", "/api/v1/traces/trc_1", told(DECIDE, PREDICT, CHAT))
    out = tandem("trace", "show", "trc_1").out
    model = out[out.index("predict tumor used model/tumor@1") :]
    assert "digest       sha256:" + "cd" * 32 in model
    assert "made from    dataset/biopsies@1" in model
    assert "data digest  sha256:" + "ab" * 32 in model
    assert "approved by  ann" in model
    assert (
        "improved in roc_auc: 0.9912 [0.9801, 0.9962] on 569 rows "
        "by +0.0100 [+0.0010, +0.0200] on 569 rows against the champion (DeLong)" in model
    )
    decision = out[out.index("used decision/second-opinion@1") :]
    assert "gate    none applied" in decision
    assert "review  1" in out
    assert "prompt  prompt/explain@3" in out


def test_attempts_with_tokens_and_cost(tandem, platform: FakePlatform) -> None:
    platform.on("GET", "/api/v1/traces/trc_1", told(DECIDE, CHAT))
    out = tandem("trace", "show", "trc_1").out
    row = next(line for line in out.splitlines() if line.startswith("chat     mock/gpt-4o-mini"))
    assert row.split() == ["chat", "mock/gpt-4o-mini", "ok", "5", "1", "provider", "$0.000000009", "$0.00000105"]


def test_an_unknown_cost_is_never_zero(tandem, platform: FakePlatform) -> None:
    chat = {**CHAT, "parent": None, "cost": None, "attempts": [attempt("local/llama", None, source="provider", input=3)]}
    platform.on("GET", "/api/v1/traces/trc_1", told(chat, cost=None, cost_usd=None))
    out = tandem("trace", "show", "trc_1").out
    assert "cost     unknown: an attempt has no known price" in out
    assert next(line for line in out.splitlines() if "local/llama" in line).endswith("unknown")
    assert tandem("trace", "show", "trc_1", "--json").json()["cost"] is None


def test_errors_guards_and_orphans(tandem, platform: FakePlatform) -> None:
    failed = call(
        "cal_1",
        "chat",
        "assistant",
        0,
        900,
        outcome="over_budget",
        status=429,
        principal="",
        team="",
        spans=[span("chat gpt", 100, 800, error="The upstream said no.\x1b[2J")],
        attributes={
            "error": {"code": "over_budget", "message": "No room.", "hint": "Raise the cap.", "field": "key/app"},
            "guards": {"pii": "passed"},
            "candidates": [{"target": "mock/a", "dropped": "unhealthy"}],
        },
    )
    platform.on("GET", "/api/v1/traces/trc_1", told(failed, orphans=[attempt("mock/b", 5)]))
    out = tandem("trace", "show", "trc_1").out
    assert "outcome  over_budget (429)" in out
    assert "who      nobody that is known" in out
    assert "chat assistant failed: No room. [over_budget] (at key/app)\n  → Raise the cap." in out
    assert "stage chat gpt: The upstream said no.?[2J" in out
    assert "  pii  passed" in out
    assert 'candidates  [{"target": "mock/a", "dropped": "unhealthy"}]' in out
    assert "never closed  mock/b" in out


def test_content_only_when_asked_for(tandem, platform: FakePlatform) -> None:
    content = {"cal_1": {"request": '{"a": 1}', "answer": "plain\x07", "cut": True}, "cal_3": {"erased": True}}
    platform.on("GET", "/api/v1/traces/trc_1", told(DECIDE, PREDICT, CHAT, content=content))
    out = tandem("trace", "show", "trc_1", "--content").out
    assert platform.asked[0].query == {"content": "1"}
    assert 'decide second-opinion was asked (cut)\n{\n  "a": 1\n}' in out
    assert "answered\nplain?" in out
    assert "chat assistant: the content was erased with its end user's key" in out
    assert "predict tumor: no content was kept" in out


def test_trace_list(tandem, platform: FakePlatform) -> None:
    rows = [
        {
            "trace": "trc_1",
            "start": T,
            "end": T + 2500,
            "kind": "chat",
            "endpoint": "assistant",
            "outcome": "ok",
            "status": 200,
            "cost": None,
            "principal": "app",
        }
    ]
    platform.on("GET", "/api/v1/traces", rows, [])
    row = tandem("trace", "list", "--endpoint", "assistant", "--limit", "1").out.splitlines()[1]
    assert row.split() == ["trc_1", "2025-06-15", "15:06:40", "chat", "assistant", "ok", "2.5", "unknown", "app"]
    assert platform.asked[0].query == {"limit": "1", "endpoint": "assistant"}
    assert tandem("trace", "list").out == "Nothing yet.\n"


def test_a_nested_call_whose_parent_is_not_shown_stands_alone() -> None:
    inner = Call(call="cal_2", parent="cal_9", kind="predict", endpoint="tumor", start=5, end=9)
    assert [(line.depth, line.label) for line in lines(Trace(id="trc_1", calls=(inner,)))] == [(0, "predict tumor")]


def test_a_nested_call_outside_every_stage_is_drawn_all_the_same() -> None:
    outer = Call(call="cal_1", start=0, end=100, outcome="ok", spans=(Span(name="a", start=0, end=10),))
    inner = Call(call="cal_2", parent="cal_1", kind="chat", endpoint="x", start=50, end=60)
    drawn = lines(Trace(id="trc_1", calls=(outer, inner)))
    assert [(line.depth, line.label, line.failed) for line in drawn] == [
        (0, "call", False),
        (1, "a", False),
        (1, "chat x", False),
    ]
    assert bounds(drawn) == (0, 100)
    assert bounds([]) == (0, 0)


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6), st.integers(1, 200))
def test_a_bar_stays_in_its_width(first: int, start: int, size: int, width: int) -> None:
    line = Line(depth=0, label="", start=first + start, end=first + start + size, kind="stage")
    drawn = bar(line, first, first + start + size, width)
    assert len(drawn) <= width
    assert drawn.strip()
    assert set(drawn) <= {" ", FULL, SLIVER}


def test_a_shadow_is_told_from_the_call_it_heard(tandem, platform: FakePlatform) -> None:
    heard = {**CHAT, "call": "cal_4", "parent": "cal_3", "attributes": {"tandem.route.role": "shadow"}}
    platform.on("GET", "/api/v1/traces/trc_1", told(DECIDE, CHAT, heard))
    out = tandem("trace", "show", "trc_1").out
    assert len(re.findall(r"chat assistant  ", out, re.M)) == 1
    assert len(re.findall(r"chat assistant, a shadow  ", out, re.M)) == 1
