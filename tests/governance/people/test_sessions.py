"""Signing in: who proves it, for how long it holds, what slows a guesser down."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.governance.people.place import GOOD, People, people

from tandem.core.errors import Forbidden, Invalid, NotFound, RateLimited, Unauthenticated
from tandem.core.principal import LOCAL, Terms
from tandem.governance.people.attempts import ADDRESS, NAME, Pace
from tandem.governance.people.lasting import IDLE_SECONDS, SESSION_SECONDS, Lasting
from tandem.governance.people.passwords import AT_ONCE, WAITING, Passwords, check_password
from tandem.governance.sessions import own_page


def test_a_person_signs_in_by_name_or_e_mail(here: People) -> None:
    here.person("ada", red="editor")
    for name in ("ada", " Ada ", "ada@example.org", "ADA@Example.org"):
        opened = here.sessions.sign_in(name, GOOD)
        found = here.sessions.by_cookie(opened.cookie)
        assert found == opened.principal
        assert (opened.principal.name, opened.principal.role, opened.principal.kind) == ("ada", "editor", "person")


def test_what_is_wrong_is_not_told_and_costs_the_same(here: People) -> None:
    here.person("ada", red="editor")
    here.person("off", red="editor")
    here.persons.change("off", disabled=True, by=LOCAL)
    here.person("new", password=None, red="editor")
    told = set()
    for name, password in (("ada", "wrong"), ("off", GOOD), ("new", GOOD), ("nobody", GOOD), ("", ""), ("x" * 500, "y" * 1000)):
        with pytest.raises(Unauthenticated) as caught:
            here.sessions.sign_in(name, password, address="192.0.2.1")
        told.add((str(caught.value), caught.value.code, caught.value.status))
    assert len(told) == 1


def test_an_unknown_name_is_hashed_too() -> None:
    looked: list[str] = []

    class Counted(Passwords):
        def holds(self, kept: str | None, password: str) -> bool:
            looked.append("unknown" if kept is None else "known")
            return super().holds(kept, password)

    counted = Counted()
    kept = counted.hash(GOOD)
    assert (counted.holds(kept, GOOD), counted.holds(kept, "wrong"), counted.holds(None, "nobody has this password")) == (
        True,
        False,
        False,
    )
    assert kept.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert looked == ["known", "known", "unknown"]


def test_a_session_ends_after_a_time_without_use_and_after_a_time_at_all(here: People) -> None:
    here.person("ada", red="editor")
    idle, busy = here.sessions.sign_in("ada", GOOD).cookie, here.sessions.sign_in("ada", GOOD).cookie
    for _ in range(SESSION_SECONDS // (IDLE_SECONDS // 2) - 1):
        here.clock.advance(IDLE_SECONDS / 2)
        assert here.sessions.by_cookie(busy) is not None
    assert here.sessions.by_cookie(idle) is None
    here.clock.advance(IDLE_SECONDS / 2)
    assert here.sessions.by_cookie(busy) is None


def test_signing_in_again_gives_another_cookie_and_ends_the_one_before(here: People) -> None:
    here.person("ada", red="editor")
    first = here.sessions.sign_in("ada", GOOD).cookie
    second = here.sessions.sign_in("ada", GOOD, before=first).cookie
    assert first != second
    assert here.sessions.by_cookie(first) is None
    assert here.sessions.by_cookie(second) is not None
    here.sessions.end(second)
    assert here.sessions.by_cookie(second) is None


def test_a_session_by_key_ends_with_the_key(here: People) -> None:
    _, secret = here.keys.create("ci", by=LOCAL)
    opened = here.sessions.open(secret.reveal())
    assert opened is not None
    assert here.sessions.by_cookie(opened.cookie) == opened.principal
    here.keys.revoke("ci", by=LOCAL)
    assert here.sessions.by_cookie(opened.cookie) is None
    assert here.sessions.open(secret.reveal()) is None


def test_a_key_is_bound_to_its_networks_at_the_console_too(here: People) -> None:
    _, secret = here.keys.create("ci", terms=Terms(networks=("10.0.0.0/8",)), by=LOCAL)
    with pytest.raises(Forbidden):
        here.sessions.open(secret.reveal(), address="192.0.2.1")
    opened = here.sessions.open(secret.reveal(), address="10.1.2.3")
    assert opened is not None
    with pytest.raises(Forbidden):
        here.sessions.by_cookie(opened.cookie, "192.0.2.1")


def test_no_cookie_is_kept_as_it_is(here: People) -> None:
    here.person("ada", red="editor")
    cookie = here.sessions.sign_in("ada", GOOD).cookie
    link = here.invitations.link("ada", by=LOCAL)[1].reveal()
    for path in here.home.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert not [secret for secret in (cookie, link, GOOD) if secret.encode() in data], path


def test_a_person_changes_the_team_they_act_in(here: People) -> None:
    here.person("ada", red="editor", blue="viewer")
    here.person("eve", role="auditor", red="editor")
    cookie = here.sessions.sign_in("ada", GOOD).cookie
    assert here.sessions.act_in(cookie, "red").role == "editor"
    now = here.sessions.by_cookie(cookie)
    assert now is not None
    assert (now.team, now.role) == ("red", "editor")
    for team in ("green", ""):
        with pytest.raises(NotFound):
            here.sessions.act_in(cookie, team)
    here.persons.drop_member("red", "ada", by=LOCAL)
    left = here.sessions.by_cookie(cookie)
    assert left is not None
    assert (left.team, left.role) == ("blue", "viewer")
    here.persons.drop_member("blue", "ada", by=LOCAL)
    assert here.sessions.by_cookie(cookie) is None
    eve = here.sessions.sign_in("eve", GOOD)
    assert (eve.principal.role, eve.principal.reach) == ("auditor", "organisation")
    assert here.sessions.act_in(eve.cookie, "red").role == "editor"
    assert here.sessions.act_in(eve.cookie, "").role == "auditor"


def test_failures_slow_a_name_down_from_wherever_they_come(here: People) -> None:
    here.person("ada", red="editor")
    for place in range(NAME.free + 1):
        with pytest.raises(Unauthenticated):
            here.sessions.sign_in("ada", "wrong", address=f"192.0.2.{place}")
    with pytest.raises(RateLimited) as caught:
        here.sessions.sign_in("ada@example.org", GOOD, address="198.51.100.1")
    assert caught.value.retry_after is not None
    assert 0 < caught.value.retry_after <= 1
    here.clock.advance(1)
    assert here.sessions.sign_in("ada", GOOD, address="198.51.100.1").principal.name == "ada"
    with pytest.raises(Unauthenticated):  # and then it begins anew
        here.sessions.sign_in("ada", "wrong", address="192.0.2.1")
    assert "session.slow person/ada by local" in here.deeds()
    assert here.deeds().count("session.refuse person/ada by local") == NAME.free + 2


def test_failures_slow_an_address_down_whatever_the_name(here: People) -> None:
    here.person("ada", red="editor")
    for place in range(ADDRESS.free + 1):
        with pytest.raises(Unauthenticated):
            here.sessions.sign_in(f"nobody-{place}", "wrong", address=f"2001:db8:1:2::{place:x}")
    with pytest.raises(RateLimited):
        here.sessions.sign_in("ada", GOOD, address="2001:db8:1:2:ffff::1")
    assert here.sessions.sign_in("ada", GOOD, address="2001:db8:1:3::1").principal.name == "ada"
    assert "session.slow person/unknown by local" in here.deeds()
    assert not [deed for deed in here.deeds() if "nobody" in deed]  # what strangers write is not kept


def test_unknown_names_are_slowed_as_known_ones_are(here: People) -> None:
    here.person("ada", red="editor")
    told = {}
    for name in ("ada", "nobody"):
        answers = []
        for place in range(NAME.free + 3):
            with pytest.raises((Unauthenticated, RateLimited)) as caught:
                here.sessions.sign_in(name, "wrong", address=f"192.0.2.{place}")
            answers.append((type(caught.value).__name__, str(caught.value)))
        told[name] = answers
    assert told["ada"] == told["nobody"]


def test_an_account_of_ones_own_buys_no_guesses_of_others(here: People) -> None:
    here.person("eve", red="viewer")
    for place in range(ADDRESS.free + 3):
        here.clock.advance(60 * place)
        with pytest.raises(Unauthenticated):
            here.sessions.sign_in(f"nobody-{place}", "wrong", address="192.0.2.1")
    here.clock.advance(ADDRESS.longest)
    here.sessions.sign_in("eve", GOOD, address="192.0.2.1")
    here.sessions.sign_in("eve", GOOD, address="198.51.100.1")
    with pytest.raises(RateLimited):
        here.sessions.sign_in("ada", "a guess", address="192.0.2.1")


def test_a_flood_waits_no_longer_than_there_is_room() -> None:
    crowd = Passwords()
    taken = [crowd._queue.acquire(blocking=False) for _ in range(AT_ONCE + WAITING)]
    assert all(taken)
    with pytest.raises(RateLimited, match="at this moment"):
        crowd.holds(None, "anything")
    for _ in taken:
        crowd._queue.release()
    assert not crowd.holds(None, "anything")


def test_many_at_once_are_no_way_around_it(here: People) -> None:
    here.person("ada", red="editor")
    outcomes: list[str] = []

    def guess() -> None:
        try:
            here.sessions.sign_in("ada", "wrong", address="192.0.2.1")
        except (Unauthenticated, RateLimited) as error:
            outcomes.append(type(error).__name__)

    threads = [threading.Thread(target=guess) for _ in range(NAME.free + 6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("Unauthenticated") == NAME.free + 1


@given(st.integers(0, 200), st.integers(0, 200))
def test_waits_grow_and_are_bounded(one: int, other: int) -> None:
    pace = Pace(free=5, longest=60)
    low, high = sorted((one, other))
    assert 0 <= pace.wait(low) <= pace.wait(high) <= 60


def test_passwords_can_be_turned_off(tmp_path: Path) -> None:
    here = people(tmp_path, Lasting(passwords=False))
    here.person("ada", red="editor")
    with pytest.raises(Unauthenticated, match="password"):
        here.sessions.sign_in("ada", GOOD)
    here.sql.close()


@pytest.mark.parametrize(
    "password",
    [
        "short",
        "x" * 257,
        "aaaaaaaaaaaaaaaa",
        "passwordpassword",
        "Password-1234567",
        "ada-ada-ada-ada",
        "ada@example.org",
        "123456789012",
    ],
)
def test_a_bad_password_is_refused(password: str) -> None:
    with pytest.raises(Invalid) as caught:
        check_password(password, name="ada", email="ada@example.org")
    assert password not in str(caught.value)


def test_the_same_characters_are_the_same_password(here: People) -> None:
    here.person("ada", password="ein schöner Ort für alle", red="editor")
    assert here.sessions.sign_in("ada", "ein scho\u0308ner Ort fu\u0308r alle").principal.name == "ada"


def test_a_person_changes_the_own_password_with_the_present_one(here: People) -> None:
    here.person("ada", red="editor")
    ada = here.signed_in("ada")
    cookie = here.sessions.sign_in("ada", GOOD).cookie
    with pytest.raises(Invalid):
        here.invitations.set_password("ada", "another long sentence", current="wrong", by=ada)
    key, _ = here.keys.create("ci", team="red", terms=Terms(owner="person/ada"), by=LOCAL)
    with pytest.raises(Forbidden):  # a key that was lost must not take the account over
        here.invitations.set_password("ada", "another long sentence", current=GOOD, by=key)
    here.invitations.set_password("ada", "another long sentence", current=GOOD, by=ada)
    assert here.sessions.by_cookie(cookie) is None
    assert here.sessions.sign_in("ada", "another long sentence").principal.name == "ada"


def test_the_present_password_is_guessed_no_faster_from_inside(here: People) -> None:
    here.person("ada", red="editor")
    ada = here.signed_in("ada")
    for _ in range(NAME.free + 1):
        with pytest.raises(Invalid):
            here.invitations.set_password("ada", "another long sentence", current="wrong", by=ada)
    with pytest.raises(RateLimited):
        here.invitations.set_password("ada", "another long sentence", current=GOOD, by=ada)


def test_an_admin_signs_somebody_out_and_so_does_the_person(here: People) -> None:
    here.person("ada", red="editor")
    here.person("bob", red="editor")
    ada, bob = here.sessions.sign_in("ada", GOOD), here.sessions.sign_in("bob", GOOD)
    for name in ("ada", "nobody"):
        with pytest.raises(Forbidden):
            here.sessions.end_all(name, by=bob.principal)
    assert here.sessions.end_all("ada", by=LOCAL) == 1
    assert here.sessions.by_cookie(ada.cookie) is None
    assert here.sessions.end_all("bob", by=bob.principal) == 1


@pytest.mark.parametrize(
    ("method", "site", "origin", "let"),
    [
        ("GET", "cross-site", None, True),
        ("POST", "same-origin", None, True),
        ("POST", "none", None, True),
        ("POST", "same-site", "https://tandem.example", False),
        ("POST", "cross-site", None, False),
        ("POST", None, "https://tandem.example", True),
        ("POST", None, "https://evil.example", False),
        ("POST", None, "null", False),
        ("POST", None, None, True),
        ("DELETE", "cross-site", None, False),
    ],
)
def test_a_change_comes_from_our_own_pages(method: str, site: str | None, origin: str | None, let: bool) -> None:
    assert own_page(method, site, origin, "tandem.example") is let
