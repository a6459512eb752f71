"""What a provider of sign-ins says is believed only where everything fits; what it means is in the settings."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given as with_any
from hypothesis import strategies as st
from tests.governance.people.mean import KEY, OTHER, SHARED, Mean, mean, signed

from tandem.core.clock import MICROS, FixedClock
from tandem.core.errors import Invalid, NotFound, Unauthenticated, Unavailable
from tandem.core.principal import RIGHTS
from tandem.governance.people.issuer import RANK, Issuer, check_issuer, decided, given, meaning
from tandem.governance.people.oidc import FACTS_SECONDS, FLOW_SECONDS, Oidc, Vouched
from tandem.store.vault import Vault

CORP = Issuer(name="corp", issuer="https://login.example.org", client_id="tandem", client_secret="env:OIDC_SECRET")


class Flow:
    """A client, the mean provider, and a sign-in between both."""

    def __init__(self, provider: Mean) -> None:
        self.provider, self.clock = provider, FixedClock()
        issuer = replace(CORP, issuer=provider.issuer)
        self.oidc = Oidc(
            {"corp": issuer, "other": replace(issuer, name="other")}, Vault(bytes(32)), self.clock, "https://tandem.example"
        )
        self.begun = self.oidc.begin("corp", "/runs")
        self.asked = {name: values[0] for name, values in parse_qs(urlsplit(self.begun.url).query).items()}

    def claims(self, **more: Any) -> dict[str, Any]:
        now = self.clock.now() // MICROS
        told = {
            "iss": self.provider.issuer,
            "sub": "u-1",
            "aud": "tandem",
            "iat": now,
            "exp": now + 300,
            "nonce": self.asked["nonce"],
            "email": "ada@example.org",
            "email_verified": True,
            "groups": ["engineers"],
            **more,
        }
        return {name: value for name, value in told.items() if value is not None}

    def finish(self, token: str | None = None, **told: str) -> Vouched:
        self.provider.token = lambda: {"access_token": "at", **({} if token is None else {"id_token": token})}
        return self.oidc.finish("corp", {"code": "c", "state": self.asked["state"], **told}, self.begun.ticket)[0]


@pytest.fixture
def flow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Flow]:
    monkeypatch.setenv("OIDC_SECRET", "s&cret")
    with mean() as provider:
        yield Flow(provider)


def test_what_fits_is_believed(flow: Flow) -> None:
    found = flow.finish(signed(flow.claims()), iss=flow.provider.issuer)
    assert (found.subject, found.email, found.groups) == ("u-1", "ada@example.org", ["engineers"])
    assert flow.asked["redirect_uri"] == "https://tandem.example/console/sso/corp/callback"
    assert flow.asked["code_challenge_method"] == "S256"
    assert flow.asked["tenant"] == "1"
    (sent,) = ((form, auth) for path, form, auth in flow.provider.asked if path == "/token")
    assert sent[0]["grant_type"] == "authorization_code"
    assert len(sent[0]["code_verifier"]) >= 43
    assert base64.b64decode(sent[1].removeprefix("Basic ")) == b"tandem:s%26cret"
    assert "s&cret" not in flow.begun.url + json.dumps(flow.provider.answer("/token"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"iss": "https://evil.example"},
        {"aud": "another-client"},
        {"aud": ["tandem", "another"], "azp": "another"},
        {"nonce": "another"},
        {"nonce": None},
        {"sub": None},
        {"exp": None},
        {"iat": None},
        {"exp": 1_000_000_000},
        {"nbf": 4_000_000_000},
        {"at_hash": "wrong"},
    ],
    ids=lambda wrong: "-".join(wrong),
)
def test_a_claim_that_does_not_fit_is_refused(flow: Flow, wrong: dict[str, Any]) -> None:
    with pytest.raises(Unauthenticated):
        flow.finish(signed(flow.claims(**wrong)))


def test_a_signature_that_is_none_of_the_providers_is_refused(flow: Flow) -> None:
    def part(told: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(told).encode()).rstrip(b"=").decode()

    unsigned = f"{part({'alg': 'none'})}.{part(flow.claims())}."
    head, _, tail = signed(flow.claims()).split(".")
    forged = [
        signed(flow.claims(), OTHER),
        signed(flow.claims(), SHARED, "HS256"),
        unsigned,
        f"{head}.{part(flow.claims(sub='u-2'))}.{tail}",
        "nonsense",
        "a.b.c",
        "",
    ]
    for token in forged:
        with pytest.raises(Unauthenticated):
            flow.finish(token)
    with pytest.raises(Unauthenticated, match="no ID token"):
        flow.finish(None)


def test_a_key_that_the_provider_changed_is_asked_for_once_more(flow: Flow) -> None:
    flow.finish(signed(flow.claims()))
    flow.provider.published = [OTHER]
    flow.clock.advance(60)
    assert flow.finish(signed(flow.claims(), OTHER)).subject == "u-1"
    asked = [path for path, _, _ in flow.provider.asked].count("/jwks")
    for _ in range(5):  # a flood of forged tokens does not become a flood of questions
        with pytest.raises(Unauthenticated):
            flow.finish(signed(flow.claims(), KEY))
    assert [path for path, _, _ in flow.provider.asked].count("/jwks") == asked


@pytest.mark.parametrize(
    "told",
    [{"state": "forged"}, {"state": ""}, {"iss": "https://evil.example"}],
    ids=["another state", "no state", "another issuer"],
)
def test_an_answer_that_nobody_asked_for_is_refused(flow: Flow, told: dict[str, str]) -> None:
    with pytest.raises(Unauthenticated):
        flow.finish(signed(flow.claims()), **told)
    assert not [path for path, _, _ in flow.provider.asked if path == "/token"]


def test_a_provider_that_names_itself_has_to(flow: Flow) -> None:
    flow.provider.facts = {"authorization_response_iss_parameter_supported": True}
    flow.clock.advance(FACTS_SECONDS)
    begun = flow.oidc.begin("corp", "/")
    state = parse_qs(urlsplit(begun.url).query)["state"][0]
    with pytest.raises(Unauthenticated, match="not of 'corp'"):
        flow.oidc.finish("corp", {"code": "c", "state": state}, begun.ticket)


def test_the_browser_that_began_comes_back_in_time(flow: Flow) -> None:
    good = {"code": "c", "state": flow.asked["state"]}
    flow.provider.token = lambda: {"id_token": signed(flow.claims())}
    other = flow.oidc.begin("corp", "/")
    for ticket in ("", "nonsense", "AAAA", other.ticket, flow.begun.ticket[:-8] + "AAAAAAAA"):
        with pytest.raises(Unauthenticated):
            flow.oidc.finish("corp", good, ticket)
    for name, error in (("other", Unauthenticated), ("nobody", Unauthenticated)):
        with pytest.raises(error):
            flow.oidc.finish(name, good, flow.begun.ticket)
    with pytest.raises(Unauthenticated, match="access_denied"):
        flow.oidc.finish("corp", {"state": flow.asked["state"], "error": "access_denied"}, flow.begun.ticket)
    assert flow.oidc.finish("corp", good, flow.begun.ticket)[1] == "/runs"
    flow.clock.advance(FLOW_SECONDS)
    with pytest.raises(Unauthenticated):
        flow.oidc.finish("corp", good, flow.begun.ticket)
    with pytest.raises(NotFound):
        flow.oidc.begin("nobody", "/")


@pytest.mark.parametrize("verified", [False, "false", None, 1, "yes"])
def test_an_address_that_was_not_verified_is_none(flow: Flow, verified: object) -> None:
    assert flow.finish(signed(flow.claims(email_verified=verified))).email is None


def test_what_the_token_leaves_out_is_asked_for_and_only_of_the_same_person(flow: Flow) -> None:
    bare = flow.claims(email=None, email_verified=None, groups=None)
    flow.provider.userinfo = {"sub": "u-1", "email": "ada@example.org", "email_verified": True, "groups": ["leads"]}
    found = flow.finish(signed(bare))
    assert (found.email, found.groups) == ("ada@example.org", ["leads"])
    flow.provider.userinfo["sub"] = "u-2"
    assert flow.finish(signed(bare)).email is None


@pytest.mark.parametrize(
    "facts",
    [{"issuer": "https://evil.example"}, {"token_endpoint": None}, {"jwks_uri": "http://192.0.2.1/jwks"}],
    ids=lambda f: "-".join(f),
)
def test_a_provider_that_says_something_else_is_not_asked_on(flow: Flow, facts: dict[str, Any]) -> None:
    flow.clock.advance(FACTS_SECONDS - FLOW_SECONDS + 1)
    flow.provider.facts = facts
    flow.provider.token = lambda: {"id_token": signed(flow.claims())}
    again = Oidc({"corp": replace(CORP, issuer=flow.provider.issuer)}, Vault(bytes(32)), flow.clock, "https://tandem.example")
    with pytest.raises(Unavailable):
        again.finish("corp", {"code": "c", "state": flow.asked["state"]}, flow.begun.ticket)


def test_a_provider_that_is_away_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OIDC_SECRET", raising=False)
    away = Oidc({"corp": replace(CORP, issuer="http://127.0.0.1:9")}, Vault(bytes(32)), FixedClock(), "https://tandem.example")
    with pytest.raises(Unavailable):
        away.begin("corp", "/")


def test_a_secret_that_is_not_there_is_told(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OIDC_SECRET")
    with pytest.raises(Unavailable, match="client secret of 'corp'"):
        flow.finish(signed(flow.claims()))


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("issuer", {"issuer": "http://login.example.org"}),
        ("issuer", {"issuer": "https://login.example.org?x=1"}),
        ("issuer", {"issuer": "login.example.org"}),
        ("client_id", {"client_id": ""}),
        ("client_secret", {"client_secret": "a literal"}),
        ("scopes", {"scopes": ("email",)}),
        ("teams", {"teams": {"a": "red"}}),
        ("teams", {"teams": {"a": "red=king"}}),
        ("teams", {"teams": {"a": "editor"}}),
        ("domains", {"domains": ("@example.org",)}),
    ],
)
def test_settings_that_cannot_be_are_refused(field: str, change: dict[str, Any]) -> None:
    with pytest.raises(Invalid) as caught:
        check_issuer(replace(CORP, **change))
    assert caught.value.field == field


def test_claims_give_the_larger_of_two_roles_and_nothing_for_what_is_not_mapped() -> None:
    issuer = replace(CORP, teams={"a": "red=editor", "b": "red=approver, blue=viewer", "c": "admin", "d": "auditor"})
    assert given(issuer, ["a", "b", "nobody", 7]).teams == {"red": "approver", "blue": "viewer"}
    assert given(issuer, "a").teams == {"red": "editor"}
    assert given(issuer, ["c", "d"]).role == "admin"
    for nothing in (None, [], {"a": 1}, 7, ["A"]):
        assert given(issuer, nothing) == given(issuer, ["nobody"])
    assert decided(issuer) == (True, {"red", "blue"})
    assert decided(CORP) == (False, frozenset())


@with_any(st.lists(st.sampled_from(sorted(RIGHTS)), min_size=1))
def test_more_claims_never_give_less(roles: list[str]) -> None:
    issuer = replace(CORP, teams={f"g{place}": f"red={role}" for place, role in enumerate(roles)})
    held = [given(issuer, [f"g{place}" for place in range(number + 1)]).teams["red"] for number in range(len(roles))]
    assert held == sorted(held, key=RANK.index)
    assert meaning(f"red={held[-1]}").teams == {"red": held[-1]}
