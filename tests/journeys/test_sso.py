"""Signing in through a certified OpenID provider, by the forms that a browser would fill."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx2
import pytest

from tests.journeys.conftest import ADMIN, ROOT, TLS, TOML, Platform, bearer, mock_upstream, until
from tests.ports import free_port

PROVIDER = ROOT / "tests" / "oidc"
NODE = shutil.which("node")
pytestmark = [
    pytest.mark.journey,
    pytest.mark.skipif(
        NODE is None or not (PROVIDER / "node_modules" / "oidc-provider").is_dir(),
        reason="Single sign-on is NOT TESTED: it needs Node and npm's oidc-provider, which `make oidc` installs.",
    ),
]
SETTINGS = """
[oidc.corp]
issuer = "{issuer}"
client_id = "tandem"
client_secret = "env:OIDC_SECRET"
domains = ["example.org"]
teams = {{ engineers = "red=editor", leads = "red=approver, blue=viewer", platform = "admin" }}

[oidc.guests]
issuer = "{issuer}"
client_id = "public"
join = false
"""
ADA: dict[str, Any] = {"email": "ada@example.org", "email_verified": True, "preferred_username": "Ada", "groups": ["engineers"]}


@dataclass
class Corporation:
    """A platform, and the provider that vouches for its people."""

    house: Platform
    issuer: str
    accounts: Path
    browsers: list[httpx2.Client] = field(default_factory=list)

    def is_now(self, **accounts: dict[str, Any]) -> None:
        self.accounts.write_text(json.dumps(accounts))

    def browser(self) -> httpx2.Client:
        made = httpx2.Client(timeout=30, verify=TLS, follow_redirects=False)
        self.browsers.append(made)
        return made

    def leaves(self, browser: httpx2.Client, provider: str = "corp", after: str = "/runs") -> str:
        """Where the button of the sign-in page leads."""
        page = browser.post(f"{self.house.url}/console/sso/{provider}", data={"after": after})
        assert page.status_code == 200, page.text
        found = re.search(r'<a class="button" href="([^"]+)"', page.text)
        assert found is not None, page.text
        return found[1].replace("&amp;", "&")

    def comes_back(self, browser: httpx2.Client, url: str, account: str) -> str:
        """The address that the provider sends the browser back to, once `account` has signed in and agreed."""
        reply = browser.get(url)
        for _ in range(12):
            if reply.is_redirect:
                url = urljoin(url, reply.headers["location"])
                if url.startswith(self.house.url):
                    return url
                reply = browser.get(url)
                continue
            form = re.search(r'<form[^>]*action="([^"]+)"[^>]*>(.*?)</form>', reply.text, re.DOTALL)
            assert form is not None, reply.text
            prompt = re.search(r'name="prompt" value="(\w+)"', form[2])
            assert prompt is not None
            url = urljoin(url, form[1])
            reply = browser.post(url, data={"prompt": prompt[1], "login": account, "password": "any"})
        raise AssertionError("The provider does not send back.")

    def sign_in(self, account: str, provider: str = "corp") -> tuple[httpx2.Client, httpx2.Response]:
        browser = self.browser()
        back = self.comes_back(browser, self.leaves(browser, provider), account)
        return browser, browser.get(back)

    def session(self, browser: httpx2.Client) -> dict[str, Any]:
        reply = browser.get(f"{self.house.url}/api/v1/session")
        assert reply.status_code == 200, reply.text
        told: dict[str, Any] = reply.json()
        return told

    def persons(self) -> dict[str, Any]:
        return {row["name"]: row for row in self.house.api("GET", "/persons")}


@pytest.fixture(scope="module")
def corp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Corporation]:
    folder = tmp_path_factory.mktemp("sso")
    home, accounts, port, issuing = folder / "home", folder / "accounts.json", free_port(), free_port()
    home.mkdir(mode=0o700)
    issuer = f"http://127.0.0.1:{issuing}"
    back = f"http://127.0.0.1:{port}/console/sso"
    assert NODE is not None
    command = [
        NODE,
        "provider.mjs",
        str(issuing),
        json.dumps([f"{back}/corp/callback", f"{back}/guests/callback"]),
        str(accounts),
    ]
    with (folder / "node.log").open("wb") as log:
        node = subprocess.Popen(command, cwd=PROVIDER, stdout=log, stderr=log)
    try:
        until(lambda: b"ready" in (folder / "node.log").read_bytes(), (folder / "node.log").read_text())
        with mock_upstream() as mock:
            (home / "tandem.toml").write_text(TOML.format(mock=mock) + SETTINGS.format(issuer=issuer))
            house = Platform(home=home, port=port, mock_url=mock, environment={"OIDC_SECRET": "a-secret-of-the-client"})
            try:
                house.up()
                corporation = Corporation(house, issuer, accounts)
                yield corporation
                for browser in corporation.browsers:
                    browser.close()
            finally:
                house.down()
    finally:
        node.kill()
        node.wait()


def test_the_first_sign_in_makes_the_person_and_each_one_sets_the_teams(corp: Corporation) -> None:
    corp.is_now(ada=ADA)
    browser, reply = corp.sign_in("ada")
    assert (reply.status_code, reply.headers["location"]) == (303, "/runs"), reply.text
    told = corp.session(browser)
    assert (told["principal"]["name"], told["principal"]["team"], told["principal"]["role"]) == ("ada", "red", "editor")
    assert "secure" not in reply.headers["set-cookie"].lower()
    assert "httponly" in reply.headers["set-cookie"].lower()

    corp.is_now(ada={**ADA, "groups": ["leads", "unknown"], "preferred_username": "somebody else", "email": "new@example.org"})
    corp.house.api("PUT", "/teams/default/members/ada", json={"role": "viewer"})  # by hand, and no business of the provider's
    browser, reply = corp.sign_in("ada")
    assert corp.session(browser)["teams"] == {"blue": "viewer", "default": "viewer", "red": "approver"}
    assert set(corp.persons()) == {"ada"}

    corp.is_now(ada={**ADA, "groups": ["platform"]})
    browser, _ = corp.sign_in("ada")
    assert corp.session(browser)["principal"]["reach"] == "organisation"
    assert corp.persons()["ada"]["teams"] == {"default": "viewer"}
    corp.is_now(ada={**ADA, "groups": []})
    browser, _ = corp.sign_in("ada")
    assert corp.session(browser)["teams"] == {"default": "viewer"}
    assert corp.house.api("POST", "/audit/verify")["ok"]


def test_whoever_is_disabled_here_is_out_whatever_the_provider_says(corp: Corporation) -> None:
    corp.is_now(off={**ADA, "email": "off@example.org", "preferred_username": "off"})
    browser, reply = corp.sign_in("off")
    assert reply.status_code == 303
    corp.house.api("PUT", "/persons/off", json={"disabled": True})
    assert browser.get(f"{corp.house.url}/api/v1/session").status_code == 401
    _, reply = corp.sign_in("off")
    assert reply.status_code == 401
    assert "set-cookie" not in reply.headers or "tandem_session" not in reply.headers["set-cookie"]


@pytest.mark.parametrize(
    ("account", "claims", "why"),
    [
        ("elsewhere", {"email": "x@elsewhere.example"}, "another domain"),
        ("unsure", {"email": "unsure@example.org", "email_verified": False}, "not say that your e-mail is verified"),
        ("teamless", {"email": "teamless@example.org", "groups": ["unknown"]}, "Nobody here knows you"),
    ],
)
def test_who_is_not_let_in_is_told_why(corp: Corporation, account: str, claims: dict[str, Any], why: str) -> None:
    corp.is_now(**{account: {**ADA, "preferred_username": account, **claims}})
    _, reply = corp.sign_in(account)
    assert reply.status_code == 401
    assert why in reply.text
    assert account not in corp.persons()


def test_where_nobody_joins_unasked_an_invitation_opens(corp: Corporation) -> None:
    corp.is_now(guest={"email": "guest@elsewhere.example", "email_verified": True, "preferred_username": "guest"})
    _, reply = corp.sign_in("guest", "guests")
    assert reply.status_code == 401
    corp.house.api("POST", "/invitations", json={"email": "guest@elsewhere.example", "teams": {"blue": "editor"}})
    browser, reply = corp.sign_in("guest", "guests")  # a client without a secret: PKCE alone
    assert reply.status_code == 303, reply.text
    assert corp.session(browser)["teams"] == {"blue": "editor"}
    assert corp.house.api("GET", "/invitations") == []


def test_an_answer_is_good_for_the_browser_that_asked_and_once(corp: Corporation) -> None:
    corp.is_now(eve={**ADA, "email": "eve@example.org", "preferred_username": "eve"})
    browser, victim = corp.browser(), corp.browser()
    back = corp.comes_back(browser, corp.leaves(browser), "eve")
    corp.leaves(victim)
    assert victim.get(back).status_code == 401  # begun elsewhere: nobody is signed in as somebody else
    assert corp.browser().get(back).status_code == 401
    query = parse_qs(urlsplit(back).query)
    forged = [
        back.replace(query["state"][0], "forged"),
        back.replace("/corp/", "/guests/"),
        back.replace(query["iss"][0], "http%3A%2F%2Fevil.example").replace("http%3A%2F%2F127.0.0.1", "http%3A%2F%2Fevil.example"),
        f"{corp.house.url}/console/sso/corp/callback?state={query['state'][0]}&error=access_denied",
    ]
    for address in forged:
        assert browser.get(address).status_code == 401, address
    assert browser.get(back).status_code == 303
    assert browser.get(back).status_code == 401


def test_no_other_site_begins_a_sign_in(corp: Corporation) -> None:
    reply = httpx2.post(f"{corp.house.url}/console/sso/corp", headers={"sec-fetch-site": "cross-site"}, verify=TLS)
    assert reply.status_code == 403
    assert httpx2.post(f"{corp.house.url}/console/sso/nobody", verify=TLS).status_code == 404
    page = httpx2.get(f"{corp.house.url}/", verify=TLS)
    assert "Sign in with corp" in page.text
    assert "a-secret-of-the-client" not in page.text
    assert "a-secret-of-the-client" not in httpx2.get(f"{corp.house.url}/api/v1/doctor", headers=bearer(ADMIN), verify=TLS).text
