"""Who is in which team with which role; what is taken away ends what rested on it."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.governance.people.place import GOOD, People

from tandem.core.errors import Conflict, Forbidden, Invalid, NotFound, Unauthenticated
from tandem.core.principal import LOCAL, RIGHTS, WIDE, Person, Principal, Role, Terms
from tandem.governance.authorise import Scope, authorise, scope_of
from tandem.governance.people.persons import NewPerson
from tandem.governance.terms import rights_of, within

ROLES: tuple[Role, ...] = get_args(Role)


def test_a_person_acts_in_one_team_with_the_role_there(here: People) -> None:
    person = here.person("ada", red="editor", blue="viewer")
    red, blue = person.acting("red"), person.acting("blue")
    assert red is not None
    assert blue is not None
    assert (red.role, red.team, red.kind, red.id) == ("editor", "red", "person", person.id)
    assert (red.may("write"), blue.may("write")) == (True, False)
    assert (scope_of(red), scope_of(blue)) == (Scope("red"), Scope("blue"))
    assert person.acting("green") is None
    assert person.acting("") is None


def test_an_admin_of_a_team_is_none_of_the_organisation(here: People) -> None:
    chief = here.person("ada", red="admin").acting("red")
    assert chief is not None
    assert scope_of(chief) == Scope("red")
    authorise(chief, "admin", "red")
    for team in (None, "blue"):
        with pytest.raises(Forbidden):
            authorise(chief, "admin", team)
    with pytest.raises(Forbidden, match="in the team 'red' alone"):
        authorise(chief, "admin")
    wide = here.person("eve", role="admin").acting("")
    assert wide is not None
    authorise(wide, "admin", "blue")
    assert scope_of(wide) == Scope(None)


def test_the_budgets_of_a_call_count_for_the_person_between_team_and_key(here: People) -> None:
    person = here.person("ada", red="editor")
    key, _ = here.keys.create("ci", team="red", role="viewer", terms=Terms(owner="person/ada"), by=LOCAL)
    assert key.budget_scopes == ("org", "team/red", "person/ada", "key/ci")
    signed_in = person.acting("red")
    assert signed_in is not None
    assert signed_in.budget_scopes == ("org", "team/red", "person/ada")
    plain, _ = here.keys.create("app", team="red", by=LOCAL)
    assert plain.budget_scopes == ("org", "team/red", "key/app")


def test_persons_services_and_keys_share_their_names(here: People) -> None:
    here.person("ada", red="viewer")
    here.persons.add(NewPerson(name="etl", kind="service", teams={"red": "editor"}), by=LOCAL)
    here.keys.create("ci", by=LOCAL)
    for name in ("ada", "etl"):
        with pytest.raises(Conflict):
            here.keys.create(name, by=LOCAL)
    for name in ("ada", "etl", "ci"):
        with pytest.raises(Conflict):
            here.persons.add(NewPerson(name=name, teams={"red": "viewer"}), by=LOCAL)
    with pytest.raises(Conflict):
        here.persons.add(NewPerson(name="ada2", email="ADA@example.org ", teams={"red": "viewer"}), by=LOCAL)


@pytest.mark.parametrize(
    "new",
    [
        NewPerson(name="Not A Name", teams={"red": "viewer"}),
        NewPerson(name="ada", teams={}),
        NewPerson(name="ada", teams={"red": "king"}),  # type: ignore[dict-item]
        NewPerson(name="ada", role="editor", teams={}),
        NewPerson(name="ada", email="nowhere", teams={"red": "viewer"}),
        NewPerson(name="ada", email="a@b.c\r\nx: y", teams={"red": "viewer"}),
        NewPerson(name="etl", kind="service", email="etl@example.org", teams={"red": "viewer"}),
        NewPerson(name="ada", teams={"../x": "viewer"}),
    ],
    ids=["name", "nothing", "role", "wide role", "e-mail", "header", "service with e-mail", "team"],
)
def test_what_makes_no_sense_is_refused(here: People, new: NewPerson) -> None:
    with pytest.raises(Invalid):
        here.persons.add(new, by=LOCAL)
    assert here.persons.list(LOCAL) == ()


def test_an_admin_of_a_team_gives_roles_in_it_and_nowhere_else(here: People) -> None:
    here.person("ada", red="admin")
    here.person("zoe", blue="viewer")
    chief = here.signed_in("ada")
    here.persons.add(NewPerson(name="bob", teams={"red": "approver"}), by=chief)
    here.persons.put_member("red", "zoe", "editor", by=chief)
    assert here.seen("zoe", LOCAL).teams == {"blue": "viewer", "red": "editor"}
    assert here.seen("zoe", chief).teams == {"red": "editor"}  # what she is elsewhere is none of ada's business
    refused = [
        lambda: here.persons.add(NewPerson(name="eve", teams={"blue": "viewer"}), by=chief),
        lambda: here.persons.add(NewPerson(name="eve", teams={"red": "viewer", "blue": "viewer"}), by=chief),
        lambda: here.persons.add(NewPerson(name="eve", role="admin", teams={"red": "viewer"}), by=chief),
        lambda: here.persons.put_member("blue", "ada", "admin", by=chief),
        lambda: here.persons.drop_member("blue", "zoe", by=chief),
        lambda: here.persons.change("zoe", email="mine@example.org", by=chief),
        lambda: here.persons.remove("zoe", by=chief),
        lambda: here.persons.add_team("green", by=chief),
        lambda: here.invitations.set_password("zoe", "another long sentence", by=chief),
        lambda: here.invitations.link("zoe", by=chief),
    ]
    for each in refused:
        with pytest.raises(Forbidden):
            each()


def test_whoever_is_disabled_is_out_at_once_with_all_keys(here: People) -> None:
    here.person("ada", red="editor")
    cookie = here.sessions.sign_in("ada", GOOD).cookie
    _, secret = here.keys.create("ci", team="red", role="editor", terms=Terms(owner="person/ada"), by=LOCAL)
    version = here.keys.changes(0)[0]
    here.persons.change("ada", disabled=True, by=LOCAL)
    assert here.sessions.by_cookie(cookie) is None
    assert here.keys.find_digest(here.keys.digest(secret.reveal())) is None
    assert here.keys.changes(version)[1] == [(here.keys.digest(secret.reveal()), None)]
    with pytest.raises(Unauthenticated):
        here.sessions.sign_in("ada", GOOD)
    here.persons.change("ada", disabled=False, by=LOCAL)
    assert here.sessions.by_cookie(cookie) is None  # neither comes back
    assert here.keys.find_digest(here.keys.digest(secret.reveal())) is None
    assert here.sessions.sign_in("ada", GOOD).principal.name == "ada"


def test_whoever_is_removed_leaves_nothing_but_the_audit(here: People) -> None:
    here.person("ada", red="admin")
    chief = here.signed_in("ada")
    here.keys.create("ci", team="red", terms=Terms(owner="person/ada"), by=LOCAL)
    here.persons.remove("ada", by=LOCAL)
    assert here.persons.list(LOCAL) == ()
    assert [key.revoked_by for key in here.keys.list(LOCAL)] == ["local"]
    assert not here.keys.holds(chief)
    with here.sql.read() as conn:
        told = conn.exec_driver_sql("SELECT (SELECT count(*) FROM members), (SELECT count(*) FROM sessions)").one()
    assert tuple(told) == (0, 0)
    assert b"ada@example.org" not in b"".join(entry.detail.encode() for entry in here.audit.list(Scope(None)))
    assert here.audit.verify().ok


def test_a_smaller_role_ends_the_keys_that_would_give_more(here: People) -> None:
    here.person("ada", red="editor", blue="viewer")
    for name, team, role in (("write", "red", "editor"), ("look", "red", "viewer"), ("other", "blue", "viewer")):
        here.keys.create(name, team=team, role=role, terms=Terms(owner="person/ada"), by=LOCAL)  # type: ignore[arg-type]
    here.persons.put_member("red", "ada", "viewer", by=LOCAL)
    assert {key.principal.name for key in here.keys.list(LOCAL) if key.revoked_at} == {"write"}
    here.persons.drop_member("red", "ada", by=LOCAL)
    assert {key.principal.name for key in here.keys.list(LOCAL) if key.revoked_at} == {"write", "look"}


def test_a_key_gives_no_more_than_its_owner_has(here: People) -> None:
    here.person("ada", red="viewer")
    here.person("eve", role="auditor")
    with pytest.raises(Conflict, match="more than person/ada"):
        here.keys.create("ci", team="red", role="editor", terms=Terms(owner="person/ada"), by=LOCAL)
    with pytest.raises(Conflict):
        here.keys.create("ci", team="blue", role="viewer", terms=Terms(owner="person/ada"), by=LOCAL)
    for owner in ("person/none", "service/ada", "ada"):
        with pytest.raises(NotFound):
            here.keys.create("ci", team="red", terms=Terms(owner=owner), by=LOCAL)
    here.keys.create("eye", team="red", role="auditor", terms=Terms(owner="person/eve"), by=LOCAL)
    here.persons.put_member("red", "ada", "admin", by=LOCAL)
    with pytest.raises(Conflict):
        here.keys.create("wide", team="red", role="admin", terms=Terms(owner="person/ada"), by=LOCAL)
    here.keys.create("narrow", team="red", role="admin", terms=Terms(owner="person/ada", reach="team"), by=LOCAL)


def test_a_person_makes_and_ends_keys_of_their_own_and_no_others(here: People) -> None:
    here.person("ada", red="editor")
    ada = here.signed_in("ada")
    own = Terms(owner="person/ada", reach="team")
    made, _ = here.keys.create("mine", team="red", role="editor", terms=own, by=ada)
    assert made.owner == "person/ada"
    here.keys.create("theirs", team="red", by=LOCAL)
    attempts = [
        lambda: here.keys.create("a", team="red", role="approver", terms=own, by=ada),
        lambda: here.keys.create("b", team="blue", role="viewer", terms=own, by=ada),
        lambda: here.keys.create("c", team="red", role="viewer", terms=Terms(reach="team"), by=ada),
        lambda: here.keys.create("d", team="red", role="viewer", scopes=("any-version",), terms=own, by=ada),
        lambda: here.keys.revoke("theirs", by=ada),
        lambda: here.keys.rotate("theirs", by=ada),
    ]
    for attempt in attempts:
        with pytest.raises((Forbidden, NotFound)):
            attempt()
    here.keys.rotate("mine", by=ada)
    here.keys.revoke("mine", by=ada)


def test_an_admin_of_a_team_makes_keys_of_it_that_reach_no_further(here: People) -> None:
    here.person("ada", red="admin")
    chief = here.signed_in("ada")
    here.keys.create("editor", team="red", role="editor", by=chief)
    here.keys.create("chief", team="red", role="admin", terms=Terms(reach="team"), by=chief)
    for terms, team, scopes in (
        (Terms(), "red", ()),
        (Terms(reach="team"), "blue", ()),
        (Terms(reach="team"), "red", ("any-version",)),
    ):
        with pytest.raises(Forbidden):
            here.keys.create("more", team=team, role="admin", scopes=scopes, terms=terms, by=chief)
    here.keys.create("blue", team="blue", by=LOCAL)
    with pytest.raises(NotFound):
        here.keys.revoke("blue", by=chief)
    assert {key.principal.name for key in here.keys.list(chief)} == {"editor", "chief"}


people = st.builds(
    Person,
    id=st.just("per_1"),
    name=st.just("ada"),
    role=st.sampled_from([None, "admin", "auditor"]),
    teams=st.dictionaries(st.sampled_from(["red", "blue"]), st.sampled_from(ROLES)),
)
keys = st.builds(
    Principal,
    id=st.just("key_1"),
    name=st.just("ci"),
    team=st.sampled_from(["red", "blue", "green"]),
    role=st.sampled_from(ROLES),
    reach=st.sampled_from(["organisation", "team"]),
    rights=st.lists(st.sampled_from(sorted(RIGHTS["admin"])), max_size=2).map(tuple),
)


@given(keys, people)
def test_no_key_that_is_let_be_does_what_its_owner_could_not(key: Principal, owner: Person) -> None:
    if not within(key, owner):
        return
    hats = [owner.acting(""), owner.acting(key.team)]
    for right in RIGHTS["admin"]:
        for team in (None, "red", "blue", "green"):
            if key.may(right, team) and (right in WIDE or team in (None, key.team)):
                assert any(hat is not None and (hat.may(right, team) or hat.may(right)) for hat in hats), (right, team)
    assert rights_of(key) <= frozenset[str]().union(*(rights_of(hat) for hat in hats if hat is not None))
