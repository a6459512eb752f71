"""The server's law: no alias moves without its evidence, and a move is whole or did not happen."""

from __future__ import annotations

import sqlite3
import threading
from dataclasses import replace
from itertools import pairwise

import pytest

from tandem.core.asset import Ref, Version
from tandem.core.clock import MICROS
from tandem.core.errors import Blocked, Conflict, Forbidden, Invalid, NotFound, TandemError
from tandem.core.policy import Gate, Slice
from tandem.core.score import Score
from tandem.core.secret import Secret
from tandem.governance.authorise import ALL, Scope
from tests.registry.conftest import House, person

APPROVER = person("approver")


@pytest.fixture
def pair(here: House) -> tuple[Version, Version]:
    """A champion in production and a candidate."""
    champion = here.model(weights=b"w1")
    here.registry.promote(champion.ref, "production", evidence=[here.gate_score(champion, None)], by=APPROVER)
    return champion, here.model(weights=b"w2")


def test_the_first_champion_needs_a_gate_score_of_its_own(here: House) -> None:
    model = here.model()
    with pytest.raises(Blocked, match="needs a gate score of exactly this version") as caught:
        here.registry.promote(model.ref, "production", by=APPROVER)
    assert caught.value.hint is not None
    assert "tandem promote model/tumor@1 production" in caught.value.hint
    alias = here.registry.promote(model.ref, "production", evidence=[here.gate_score(model, None)], by=APPROVER)
    assert (alias.version, alias.etag, alias.ungated, alias.moved_by) == (1, 1, False, "risk-approver")
    assert here.registry.find(Ref.parse("model/tumor@production"), ALL) == model


def test_a_move_leaves_its_evidence_its_history_and_its_audit(here: House) -> None:
    model = here.model()
    score = here.gate_score(model, None)
    other = Score(id="sco_2", subject="model/tumor@1", scorer="auc", value=0.9, low=0.8, high=0.95, n=10, created_at=1)
    stranger = replace(other, id="sco_3", subject="model/other@1")
    before = here.registry.snapshot_version()
    alias = here.registry.promote(
        model.ref, "production", evidence=[score, other, stranger], by=APPROVER, gate_report={"reasons": ["good"]}
    )
    assert here.registry.scores(model.ref, ALL) == (score, other)
    (move,) = here.registry.moves("model", "tumor", "production", ALL)
    assert (move.alias, move.action, move.evidence, move.report) == (
        alias,
        "promote",
        (score.id, "sco_2"),
        {"reasons": ["good"]},
    )
    entry = here.audit.list(Scope("risk"))[0]
    assert (entry.actor, entry.action, entry.subject) == ("risk-approver", "alias.promote", "model/tumor@1")
    assert score.id in entry.detail
    assert '"reasons":["good"]' in entry.detail
    assert here.registry.snapshot_version() == before + 1


def test_a_better_candidate_replaces_the_champion(here: House, pair: tuple[Version, Version]) -> None:
    champion, candidate = pair
    alias = here.registry.promote(candidate.ref, "production", evidence=[here.gate_score(candidate, champion)], by=APPROVER)
    assert (alias.version, alias.etag) == (2, 2)


def faults(here: House, champion: Version, candidate: Version) -> dict[str, Score]:
    good = here.gate_score(candidate, champion)
    return {
        "did not pass": here.gate_score(candidate, champion, passed=False),
        "against no champion": here.gate_score(candidate, None),
        "against model/tumor@9": replace(good, detail={**good.detail, "champion": "model/tumor@9"}),
        "against no champion, but": replace(good, detail={"passed": True}),
        "exactly this version": replace(good, subject="model/tumor@1"),
        "exactly": replace(good, scorer="judge"),
        "last 24 hours": replace(good, created_at=here.clock.now() - 24 * 3600 * MICROS - 1),
        "only that of the last": replace(good, created_at=here.clock.now() + 61 * MICROS),
        "asks for roc_auc": replace(good, detail={**good.detail, "metric": "accuracy"}),
        "asks for something else": replace(good, detail={**good.detail, "asked": {"size_bytes": 5}}),
        "for the alias staging": replace(good, detail={**good.detail, "alias": "staging"}),
        "verdict is inconclusive": replace(good, label="inconclusive"),
        "verdict is regressed": replace(good, label="regressed"),
        "verdict is missing": replace(good, label=None),
        "gate did not pass": replace(good, detail={**good.detail, "passed": "true"}),
        "not pass": replace(good, detail={**good.detail, "passed": 1}),
    }


FAULTS = [
    "did not pass",
    "against no champion",
    "against model/tumor@9",
    "against no champion, but",
    "exactly this version",
    "exactly",
    "last 24 hours",
    "only that of the last",
    "asks for roc_auc",
    "asks for something else",
    "for the alias staging",
    "verdict is inconclusive",
    "verdict is regressed",
    "verdict is missing",
    "gate did not pass",
    "not pass",
]


@pytest.mark.parametrize("fault", FAULTS)
def test_evidence_that_proves_nothing_moves_nothing(here: House, pair: tuple[Version, Version], fault: str) -> None:
    champion, candidate = pair
    before = (here.registry.snapshot_version(), len(here.audit.list(ALL)))
    with pytest.raises(Blocked) as caught:
        here.registry.promote(candidate.ref, "production", evidence=[faults(here, champion, candidate)[fault]], by=APPROVER)
    assert fault in caught.value.message
    assert here.names("model", "tumor") == {"production": 1}
    assert here.registry.scores(candidate.ref, ALL) == ()
    assert (here.registry.snapshot_version(), len(here.audit.list(ALL))) == before


def test_every_fault_is_tried(here: House, pair: tuple[Version, Version]) -> None:
    assert list(faults(here, *pair)) == FAULTS


def test_one_good_score_among_bad_ones_is_enough(here: House, pair: tuple[Version, Version]) -> None:
    champion, candidate = pair
    evidence = [*faults(here, champion, candidate).values(), here.gate_score(candidate, champion)]
    unique = [replace(score, id=f"sco_{place}") for place, score in enumerate(evidence)]
    assert here.registry.promote(candidate.ref, "production", evidence=unique, by=APPROVER).version == 2


def test_evidence_against_yesterdays_champion_counts_no_more(here: House, pair: tuple[Version, Version]) -> None:
    champion, second = pair
    third = here.model(weights=b"w3")
    stale = here.gate_score(third, champion)
    here.registry.promote(second.ref, "production", evidence=[here.gate_score(second, champion)], by=APPROVER)
    with pytest.raises(Blocked, match="production now names model/tumor@2"):
        here.registry.promote(third.ref, "production", evidence=[stale], by=APPROVER)


def test_a_gate_that_requires_improvement_is_not_content_with_less(here: House, pair: tuple[Version, Version]) -> None:
    champion, candidate = pair
    equal = replace(here.gate_score(candidate, champion), label="non-inferior")
    here.registry.set_gate(Gate(asset="model/tumor", require="improved"), by=person("admin"))
    with pytest.raises(Blocked, match="requires improved"):
        here.registry.promote(candidate.ref, "production", evidence=[equal], by=APPROVER)
    here.registry.set_gate(Gate(asset="model/tumor", require="non-inferior"), by=person("admin"))
    assert here.registry.promote(candidate.ref, "production", evidence=[equal], by=APPROVER).version == 2


def test_a_model_takes_no_alias_that_nobody_guards(here: House) -> None:
    model = here.model()
    with pytest.raises(Blocked, match="needs a gate"):
        here.registry.promote(model.ref, "staging", evidence=[here.gate_score(model, None)], by=APPROVER)
    here.registry.set_gate(Gate(asset="model/*", alias="staging"), by=person("admin"))
    score = here.gate_score(model, None)
    staged = replace(score, detail={**score.detail, "alias": "staging"})
    assert here.registry.promote(model.ref, "staging", evidence=[staged], by=APPROVER).alias == "staging"


def test_a_prompt_without_a_gate_moves_and_is_marked(here: House) -> None:
    prompt = here.prompt()
    alias = here.registry.promote(prompt.ref, "production", by=APPROVER)
    assert alias.ungated
    assert '"ungated":true' in here.audit.list(ALL)[0].detail


def test_a_prompt_with_a_gate_is_held_to_it(here: House) -> None:
    prompt = here.prompt()
    here.registry.set_gate(Gate(asset="prompt/support", metric="judge", suite="suite/support"), by=person("admin"))
    with pytest.raises(Blocked):
        here.registry.promote(prompt.ref, "production", by=APPROVER)
    assert not here.registry.promote(prompt.ref, "production", evidence=[here.gate_score(prompt, None)], by=APPROVER).ungated


@pytest.mark.parametrize("role", ["viewer", "editor", "auditor"])
def test_only_who_may_approve_moves_an_alias(here: House, role: str) -> None:
    prompt = here.prompt()
    here.registry.promote(prompt.ref, "production", by=APPROVER)
    with pytest.raises(Forbidden):
        here.registry.promote(here.prompt(template="Bye").ref, "production", by=person(role))  # type: ignore[arg-type]
    with pytest.raises(Forbidden):
        here.registry.rollback(prompt.ref, "production", by=person(role))  # type: ignore[arg-type]
    assert here.names("prompt", "support") == {"production": 1}


def test_an_approver_of_another_team_finds_nothing_and_an_admin_may(here: House) -> None:
    prompt = here.prompt()
    with pytest.raises(NotFound):
        here.registry.promote(prompt.ref, "production", by=person("approver", "sales"))
    assert here.registry.promote(prompt.ref, "production", by=person("admin", "sales")).version == 1


def test_a_stale_etag_is_told_the_current_one(here: House) -> None:
    one, two, three = (here.prompt(template=text) for text in ("1", "2", "3"))
    here.registry.promote(one.ref, "production", by=APPROVER, expected_etag=0)
    with pytest.raises(Conflict, match="etag is 1, not 0"):
        here.registry.promote(two.ref, "production", by=APPROVER, expected_etag=0)
    here.registry.promote(two.ref, "production", by=APPROVER, expected_etag=1)
    with pytest.raises(Conflict, match="names version 2"):
        here.registry.promote(three.ref, "production", by=APPROVER, expected_etag=1)
    assert here.names("prompt", "support") == {"production": 2}


def test_promoting_what_is_promoted_changes_nothing(here: House) -> None:
    prompt = here.prompt()
    first = here.registry.promote(prompt.ref, "production", by=APPROVER)
    before = (here.registry.snapshot_version(), len(here.audit.list(ALL)))
    assert here.registry.promote(prompt.ref, "production", by=APPROVER) == first
    assert (here.registry.snapshot_version(), len(here.audit.list(ALL))) == before


@pytest.mark.parametrize("alias", ["", "Production", "1", "a b", "x" * 64])
def test_what_cannot_be_an_alias_is_refused(here: House, alias: str) -> None:
    with pytest.raises(Invalid):
        here.registry.promote(here.prompt().ref, alias, by=APPROVER)


def test_a_report_that_holds_a_secret_moves_nothing(here: House) -> None:
    prompt = here.prompt()
    with pytest.raises(Invalid) as caught:
        here.registry.promote(prompt.ref, "production", by=APPROVER, gate_report={"key": Secret("canary-5f3a")})
    assert "canary" not in str(caught.value)
    assert here.names("prompt", "support") == {}


@pytest.mark.parametrize("table", ["audit", "alias_moves", "scores", "snapshot_version"])
def test_a_move_whose_record_fails_did_not_happen(here: House, pair: tuple[Version, Version], table: str) -> None:
    champion, candidate = pair
    verb = "UPDATE" if table == "snapshot_version" else "INSERT"
    db = sqlite3.connect(here.home / "control.db", isolation_level=None)
    db.execute(f"CREATE TRIGGER failing BEFORE {verb} ON {table} BEGIN SELECT RAISE(ABORT, 'injected'); END")
    before = db.execute(
        "SELECT (SELECT count(*) FROM alias_moves), (SELECT count(*) FROM scores), (SELECT count(*) FROM audit)"
    ).fetchall()
    version = here.registry.snapshot_version()
    score = here.gate_score(candidate, champion)
    with pytest.raises(TandemError, match="injected"):
        here.registry.promote(candidate.ref, "production", evidence=[score], by=APPROVER)
    assert here.names("model", "tumor") == {"production": 1}
    after = db.execute(
        "SELECT (SELECT count(*) FROM alias_moves), (SELECT count(*) FROM scores), (SELECT count(*) FROM audit)"
    ).fetchall()
    assert after == before
    assert here.registry.snapshot_version() == version
    assert here.audit.verify().ok
    db.execute("DROP TRIGGER failing")
    db.close()
    assert here.registry.promote(candidate.ref, "production", evidence=[score], by=APPROVER).version == 2


def test_evidence_cannot_be_told_twice_with_other_words(here: House, pair: tuple[Version, Version]) -> None:
    champion, candidate = pair
    score = here.gate_score(candidate, champion)
    here.registry.promote(candidate.ref, "production", evidence=[score], by=APPROVER)
    here.registry.rollback(candidate.ref, "production", by=APPROVER)
    with pytest.raises(Conflict, match="another content"):
        here.registry.promote(candidate.ref, "production", evidence=[replace(score, value=score.value + 1)], by=APPROVER)
    assert here.registry.promote(candidate.ref, "production", evidence=[score], by=APPROVER).version == 2


def test_rolling_back_goes_further_back_each_time(here: House) -> None:
    for text in ("1", "2", "3"):
        here.registry.promote(here.prompt(template=text).ref, "production", by=APPROVER)
    ref = Ref.parse("prompt/support")
    assert [here.registry.rollback(ref, "production", by=APPROVER).version for _ in range(2)] == [2, 1]
    with pytest.raises(Conflict, match="nothing else before"):
        here.registry.rollback(ref, "production", by=APPROVER)
    here.registry.promote(Ref.parse("prompt/support@3"), "production", by=APPROVER)
    assert here.registry.rollback(ref, "production", by=APPROVER).version == 1
    assert [move.action for move in here.registry.moves("prompt", "support", "production", ALL)] == [
        "rollback",
        "promote",
        "rollback",
        "rollback",
        "promote",
        "promote",
        "promote",
    ]
    assert here.audit.list(ALL)[0].action == "alias.rollback"
    assert here.audit.verify().ok


def test_rolling_back_needs_no_new_evidence_but_the_right_etag(here: House, pair: tuple[Version, Version]) -> None:
    champion, candidate = pair
    here.registry.promote(candidate.ref, "production", evidence=[here.gate_score(candidate, champion)], by=APPROVER)
    with pytest.raises(Conflict, match="etag is 2"):
        here.registry.rollback(candidate.ref, "production", by=APPROVER, expected_etag=1)
    alias = here.registry.rollback(candidate.ref, "production", by=APPROVER, expected_etag=2)
    assert (alias.version, alias.etag, alias.ungated) == (1, 3, False)


def test_an_alias_that_is_not_there_is_not_rolled_back(here: House) -> None:
    here.prompt()
    with pytest.raises(NotFound):
        here.registry.rollback(Ref.parse("prompt/support"), "production", by=APPROVER)


def test_the_most_exact_gate_holds(here: House) -> None:
    ref = here.model().ref
    default = here.registry.gate_for(ref, "production")
    assert default == Gate(asset="model/*")
    here.registry.set_gate(Gate(asset="model/*", margin=0.5), by=person("admin"))
    assert here.registry.gate_for(ref, "production") == Gate(asset="model/*", margin=0.5)
    here.registry.set_gate(Gate(asset="model/tumor", minimum=0.9), by=person("admin"))
    assert here.registry.gate_for(ref, "production") == Gate(asset="model/tumor", minimum=0.9)
    assert here.registry.gate_for(ref, "staging") is None
    assert here.registry.gate_for(Ref.parse("prompt/x"), "production") is None
    assert {gate.asset for gate in here.registry.gates(Scope("risk"))} == {"model/*", "model/tumor"}
    assert {gate.asset for gate in here.registry.gates(Scope("sales"))} == {"model/*"}


def test_a_gate_comes_back_as_it_was_set_and_the_audit_tells_what_it_asks(here: House) -> None:
    gate = Gate(
        asset="model/tumor",
        minimums={"recall": 0.8, "cost": 2.0},
        slices=(Slice(column="region", value="north"), Slice(column="age", low=18, minimum=0.7, allow_small=True)),
        cost_false_positive=1.0,
        cost_false_negative=9.0,
        latency_ms=5.0,
        size_bytes=1000,
        looks=5,
        rows=2000,
    )
    here.registry.set_gate(gate, by=person("admin"))
    assert gate in here.registry.gates(ALL)
    assert '"minimums":{"cost":2.0,"recall":0.8}' in here.audit.list(ALL)[0].detail
    here.registry.set_gate(Gate(asset="model/tumor"), by=person("admin"))
    assert Gate(asset="model/tumor") in here.registry.gates(ALL)


def test_only_admins_set_gates(here: House) -> None:
    with pytest.raises(Forbidden):
        here.registry.set_gate(Gate(asset="model/*", margin=9.0), by=APPROVER)
    assert here.registry.gates(ALL) == (Gate(asset="model/*"),)


@pytest.mark.parametrize(
    "gate",
    [
        Gate(asset="*"),
        Gate(asset="release/*"),
        Gate(asset="model/x@1"),
        Gate(asset="model/*", alias="Nope"),
        Gate(asset="model/*", margin=-0.1),
        Gate(asset="model/*", margin=float("nan")),
        Gate(asset="model/*", minimum=float("inf")),
        Gate(asset="model/*", require="better"),  # type: ignore[arg-type]
    ],
)
def test_a_gate_that_makes_no_sense_is_refused(here: House, gate: Gate) -> None:
    with pytest.raises(Invalid):
        here.registry.set_gate(gate, by=person("admin"))


def test_eight_that_promote_at_once_move_one_after_the_other(here: House) -> None:
    versions = [here.prompt(template=str(number)) for number in range(8)]
    etags: list[int] = []

    def work(number: int) -> None:
        for _ in range(3):
            etags.append(here.registry.promote(versions[number].ref, "production", by=APPROVER).etag)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    moves = here.registry.moves("prompt", "support", "production", ALL)
    assert [move.alias.etag for move in moves] == list(range(len(moves), 0, -1))
    assert {move.alias.etag for move in moves} == set(etags)
    assert all(one.alias.version != two.alias.version for one, two in pairwise(moves))
    assert here.names("prompt", "support") == {"production": moves[0].alias.version}
    assert here.audit.verify().ok


def test_of_eight_with_the_same_etag_one_wins(here: House) -> None:
    versions = [here.prompt(template=str(number)) for number in range(8)]
    outcomes: list[str] = []

    def work(number: int) -> None:
        try:
            here.registry.promote(versions[number].ref, "production", by=APPROVER, expected_etag=0)
            outcomes.append("moved")
        except Conflict:
            outcomes.append("conflict")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["conflict"] * 7 + ["moved"]


@pytest.mark.parametrize(
    ("gate", "field"),
    [
        (Gate(asset="prompt/support"), "suite"),
        (Gate(asset="prompt/*"), "suite"),
        (Gate(asset="model/tumor", suite="suite/support"), "suite"),
        (Gate(asset="prompt/support", suite="model/tumor"), "suite"),
        (Gate(asset="prompt/support", suite="suite/support@newest"), "suite"),
    ],
)
def test_prompts_are_judged_by_suites_and_nothing_else_is(here: House, gate: Gate, field: str) -> None:
    with pytest.raises(Invalid) as caught:
        here.registry.set_gate(gate, by=person("admin"))
    assert caught.value.field == field
