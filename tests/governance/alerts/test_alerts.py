"""Who may set an alert, what is refused, how its secrets are kept, and what it is told of."""

from __future__ import annotations

import base64
import doctest
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.governance.alerts.place import SECRET, URL, Place, person

from tandem.core.errors import Conflict, Forbidden, Invalid, NotFound
from tandem.core.policy import Alert
from tandem.core.principal import RIGHTS, Role
from tandem.governance.alerts import check, deeds, message, slack
from tandem.governance.alerts.check import check_alert, shown_url, signing_key


def alert(**more: Any) -> Alert:
    return Alert(**{"name": "ops", "kind": "webhook", "url": URL, "on": ("monitor.alarm",), **more})


@pytest.mark.parametrize("module", [check, deeds, message, slack])
def test_the_examples_hold(module: ModuleType) -> None:
    found = doctest.testmod(module)
    assert found.attempted > 0
    assert found.failed == 0


@pytest.mark.parametrize("role", RIGHTS)
def test_a_destination_is_an_admins_to_choose(place: Place, role: Role) -> None:
    by = person(role)
    place.put()
    deeds_of = {
        "put": lambda: place.alerts.put(alert(name="new"), by=by),
        "test": lambda: place.alerts.test("ops", by=by),
        "list": lambda: place.alerts.list(by=by),
        "find": lambda: place.alerts.find("ops", by=by),
        "remove": lambda: place.alerts.remove("ops", by=by),
    }
    refused = set()
    for name, deed in deeds_of.items():
        try:
            deed()
        except Forbidden:
            refused.add(name)
    assert refused == {"admin": set(), "auditor": {"put", "test", "remove"}}.get(role, set(deeds_of))


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"name": "OPS"}, None),
        ({"kind": "pigeon"}, "kind"),
        ({"url": "ftp://hooks.example.org/x"}, "url"),
        ({"url": "hooks.example.org"}, "url"),
        ({"url": "https://user:sentinel@hooks.example.org/x"}, "url"),
        ({"url": "https://user@hooks.example.org/x"}, "url"),
        ({"url": "https://hooks.example.org/x#sentinel"}, "url"),
        ({"url": "https://hooks.example.org:99999/sentinel"}, "url"),
        ({"url": "https://[sentinel/"}, "url"),
        ({"url": "https://hooks.example.org/a\nsentinel"}, "url"),
        ({"url": "env:"}, "url"),
        ({"url": "sealed:00"}, "url"),
        ({"url": "https://hooks.example.org/…"}, "url"),
        ({"secret": "sealed:…"}, "secret"),
        ({"secret": "sentinel"}, "secret"),
        ({"secret": "whsec_sentinel"}, "secret"),
        ({"secret": "whsec_" + base64.b64encode(b"sentinel").decode()}, "secret"),
        ({"secret": "file:"}, "secret"),
        ({"on": ()}, "on"),
        ({"on": ("monitor.alarm",) * 33}, "on"),
        ({"on": ("asset.promote",)}, "on[0]"),
        ({"on": ("monitor.alarm", "nothing.*")}, "on[1]"),
        ({"on": ("*.alarm",)}, "on[0]"),
        ({"on": ("[a-z]*.*",)}, "on[0]"),
        ({"on": ("monitor",)}, "on[0]"),
        ({"to": ("ops@example.org",)}, "to"),
        ({"kind": "slack", "secret": "env:X"}, "secret"),
        ({"kind": "email", "url": "smtp://mail.example.org", "sender": "a@b"}, "to"),
        ({"kind": "email", "url": "smtp://mail.example.org", "sender": "a@b\nx", "to": ("a@b",)}, "sender"),
        ({"kind": "email", "url": "smtp://mail.example.org", "sender": "a@b", "to": ("a@b>, <c@d",)}, "to"),
        ({"kind": "email", "url": "smtp://mail.example.org/x", "sender": "a@b", "to": ("a@b",)}, "url"),
        ({"kind": "email", "url": "https://mail.example.org", "sender": "a@b", "to": ("a@b",)}, "url"),
        ({"kind": "email", "url": "smtps://m.example.org", "sender": "a@b", "to": ("a@b",), "user": "u"}, "user"),
        (
            {"kind": "email", "url": "smtp+plain://m", "sender": "a@b", "to": ("a@b",), "user": "u", "secret": "sentinel"},
            "url",
        ),
        ({"team": "nobody"}, "team"),
    ],
)
def test_what_makes_no_sense_is_refused_without_repeating_it(place: Place, more: dict[str, Any], field: str | None) -> None:
    with pytest.raises(Invalid) as caught:
        place.alerts.put(alert(**more), by=person())
    assert caught.value.field == field
    assert "sentinel" not in str(caught.value)
    assert place.alerts.list(by=person()) == ()
    if field is not None and field.startswith("on"):
        assert "alias.promote" in (caught.value.hint or "")


@given(st.text(max_size=60))
def test_no_address_is_accepted_and_then_shown_with_what_may_be_a_secret(text: str) -> None:
    try:
        check_alert(alert(url=f"https://host/{text}"))
    except Invalid:
        return
    assert shown_url(f"https://host/{text}") in ("https://host", "https://host/…")


def test_secrets_are_nowhere_in_the_clear(place: Place) -> None:
    assert place.put("signed", kind="webhook", secret=SECRET) is None
    place.put(
        "mail", kind="email", url="smtps://mail.example.org", sender="a@b", to=("c@d",), user="u", secret="sentinel-password"
    )
    place.put("hook")
    place.put("elsewhere", url="env:HOOK")
    place.alerts.test("hook", by=person())
    secrets = (SECRET, SECRET[6:], "sentinel-token", "sentinel-password")
    told = f"{place.alerts.list(by=person())} {place.audited()}"
    kept = b"".join(path.read_bytes() for path in place.home.iterdir() if path.is_file())
    assert [secret for secret in secrets if secret in told or secret.encode() in kept] == []
    shown = {each.alert.name: (each.alert.url, each.alert.secret) for each in place.alerts.list(by=person())}
    assert shown == {
        "signed": ("https://hooks.example.org/…", "sealed:…"),
        "mail": ("smtps://mail.example.org", "sealed:…"),
        "hook": ("https://hooks.example.org/…", ""),
        "elsewhere": ("env:HOOK", ""),
    }
    assert place.fake.told[0][1].url.reveal() == URL


def test_a_webhook_without_a_secret_gets_one_that_is_told_once(place: Place) -> None:
    made = place.put(kind="webhook")
    assert made is not None
    assert len(signing_key(made.reveal())) == 32
    assert place.put(kind="webhook", url="https://other.example.org") is None
    place.alerts.test("ops", by=person())
    assert place.fake.told[-1][1].secret == made
    other = place.put("another", kind="webhook")
    assert other is not None
    assert other != made


def test_the_same_again_changes_nothing(place: Place) -> None:
    place.put(kind="webhook", secret=SECRET)
    before = len(place.audited())
    place.put(kind="webhook", secret=SECRET)
    place.put(kind="webhook")
    assert len(place.audited()) == before
    place.put(kind="webhook", on=("*",))
    assert place.audited()[0].action == "alert.add"
    assert '"replaced":true' in place.audited()[0].detail


def test_references_are_resolved_where_the_platform_runs(place: Place) -> None:
    file = place.home / "secret"
    place.put(kind="webhook", url="env:HOOK", secret=f"file:{file}")
    done = place.alerts.test("ops", by=person())
    assert (done.ok, "env:HOOK" in done.detail) == (False, True)
    place.environment["HOOK"] = URL
    assert f"file:{file}" in place.alerts.test("ops", by=person()).detail
    file.write_text(f"{SECRET}\n")
    assert place.alerts.test("ops", by=person()).ok
    assert place.fake.told[0][1].secret.reveal() == SECRET
    place.put("odd", url="file:/a\0b")
    assert not place.alerts.test("odd", by=person()).ok


def test_a_test_tells_whether_it_arrived_and_is_in_the_audit(place: Place) -> None:
    place.put()
    assert place.alerts.test("ops", by=person()).detail == "delivered"
    assert place.told() == ["risk-admin tried the alert ops"]
    place.fake.down.add(URL)
    done = place.alerts.test("ops", by=person())
    assert not done.ok
    assert "cannot be reached" in done.detail
    assert [entry.action for entry in place.audited()[:2]] == ["alert.test", "alert.test"]
    with pytest.raises(NotFound):
        place.alerts.test("none", by=person())


def test_what_the_file_declares_is_the_files(place: Place) -> None:
    declared = {"ops": alert(kind="slack", managed="file:tandem.toml:7", team="not-there-yet")}
    place.put("by-hand")
    place.alerts.declare(declared)
    before = len(place.audited())
    place.alerts.declare(declared)
    assert len(place.audited()) == before
    for deed in (lambda: place.put(), lambda: place.alerts.remove("ops", by=person())):
        with pytest.raises(Conflict, match=r"file:tandem\.toml:7"):
            deed()
    place.alerts.declare({})
    assert [each.alert.name for each in place.alerts.list(by=person())] == ["by-hand"]
    assert place.audited()[0].action == "alert.remove"


def test_there_is_an_end_to_them(place: Place) -> None:
    for number in range(50):
        place.put(f"a{number}")
    with pytest.raises(Conflict, match="50 alerts"):
        place.put("more")
    place.put("a0", on=("*",))


def test_pending_counts_what_is_still_to_be_told(place: Place) -> None:
    place.deed()
    place.put()
    place.put("other", team=None, on=("key.*",))
    place.deed()
    place.deed("key.create")
    place.deed("asset.publish")
    assert {each.alert.name: each.pending for each in place.alerts.list(by=person())} == {"ops": 1, "other": 1}


@pytest.mark.parametrize("waiting", [True, False])
def test_a_changed_alert_goes_on_where_it_was_and_tells_nothing_old(place: Place, waiting: bool) -> None:
    place.put()
    place.deed("key.create")
    if waiting:
        place.deed()
    place.deed("key.revoke", subject="key/ci")
    place.put(on=("budget.*", "key.*"))
    place.courier.step()
    assert place.told() == (["ada set a cap for team/risk", "ada revoked key/ci"] if waiting else [])
    place.deed()
    place.courier.step()
    assert len(place.told()) == (3 if waiting else 1)
