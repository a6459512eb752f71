"""The workflow `evaluate`: what it asks, what it keeps, when it ends early, and what a judge is asked."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.evaluation.place import Fake, Say, answered, reader, refused
from tests.migrated import migrated

from tandem.core.asset import Ref
from tandem.core.clock import FixedClock
from tandem.core.errors import Blocked, Invalid
from tandem.core.policy import Gate
from tandem.core.principal import Principal
from tandem.core.run import Run
from tandem.evaluation.look import Look
from tandem.evaluation.promote import GateRefused, Promotions
from tandem.evaluation.repo import Evaluations
from tandem.evaluation.rows import drawn
from tandem.evaluation.suite import Stores, make_evaluate
from tandem.governance.audit import Audit
from tandem.governance.authorise import ALL
from tandem.jobs.fake import InlineJobs
from tandem.jobs.repo import Runs
from tandem.observability.content import Subjects
from tandem.observability.traces import Traces
from tandem.registry.registry import Registry
from tandem.store.blobs import Blobs
from tandem.store.sql import Sql
from tandem.store.vault import Vault

ANN = Principal(id="key_1", name="ann", team="risk", role="admin")
ROWS: list[dict[str, Any]] = [{"question": f"What is {n} + {n}?", "wanted": str(2 * n), "size": n} for n in range(80)]
EXACT = {"scorer": "exact"}
JUDGE = {"scorer": "judge", "options": {"endpoint": "judge"}}


def right(last: str, body: Mapping[str, Any]) -> str:
    """Answers what is asked for, in the first line of the prompt: `good` prompts right, others wrong half of the time."""
    number = int(last.split("What is ")[1].split(" ")[0])
    return str(2 * number) if last.startswith("good") or number % 2 else "no idea"


@dataclass
class Place:
    home: Path
    clock: FixedClock = field(default_factory=lambda: FixedClock(micros=1_763_830_000_000_000))
    records: bool = True

    def __post_init__(self) -> None:
        url = f"sqlite:///{self.home / 'control.db'}"
        migrated(url)
        vault = Vault(bytes(32))
        self.sql = Sql(url)
        self.runs, self.evaluations = Runs(self.sql, self.clock), Evaluations(self.sql, self.clock)
        audit = Audit(self.sql, vault, self.clock, self.home / "audit.head")
        self.registry = Registry(self.sql, Blobs(self.home / "blobs"), audit, self.clock)
        self.subjects, self.traces = Subjects(self.home / "subjects.db", vault), Traces(self.home / "traces")
        self.look = Look(self.registry, self.evaluations, self.subjects)
        self.promotions = Promotions(self.registry, self.evaluations, self.clock)
        lake = {"table": "sums", "version": 0}
        self.registry.publish(
            "dataset", "sums", members={}, meta={"contract": {"c": 1}, "digest": "sha256:" + "0" * 64, "lake": lake}, by=ANN
        )

    def suite(self, *scorers: Mapping[str, object], **more: object) -> None:
        meta = {"data": "dataset/sums@1", "endpoint": "assistant", "expected": "wanted", "scorers": list(scorers), **more}
        self.registry.publish("suite", "sums", members={}, meta=meta, parents=("dataset/sums@1",), by=ANN)

    def prompt(self, word: str) -> str:
        meta = {"template": f"{word}: {{{{ question }}}}", "variables": {"question": "string"}}
        return str(self.registry.publish("prompt", "sums", members={}, meta=meta, by=ANN).ref)

    def evaluate(self, prompt: str, say: Say = right, rows: list[dict[str, Any]] = ROWS, **more: object) -> tuple[Run, Fake]:
        fake = Fake(say)
        stores = Stores(
            registry=self.registry,
            evaluations=self.evaluations,
            subjects=self.subjects,
            traces=self.traces,
            calls=fake,
            records=lambda endpoint: self.records,
            now=self.clock.now,
            lake=self.home / "lake",
        )
        jobs = InlineJobs(self.runs, self.clock)
        jobs.register("evaluate", make_evaluate(stores, rows=reader(rows)))
        by = {"id": ANN.id, "name": ANN.name, "team": ANN.team, "kind": "service", "role": "admin"}
        inputs = {"prompt": prompt, "suite": "suite/sums@1", "by": by, **more}
        run = self.runs.create("evaluate", "sums", inputs=inputs, by=ANN)
        jobs.start("evaluate", run.id, inputs)
        return self.runs.find(run.id, ALL), fake


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.subjects.close()
    made.traces.close()
    made.sql.close()


def outputs(run: Run) -> dict[str, Any]:
    assert run.state == "succeeded", run.reason
    return dict(run.outputs)


def test_every_row_is_asked_in_the_askers_name_and_graded(place: Place) -> None:
    place.suite(EXACT, seed=11, temperature=0.5, max_tokens=9)
    run, fake = place.evaluate(place.prompt("plain"))
    found = outputs(run)
    assert found["metrics"]["exact"]["value"] == 0.5
    assert (found["asked"]["rows"], found["asked"]["answers"], found["asked"]["errors"]) == (80, 80, {})
    assert fake.askers == {"ann"}
    assert {(body["model"], body["seed"], body["temperature"], body["max_tokens"]) for body in fake.asked} == {
        ("assistant", 11, 0.5, 9)
    }
    assert sorted(body["messages"][0]["content"] for body in fake.asked) == sorted(f"plain: {row['question']}" for row in ROWS)


def test_a_worse_prompt_is_refused_and_a_better_one_passes(place: Place) -> None:
    place.suite(EXACT)
    plain, good, also = place.prompt("plain"), place.prompt("good"), place.prompt("good too")
    place.registry.set_gate(Gate(asset="prompt/sums", metric="exact", margin=0.05, suite="suite/sums"), ANN)
    place.evaluate(good)
    assert place.promotions.promote(Ref.parse(good), "production", by=ANN)["verdict"] is None
    with pytest.raises(Blocked) as unknown:
        place.promotions.promote(Ref.parse(plain), "production", by=ANN)
    assert unknown.value.code == "no_evidence"
    told = outputs(place.evaluate(plain)[0])["comparison"]
    assert told["verdict"]["outcome"] == "regressed"
    with pytest.raises(GateRefused) as refusal:
        place.promotions.promote(Ref.parse(plain), "production", by=ANN)
    assert refusal.value.report["verdict"]["outcome"] == "regressed"
    place.evaluate(also)
    done = place.promotions.promote(Ref.parse(also), "production", by=ANN)
    assert done["verdict"]["outcome"] == "non-inferior"
    assert done["report"]["suite"] == "suite/sums@1"


def test_a_release_passes_the_gates_of_what_it_pins_and_keeps_their_reports(place: Place) -> None:
    place.suite(EXACT)
    good, plain, also = place.prompt("good"), place.prompt("plain"), place.prompt("good too")
    place.registry.set_gate(Gate(asset="prompt/sums", metric="exact", margin=0.05, suite="suite/sums"), ANN)
    for prompt in (good, plain, also):
        place.evaluate(prompt)
    place.promotions.promote(Ref.parse(good), "production", by=ANN)
    other = place.registry.publish("prompt", "other", members={}, meta={"template": "Hi"}, by=ANN)

    def release(prompt: str) -> Ref:
        pins = (str(other.ref), prompt)
        return place.registry.publish("release", "both", members={}, meta={"pins": list(pins)}, parents=pins, by=ANN).ref

    with pytest.raises(GateRefused, match=r"release/both@1 moved nothing to production\. prompt/sums@2 was not") as refusal:
        place.promotions.promote(release(plain), "production", by=ANN)
    assert refusal.value.report["verdict"]["outcome"] == "regressed"
    assert place.registry.aliases("prompt", "other", ALL) == ()
    done = place.promotions.promote(release(also), "production", by=ANN)
    ungated, gated = done["pins"]
    assert (ungated["report"], gated["report"]["verdict"]["outcome"]) == (None, "non-inferior")
    assert all(reason.startswith("prompt/sums@3: ") for reason in done["reasons"])
    move = place.registry.moves("prompt", "sums", "production", ALL)[0]
    assert (move.report, move.taken is not None) == (gated["report"], True)
    assert [score.id for score in place.registry.scores(Ref.parse(also), ALL)] == list(move.evidence)


def test_an_error_is_a_zero_and_is_shown(place: Place) -> None:
    def say(last: str, body: Mapping[str, Any]) -> Any:
        return refused(502, "upstream") if " 7 " in last else right("good: " + last.split(": ")[1], body)

    place.suite(EXACT)
    found = outputs(place.evaluate(place.prompt("plain"), say)[0])
    assert found["asked"]["errors"] == {"upstream": 1}
    assert found["metrics"]["exact"]["value"] == pytest.approx(79 / 80)


def test_when_nothing_is_answered_nothing_is_graded(place: Place) -> None:
    place.suite(EXACT)
    prompt = place.prompt("plain")
    run, fake = place.evaluate(prompt, lambda last, body: refused(502, "upstream"))
    assert run.state == "failed"
    assert "upstream" in str(run.reason)
    assert len(fake.asked) == 16
    again, _ = place.evaluate(prompt)
    assert outputs(again)["reused"] == 0


def test_what_was_answered_before_the_money_ran_out_is_kept(place: Place) -> None:
    counted = iter(range(1000))

    def say(last: str, body: Mapping[str, Any]) -> Any:
        return right(last, body) if next(counted) < 40 else refused(429, "over_budget")

    place.suite(EXACT)
    prompt = place.prompt("good")
    run, _ = place.evaluate(prompt, say)
    assert run.state == "failed"
    assert "over_budget" in str(run.reason)
    again, fake = place.evaluate(prompt)
    assert outputs(again)["reused"] == 40
    assert len(fake.asked) == 40
    assert outputs(again)["metrics"]["exact"]["value"] == 1


def test_a_door_that_is_busy_is_asked_again(place: Place) -> None:
    seen: set[str] = set()

    def say(last: str, body: Mapping[str, Any]) -> Any:
        if last in seen or " 3 " not in last:
            return right(last, body)
        seen.add(last)
        return refused(503, "unavailable")

    place.suite(EXACT)
    assert outputs(place.evaluate(place.prompt("good"), say)[0])["metrics"]["exact"]["value"] == 1


def test_repeats_are_asked_with_other_seeds_and_their_agreement_is_told(place: Place) -> None:
    place.suite(EXACT, {"scorer": "regex", "options": {"pattern": "."}}, repeats=3, seed=5)
    run, fake = place.evaluate(
        place.prompt("good"), lambda last, body: "0" if body["seed"] == 6 and "1 + 1?" in last else right(last, body)
    )
    found = outputs(run)
    assert {body["seed"] for body in fake.asked} == {5, 6, 7}
    assert found["asked"]["answers"] == 240
    changed = sum("1 + 1?" in row["question"] for row in ROWS)
    assert found["asked"]["agreement"]["texts"] == pytest.approx(1 - changed / 80)
    assert found["metrics"]["exact"]["n"] == 80


def test_asking_again_asks_nothing_and_fresh_asks_everything(place: Place) -> None:
    place.suite(EXACT)
    prompt = place.prompt("good")
    first = outputs(place.evaluate(prompt)[0])
    again, fake = place.evaluate(prompt)
    assert (outputs(again)["evaluation"], len(fake.asked)) == (first["evaluation"], 0)
    fresh, fake = place.evaluate(prompt, fresh=True)
    assert outputs(fresh)["evaluation"] != first["evaluation"]
    assert len(fake.asked) == 80


def test_answers_are_content_kept_apart_and_erased_with_their_asker(place: Place) -> None:
    place.suite(EXACT)
    run, _ = place.evaluate(place.prompt("plain"))
    shown = place.look(run, ANN, metric=None, limit=2, content=True)
    assert [line.grade for line in shown.lines] == [0, 0]
    assert shown.lines[0].answers[0].text == "no idea"
    assert shown.lines[0].answers[0].why == {"exact": {"expected": "0"}}
    assert b"no idea" not in (place.home / "control.db").read_bytes()
    assert place.look(run, ANN, metric=None, limit=2, content=False).lines[0].answers[0].text is None
    place.subjects.erase("principal:ann", now=1)
    assert place.look(run, ANN, metric=None, limit=2, content=True).lines[0].answers[0].text is None


def test_where_content_is_not_recorded_none_is_kept(place: Place) -> None:
    place.records = False
    place.suite(EXACT)
    run, _ = place.evaluate(place.prompt("plain"))
    assert outputs(run)["metrics"]["exact"]["value"] == 0.5
    assert place.look(run, ANN, metric=None, limit=1, content=True).lines[0].answers[0].text is None
    assert {row.sealed for row in place.evaluations.rows(outputs(run)["evaluation"])} == {b""}


def test_a_metric_nobody_took_is_not_shown(place: Place) -> None:
    place.suite(EXACT)
    run, _ = place.evaluate(place.prompt("plain"))
    with pytest.raises(Invalid):
        place.look(run, ANN, metric="vibes", limit=2, content=False)


def test_a_row_that_does_not_fit_the_prompt_ends_the_run_with_its_name(place: Place) -> None:
    place.suite(EXACT, variables={"n": "question"})
    meta = {"template": "{{ n }}", "variables": {"n": "number"}}
    place.registry.publish("prompt", "sums", members={}, meta=meta, by=ANN)
    run, _ = place.evaluate("prompt/sums@1")
    assert run.state == "failed"
    assert "variable 'n'" in str(run.reason)


def judging(last: str, body: Mapping[str, Any]) -> str:
    """The judge prefers whichever answer is right; everybody else answers as `right` does."""
    if body["model"] != "judge":
        return right(last, body)
    matter = json.loads(last)
    first, second = ("no idea" not in matter["first"], "no idea" not in matter["second"])
    return "VERDICT: TIE" if first == second else f"VERDICT: {'FIRST' if first else 'SECOND'}"


def test_a_judge_meets_the_champion_in_both_orders(place: Place) -> None:
    place.suite(EXACT, JUDGE, metric="judge")
    plain, good = place.prompt("plain"), place.prompt("good")
    first = outputs(place.evaluate(plain, judging)[0])
    assert set(first["metrics"]) == {"exact"}
    place.registry.set_gate(Gate(asset="prompt/sums", metric="judge", margin=0.05, suite="suite/sums"), ANN)
    assert place.promotions.promote(Ref.parse(plain), "production", by=ANN)["passed"]
    run, fake = place.evaluate(good, judging)
    found = outputs(run)
    asked = [json.loads(body["messages"][1]["content"]) for body in fake.asked if body["model"] == "judge"]
    assert len(asked) == 80  # forty rows differ, each asked twice; equal answers are not asked about
    assert sorted(each["first"] for each in asked) == sorted(each["second"] for each in asked)
    assert found["metrics"]["judge"]["value"] == pytest.approx(0.75)
    assert found["asked"]["judge"]["consistent"] == 1
    assert found["asked"]["judge"]["first"] == 0.5
    done = place.promotions.promote(Ref.parse(good), "production", by=ANN)
    assert done["verdict"]["outcome"] == "improved"
    with pytest.raises(Blocked) as caught:
        place.promotions.promote(Ref.parse(plain), "production", by=ANN)
    assert "--against prompt/sums@2" in str(caught.value.hint)


def test_a_judge_that_follows_the_place_moves_nothing(place: Place) -> None:
    place.suite(EXACT, JUDGE)
    plain, good = place.prompt("plain"), place.prompt("good")
    place.evaluate(plain)
    place.registry.promote(Ref.parse(plain), "production", by=ANN)
    found = outputs(
        place.evaluate(good, lambda last, body: "VERDICT: FIRST" if body["model"] == "judge" else right(last, body))[0]
    )
    assert found["metrics"]["judge"]["value"] == 0.5
    assert found["asked"]["judge"] | {"win": None} == {
        "win": None,
        "consistent": pytest.approx(0.5),
        "first": 1.0,
        "longer": None,
        "unreadable": 0,
    }


def test_a_judge_without_the_champions_answers_says_what_to_run(place: Place) -> None:
    place.suite(EXACT, JUDGE)
    plain, good = place.prompt("plain"), place.prompt("good")
    place.registry.promote(Ref.parse(plain), "production", by=ANN)
    run, fake = place.evaluate(good)
    assert run.state == "failed"
    assert "tandem eval prompt/sums@1 --suite suite/sums@1" in str(run.reason)
    assert fake.asked == []


def test_a_model_is_not_asked_by_its_own_name_for_somebody_who_could_not_do_so(place: Place) -> None:
    place.suite(EXACT, endpoint="mock/large")
    bob = {"id": "key_2", "name": "bob", "team": "risk", "kind": "service", "role": "editor"}
    run, fake = place.evaluate(place.prompt("plain"), by=bob)
    assert run.state == "failed"
    assert "any-version" in str(run.reason)
    assert fake.asked == []
    allowed, _ = place.evaluate("prompt/sums@1", by={**bob, "scopes": ["any-version"]})
    assert allowed.state == "succeeded"


def test_drawn_rows_stay_drawn_when_more_are_wanted() -> None:
    ids = [f"r{n}" for n in range(500)]
    few, many = drawn(ids, 50, 7), drawn(ids, 200, 7)
    assert set(few) < set(many)
    assert few == sorted(few)
    assert drawn(ids, 50, 8) != few
    assert drawn(ids, None, 7) == list(range(500))
    shuffled = random.Random(1).sample(ids, len(ids))
    assert {shuffled[place] for place in drawn(shuffled, 50, 7)} == {ids[place] for place in few}


def test_an_answer_without_text_is_an_error(place: Place) -> None:
    place.suite(EXACT)

    def say(last: str, body: Mapping[str, Any]) -> Any:
        return answered(None) if " 7 " in last else right(last, body)  # type: ignore[arg-type]

    assert outputs(place.evaluate(place.prompt("good"), say)[0])["asked"]["errors"] == {"no_text": 1}
