"""Releases: everything they pin moves with them in one transaction, forwards and back, or nothing does."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import text

from tandem.core.asset import Ref, Version
from tandem.core.errors import Blocked, Conflict, Forbidden, Invalid, NotFound
from tandem.core.policy import Gate
from tandem.core.principal import Principal
from tandem.governance.authorise import ALL
from tandem.registry.nouns import Taken, Together
from tandem.registry.release import Proof
from tests.registry.conftest import House, person

APPROVER, EDITOR = person("approver"), person("editor")
ADMIN = person("admin", "default")


def release(here: House, *pins: Version, name: str = "triage", by: Principal = EDITOR) -> Version:
    named = sorted(str(pin.ref) for pin in pins)
    return here.registry.publish("release", name, members={}, meta={"pins": named}, parents=tuple(named), by=by)


def move(here: House, version: Version, proofs: dict[str, Proof] | None = None) -> Together:
    return here.registry.promote_release(version.ref, "production", proofs=proofs or {}, by=APPROVER)


def back(here: House) -> Together:
    return here.registry.rollback_release(Ref(kind="release", name="triage"), "production", by=APPROVER)


def alone(here: House, version: Version) -> None:
    here.registry.promote(version.ref, "production", by=APPROVER)


def stands(here: House, *names: str) -> tuple[int | None, ...]:
    """Where production stands, of prompts and of the release."""
    kinds = {"triage": "release"}
    return tuple(here.names(kinds.get(name, "prompt"), name).get("production") for name in names)  # type: ignore[arg-type]


def pair(here: House, word: str) -> tuple[Version, Version]:
    return here.prompt("one", f"{word} {{{{ name }}}}"), here.prompt("two", f"{word} {{{{ name }}}}!")


def audited(here: House) -> list[tuple[str, str, str | None]]:
    rows = here.audit.list(ALL)
    told = [(row.action, row.subject, json.loads(row.detail).get("release")) for row in rows]
    return [row for row in told if row[0].startswith("alias.")]


def test_the_same_pins_are_the_same_version_and_its_lineage_names_them(here: House) -> None:
    one, two = pair(here, "Hello")
    first = release(here, one, two)
    assert release(here, two, one) == first
    assert first.parents == ("prompt/one@1", "prompt/two@1")
    assert release(here, one).version == 2
    assert {str(node.ref) for node in here.registry.lineage(first.ref, 1, ALL).nodes} >= {"prompt/one@1", "prompt/two@1"}


def test_a_release_pins_what_is_of_its_own_team_or_of_default(here: House) -> None:
    shared, other = (
        here.registry.publish("prompt", f"of-{team}", members={}, meta={"template": "Hi"}, by=person("admin", team))
        for team in ("default", "sales")
    )
    mine = here.prompt()
    admin = person("admin", "risk")
    assert release(here, mine, shared, by=admin).parents == ("prompt/of-default@1", "prompt/support@1")
    with pytest.raises(Invalid, match=r"prompt/of-sales@1 is of the team sales"):
        release(here, mine, other, by=admin)
    with pytest.raises(NotFound):
        release(here, mine, other)


def test_all_move_with_one_audit_row_each(here: House) -> None:
    one, two = pair(here, "Hello")
    first = release(here, one, two)
    done = move(here, first)
    assert (done.alias.version, [pin.moved for pin in done.pins]) == (1, [True, True])
    assert stands(here, "triage", "one", "two") == (1, 1, 1)
    assert sorted(audited(here)) == [
        ("alias.promote", "prompt/one@1", "release/triage@1"),
        ("alias.promote", "prompt/two@1", "release/triage@1"),
        ("alias.promote", "release/triage@1", None),
    ]
    (moved,) = here.registry.moves("prompt", "one", "production", ALL)
    assert moved.taken == Taken(release="release/triage@1", etag=1)
    before = audited(here)
    assert [pin.why for pin in move(here, first).pins] == [
        "prompt/one@1 was production already.",
        "prompt/two@1 was production already.",
    ]
    assert audited(here) == before


def test_the_gate_of_one_refuses_all(here: House) -> None:
    prompt, model = here.prompt("one"), here.model()
    version = release(here, prompt, model)
    with pytest.raises(Blocked, match=r"model/tumor@1 cannot become production"):
        move(here, version)
    with pytest.raises(Blocked, match="did not pass"):
        move(here, version, {"model/tumor@1": Proof(evidence=(here.gate_score(model, None, passed=False),))})
    assert (stands(here, "triage", "one"), here.names("model", "tumor"), audited(here)) == ((None, None), {}, [])
    score = here.gate_score(model, None)
    move(here, version, {"model/tumor@1": Proof(evidence=(score,), report={"passed": True})})
    (moved,) = here.registry.moves("model", "tumor", "production", ALL)
    assert (moved.evidence, moved.report, moved.alias.ungated) == ((score.id,), {"passed": True}, False)


def test_a_write_that_fails_in_the_middle_moves_nothing(here: House) -> None:
    first, second = (release(here, *pair(here, word)) for word in ("Hello", "Hi"))
    move(here, first)
    rows = audited(here)
    broken = "CREATE TRIGGER broken BEFORE INSERT ON alias_moves WHEN NEW.name = 'two' BEGIN SELECT RAISE(ABORT, 'full'); END"
    sql(here, broken)
    with pytest.raises(Conflict, match="full"):
        move(here, second)
    assert (stands(here, "triage", "one", "two"), audited(here)) == ((1, 1, 1), rows)
    sql(here, "DROP TRIGGER broken")
    move(here, second)
    rows = audited(here)
    sql(here, broken)
    with pytest.raises(Conflict, match="full"):
        back(here)
    assert (stands(here, "triage", "one", "two"), audited(here)) == ((2, 2, 2), rows)


def sql(here: House, statement: str) -> None:
    with here.sql.write() as conn:
        conn.execute(text(statement))


def test_all_go_back_and_again_further_back(here: House) -> None:
    for word in ("Hello", "Hi", "Hey"):
        move(here, release(here, *pair(here, word)))
    assert [str(pin.alias.ref) for pin in back(here).pins] == ["prompt/one@2", "prompt/two@2"]
    assert stands(here, "triage", "one", "two") == (2, 2, 2)
    assert audited(here)[0][0] == "alias.rollback"
    assert [pin.moved for pin in back(here).pins] == [True, True]
    assert stands(here, "triage", "one", "two") == (1, 1, 1)
    with pytest.raises(Conflict, match="nothing else before"):
        back(here)


def test_what_somebody_moved_since_is_left_alone(here: House) -> None:
    for word in ("Hello", "Hi"):
        move(here, release(here, *pair(here, word)))
    alone(here, here.prompt("one", "Mine {{ name }}"))
    first, second = back(here).pins
    assert (first.moved, first.why) == (False, "prompt/one was moved since, by risk-approver.")
    assert (second.moved, str(second.alias.ref)) == (True, "prompt/two@1")
    assert stands(here, "triage", "one", "two") == (1, 3, 1)


def test_what_the_release_did_not_move_stays(here: House) -> None:
    (one, two), third = pair(here, "Hello"), here.prompt("three")
    alone(here, one)
    move(here, release(here, one, two))
    newer = here.prompt("two", "Hi {{ name }}")
    move(here, release(here, one, newer, third))
    by_name = {pin.alias.name: pin for pin in back(here).pins}
    assert (by_name["one"].why, by_name["three"].why) == (
        "prompt/one was not moved by this release.",
        "prompt/three has named nothing else before.",
    )
    assert stands(here, "triage", "one", "two", "three") == (1, 1, 1, 1)


def test_the_same_version_promoted_twice_undoes_the_second_time_only(here: House) -> None:
    """Promoted, replaced by another with the same prompt, promoted again: going back must not reach the first time."""
    old, new = here.prompt("one"), here.prompt("one", "Hi {{ name }}")
    alone(here, old)
    first, second = release(here, new), release(here, new, here.prompt("two"))
    for version in (first, second, first):
        move(here, version)
    (pin,) = back(here).pins
    assert (pin.moved, stands(here, "triage", "one")) == (False, (2, 2))


def test_a_pin_that_drifted_is_put_in_place_and_goes_back_to_where_it_had_drifted(here: House) -> None:
    one, two = pair(here, "Hello")
    move(here, release(here, two))
    version = release(here, one, two)
    move(here, version)
    alone(here, here.prompt("one", "Mine {{ name }}"))
    assert [pin.moved for pin in move(here, version).pins] == [True, False]
    assert back(here).pins[0].moved
    assert stands(here, "triage", "one", "two") == (1, 2, 1)


def test_a_release_never_moves_alone_nor_has_a_gate(here: House) -> None:
    version = release(here, here.prompt())
    with pytest.raises(Invalid, match="together"):
        here.registry.promote(version.ref, "production", by=APPROVER)
    move(here, version)
    with pytest.raises(Invalid, match="together"):
        here.registry.rollback(version.ref, "production", by=APPROVER)
    with pytest.raises(Invalid, match="no gate of its own"):
        here.registry.set_gate(Gate(asset="release/triage"), by=ADMIN)


def test_rights_and_etags_hold_for_the_whole(here: House) -> None:
    version = release(here, here.prompt())
    with pytest.raises(Forbidden):
        here.registry.promote_release(version.ref, "production", proofs={}, by=EDITOR)
    with pytest.raises(NotFound):
        here.registry.promote_release(version.ref, "production", proofs={}, by=person("approver", "sales"))
    with pytest.raises(Conflict, match="etag is 0"):
        here.registry.promote_release(version.ref, "production", proofs={}, by=APPROVER, expected_etag=3)
    assert stands(here, "triage", "support") == (None, None)
