"""Links are good once, for a time, for what was said, and while whoever made them may."""

from __future__ import annotations

import threading

import pytest
from tests.governance.people.place import GOOD, People

from tandem.core.clock import MICROS
from tandem.core.errors import Conflict, Forbidden, Invalid, NotFound, TandemError
from tandem.core.principal import LOCAL, Principal
from tandem.governance.people.invitations import SECONDS, Invited, name_for


def invited(here: People, email: str = "bob@example.org", by: Principal = LOCAL) -> str:
    return here.invitations.invite(Invited(email=email, teams={"red": "editor"}), by=by)[1].reveal()


def test_a_link_makes_the_person_once(here: People) -> None:
    token = invited(here)
    found, name = here.invitations.open(token)
    assert (found.email, found.teams, name) == ("bob@example.org", {"red": "editor"}, "bob")
    assert here.invitations.open(token)[0] == found  # to look is not to use
    person = here.invitations.redeem(token, name="bob", password=GOOD)
    assert (person.name, person.email, person.teams) == ("bob", "bob@example.org", {"red": "editor"})
    assert here.sessions.sign_in("bob", GOOD).principal.role == "editor"
    for use in (lambda: here.invitations.open(token), lambda: here.invitations.redeem(token, name="eve", password=GOOD)):
        with pytest.raises(NotFound):
            use()
    assert here.invitations.list(LOCAL) == ()
    assert "person.join person/bob by bob" in here.deeds()


def test_a_link_is_over_after_its_time(here: People) -> None:
    token = invited(here)
    here.clock.advance(SECONDS - 1)
    here.invitations.open(token)
    here.clock.advance(1)
    with pytest.raises(NotFound):
        here.invitations.open(token)
    with pytest.raises(NotFound):
        here.invitations.redeem(token, name="bob", password=GOOD)
    assert here.invitations.list(LOCAL) == ()


def test_a_bad_password_or_a_taken_name_does_not_use_it_up(here: People) -> None:
    here.person("ada", red="viewer")
    token = invited(here)
    for name, password, error in (("bob", "short", Invalid), ("ada", GOOD, Conflict), ("No Name", GOOD, Invalid)):
        with pytest.raises(error):
            here.invitations.redeem(token, name=name, password=password)
    assert here.invitations.redeem(token, name="bob", password=GOOD).name == "bob"


def test_of_many_at_once_one_uses_it(here: People) -> None:
    token = invited(here)
    done: list[str] = []

    def use(number: int) -> None:
        try:
            here.invitations.redeem(token, name=f"bob-{number}", password=GOOD)
            done.append("in")
        except TandemError as error:
            done.append(error.code)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == ["in", "not_found", "not_found", "not_found"]


def test_it_is_taken_back(here: People) -> None:
    token = invited(here)
    (found,) = here.invitations.list(LOCAL)
    here.invitations.withdraw(found.id, by=LOCAL)
    with pytest.raises(NotFound):
        here.invitations.open(token)
    with pytest.raises(NotFound):
        here.invitations.withdraw(found.id, by=LOCAL)


@pytest.mark.parametrize("end", ["disable", "remove", "demote", "leave"])
def test_it_ends_with_the_rights_of_whoever_made_it(here: People, end: str) -> None:
    here.person("ada", red="admin")
    token = invited(here, by=here.signed_in("ada"))
    match end:
        case "disable":
            here.persons.change("ada", disabled=True, by=LOCAL)
        case "remove":
            here.persons.remove("ada", by=LOCAL)
        case "demote":
            here.persons.put_member("red", "ada", "editor", by=LOCAL)
        case _:
            here.persons.drop_member("red", "ada", by=LOCAL)
    with pytest.raises(NotFound):
        here.invitations.redeem(token, name="bob", password=GOOD)


def test_nobody_invites_into_what_they_do_not_administer(here: People) -> None:
    here.person("ada", red="admin")
    here.person("bob", red="approver")
    chief, bob = here.signed_in("ada"), here.signed_in("bob")
    with pytest.raises(Forbidden):
        invited(here, by=bob)
    for wanted in (
        Invited(email="x@example.org", teams={"blue": "viewer"}),
        Invited(email="x@example.org", role="auditor", teams={"red": "viewer"}),
    ):
        with pytest.raises(Forbidden):
            here.invitations.invite(wanted, by=chief)
    here.invitations.invite(Invited(email="y@example.org", teams={"blue": "viewer"}), by=LOCAL)
    invited(here, "z@example.org", by=chief)
    assert [each.email for each in here.invitations.list(chief)] == ["z@example.org"]
    assert here.invitations.list(bob) == ()
    (other,) = (each for each in here.invitations.list(LOCAL) if each.email == "y@example.org")
    with pytest.raises(NotFound):
        here.invitations.withdraw(other.id, by=chief)


def test_somebody_with_this_address_is_not_invited_again(here: People) -> None:
    here.person("ada", red="viewer")
    with pytest.raises(Conflict):
        invited(here, "ADA@example.org")


@pytest.mark.parametrize("seconds", [0, 59, 31 * 24 * 3600])
def test_its_time_is_bounded(here: People, seconds: int) -> None:
    with pytest.raises(Invalid):
        here.invitations.invite(Invited(email="x@example.org", teams={"red": "viewer"}, seconds=seconds), by=LOCAL)


def test_a_link_for_a_new_password_signs_out_and_changes_nothing_else(here: People) -> None:
    here.person("ada", red="editor")
    cookie = here.sessions.sign_in("ada", GOOD).cookie
    link, token = here.invitations.link("ada", seconds=3600, by=LOCAL)
    assert link.expires_at == here.clock.now() + 3600 * MICROS
    person = here.invitations.redeem(token.reveal(), name="someone-else", password="another long sentence")
    assert (person.name, person.teams) == ("ada", {"red": "editor"})
    assert here.sessions.by_cookie(cookie) is None
    assert here.sessions.sign_in("ada", "another long sentence").principal.name == "ada"
    with pytest.raises(NotFound):
        here.invitations.link("nobody", by=LOCAL)


def test_names_are_made_of_addresses() -> None:
    assert [name_for(email) for email in ("Ada.Lovelace@x.y", "ö@x.y", "a+b@x.y", "-.-@x.y")] == [
        "ada.lovelace",
        "person",
        "a-b",
        "person",
    ]
