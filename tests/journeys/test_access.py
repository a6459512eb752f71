"""Persons, sessions and keys on the whole platform: what is ended is ended at every worker, and what binds a key does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.journeys.conftest import ADMIN, TLS, Platform, bearer, mock_upstream, until
from tests.ports import free_port

pytestmark = pytest.mark.journey

PASSWORD = "a long sentence indeed"
TOML = """
[server]
trusted_proxies = ["127.0.0.1"]

[providers.mock]
protocol = "openai"
base_url = "{mock}/v1"
keys = ["env:MOCK_KEY"]

[providers.other]
protocol = "openai"
base_url = "{mock}/v1"
keys = ["env:MOCK_KEY"]
prices = "openai"

[endpoints.assistant]
kind = "chat"
route = [{{ target = "mock/gpt-4o-mini" }}, {{ target = "other/gpt-4o-mini", priority = 1 }}]

[endpoints.embedder]
kind = "embed"
route = [{{ target = "mock/text-embedding-3-small" }}]
"""
WORKERS = 2


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    home = tmp_path_factory.mktemp("access") / "home"
    home.mkdir(mode=0o700)
    with mock_upstream() as mock:
        (home / "tandem.toml").write_text(TOML.format(mock=mock))
        running = Platform(home=home, port=free_port(), mock_url=mock, workers=WORKERS)
        running.up()
        running.api("POST", "/teams", json={"name": "red"})
        try:
            yield running
        finally:
            running.down()


def person(house: Platform, name: str, role: str = "editor") -> None:
    house.api("POST", "/persons", json={"name": name, "email": f"{name}@example.org", "teams": {"red": role}})
    house.api("PUT", f"/persons/{name}/password", json={"password": PASSWORD})


def signed_in(house: Platform, name: str) -> dict[str, str]:
    reply = httpx2.post(f"{house.url}/api/v1/session", json={"name": name, "password": PASSWORD}, verify=TLS)
    assert reply.status_code == 200, reply.text
    return {"cookie": f"tandem_session={reply.cookies['tandem_session']}"}


def asked(
    house: Platform, key: str, model: str = "assistant", path: str = "/v1/chat/completions", **headers: str
) -> httpx2.Response:
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    said: dict[str, Any] = {"messages": [{"role": "user", "content": "a canary sang"}], "max_tokens": 5}
    body = {"model": model, **(said if "chat" in path else {"input": "a canary sang"})}
    return httpx2.post(house.url + path, json=body, headers={**bearer(key), **told}, timeout=30, verify=TLS)


def at_every_worker(house: Platform, key: str) -> list[int]:
    """The status of one call on each of many new connections, which the workers share out among themselves."""
    return [asked(house, key).status_code for _ in range(8 * WORKERS)]


def test_who_is_disabled_is_out_at_every_worker(house: Platform) -> None:
    person(house, "ada")
    cookie = signed_in(house, "ada")
    key = house.key("ada-app", team="red", role="editor", owner="person/ada")
    until(lambda: set(at_every_worker(house, key)) == {200})
    house.api("PUT", "/persons/ada", json={"disabled": True})
    assert httpx2.get(f"{house.url}/api/v1/session", headers=cookie, verify=TLS).status_code == 401  # at once
    until(lambda: set(at_every_worker(house, key)) == {401})
    refused = httpx2.post(f"{house.url}/api/v1/session", json={"name": "ada", "password": PASSWORD}, verify=TLS)
    assert refused.status_code == 401


@pytest.mark.alone
def test_it_takes_no_second(house: Platform) -> None:
    person(house, "amy")
    keys = {end: house.key(f"amy-{end}", team="red", role="editor", owner="person/amy") for end in ("disabled", "revoked")}
    for key in keys.values():
        until(lambda key=key: set(at_every_worker(house, key)) == {200})  # type: ignore[misc]
    house.api("DELETE", "/keys/amy-revoked")
    time.sleep(1)
    assert set(at_every_worker(house, keys["revoked"])) == {401}
    house.api("PUT", "/persons/amy", json={"disabled": True})
    time.sleep(1)
    assert set(at_every_worker(house, keys["disabled"])) == {401}


def test_a_key_is_rotated_without_a_call_that_fails(house: Platform) -> None:
    old = house.key("service-key", team="red")
    house.api("PUT", "/budgets/key/service-key", json={"cap": "1"})
    until(lambda: set(at_every_worker(house, old)) == {200})
    new = str(house.api("POST", "/keys/service-key/rotate", json={"overlap": 4})["key"])
    ends = time.monotonic() + 4
    until(lambda: set(at_every_worker(house, new)) == {200})
    if time.monotonic() < ends - 2:
        assert asked(house, old).status_code == 200
    until(lambda: set(at_every_worker(house, old)) == {401})
    assert asked(house, new).status_code == 200
    rows = [row for row in house.api("GET", "/keys") if row["name"] == "service-key"]
    assert len(rows) == 1
    (budget,) = (row for row in house.api("GET", "/budgets") if row["scope"] == "key/service-key")
    house.settle()
    assert budget["cap_usd"].rstrip("0").rstrip(".") == "1"
    assert house.api("GET", "/spend?scope=key/service-key")["attempts"] >= 3  # of both tokens, in one account


def test_kinds_models_and_networks_bind_what_a_key_may(house: Platform) -> None:
    chat = house.key("chat-only", kinds=["chat"])
    only = house.key("mock-only", models=["mock/*"], scopes=["any-version"])
    none = house.key("none", models=["elsewhere/*"])
    home = house.key("home-only", networks=["10.0.0.0/8"])
    until(lambda: asked(house, chat).status_code == 200)
    until(lambda: asked(house, only).status_code == 200)
    until(lambda: asked(house, none).status_code == 403)
    until(lambda: asked(house, home).status_code != 401)

    embedded = asked(house, chat, "embedder", "/v1/embeddings")
    assert (embedded.status_code, embedded.json()["error"]["code"]) == (403, "wrong_kind")
    listed = {row["id"] for row in httpx2.get(f"{house.url}/v1/models", headers=bearer(chat), verify=TLS).json()["data"]}
    assert listed == {"assistant"}

    assert asked(house, only, "mock/gpt-4o").status_code == 200
    direct = asked(house, only, "other/gpt-4o")
    assert (direct.status_code, direct.json()["error"]["code"]) == (403, "model_not_allowed")
    trace = asked(house, only).headers["x-tandem-trace-id"]
    until(lambda: httpx2.get(f"{house.url}/api/v1/traces/{trace}", headers=bearer(ADMIN), verify=TLS).status_code == 200)
    told = str(house.api("GET", f"/traces/{trace}"))
    assert "mock/gpt-4o-mini" in told
    assert "other/gpt-4o-mini" not in told
    refused = asked(house, none)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "model_not_allowed")
    assert "elsewhere/*" in refused.text

    until(lambda: asked(house, home, x_forwarded_for="10.1.2.3").status_code == 200)
    for elsewhere in ({}, {"x_forwarded_for": "192.0.2.1"}, {"x_forwarded_for": "10.1.2.3, 192.0.2.1"}):
        reply = asked(house, home, **elsewhere)
        assert (reply.status_code, reply.json()["error"]["code"]) == (403, "wrong_network"), elsewhere
    for path in ("/api/v1/whoami", "/v1/models", "/v1/files"):
        far = httpx2.get(house.url + path, headers=bearer(home), verify=TLS)
        near = httpx2.get(house.url + path, headers={**bearer(home), "x-forwarded-for": "10.1.2.3"}, verify=TLS)
        assert (far.status_code, near.status_code) == (403, 200), path


def test_a_key_that_keeps_no_content_keeps_it_nowhere(house: Platform) -> None:
    loud, discreet = house.key("loud"), house.key("discreet", content=False)
    until(lambda: asked(house, discreet).status_code == 200)
    traces = {name: asked(house, key).headers["x-tandem-trace-id"] for name, key in (("loud", loud), ("discreet", discreet))}

    def content(name: str) -> str:
        reply = httpx2.get(f"{house.url}/api/v1/traces/{traces[name]}?content=1", headers=bearer(ADMIN), verify=TLS)
        return reply.text if reply.status_code == 200 else ""

    assert "a canary sang" in until(lambda: content("loud"))
    assert "a canary sang" not in until(lambda: content("discreet"))


def test_calls_count_for_the_person_who_owns_the_key(house: Platform) -> None:
    person(house, "bob")
    one, other = (house.key(name, team="red", owner="person/bob") for name in ("bob-one", "bob-two"))
    until(lambda: asked(house, one).status_code == 200)
    until(lambda: asked(house, other).status_code == 200)

    def attempts() -> int:
        house.settle()
        return int(house.api("GET", "/spend?scope=person/bob")["attempts"])

    assert until(lambda: attempts() >= 2)
    house.api("PUT", "/budgets/person/bob", json={"cap": "0.000000001"})
    for key in (one, other):  # a cap of the person holds both keys, and nobody else's
        refused = until(lambda key=key: (reply := asked(house, key)).status_code == 429 and reply)  # type: ignore[misc]
        assert "person/bob" in refused.text
    assert asked(house, ADMIN).status_code == 200


def test_an_invitation_is_redeemed_in_the_console(house: Platform) -> None:
    made = house.api("POST", "/invitations", json={"email": "eve@example.org", "teams": {"red": "admin"}})
    assert made["link"].startswith(f"{house.url}/join/tdi_")
    with httpx2.Client(verify=TLS, timeout=30) as browser:
        assert "eve@example.org" in browser.get(made["link"]).text
        form = {"name": "eve", "password": PASSWORD, "again": PASSWORD}
        assert "differ" in browser.post(made["link"], data={**form, "again": "x"}).text
        joined = browser.post(made["link"], data=form)
        assert (joined.status_code, joined.headers["location"]) == (303, "/")
        people = browser.get(f"{house.url}/people")
        assert people.status_code == 200
        assert "Put into a team" in people.text  # an admin of the team, and of nothing else
        assert browser.get(f"{house.url}/alerts").status_code == 403
        assert browser.get(made["link"]).status_code == 404


def test_failed_sign_ins_are_slowed_down_and_told(house: Platform) -> None:
    person(house, "eva")
    told = [
        httpx2.post(f"{house.url}/api/v1/session", json={"name": "eva", "password": "wrong"}, verify=TLS).status_code
        for _ in range(8)
    ]
    assert told[:6] == [401] * 6
    assert 429 in told
    reply = httpx2.post(f"{house.url}/api/v1/session", json={"name": "eva", "password": "wrong"}, verify=TLS)
    assert reply.status_code in (401, 429)
    assert "session.slow" in {row["action"] for row in house.api("GET", "/audit?limit=50")}
    assert house.api("POST", "/audit/verify")["ok"]


def test_somebody_unknown_sends_little(house: Platform) -> None:
    reply = httpx2.post(
        f"{house.url}/api/v1/session", content=b"x" * 100_000, headers={"content-type": "application/json"}, verify=TLS
    )
    assert reply.status_code == 413
