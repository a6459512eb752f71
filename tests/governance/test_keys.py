"""A key is shown once, kept as a digest, found by it, and revoked for good."""

from __future__ import annotations

import base64
import re
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.migrated import migrated

from tandem.core.clock import MICROS, FixedClock
from tandem.core.errors import Conflict, Forbidden, Invalid, NotFound
from tandem.core.principal import LOCAL, Principal
from tandem.governance.audit import Audit
from tandem.governance.authorise import ALL, Scope
from tandem.governance.digest import digest, new_token
from tandem.governance.keys import Keys
from tandem.store.sql import Sql
from tandem.store.vault import Vault


@dataclass
class Law:
    home: Path
    sql: Sql
    clock: FixedClock
    audit: Audit
    keys: Keys


def law(home: Path, key: bytes = bytes(32)) -> Law:
    url = f"sqlite:///{home / 'control.db'}"
    migrated(url)
    sql, vault, clock = Sql(url), Vault(key), FixedClock()
    audit = Audit(sql, vault, clock, home / "audit.head")
    return Law(home=home, sql=sql, clock=clock, audit=audit, keys=Keys(sql, vault, clock, audit))


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Law]:
    made = law(tmp_path)
    yield made
    made.sql.close()


def test_a_key_is_256_random_bits_in_base_62() -> None:
    tokens = {new_token() for _ in range(200)}
    assert len(tokens) == 200
    assert all(re.fullmatch(r"tdm_[0-9A-Za-z]{43}", token) for token in tokens)
    assert len({letter for token in tokens for letter in token[4:]}) == 62


def test_a_new_key_is_found_by_its_digest_with_all_it_was_given(here: Law) -> None:
    made, secret = here.keys.create(
        "ci", team="risk", role="editor", endpoints=("fraud",), scopes=("any-version",), expires_at=here.clock.now() + 1, by=LOCAL
    )
    found = here.keys.find_digest(here.keys.digest(secret.reveal()))
    assert found == made
    assert (made.name, made.team, made.role, made.endpoints, made.scopes) == (
        "ci",
        "risk",
        "editor",
        ("fraud",),
        ("any-version",),
    )
    assert made.id.startswith("key_")


def test_the_door_finds_it_with_the_pure_function_and_the_pepper(here: Law) -> None:
    _, secret = here.keys.create("ci", by=LOCAL)
    assert here.keys.digest(secret.reveal()) == digest(Vault(bytes(32)).derive("api-keys"), secret.reveal())


def test_another_master_key_finds_nothing(tmp_path: Path) -> None:
    one, other = law(tmp_path), law(tmp_path, key=b"\x01" * 32)
    _, secret = one.keys.create("ci", by=LOCAL)
    assert other.keys.find_digest(other.keys.digest(secret.reveal())) is None
    one.sql.close()
    other.sql.close()


def test_the_token_is_kept_nowhere(here: Law) -> None:
    _, secret = here.keys.create("ci", by=LOCAL)
    here.keys.adopt("canary-operator-token-5f3a")
    here.keys.revoke("ci", by=LOCAL)
    needles = [secret.reveal().encode(), b"canary-operator-token-5f3a", base64.b64encode(secret.reveal().encode())]
    for path in here.home.rglob("*"):
        if path.is_file():
            assert [needle for needle in needles if needle in path.read_bytes()] == [], path


def test_an_active_name_is_taken_and_a_revoked_one_is_free(here: Law) -> None:
    _, old = here.keys.create("ci", by=LOCAL)
    with pytest.raises(Conflict, match="active key 'ci'"):
        here.keys.create("ci", by=LOCAL)
    here.keys.revoke("ci", by=LOCAL)
    made, new = here.keys.create("ci", by=LOCAL)
    assert here.keys.find_digest(here.keys.digest(old.reveal())) is None
    assert here.keys.find_digest(here.keys.digest(new.reveal())) == made
    assert [key.revoked_by for key in here.keys.list(LOCAL)] == ["local", None]


def test_an_expired_key_is_not_found(here: Law) -> None:
    _, secret = here.keys.create("ci", expires_at=here.clock.now() + 10 * MICROS, by=LOCAL)
    here.clock.advance(9.9)
    assert here.keys.find_digest(here.keys.digest(secret.reveal())) is not None
    here.clock.advance(0.1)
    assert here.keys.find_digest(here.keys.digest(secret.reveal())) is None


def test_revoking_what_is_not_there_is_told(here: Law) -> None:
    with pytest.raises(NotFound):
        here.keys.revoke("ghost", by=LOCAL)


@pytest.mark.parametrize("role", ["viewer", "editor", "approver", "auditor"])
def test_only_admins_make_and_revoke(here: Law, role: str) -> None:
    here.keys.create("victim", by=LOCAL)
    who = Principal(id="key_x", name="x", team="default", role=role)  # type: ignore[arg-type]
    with pytest.raises(Forbidden):
        here.keys.create("mine", role="admin", by=who)
    with pytest.raises(Forbidden):
        here.keys.revoke("victim", by=who)
    assert [key.principal.name for key in here.keys.list(LOCAL)] == ["victim"]


def test_a_team_sees_its_own_keys(here: Law) -> None:
    risk, _ = here.keys.create("risk-ci", team="risk", by=LOCAL)
    sales, _ = here.keys.create("sales-ci", team="sales", by=LOCAL)
    auditor, _ = here.keys.create("eye", team="audit", role="auditor", by=LOCAL)
    names = {who.name: {key.principal.name for key in here.keys.list(who)} for who in (risk, sales, auditor)}
    assert names == {"risk-ci": {"risk-ci"}, "sales-ci": {"sales-ci"}, "eye": {"risk-ci", "sales-ci", "eye"}}
    assert here.keys.teams(risk) == ("risk",)
    assert here.keys.teams(LOCAL) == ("audit", "risk", "sales")


def test_a_new_team_is_made_and_audited_once(here: Law) -> None:
    here.keys.create("a", team="risk", by=LOCAL)
    here.keys.create("b", team="risk", by=LOCAL)
    told = [(entry.action, entry.subject) for entry in reversed(here.audit.list(Scope("risk")))]
    assert told == [("team.create", "team/risk"), ("key.create", "key/a"), ("key.create", "key/b")]


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("name", {"name": "Not A Name"}),
        ("team", {"team": "../x"}),
        ("role", {"role": "root"}),
        ("expires_at", {"expires_at": 1}),
        ("endpoints", {"endpoints": ("no such name",)}),
    ],
)
def test_what_makes_no_sense_is_refused(here: Law, field: str, values: dict[str, object]) -> None:
    with pytest.raises(Invalid):
        here.keys.create(**({"name": "ci", "by": LOCAL} | values))  # type: ignore[arg-type]
    assert here.keys.list(LOCAL) == ()


def test_adopting_again_changes_nothing_and_another_token_replaces_it(here: Law) -> None:
    first = here.keys.adopt("operator-token-one")
    assert here.keys.adopt("operator-token-one") == first
    second = here.keys.adopt("operator-token-two")
    assert here.keys.find_digest(here.keys.digest("operator-token-one")) is None
    assert here.keys.find_digest(here.keys.digest("operator-token-two")) == second
    assert (second.role, second.name) == ("admin", "admin")
    assert [entry.action for entry in here.audit.list(ALL)] == ["key.adopt", "key.revoke", "key.adopt", "team.create"]


def test_a_revoked_token_cannot_come_back(here: Law) -> None:
    here.keys.adopt("operator-token-one")
    here.keys.revoke("admin", by=LOCAL)
    with pytest.raises(Conflict, match="revoked"):
        here.keys.adopt("operator-token-one")


def test_a_key_of_another_name_or_role_is_not_adopted(here: Law) -> None:
    _, secret = here.keys.create("ci", by=LOCAL)
    with pytest.raises(Conflict) as caught:
        here.keys.adopt(secret.reveal())
    assert secret.reveal() not in str(caught.value)


@pytest.mark.parametrize("token", ["", "two words", "täglich", "line\nbreak"])
def test_a_token_that_no_header_carries_is_refused(here: Law, token: str) -> None:
    with pytest.raises(Invalid) as caught:
        here.keys.adopt(token)
    assert token == "" or token not in str(caught.value)


def test_the_feed_tells_what_was_missed(here: Law) -> None:
    assert here.keys.changes(0) == (0, [])
    one, one_secret = here.keys.create("one", by=LOCAL)
    two, two_secret = here.keys.create("two", by=LOCAL)
    one_digest, two_digest = here.keys.digest(one_secret.reveal()), here.keys.digest(two_secret.reveal())
    version, all_of_it = here.keys.changes(0)
    assert (version, list(all_of_it)) == (2, [(one_digest, one), (two_digest, two)])
    here.keys.revoke("one", by=LOCAL)
    assert here.keys.changes(version) == (3, [(one_digest, None)])
    assert here.keys.changes(3) == (3, [])
    assert here.keys.changes(0) == (3, [(two_digest, two), (one_digest, None)])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["create", "revoke", "read"]), st.sampled_from("abc")), max_size=12))
def test_a_reader_of_the_feed_ends_with_the_active_keys(here: Law, steps: list[tuple[str, str]]) -> None:
    for key in here.keys.list(LOCAL):
        if key.revoked_at is None:
            here.keys.revoke(key.principal.name, by=LOCAL)
    version, table = here.keys.changes(0)[0], {}
    active: dict[str, Principal] = {}
    for step, name in [*steps, ("read", "")]:
        if step == "create" and name not in active:
            active[name] = here.keys.create(name, by=LOCAL)[0]
        elif step == "revoke" and name in active:
            here.keys.revoke(name, by=LOCAL)
            del active[name]
        elif step == "read":
            version, changed = here.keys.changes(version)
            table.update(changed)
    assert {who.name: who for who in table.values() if who is not None} == active


def test_of_many_at_once_one_gets_the_name_and_no_version_is_lost(here: Law) -> None:
    outcomes: list[str] = []

    def work(number: int) -> None:
        for name in ("shared", f"own-{number}"):
            try:
                here.keys.create(name, by=LOCAL)
                outcomes.append(name)
            except Conflict:
                outcomes.append("conflict")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("shared") == 1
    assert outcomes.count("conflict") == 7
    assert here.keys.changes(0)[0] == 9
    assert here.audit.verify().ok


def test_the_database_itself_refuses_a_second_active_name(here: Law) -> None:
    here.keys.create("ci", by=LOCAL)
    db = sqlite3.connect(here.home / "control.db")
    with pytest.raises(sqlite3.IntegrityError):
        db.execute(
            "INSERT INTO keys "
            "SELECT 'key_2', name, team, org, kind, role, endpoints, scopes, NULL, x'00', 1, '', NULL, NULL, 9, '', '{}' "
            "FROM keys"
        )
    db.close()


def test_the_first_start_makes_an_admin_once(here: Law) -> None:
    made = here.keys.first(None)
    assert made is not None
    found = here.keys.find_digest(here.keys.digest(made))
    assert found is not None
    assert (found.name, found.role) == ("admin", "admin")
    assert here.keys.first(None) is None
    assert here.keys.first("tdm_the_operators_own_key") is None
    assert here.keys.find_digest(here.keys.digest(made)) is None  # the operator's key has taken its place
