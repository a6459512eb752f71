"""`tandem person`, `tandem team` and the terms of keys, through the client, against a fake platform."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tandem_sdk import Client, Link
from tandem_sdk.fake import Canned, FakePlatform

API = "/api/v1"
ADA: dict[str, Any] = {"name": "ada", "id": "per_1", "kind": "person", "email": "ada@example.org", "teams": {"red": "editor"}}
LINK = {
    "link": "http://x/join/tdi_secret",
    "invitation": {"id": "inv_1", "email": "bob@example.org", "teams": {"red": "viewer"}, "expires_at": 1_750_000_000_000_000},
}


def last(platform: FakePlatform) -> Any:
    return platform.asked[-1].json()


def test_persons_are_made_listed_changed_and_removed(tandem: Any, platform: FakePlatform) -> None:
    platform.on("POST", f"{API}/persons", Canned(status=201, body=ADA))
    assert tandem("person", "add", "ada", "--team", "red=editor", "--team", "blue", "--email", "ada@example.org").code == 0
    assert last(platform) == {
        "name": "ada", "kind": "person", "email": "ada@example.org", "role": None, "teams": {"red": "editor", "blue": "viewer"},
    }  # fmt: skip
    assert tandem("person", "add", "etl", "--service", "--team", "red", "--role", "editor", "--json").json()["name"] == "ada"
    assert (last(platform)["kind"], last(platform)["teams"]) == ("service", {"red": "editor"})
    assert tandem("person", "add", "x", "--team", "red=king").code == 2
    platform.on("GET", f"{API}/persons", [ADA, {**ADA, "name": "etl", "kind": "service", "disabled_at": 1, "role": "auditor"}])
    out = tandem("person", "list").out.splitlines()
    assert "red=editor" in out[1]
    assert "none yet" in out[1]
    assert "auditor everywhere, red=editor" in out[2]
    assert "keys alone" in out[2]
    platform.on("PUT", f"{API}/persons/ada", ADA)
    assert tandem("person", "set", "person/ada", "--disable", "--everywhere", "none").code == 0
    assert last(platform) == {"role": "none", "disabled": True}
    assert tandem("person", "set", "ada", "--enable").code == 0
    assert last(platform) == {"disabled": False}
    platform.on("POST", f"{API}/persons/ada/sign-out", {})
    assert tandem("person", "sign-out", "ada").out == "'ada' is signed out everywhere.\n"
    platform.on("DELETE", f"{API}/persons/ada", ADA)
    assert tandem("person", "remove", "ada", "--json").json() == {"name": "ada", "removed": True}


def test_a_password_is_read_and_never_an_argument(tandem: Any, platform: FakePlatform) -> None:
    platform.on("PUT", f"{API}/persons/ada/password", {})
    done = tandem("person", "password", "ada", stdin="a long sentence\n")
    assert done.code == 0
    assert "a long sentence" not in done.out + done.err
    assert last(platform) == {"password": "a long sentence"}
    assert tandem("person", "password", "ada", stdin="").code == 2


def test_links_are_printed_alone(tandem: Any, platform: FakePlatform) -> None:
    platform.on("POST", f"{API}/invitations", Canned(status=201, body=LINK))
    platform.on("POST", f"{API}/persons/ada/link", Canned(status=201, body=LINK))
    done = tandem("person", "invite", "bob@example.org", "--team", "red", "--expires", "2h")
    assert done.out == "http://x/join/tdi_secret\n"
    assert last(platform) == {"email": "bob@example.org", "teams": {"red": "viewer"}, "seconds": 7200}
    assert tandem("person", "invite", "bob@example.org", "--everywhere", "auditor", "--json").json()["link"] == LINK["link"]
    assert last(platform) == {"email": "bob@example.org", "role": "auditor", "teams": {}}
    assert tandem("person", "password", "ada", "--link").out == "http://x/join/tdi_secret\n"
    platform.on("GET", f"{API}/invitations", [LINK["invitation"], {**LINK["invitation"], "person": "per_1"}])
    out = tandem("person", "invited").out.splitlines()
    assert "red=viewer" in out[1]
    assert "a new password" in out[2]
    platform.on("DELETE", f"{API}/invitations/inv_1", {})
    assert tandem("person", "withdraw", "inv_1").code == 0


def test_a_link_is_not_printed_by_accident(platform: FakePlatform) -> None:
    platform.on("POST", f"{API}/invitations", Canned(status=201, body=LINK))
    with Client(platform.url, "tdm_test") as client:
        made = client.persons.invite("bob@example.org", teams={"red": "viewer"})
    assert isinstance(made, Link)
    assert "tdi_secret" not in repr(made) + str(made)


def test_teams(tandem: Any, platform: FakePlatform) -> None:
    platform.on("POST", f"{API}/teams", Canned(status=201, body={"name": "red", "members": {}}))
    assert tandem("team", "add", "red").out == "The team 'red' is there.\n"
    platform.on("GET", f"{API}/teams", [{"name": "red", "members": {"ada": "editor"}}])
    assert tandem("team", "list").out.splitlines()[1].split() == ["red", "ada=editor"]
    platform.on("PUT", f"{API}/teams/red/members/ada", ADA)
    assert tandem("team", "member", "team/red", "person/ada", "--role", "editor").out == "'ada' is editor of the team 'red'.\n"
    assert last(platform) == {"role": "editor"}
    platform.on("DELETE", f"{API}/teams/red/members/ada", ADA)
    assert tandem("team", "member", "red", "ada", "--remove").out == "'ada' is no longer in the team 'red'.\n"
    for words in ((), ("--remove", "--role", "editor")):
        assert tandem("team", "member", "red", "ada", *words).code == 2


def test_a_key_is_bound_and_rotated(tandem: Any, platform: FakePlatform) -> None:
    principal = {"name": "app", "id": "key_1", "team": "red", "role": "editor", "owner": "person/ada", "kinds": ["chat"]}
    made = Canned(status=201, body={"key": "tdm_secret", "principal": principal})
    platform.on("POST", f"{API}/keys", made)
    words = [
        "--owner",
        "person/ada",
        "--kind",
        "chat",
        "--model",
        "mock/*",
        "--network",
        "10.0.0.0/8",
        "--no-content",
        "--right",
        "call",
    ]
    assert tandem("key", "create", "--name", "app", "--team", "red", "--reach", "team", *words).out == "tdm_secret\n"
    sent = last(platform)
    assert {name: sent[name] for name in ("owner", "reach", "rights", "kinds", "models", "networks", "content")} == {
        "owner": "person/ada", "reach": "team", "rights": ["call"], "kinds": ["chat"], "models": ["mock/*"],
        "networks": ["10.0.0.0/8"], "content": False,
    }  # fmt: skip
    platform.on("GET", f"{API}/keys", [{**principal, "networks": ["10.0.0.0/8"], "content": False, "created_at": 1}])
    row = tandem("key", "list").out.splitlines()[1]
    assert "person/ada" in row
    assert "chat, 10.0.0.0/8, no content" in row
    platform.on("POST", f"{API}/keys/app/rotate", made)
    assert tandem("key", "rotate", "key/app", "--overlap", "1h").out == "tdm_secret\n"
    assert last(platform) == {"overlap": 3600}
    assert json.loads(tandem("key", "rotate", "app", "--json").out)["key"] == "tdm_secret"


@pytest.mark.parametrize("span", ["1x", "soon"])
def test_a_span_that_is_none_is_wrong_usage(tandem: Any, platform: FakePlatform, span: str) -> None:
    assert tandem("key", "rotate", "app", "--overlap", span).code == 2
    assert tandem("person", "invite", "bob@example.org", "--expires", span).code == 2
