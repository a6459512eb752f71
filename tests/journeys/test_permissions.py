"""Who may do what: every route of ours, asked by every role with a key and signed in, by nobody, and by another team.

A role is one of the whole organisation, as keys have them, or one of a team alone, as persons have them; an admin or an
auditor of a team may what concerns the team.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from tests.journeys import routes
from tests.journeys.conftest import ADMIN, Platform, bearer, platform, until
from tests.journeys.matrix import (
    ALERT,
    APPLY,
    AUDIT,
    CALL,
    CSV,
    ENDPOINT,
    HOT,
    LINE,
    MATRIX,
    NOTHING,
    OPEN_PAGES,
    OWN_PAGES,
    PAGES,
    PIPELINE,
    PROMPTED,
    ROLES,
    SOURCE,
    VIEW,
    WAYS_IN,
    Rule,
)

pytestmark = pytest.mark.journey

OPENAI = "/v1/"
COOKIE = "tandem_session"
PASSWORD = "a sentence that is long"


def at(path: str) -> str:
    """Where a row of the matrix is."""
    return path if path.startswith(OPENAI) else f"/api/v1{path}"


def as_cookie(cookie: str | None) -> dict[str, str]:
    return {} if cookie is None else {"cookie": f"{COOKIE}={cookie}"}


@dataclass
class Teams:
    """A platform with a team that owns something of every kind, and another team."""

    http: httpx2.Client
    keys: dict[str, str]
    """Role → a key of the team `red`; `stranger` is an approver of the team `blue`."""
    run: str
    trace: str
    review: str
    done: str
    """A review that nobody holds any more."""
    contract: Any
    file: str
    batch: str
    files: dict[str, str]
    """Role → a file that it may try to delete."""
    cookies: dict[str, str]
    """Role → the session of a person who has it in the team `red`; `wide`: of an admin of the organisation."""

    def ask(
        self, rule: Rule, method: str, template: str, role: str, key: str | None, *, cookie: str | None = None, **more: str
    ) -> httpx2.Response:
        def fill(text: str) -> str:
            named = {"role": role, "run": self.run, "trace": self.trace, "review": self.review, "done": self.done}
            named |= {"file": self.file, "batch": self.batch, "own": self.files.get(role, "")}
            return re.sub(r"\{(\w+)\}", lambda found: named.get(found[1], found[0]), text)

        body = {name: fill(value) if isinstance(value, str) else value for name, value in (rule.json or {}).items()}
        given = dict(rule.send)
        if template == "/datasets/{name}/contract":
            body = self.contract
        if rule.json is not None or body:
            given["json"] = body
        told = {name.replace("_", "-"): value for name, value in more.items()}
        given["headers"] = {**given.get("headers", {}), **({} if key is None else bearer(key)), **as_cookie(cookie), **told}
        return self.http.request(method, at(fill(rule.path or template)), **given)

    def show(self, rule: Rule, method: str, template: str, role: str, cookie: str | None, **more: str) -> httpx2.Response:
        """A page, or what comes of a form."""
        named = {"role": role, "run": self.run, "trace": self.trace, "review": self.review, "done": self.done}

        def fill(text: str) -> str:
            return re.sub(r"\{(\w+)\}", lambda found: named.get(found[1], found[0]), text)

        told = {name.replace("_", "-"): value for name, value in more.items()}
        form = {name: fill(value) for name, value in (rule.json or {}).items()}
        sent = {"data": form} if method == "POST" else {}
        return self.http.request(method, fill(rule.path or template), headers={**as_cookie(cookie), **told}, **sent)

    def signed_in(self, name: str) -> str:
        """The cookie of a new session."""
        told = {"name": name, "password": PASSWORD}
        reply = self.http.post("/api/v1/session", json=told)
        assert reply.status_code == 200, reply.text
        self.http.cookies.clear()
        return str(reply.cookies[COOKIE])

    def get(self, path: str, key: str) -> Any:
        reply = self.http.get(f"/api/v1{path}", headers=bearer(key))
        assert reply.status_code == 200, reply.text
        return reply.json()


@pytest.fixture(scope="module")
def teams(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Teams]:
    with platform(tmp_path_factory.mktemp("teams")) as house, httpx2.Client(base_url=house.url, timeout=60) as http:
        yield _furnished(house, http)


def _furnished(house: Platform, http: httpx2.Client) -> Teams:
    def ask(method: str, path: str, by: str, **request: Any) -> Any:
        reply = http.request(method, f"/api/v1{path}", headers=bearer(by), **request)
        assert reply.status_code < 400, reply.text
        return reply.json()

    def key(name: str, team: str, role: str) -> str:
        return str(ask("POST", "/keys", ADMIN, json={"name": name, "team": team, "role": role})["key"])

    keys = {role: key(f"red-{role}", "red", role) for role in ROLES}
    keys["stranger"] = key("blue-approver", "blue", "approver")

    def red(method: str, path: str, **request: Any) -> Any:
        return ask(method, path, keys["approver"], **request)

    red("POST", "/datasets/red?format=csv", content=CSV)
    contract = red("GET", "/datasets/red/1/contract")
    red("POST", "/decisions/red", json={"source": SOURCE, "entry": "answer"})
    red("POST", "/pipelines/red", json={"source": PIPELINE})
    red("POST", "/prompts/red", json={"template": "Say it"})
    red("POST", "/policies/red", json={"guards": [{"detector": "card"}]})
    red("PUT", "/endpoints/red", json=ENDPOINT)
    for name in ("kept", *(f"gone-{role}" for role in ROLES)):
        text = {"content": f"The words of {name}.", "headers": {**bearer(keys["approver"]), "content-type": "text/plain"}}
        added = http.post(f"/api/v1/indexes/red/documents?document={name}.txt", **text).json()["id"]
        until(lambda added=added: red("GET", f"/runs/{added}")["state"] == "succeeded")  # type: ignore[misc]
    red("PUT", "/views/red", json=VIEW)
    red("PUT", "/services/red", json={"features": ["red"]})
    red("POST", "/monitors", json={"name": "red", "endpoint": "red", "question": "scores"})
    red("POST", "/projects/red/applies", json=APPLY)
    for role in (*ROLES, "stranger"):
        for version in (1, 2):
            red("POST", f"/prompts/for-{role}", json={"template": f"text {version}"})
            red("POST", f"/assets/prompt/for-{role}/promote", json={"version": version})
        red("PUT", f"/endpoints/gone-{role}", json=ENDPOINT)
        red("POST", "/monitors", json={"name": f"gone-{role}", "endpoint": "red", "question": "scores"})
        key(f"gone-{role}", "red", "viewer")
        ask("POST", "/persons", ADMIN, json={"name": f"gone-person-{role}", "teams": {"red": "viewer"}})
        ask("POST", "/persons", ADMIN, json={"name": f"gone-member-{role}", "teams": {"red": "viewer", "blue": "viewer"}})
        ask("PUT", f"/budgets/key/gone-{role}", ADMIN, json={"cap": "1"})
        ask("PUT", f"/limits/key/gone-{role}", ADMIN, json={"unit": "tokens", "cap": 1})
        ask("PUT", f"/providers/gone-{role}", ADMIN, json={"protocol": "openai", "base_url": "http://127.0.0.1:9"})
        ask("PUT", f"/alerts/gone-{role}", ADMIN, json=ALERT)
    key("red-spare", "red", "viewer")
    ask("POST", "/persons", ADMIN, json={"name": "red-spared", "teams": {"red": "viewer"}})
    for name, given in {**{role: {"teams": {"red": role}} for role in ROLES}, "wide": {"role": "admin"}}.items():
        ask("POST", "/persons", ADMIN, json={"name": f"person-{name}", **given})
        ask("PUT", f"/persons/person-{name}/password", ADMIN, json={"password": PASSWORD})
    for role in ("admin", "auditor"):
        told = {"name": f"red-team-{role}", "team": "red", "role": role, "reach": "team"}
        keys[f"team-{role}"] = str(ask("POST", "/keys", ADMIN, json=told)["key"])
    ask("PUT", "/alerts/red", ADMIN, json=ALERT)
    ask("PUT", "/budgets/team/red", ADMIN, json={"cap": "5"})
    ask("PUT", "/limits/team/red", ADMIN, json={"unit": "requests", "cap": 100_000})
    ask("PUT", "/gates/model/red", ADMIN, json={"minimum": 0.6})
    run = red("POST", "/runs", json={"kind": "train", "name": "red", "inputs": {"data": "dataset/red", "target": "y"}})["id"]
    red("POST", f"/runs/{run}/cancel")
    until(lambda: http.get("/v1/models/red", headers=bearer(keys["viewer"])).status_code == 200)
    answered = house.chat(keys["viewer"])
    assert answered.status_code == 200, answered.text
    trace = answered.headers["x-tandem-trace-id"]
    until(lambda: http.get(f"/api/v1/traces/{trace}", headers=bearer(ADMIN)).status_code == 200)
    reviews = []
    for _ in range(2):
        reviewed = house.chat(keys["viewer"]).headers["x-tandem-trace-id"]
        until(lambda reviewed=reviewed: http.get(f"/api/v1/traces/{reviewed}", headers=bearer(ADMIN)).status_code == 200)  # type: ignore[misc]
        reviews.append(red("POST", "/reviews", json={"trace": reviewed})["id"])
    red("POST", f"/reviews/{reviews[1]}/decide", json={"opinion": "wrong"})
    files = [_sent(http, keys["approver"]) for _ in range(len(ROLES) + 2)]
    wanted = {"input_file_id": files[0], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    made = http.post("/v1/batches", json=wanted, headers=bearer(keys["approver"]))
    assert made.status_code == 200, made.text
    batch = made.json()["id"]
    until(lambda: http.get(f"/v1/batches/{batch}", headers=bearer(ADMIN)).json()["status"] == "completed")
    own = dict(zip((*ROLES, "stranger"), files[1:], strict=True))
    made = Teams(http, keys, run, trace, *reviews, contract, files[0], batch, own, {})
    made.cookies = {name: made.signed_in(f"person-{name}") for name in (*ROLES, "wide")}
    return made


def _sent(http: httpx2.Client, key: str) -> str:
    sent = http.post("/v1/files", files={"file": ("red.jsonl", LINE)}, data={"purpose": "batch"}, headers=bearer(key))
    assert sent.status_code == 200, sent.text
    return str(sent.json()["id"])


def test_every_route_stands_in_the_matrix(tmp_path_factory: pytest.TempPathFactory) -> None:
    found = {
        (route.method, route.path.removeprefix("/api/v1").replace(":path", ""))
        for route in routes.of_control(tmp_path_factory.mktemp("walk") / "home")
        if route.path.startswith(("/api/v1/", OPENAI))
    }
    assert found == set(MATRIX) | WAYS_IN
    assert set(routes.RAW) == set(PAGES) | OPEN_PAGES | OWN_PAGES | NOTHING


@pytest.mark.parametrize(("method", "template"), MATRIX)
def test_a_route_lets_in_whom_it_should(teams: Teams, method: str, template: str) -> None:
    rule = MATRIX[method, template]
    told = {}
    for role in sorted(ROLES, key=lambda role: role in rule.may):  # who is refused asks first: a refusal changes nothing
        reply = teams.ask(rule, method, template, role, teams.keys[role])
        told[role] = reply.status_code
        if role not in rule.may:
            assert reply.json()["error"]["code"] == "forbidden"
            assert reply.json()["error"]["type" if template.startswith(OPENAI) else "hint"]
    assert told == {role: rule.ok if role in rule.may else 403 for role in ROLES}


@pytest.mark.parametrize(("method", "template"), MATRIX)
def test_nobody_gets_in_without_a_key(teams: Teams, method: str, template: str) -> None:
    for key in (None, "tdm_nobody", "Bearer", ADMIN[:-1], f"{ADMIN}x"):
        reply = teams.ask(MATRIX[method, template], method, template, "viewer", key)
        assert reply.status_code == 401, (key, reply.text)
        assert reply.json()["error"]["code"] == "unauthenticated"


@pytest.mark.parametrize("body", [b"{", b"[" * 100_000, b"\xff", b"null"], ids=["broken", "deep", "bytes", "null"])
def test_a_stranger_learns_nothing_from_the_faults_of_a_body(teams: Teams, body: bytes) -> None:
    for method, template in MATRIX:
        if method in ("POST", "PUT"):
            reply = teams.http.request(method, at(template), content=body, headers={"content-type": "application/json"})
            assert reply.status_code == 401, (method, template, reply.text)


@pytest.mark.parametrize(("method", "template"), MATRIX)
def test_another_team_is_told_nothing(teams: Teams, method: str, template: str) -> None:
    rule = MATRIX[method, template]
    reply = teams.ask(rule, method, template, "stranger", teams.keys["stranger"])
    assert reply.status_code == (rule.stranger or rule.ok), reply.text
    if reply.status_code == 200:
        assert re.search(r"\bred\b", reply.text) is None


def test_the_team_itself_sees_what_the_other_does_not(teams: Teams) -> None:
    own, other = teams.keys["viewer"], teams.keys["stranger"]
    for path, member in (
        ("/assets", "name"),
        ("/runs", "name"),
        ("/monitors", "name"),
        ("/keys", "name"),
        ("/traces", "trace"),
        ("/usage", "trace"),
        ("/reviews", "id"),
        ("/budgets", "scope"),
        ("/limits", "scope"),
    ):
        seen = {row[member] for row in teams.get(path, own)}
        assert seen, path
        assert not seen & {row[member] for row in teams.get(path, other)}, path
    assert "red" in {row["name"] for row in teams.get("/endpoints", own)}
    assert "red" not in {row["name"] for row in teams.get("/endpoints", other)}
    assert teams.get("/endpoints", teams.keys["auditor"]) == teams.get("/endpoints", ADMIN)


def test_key_references_are_shown_to_admins_alone(teams: Teams) -> None:
    shown = {role: {row["name"]: row["keys"] for row in teams.get("/providers", key)}["mock"] for role, key in teams.keys.items()}
    assert shown == {role: ["env:MOCK_KEY"] if role in AUDIT else [] for role in shown}


def test_who_sees_less_asks_for_the_whole_spend_in_vain(teams: Teams) -> None:
    told = {role: teams.http.get("/api/v1/spend?scope=org", headers=bearer(key)).status_code for role, key in teams.keys.items()}
    assert told == {role: 200 if role in AUDIT else 403 for role in told}


@pytest.mark.parametrize(("method", "template"), MATRIX)
def test_a_role_in_a_team_ends_with_the_team(teams: Teams, method: str, template: str) -> None:
    """By the session of a person and by a key alike; whoever may is let past the law, whatever comes of it."""
    rule = MATRIX[method, template]
    for role in ROLES:
        cookie = teams.cookies[role] if template != "/session" else teams.signed_in(f"person-{role}")
        reply = teams.ask(rule, method, template, role, None, cookie=cookie)
        if rule.let(role) or (method, template) == ("PUT", "/session"):
            assert reply.status_code not in (401, 403), (role, reply.text)
        else:
            assert (reply.status_code, reply.json()["error"]["code"]) == (403, "forbidden"), (role, reply.text)
    for role in ("admin", "auditor"):
        reply = teams.ask(rule, method, template, role, teams.keys[f"team-{role}"])
        assert (reply.status_code == 403) != rule.let(role), (role, reply.text)


@pytest.mark.parametrize(("method", "template"), [row for row in MATRIX if row[0] != "GET"])
def test_no_other_site_changes_anything(teams: Teams, method: str, template: str) -> None:
    rule = MATRIX[method, template]
    for told in ({"sec_fetch_site": "cross-site"}, {"sec_fetch_site": "same-site"}, {"origin": "https://evil.example"}):
        reply = teams.ask(rule, method, template, "admin", None, cookie=teams.cookies["wide"], **told)
        assert reply.status_code == 403, reply.text
        assert "another site" in reply.json()["error"]["message"]


@pytest.mark.parametrize(("method", "template"), PAGES)
def test_a_page_is_shown_to_whom_it_should(teams: Teams, method: str, template: str) -> None:
    rule = PAGES[method, template]
    assert teams.show(rule, method, template, "nobody", None).status_code == 401
    assert teams.show(rule, method, template, "nobody", "tds_nobody").status_code == 401
    for role in sorted(ROLES, key=rule.let):
        reply = teams.show(rule, method, template, role, teams.cookies[role])
        assert (reply.status_code == 403) != rule.let(role), (role, reply.status_code, reply.text[-600:])
        assert reply.status_code != 401
    assert teams.show(rule, method, template, "wide", teams.cookies["wide"]).status_code not in (401, 403)
    if method == "POST":
        other = teams.show(rule, method, template, "wide", teams.cookies["wide"], sec_fetch_site="cross-site")
        assert other.status_code == 403


def test_a_session_opens_no_door(teams: Teams) -> None:
    """Calls of models are made with keys: the door looks at no cookie."""
    for method, path, body in HOT:
        reply = teams.http.request(method, path, json=body, headers=as_cookie(teams.cookies["wide"]))
        assert reply.status_code == 401, (method, path)


def test_every_route_of_the_door_is_in_the_matrix() -> None:
    asked = [path for _, path, _ in HOT]
    for text in routes.of_door():
        if text in (
            "/health",
            "/health/ready",
            "/metrics",
            "/internal",
            "/internal/health",
            "/v1/",
            "/v2/health/live",
            "/v2/health/ready",
        ):
            continue
        assert any(re.fullmatch(text, path) if "(" in text else path.startswith(text) or path.endswith(text) for path in asked), (
            text
        )


@pytest.mark.parametrize(("method", "path", "body"), HOT)
def test_the_hot_routes_know_roles_and_teams(teams: Teams, method: str, path: str, body: Any) -> None:
    told = {}
    for role, key in {**teams.keys, "nobody": "tdm_nobody"}.items():
        reply = teams.http.request(method, path, json=body, headers=bearer(key))
        told[role] = reply.status_code
        if role == "stranger":
            assert reply.status_code in (200, 404), reply.text
            assert '"red' not in reply.text
    assert {role for role, status in told.items() if status == 401} == {"nobody"}
    assert {role for role, status in told.items() if status == 403} == {"auditor", "team-auditor"}
    if path in ("/v1/chat/completions", "/v1/responses", "/anthropic/v1/messages", "/v1/models/red"):
        callers, others = {*CALL, "team-admin"}, {"auditor": 403, "team-auditor": 403, "stranger": 404, "nobody": 401}
        assert told == {**dict.fromkeys(callers, 200), **others}


def promoted(teams: Teams) -> None:
    """The decision of the team answers at an endpoint of its own name."""
    own = bearer(teams.keys["approver"])
    teams.http.delete("/api/v1/endpoints/red", headers=own)
    assert teams.http.post("/api/v1/assets/decision/red/promote", json={"version": 1}, headers=own).status_code == 200
    until(lambda: teams.http.post("/v1/decide/red", json={"number": 1}, headers=own).status_code == 200)


def test_an_endpoint_of_one_team_does_not_serve_what_is_anothers(teams: Teams) -> None:
    promoted(teams)
    names = {"own": ("red", "approver"), "stolen": ("blue", "stranger")}
    for name, (team, role) in names.items():
        body = {"kind": "decide", "team": team, "route": [{"target": "decision/red@production"}]}
        made = teams.http.put(f"/api/v1/endpoints/{name}", json=body, headers=bearer(teams.keys[role]))
        assert made.status_code == 200, made.text
    until(lambda: teams.http.post("/v1/decide/own", json={"number": 1}, headers=bearer(teams.keys["viewer"])).status_code == 200)

    def stolen() -> httpx2.Response:
        return teams.http.post("/v1/decide/stolen", json={"number": 1}, headers=bearer(teams.keys["stranger"]))

    until(lambda: "There is no endpoint" not in stolen().text)
    assert stolen().status_code == 404, stolen().text


def test_a_team_does_not_take_the_name_of_anothers_endpoint(teams: Teams) -> None:
    promoted(teams)
    body = {"kind": "chat", "team": "blue", "route": [{"target": "mock/gpt-4o-mini"}]}
    made = teams.http.put("/api/v1/endpoints/red", json=body, headers=bearer(teams.keys["stranger"]))
    assert made.status_code == 409, made.text
    assert "red" in {row["name"] for row in teams.get("/endpoints", teams.keys["viewer"])}


@pytest.mark.parametrize("target", ["model/RED", "model/red@-1", "decision/a/b/c", "model/red@1@2", "model/\x00", "prompt/x@y"])
def test_no_endpoint_keeps_policy_from_reaching_the_doors(teams: Teams, target: str) -> None:
    own, body = bearer(teams.keys["editor"]), {"kind": "predict", "team": "red", "route": [{"target": target}]}
    made = teams.http.put("/api/v1/endpoints/odd", json=body, headers=own)
    assert made.status_code == (200 if target == "prompt/x@y" else 400), made.text
    teams.http.delete("/api/v1/keys/after", headers=bearer(ADMIN))
    key = teams.http.post("/api/v1/keys", json={"name": "after", "team": "red"}, headers=bearer(ADMIN)).json()["key"]
    until(lambda: teams.http.get("/v1/models", headers=bearer(key)).status_code == 200)


def test_what_is_named_directly_or_from_a_decision_is_of_the_own_team(teams: Teams) -> None:
    """The scope `any-version` opens every version of the own team, and a decision uses its own team's prompts."""
    for role, team in (("editor", "red"), ("viewer", "blue")):
        body = {"name": f"any-{team}", "team": team, "role": role, "scopes": ["any-version"]}
        teams.keys[f"any-{team}"] = teams.http.post("/api/v1/keys", json=body, headers=bearer(ADMIN)).json()["key"]
    for name, key in (("red-prompted", teams.keys["approver"]), ("blue-prompted", teams.keys["stranger"])):
        made = teams.http.post(f"/api/v1/decisions/{name}", json={"source": PROMPTED, "entry": "answer"}, headers=bearer(key))
        assert made.status_code == 201, made.text

    def decided(name: str, key: str) -> httpx2.Response:
        return teams.http.post(f"/v1/decide/decision/{name}@1", json={"number": 1}, headers=bearer(teams.keys[key]))

    until(lambda: decided("red-prompted", "any-red").status_code == 200)
    assert "text 1" in decided("red-prompted", "any-red").text
    assert decided("red-prompted", "any-blue").status_code == 404
    until(lambda: "There is no endpoint" not in decided("blue-prompted", "any-blue").text)
    refused = decided("blue-prompted", "any-blue")
    assert refused.status_code == 404
    assert "text 1" not in refused.text
