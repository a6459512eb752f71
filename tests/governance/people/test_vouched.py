"""Who it is that a provider of sign-ins vouches for, and what becomes of their roles."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.governance.people.place import GOOD, People

from tandem.core.errors import Unauthenticated
from tandem.core.principal import LOCAL, Terms
from tandem.governance.people.invitations import Invited
from tandem.governance.people.issuer import Issuer
from tandem.governance.people.oidc import Vouched
from tandem.governance.people.vouched import Newcomers
from tandem.store.vault import Vault

CORP = Issuer(
    name="corp",
    issuer="https://login.example.org",
    client_id="tandem",
    domains=("example.org",),
    teams={"engineers": "red=editor", "leads": "red=approver, blue=viewer", "platform": "admin"},
)
ADA = Vouched(issuer=CORP, subject="u-1", email="ada@example.org", name="Ada", groups=["engineers"])


@pytest.fixture
def door(here: People) -> Newcomers:
    return Newcomers(here.sql, Vault(bytes(32)), here.clock, here.audit, here.persons)


def test_the_same_subject_is_the_same_person_whatever_else_changes(door: Newcomers) -> None:
    first = door.welcome(ADA)
    again = door.welcome(replace(ADA, email="new@example.org", name="Somebody"))
    assert (first.id, first.name, first.teams) == (again.id, "ada", {"red": "editor"})
    other = door.welcome(replace(ADA, subject="u-2", email="ada2@example.org"))
    assert (other.name, other.id != first.id) == ("ada-2", True)
    elsewhere = replace(ADA, issuer=replace(CORP, name="other", issuer="https://other.example.org"), email="ada3@example.org")
    assert door.welcome(elsewhere).id not in (first.id, other.id)


def test_a_person_is_found_by_the_address_once_and_never_taken_from_another(here: People, door: Newcomers) -> None:
    made = here.person("ada", green="viewer")
    linked = door.welcome(ADA)
    assert (linked.id, linked.teams) == (made.id, {"green": "viewer", "red": "editor"})
    assert here.sessions.sign_in("ada", GOOD).principal.name == "ada"  # the password is still one
    with pytest.raises(Unauthenticated):  # the address has changed hands at the provider: nobody inherits the person
        door.welcome(replace(ADA, subject="u-9"))


@pytest.mark.parametrize(
    "vouched",
    [
        replace(ADA, email=None),
        replace(ADA, email="ada@evil.example"),
        replace(ADA, email="ada@example.org.evil.example"),
        replace(ADA, email="no address"),
        replace(ADA, groups=[]),
        replace(ADA, groups=["unknown"]),
        replace(ADA, issuer=replace(CORP, join=False)),
    ],
    ids=["no e-mail", "domain", "longer domain", "nonsense", "no group", "unknown group", "uninvited"],
)
def test_who_is_not_let_in_is_not_made(here: People, door: Newcomers, vouched: Vouched) -> None:
    with pytest.raises(Unauthenticated):
        door.welcome(vouched)
    assert here.persons.list(LOCAL) == ()


def test_an_invitation_opens_the_way_and_is_used_up(here: People, door: Newcomers) -> None:
    token = here.invitations.invite(Invited(email="ada@example.org", teams={"green": "editor"}), by=LOCAL)[1].reveal()
    person = door.welcome(replace(ADA, issuer=replace(CORP, join=False, teams={}), groups=None))
    assert person.teams == {"green": "editor"}
    with pytest.raises(Exception, match="not good any more"):
        here.invitations.open(token)


def test_roles_that_the_mapping_decides_are_set_each_time_and_no_others(here: People, door: Newcomers) -> None:
    person = door.welcome(ADA)
    here.persons.add_team("green", by=LOCAL)
    here.persons.put_member("green", "ada", "approver", by=LOCAL)
    key, _ = here.keys.create("ci", team="red", role="editor", terms=Terms(owner="person/ada"), by=LOCAL)
    kept, _ = here.keys.create("kept", team="green", role="approver", terms=Terms(owner="person/ada"), by=LOCAL)
    assert door.welcome(replace(ADA, groups=["leads"])).teams == {"red": "approver", "blue": "viewer", "green": "approver"}
    assert here.keys.holds(key)
    assert door.welcome(replace(ADA, groups=["platform"])).role == "admin"
    left = door.welcome(replace(ADA, groups=[]))
    assert (left.id, left.role, left.teams) == (person.id, None, {"green": "approver"})
    assert (here.keys.holds(key), here.keys.holds(kept)) == (False, True)
    assert [deed for deed in here.deeds() if deed.startswith("member.")][-1].endswith("by oidc.corp")
    assert here.audit.verify().ok


def test_a_role_in_the_organisation_that_no_value_gives_is_set_by_hand(here: People, door: Newcomers) -> None:
    bare = replace(ADA, issuer=replace(CORP, teams={"engineers": "red=editor"}))
    door.welcome(bare)
    here.persons.change("ada", role="auditor", by=LOCAL)
    assert door.welcome(bare).role == "auditor"


def test_whoever_is_disabled_stays_so(here: People, door: Newcomers) -> None:
    person = door.welcome(ADA)
    here.persons.change("ada", disabled=True, by=LOCAL)
    again = door.welcome(ADA)
    assert again.id == person.id
    with pytest.raises(Unauthenticated):
        here.sessions.enter(again, how="oidc corp")
