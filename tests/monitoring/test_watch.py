"""Checks: which calls they judge, when they alarm, what an alarm does, and what a person may say to it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest

from tandem.core.asset import Ref
from tandem.core.endpoint import Target
from tandem.core.errors import Conflict, Forbidden, Invalid, NotFound, TandemError
from tandem.core.monitor import Monitor
from tandem.core.policy import Gate
from tandem.governance.authorise import ALL, Scope
from tandem.monitoring.child import Order, carry_out, judge_apart
from tandem.monitoring.outcomes import Outcome
from tandem.monitoring.repo import KEPT, monitor_reports
from tandem.monitoring.scores import Scores, compare
from tandem.monitoring.window import FORM, grounds, watched
from tandem.observability.dialogue import said
from tandem.observability.explain import Kept
from tandem.scorers.twosample import Rate
from tandem.serving.signature import Field, Signature
from tandem.store.lake import Lake
from tests.monitoring.house import House, person


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    made.serve()
    yield made
    made.close()


# --- windows


def test_calls_wait_until_there_are_enough_and_are_judged_once(house: House) -> None:
    house.predict(40)  # before the monitor was made
    house.monitor()
    house.predict(60)
    few = house.watch.check("m")
    assert (few.verdict, few.n) == ("not-enough-data", 60)
    assert "60 rows since the last verdict; 100 are needed." in few.note
    house.predict(60)
    enough = house.watch.check("m")
    assert (enough.verdict, enough.n, enough.coverage) == ("stable", 120, {"read": 120})
    assert house.watch.check("m").n == 0


def test_the_newest_calls_of_a_full_window_are_judged(house: House) -> None:
    house.monitor(window=150)
    house.predict(100, shift=5)
    house.predict(150)
    report = house.watch.check("m")
    assert (report.n, report.verdict) == (150, "stable")


def test_a_span_leaves_older_calls_out(house: House) -> None:
    house.monitor(span=3600)
    house.predict(120, shift=5)
    house.clock.advance(7200)
    house.predict(110)
    assert house.watch.check("m").n == 110


def test_what_cannot_be_read_is_counted_and_left_out(house: House) -> None:
    house.monitor()
    house.predict(100)
    house.predict(5, subject="patient")
    house.predict(4, recorded=False)
    house.predict(3, cut=True)
    house.call(request=b'{"inputs": []}', attributes={"rows": 1})
    house.call(request=b"", attributes={})  # the model's metadata
    house.call(outcome="timed_out")
    house.predict(50, team="sales", shift=9)
    house.subjects.erase("patient", now=house.clock.now())
    report = house.watch.check("m")
    assert report.coverage == {"read": 100, "erased": 5, "unrecorded": 4, "cut": 3, "unread": 1}
    assert (report.n, report.verdict) == (100, "stable")


def test_rows_of_a_batch_count_each(house: House) -> None:
    house.monitor()
    house.predict(300, calls=3)
    report = house.watch.check("m")
    assert report.n == 300
    assert report.verdict == "stable"
    assert report.findings[0].verdict == "not-enough-data"  # three calls say nothing about the contract


def test_refusals_by_the_contract_are_a_finding_without_a_callers_words(house: House) -> None:
    house.monitor()
    house.predict(120)
    for where in ["rows[0].x"] * 40 + ["inputs.y"] * 5 + ["inputs.<script>", "body"]:
        house.call(outcome="invalid", attributes={"error": {"code": "invalid", "field": where}})
    report = house.watch.check("m")
    assert report.verdict == "drifted"
    assert report.findings[0].what == "schema"
    assert report.findings[0].note == f"Refused because of x (40), y (5), {FORM} (2)."


# --- alarms


def test_an_alarm_is_raised_once_and_again_after_it_was_over(house: House) -> None:
    house.monitor()
    told = []
    for shift in (0, 2, 2, 0, 2):
        house.predict(150, shift=shift)
        report = house.watch.check("m")
        told.append((report.verdict, report.alarm))
    assert told == [("stable", False), ("drifted", True), ("drifted", False), ("stable", False), ("drifted", True)]
    assert house.audited().count(("monitor.alarm", "monitor/m")) == 2
    assert len(house.monitors.reports("m", Scope("risk"))) == 5


def test_a_silent_monitor_only_tells(house: House) -> None:
    house.monitor(on_alarm="none")
    house.predict(150, shift=2)
    report = house.watch.check("m")
    assert (report.verdict, report.alarm) == ("drifted", False)


def test_a_report_says_what_it_rests_on(house: House) -> None:
    house.monitor()
    house.predict(150, shift=2)
    report = house.watch.check("m")
    assert report.reference == "dataset/rows@1, which model/credit@1 was trained on"
    assert report.level == 0.001
    (moved,) = [finding for finding in report.findings if finding.verdict == "drifted"]
    assert (moved.subject, moved.n, moved.reference_n) == ("x", 150, 600)
    assert moved.effect is not None
    assert moved.effect.low > 0.1
    assert moved.histogram is not None
    assert sum(moved.histogram.now) == 150
    assert house.monitors.report(report.id, Scope("risk")) == report


def test_who_watches_a_version_is_found_by_what_its_endpoint_means(house: House) -> None:
    house.monitor()
    target = house.watch._endpoint(house.watch.monitors.find("m", ALL)).route[0].target
    assert [(monitor.name, report) for monitor, report in house.watch.watching([target], ALL)] == [("m", None)]
    house.predict(120)
    told = house.watch.check("m")
    assert house.watch.watching([target, "model/other@1"], ALL)[0][1] == told
    assert house.watch.watching(["model/other@1"], ALL) == ()
    assert house.watch.watching([target], Scope("nobody")) == ()


def test_the_reference_is_made_once(house: House) -> None:
    house.monitor()
    house.predict(120)
    house.watch.check("m")
    _, frozen = house.monitors.standing("m")
    assert frozen is not None
    assert len(msgspec.json.decode(frozen)) == 2
    house.predict(120)
    house.watch.check("m")
    assert house.monitors.standing("m")[1] == frozen


def test_the_newest_reports_are_kept(house: House) -> None:
    house.monitor()
    standing, _ = house.monitors.standing("m")
    report = house.watch.check("m")
    with house.sql.write() as conn:
        for number in range(KEPT):
            row = {"id": f"rpt_x{number}", "monitor": "m", "team": "risk", "at": 10**17 + number, "alarm": False, "body": "{}"}
            conn.execute(monitor_reports.insert().values(row))
    house.monitors.keep(replace(report, id="rpt_last", at=2 * 10**17), standing, None)
    with house.sql.read() as conn:
        kept = [row.id for row in conn.execute(monitor_reports.select().order_by(monitor_reports.c.at))]
    assert (len(kept), kept[0], kept[-1]) == (KEPT, "rpt_x1", "rpt_last")


# --- what an alarm does


def test_an_alarm_without_newer_data_waits_for_them_and_then_a_person_is_asked(house: House) -> None:
    house.monitor(on_alarm="retrain")
    house.predict(150, shift=2)
    first = house.watch.check("m")
    assert (first.alarm, first.run) == (True, None)
    assert "no newer version of dataset/rows@1" in first.note
    assert house.watch.step() == 0
    house.data()
    assert house.watch.step() == 1
    (request,) = house.requests.list(Scope("risk"))
    assert (request.subject, request.state, request.passed) == ("model/credit@2", "open", True), request.reason
    assert request.reason.startswith("dataset/rows@2 is newer than dataset/rows@1")
    assert house.registry.find(Ref.parse("model/credit@production"), ALL).version == 1
    assert house.trained[0]["params"] == {"c": 2}
    assert house.trained[0]["positive"] == "1"
    assert house.watch.step() == 0
    house.predict(150, shift=2)
    assert house.watch.check("m").run is None
    assert len(house.trained) == 1
    run = house.runs.find(request.run, ALL)
    assert (run.kind, run.state, run.outputs["request"]) == ("retrain", "succeeded", request.id)
    ended, promotion = house.requests.approve(request.id, by=person(), note="looked at it")
    assert (ended.state, ended.decided_by, promotion["version"]) == ("approved", "risk-approver", 2)
    assert house.registry.find(Ref.parse("model/credit@production"), ALL).version == 2
    assert {
        ("monitor.retrain", "monitor/m"),
        ("request.open", "monitor/m"),
        ("request.approve", "risk-approver"),
        ("alias.promote", "risk-approver"),
    } <= set(house.audited())


def test_a_monitor_that_may_promotes_itself_when_the_gate_passes(house: House) -> None:
    house.monitor(on_data="retrain", promote="if-gate-passes")
    house.data()
    assert house.watch.step() == 1
    assert house.registry.find(Ref.parse("model/credit@production"), ALL).version == 2
    assert house.requests.list(ALL) == ()
    assert ("alias.promote", "monitor/m") in house.audited()
    house.data()
    assert house.watch.step() == 0  # it cools down
    house.clock.advance(90_000)
    route = house.endpoints["credit"]
    house.endpoints["credit"] = replace(route, route=(Target(target="model/credit@2"),))
    assert house.watch.step() == 1
    assert house.registry.find(Ref.parse("model/credit@production"), ALL).version == 3


def test_a_person_is_asked_when_the_gate_does_not_pass_and_the_gate_still_holds(house: House) -> None:
    admin = person("admin")
    house.registry.set_gate(Gate(asset="model/credit", minimum=0.999), by=admin)
    house.monitor(on_data="retrain", promote="if-gate-passes")
    house.data()
    house.watch.step()
    (request,) = house.requests.list(ALL)
    assert not request.passed
    assert "does not keep the minimum" in request.reason
    with pytest.raises(TandemError, match="not promoted"):
        house.requests.approve(request.id, by=person())
    assert house.requests.find(request.id, ALL).state == "open"
    declined = house.requests.decline(request.id, by=person(), note="no")
    assert (declined.state, declined.note) == ("declined", "no")
    for again in (
        lambda: house.requests.approve(request.id, by=person()),
        lambda: house.requests.decline(request.id, by=person()),
    ):
        with pytest.raises(Conflict, match="was declined by"):
            again()
    assert house.registry.find(Ref.parse("model/credit@production"), ALL).version == 1


def test_a_retraining_is_begun_once_for_a_version_of_the_data(house: House) -> None:
    house.monitor("one", on_data="retrain", cooldown=0)
    house.monitor("two", on_data="retrain", cooldown=0)
    house.data()
    house.watch.step()
    assert len(house.trained) == 1
    assert len(house.requests.list(ALL)) == 1


# --- by itself


def test_a_schedule_is_kept(house: House) -> None:
    house.monitor(every=3600)
    house.monitor("asked")
    house.predict(120)
    assert house.watch.step() == 0
    house.clock.advance(3600)
    assert house.watch.step() == 1
    assert house.watch.step() == 0
    (report,) = house.monitors.reports("m", ALL)
    assert (report.trigger, report.n) == ("schedule", 120)


def test_a_check_that_fails_rests_and_lets_the_others_work(house: House) -> None:
    house.monitor("a", every=10)
    house.monitor("b", every=10, endpoint="assistant", question="scores", threshold=0.05)
    house.clock.advance(20)
    gone = house.endpoints.pop("credit")
    with pytest.raises(NotFound):
        house.watch.step()
    assert len(house.monitors.reports("b", ALL)) == 1
    house.clock.advance(10)
    house.endpoints["credit"] = gone
    assert house.watch.step() == 1  # b; a rests
    house.clock.advance(60)
    assert house.watch.step() == 2


# --- scores


def test_the_first_window_of_a_chat_endpoint_is_its_reference(house: House) -> None:
    house.monitor(endpoint="assistant", question="scores", threshold=0.05, minimum=100)
    house.chat(50)
    assert house.watch.check("m").verdict == "not-enough-data"
    house.chat(150, refused=0.02)
    first = house.watch.check("m")
    assert (first.n, first.note) == (200, "These 200 calls are the reference from now on.")
    house.chat(150, refused=0.02, streamed=True)
    calm = house.watch.check("m")
    assert (calm.verdict, calm.n, calm.coverage) == ("stable", 150, {"read": 150})
    house.chat(150, refused=0.4, price=2500)
    moved = house.watch.check("m")
    assert moved.alarm
    assert {finding.subject for finding in moved.findings if finding.verdict == "drifted"} == {"refused", "cost per call"}


def test_answers_that_leave_what_they_were_given_are_noticed(house: House) -> None:
    house.monitor(endpoint="assistant", question="scores", threshold=0.05, minimum=100)
    house.chat(150, says="Claim 4471 is of 2024-03-05.")
    house.watch.check("m")
    house.chat(150, says="It is claim 4471.")
    assert house.watch.check("m").verdict == "stable"
    house.chat(150, says="It is claim 4472.")
    moved = house.watch.check("m")
    assert [finding.subject for finding in moved.findings if finding.verdict == "drifted"] == ["ungrounded"]


def test_a_reference_of_fewer_scores_is_still_one() -> None:
    """Written before there was a score that is taken now."""
    now = Scores(calls=200, rates={"errors": Rate(hits=1, n=200), "ungrounded": Rate(hits=9, n=200)})
    before = Scores(calls=200, rates={"errors": Rate(hits=1, n=200)})
    assert [finding.subject for finding in compare(now, before, minimum=100, threshold=0.05, level=0.001)] == ["errors"]


@pytest.mark.parametrize(
    ("messages", "text", "shown", "holds"),
    [
        ([{"role": "user", "content": "It was 12 mg."}], "12 mg", [], True),
        ([{"role": "user", "content": [{"type": "text", "text": "It was 12 mg."}]}], "12 mg", [], True),
        ([{"role": "user", "content": "It was 12 mg."}], "13 mg", [], False),
        ([{"role": "user", "content": "How much?"}], "It was 12 mg [1].", ["12 mg a day"], True),
        ([{"role": "user", "content": "How much?"}], "It was 13 mg [1].", ["12 mg a day"], False),
        ([{"role": "user", "content": "How much?"}], "a lot", [], None),
        ("odd", "12 mg", [], False),
        ([3, {"content": 4}, {"content": [5, {"text": 6}]}], "12 mg", [], False),
    ],
)
def test_an_answer_is_grounded_in_messages_and_documents(
    messages: object, text: str, shown: list[str], holds: bool | None
) -> None:
    answer = msgspec.json.encode({"choices": [{"message": {"content": text}}]})
    notes: dict[str, object] = {"shown": [{"text": each} for each in shown]} if shown else {}
    assert grounds(Kept(request=msgspec.json.encode({"messages": messages}), answer=answer, notes=notes)) is holds


def test_the_text_of_an_answer_is_read_whatever_its_form() -> None:
    assert said('{"choices": [{"message": {"content": null, "refusal": "I cannot."}}]}') == "I cannot."
    assert said('data: {"choices": [{"delta": {"content": "a"}}]}\n\ndata: nonsense\n\ndata: [DONE]\n') == "a"
    assert said("nonsense") == said("[]") == said('{"choices": [3, {"message": 4}]}') == ""


# --- who may


def test_a_monitor_is_made_by_who_may_write_and_promotes_only_for_who_may_approve(house: House) -> None:
    made = {"team": "risk", "endpoint": "credit"}
    with pytest.raises(Forbidden):
        house.watch.add(Monitor(name="m", **made), by=person("viewer"))
    with pytest.raises(Forbidden):
        house.watch.add(Monitor(name="m", promote="if-gate-passes", **made), by=person("editor"))
    first = house.watch.add(Monitor(name="m", **made), by=person("editor"))
    assert house.watch.add(Monitor(name="m", **made), by=person("approver")) == first
    assert [action for action, _ in house.audited()].count("monitor.add") == 1
    with pytest.raises(Conflict, match="taken"):
        house.watch.add(Monitor(name="m", window=500, **made), by=person("editor"))
    with pytest.raises(NotFound, match="no such endpoint"):
        house.watch.add(Monitor(name="n", team="sales", endpoint="credit"), by=person("editor", "sales"))


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"endpoint": "nowhere"}, None),
        ({"question": "scores"}, "endpoint"),
        ({"endpoint": "assistant"}, "endpoint"),
        ({"endpoint": "assistant", "question": "scores", "on_alarm": "retrain"}, "on_alarm"),
        ({"minimum": 3}, "minimum"),
        ({"every": 1}, "every"),
        ({"threshold": 0.0}, "threshold"),
        ({"false_alarm_every": 1}, "false_alarm_every"),
        ({"endpoint": "assistant", "question": "scores", "minimum": 2000}, "minimum"),
        ({"name": "No Name"}, None),
    ],
)
def test_a_monitor_that_makes_no_sense_is_refused(house: House, more: dict[str, object], field: str | None) -> None:
    with pytest.raises((Invalid, NotFound)) as caught:
        house.monitor(**more)  # type: ignore[arg-type]
    assert caught.value.field == field


def test_another_team_sees_nothing(house: House) -> None:
    house.monitor(on_data="retrain")
    house.data()
    house.watch.step()
    (request,) = house.requests.list(Scope("risk"))
    (report,) = house.monitors.reports("m", Scope("risk"))
    sales, other = Scope("sales"), person("approver", "sales")
    assert house.monitors.list(sales) == ()
    assert house.requests.list(sales) == ()
    for look in (
        lambda: house.monitors.find("m", sales),
        lambda: house.monitors.reports("m", sales),
        lambda: house.monitors.report(report.id, sales),
        lambda: house.requests.find(request.id, sales),
        lambda: house.watch.remove("m", by=other),
        lambda: house.requests.approve(request.id, by=other),
        lambda: house.requests.decline(request.id, by=other),
    ):
        with pytest.raises(NotFound):
            look()
    with pytest.raises(Forbidden):
        house.requests.approve(request.id, by=person("editor"))


def test_a_removed_monitor_leaves_only_its_audit(house: House) -> None:
    house.monitor()
    house.predict(120)
    report = house.watch.check("m")
    house.watch.remove("m", by=person("editor"))
    for look in (
        lambda: house.monitors.find("m", ALL),
        lambda: house.monitors.report(report.id, ALL),
        lambda: house.watch.check("m"),
    ):
        with pytest.raises(NotFound):
            look()
    assert ("monitor.remove", "risk-editor") in house.audited()


# --- the child


def test_the_arithmetic_is_done_in_a_child_and_its_faults_come_back(house: House) -> None:
    lake = str(house.home / "lake")
    rows = [[0.1, float("nan")]] * 120
    done = judge_apart(Order(lake=lake, table="rows", version=0, reference=None, columns=("x", "y"), rows=rows, calls=120))
    assert [finding.subject for finding in done.findings] == ["contract", "x", "y"]
    with pytest.raises(Invalid, match="no column 'z'"):
        judge_apart(Order(lake=lake, table="rows", version=0, reference=None, columns=("z",)))
    with pytest.raises(NotFound):
        judge_apart(Order(lake=lake, table="none", version=0, reference=None, columns=("x",)))


# --- the team's budget, and going back


def test_a_team_shares_its_false_alarms_of_a_quarter(house: House) -> None:
    """Two hourly monitors at one page a quarter: each check is allowed one in 4,368."""
    house.monitor("m", every=3600, false_pages=1.0)
    assert house.watch.check("m").level == pytest.approx(1 / 2184)
    house.monitor("second", every=3600, false_pages=1.0)
    house.monitor("apart", every=10)
    assert house.watch.check("m").level == pytest.approx(1 / 4368)
    assert house.watch.check("apart").level == pytest.approx(1 / 1000)
    with pytest.raises(Invalid):
        house.monitor("third", false_pages=1.0)


def test_what_its_gate_lets_pass_is_tried_as_a_canary_first(house: House) -> None:
    before = house.registry.find(Ref(kind="model", name="credit", alias="production"), ALL).ref
    house.monitor(on_alarm="retrain", promote="canary", canary_share=0.2, canary_seconds=60)
    house.data(shift=1.5)
    house.predict(200, shift=1.5)
    run = house.runs.find(house.watch.check("m").run or "", ALL)
    assert run.state == "succeeded", run.reason
    assert (run.outputs["promoted"], run.outputs["request"]) == (False, None)
    (begun,) = house.tried
    assert {key: begun[key] for key in ("endpoint", "target", "share", "seconds", "at_end")} == {
        "endpoint": "credit", "target": run.outputs["asset"], "share": 0.2, "seconds": 60, "at_end": "promote",
    }  # fmt: skip
    assert house.registry.find(Ref(kind="model", name="credit", alias="production"), ALL).ref == before


def test_an_alarm_may_roll_production_back(house: House) -> None:
    first = house.registry.find(Ref(kind="model", name="credit", alias="production"), ALL)
    second = house.model(house.data())
    house.promotions.promote(second.ref, "production", by=person())
    house.route(str(second.ref))
    house.monitor(on_alarm="roll-back")
    house.predict(200, shift=1.5)
    found = house.watch.check("m")
    assert found.alarm
    assert f"rolled back from {second.ref} to version {first.version}." in found.note
    assert house.registry.find(Ref(kind="model", name="credit", alias="production"), ALL).ref == first.ref
    assert ("alias.rollback", "monitor/m") in house.audited()


def test_where_there_is_nothing_to_go_back_to_the_report_says_so(house: House) -> None:
    house.monitor(on_alarm="roll-back")
    house.predict(200, shift=1.5)
    assert "Nothing was rolled back" in house.watch.check("m").note


def test_who_may_not_approve_makes_no_monitor_that_rolls_back(house: House) -> None:
    made = Monitor(name="r", team="risk", endpoint="credit", on_alarm="roll-back")
    with pytest.raises(Forbidden):
        house.watch.add(made, by=person("editor"))
    with pytest.raises(Invalid):
        house.monitor(endpoint="assistant", question="scores", on_alarm="roll-back")


def test_categories_are_watched_by_their_values(tmp_path: Path) -> None:
    """An unseen value counts beside the known ones; texts and times are not watched."""
    signature = Signature(
        fields=(
            Field(name="note", dtype="text"),
            Field(name="colour", dtype="category", values=("blue", "red"), nullable=True),
            Field(name="at", dtype="datetime"),
            Field(name="x"),
        )
    )
    assert [(place, field.name) for place, field in watched(signature)] == [(1, "colour"), (3, "x")]
    random = np.random.default_rng(1)
    frame = pl.DataFrame({"colour": random.choice(["blue", "red", None], 400, p=[0.7, 0.2, 0.1]), "x": random.normal(size=400)})
    Lake(tmp_path / "lake").write("rows", frame)
    codes = {"blue": 0.0, "red": 1.0, None: math.nan, "green": 2.0}

    def judged(values: list[str | None]) -> dict[str, str]:
        rows = [[codes[value], float(random.normal())] for value in values]
        order = Order(
            lake=str(tmp_path / "lake"),
            table="rows",
            version=0,
            columns=("colour", "x"),
            categories={"colour": ("blue", "red")},
            reference=None,
            rows=rows,
            calls=len(rows),
        )
        findings = carry_out(order).findings
        return {finding.subject: finding.verdict for finding in findings if finding.subject in ("colour", "x")}

    same = judged([str(value) if value is not None else None for value in frame["colour"].to_list()])
    other = judged(["green"] * 200 + ["blue"] * 200)
    assert (same["colour"], same["x"]) == ("stable", "stable")
    assert (other["colour"], other["x"]) == ("drifted", "stable")


# --- when a retraining may begin


def drifted(house: House, n: int = 120) -> list[str]:
    """Calls whose `x` has moved; their traces."""
    found = []
    for _ in range(n):
        columns = [("x", house.draw.gauss(5, 1)), ("y", house.draw.gauss(0, 1))]
        inputs = [{"name": name, "shape": [1], "datatype": "FP64", "data": [value]} for name, value in columns]
        found.append(house.call(request=msgspec.json.encode({"inputs": inputs}), attributes={"rows": 1}))
    return found


def test_a_retraining_waits_for_the_labels_of_the_calls_that_raised_the_alarm(house: House) -> None:
    house.monitor(on_alarm="retrain", await_labels=True, maturity=0.5, cooldown=0)
    traces = drifted(house)
    house.data(shift=5)
    report = house.watch.check("m")
    assert report.alarm
    assert report.run is None
    assert "waits for labels: 0 of 120 calls that raised the alarm have theirs; 50% are waited for" in report.note
    house.clock.advance(120)
    assert house.watch.step() == 0
    house.outcomes.add("credit", [Outcome(trace=trace, label=("1",)) for trace in traces[:60]], by=person())
    house.clock.advance(30)
    assert house.watch.step() == 0  # it is looked once a minute
    house.clock.advance(120)
    assert house.watch.step() == 1
    assert [run.inputs["data"] for run in house.runs.list(ALL, kind="retrain")] == ["dataset/rows@2"]


def test_labels_are_not_waited_for_for_ever(house: House) -> None:
    house.monitor(on_alarm="retrain", await_labels=True, cooldown=0, wait=3600)
    drifted(house)
    house.data(shift=5)
    assert house.watch.check("m").run is None
    house.clock.advance(3601)
    assert house.watch.step() == 1
    assert len(house.runs.list(ALL, kind="retrain")) == 1


def test_a_monitor_begins_no_more_retrainings_than_its_budget(house: House) -> None:
    house.monitor(on_data="retrain", retrainings=2, cooldown=0)
    for _ in range(3):
        house.data()
        house.watch.step()
    assert len(house.runs.list(ALL, kind="retrain")) == 2
    newest = house.monitors.reports("m", ALL)[0]
    assert "The 2 retrainings that it may begin within 30 days were begun." in newest.note
    house.clock.advance(31 * 86_400)
    house.data()
    house.watch.step()
    assert len(house.runs.list(ALL, kind="retrain")) == 3


def test_only_drift_waits_for_labels_by_itself(house: House) -> None:
    with pytest.raises(Invalid, match="Only drift"):
        house.monitor(question="performance", await_labels=True)
