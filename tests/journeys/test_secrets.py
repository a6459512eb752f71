"""Canaries: secrets go in wherever they belong, every route is asked, and none of them is found anywhere again."""

from __future__ import annotations

import base64
import json
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.journeys import routes
from tests.journeys.conftest import ADMIN, TLS, Platform, bearer, mock_upstream
from tests.ports import free_port

pytestmark = [pytest.mark.journey, pytest.mark.slow]

MASTER = os.urandom(32)
PROVIDER = "sk-canary-of-the-environment-7f3a"
LITERAL = "sk-canary-written-out-5b1d"
PASSWORD = "canary-hunter2-of-a-prompt"
WRONG = "tdm_canary_mistyped_key_9c4e"
IN_URL = "canary-password-in-an-address"
HOOK = "canary-token-of-a-hook-2d8b"
SIGNING = "whsec_" + base64.b64encode(b"canary of a signing secret, 3e1f").decode()
MAILING = "canary-password-of-a-mail-server-6a0c"
SIGN_IN = "canary-sentence-of-a-person-83f1"
TOML = """
[server]
drain_seconds = 3

[providers.mock]
protocol = "openai"
base_url = "{mock}/v1"
keys = ["env:CANARY"]

[providers.dead]
protocol = "openai"
base_url = "http://127.0.0.1:9/v1"
keys = ["env:CANARY"]

[alerts.environment]
url = "env:HOOK"
secret = "env:SIGNING"
on = ["*"]

[endpoints.assistant]
kind = "chat"
route = [{{ target = "mock/gpt-4o-mini" }}]

[endpoints.dead]
kind = "chat"
route = [{{ target = "dead/gpt-4o-mini" }}]
"""
SOURCE = """
from dataclasses import dataclass
from tandem.decisions import Calls

@dataclass
class Case:
    text: str

@dataclass
class Opinion:
    said: str

def answer(case: Case, calls: Calls) -> Opinion:
    if "fail" in case.text:
        raise ValueError(case.text)
    return Opinion(said=calls.chat("assistant", messages=[{"role": "user", "content": case.text}]).text)
"""


@dataclass
class Drive:
    """What was asked, and all that was answered."""

    house: Platform
    link: str = ""
    """A link to join."""
    session: str = ""
    """The cookie of a person who is signed in."""
    made: str = ""
    """A key that was made through the API."""
    answers: list[tuple[str, bytes]] = field(default_factory=list)
    """Every answer with its headers, but the one that made the key."""
    talks: list[tuple[str, bytes]] = field(default_factory=list)
    """Answers of models, which may say what they were told."""
    traces: list[str] = field(default_factory=list)

    def ask(self, method: str, path: str, key: str | None = ADMIN, *, talk: bool = False, **request: Any) -> httpx2.Response:
        headers = {**request.pop("headers", {}), **({} if key is None else bearer(key))}
        reply = httpx2.request(method, self.house.url + path, headers=headers, timeout=60, verify=TLS, **request)
        whole = repr(reply.headers).encode() + reply.content
        (self.talks if talk else self.answers).append((f"{method} {path}", whole))
        if "x-tandem-trace-id" in reply.headers:
            self.traces.append(reply.headers["x-tandem-trace-id"])
        return reply

    @property
    def secrets(self) -> dict[str, bytes]:
        """What must be nowhere."""
        text = {
            "the admin key": ADMIN,
            "a made key": self.made,
            "a link to join": self.link,
            "a session's cookie": self.session,
            "a person's password": SIGN_IN,
            "a provider's key from the environment": PROVIDER,
            "a provider's key as a literal": LITERAL,
            "a mistyped key": WRONG,
            "a password in an address": IN_URL,
            "an alert's address": HOOK,
            "an alert's signing secret": SIGNING,
            "an alert's signing key": SIGNING.removeprefix("whsec_"),
            "an alert's mail password": MAILING,
            "the master key in base64": base64.b64encode(MASTER).decode(),
            "the master key in hexadecimal": MASTER.hex(),
        }
        return {**{name: value.encode() for name, value in text.items()}, "the master key": MASTER}


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drive]:
    home = tmp_path_factory.mktemp("canaries") / "home"
    home.mkdir(mode=0o700)
    with mock_upstream("--key", PROVIDER) as mock:
        (home / "tandem.toml").write_text(TOML.format(mock=mock))
        hook = {"HOOK": f"http://127.0.0.1:9/{HOOK}", "SIGNING": SIGNING}
        environment = {**hook, "CANARY": PROVIDER, "TANDEM_MASTER_KEY": base64.b64encode(MASTER).decode()}
        house = Platform(home=home, port=free_port(), mock_url=mock, environment=environment)
        house.up()
        try:
            yield driven(Drive(house))
        finally:
            house.down()


def chat(drive: Drive, model: str, key: str, text: str, **more: Any) -> httpx2.Response:
    body = {"model": model, "max_tokens": 64, "messages": [{"role": "user", "content": text}], **more}
    return drive.ask("POST", "/v1/chat/completions", key, talk=True, json=body)


def driven(drive: Drive) -> Drive:
    """Everything that can be done with the secrets, well and badly."""
    house = drive.house
    drive.made = house.key("made", role="editor")
    house.api("POST", "/persons", json={"name": "pat", "email": "pat@example.org", "teams": {"default": "editor"}})
    drive.ask("PUT", "/api/v1/persons/pat/password", json={"password": SIGN_IN})
    drive.ask("PUT", "/api/v1/persons/pat/password", json={"password": SIGN_IN, "x": SIGN_IN})
    told = {"name": "pat", "password": SIGN_IN}
    drive.session = httpx2.post(f"{house.url}/api/v1/session", json=told, verify=TLS).cookies["tandem_session"]
    drive.link = house.api("POST", "/invitations", json={"email": "q@example.org", "teams": {"red": "viewer"}})[
        "link"
    ].rpartition("/")[2]
    signed_in = {"cookie": f"tandem_session={drive.session}"}
    for method, path in (
        ("GET", "/api/v1/session"),
        ("GET", "/people"),
        ("GET", "/keys"),
        ("POST", "/api/v1/session"),
        ("GET", "/"),
    ):
        drive.ask(
            method, path, None, headers=signed_in, json={"name": SIGN_IN, "password": SIGN_IN} if method == "POST" else None
        )
    drive.ask("POST", "/console/sign-in", None, data={"name": "pat", "password": f"{SIGN_IN}!"})
    drive.ask("POST", f"/join/{drive.link}x", None, data={"name": "pat", "password": SIGN_IN, "again": SIGN_IN})
    drive.ask("POST", "/api/v1/invitations/redeem", None, json={"token": drive.link, "name": "pat", "password": SIGN_IN})
    literal = {"protocol": "openai", "base_url": f"{house.mock_url}/v1", "keys": [LITERAL, "env:CANARY"]}
    assert drive.ask("PUT", "/api/v1/providers/literal", json=literal).status_code == 200
    drive.ask("PUT", "/api/v1/providers/url", json={**literal, "base_url": f"http://user:{IN_URL}@127.0.0.1"})
    drive.ask("PUT", "/api/v1/providers/odd", json={**literal, "keys": {LITERAL: LITERAL}})
    drive.ask("PUT", "/api/v1/providers/odd", json={**literal, LITERAL: LITERAL, "protocol": 5})
    drive.ask("PUT", "/api/v1/providers/UPPER", json=literal)
    for kind, more in {
        "webhook": {"url": f"http://127.0.0.1:9/{HOOK}?k={HOOK}", "secret": SIGNING, "on": ["*"]},
        "slack": {"url": f"{house.mock_url}/{HOOK}", "on": ["*"]},
        "email": {"url": "smtps://127.0.0.1:9", "user": "u", "secret": MAILING, "sender": "a@b", "to": ["c@d"], "on": ["*"]},
    }.items():
        assert drive.ask("PUT", f"/api/v1/alerts/{kind}", json={"kind": kind, **more}).status_code == 200
        drive.ask("PUT", f"/api/v1/alerts/{kind}", json={"kind": kind, **more, "on": ["nothing"]})
        drive.ask("PUT", "/api/v1/alerts/odd", json={"kind": kind, **more, "secret": f"{MAILING} {SIGNING}"})
        assert drive.ask("POST", f"/api/v1/alerts/{kind}/test").json()["ok"] is False
    drive.ask("PUT", "/api/v1/alerts/odd", json={"url": f"https://user:{HOOK}@127.0.0.1/{HOOK}"})
    drive.ask("PUT", "/api/v1/alerts/odd", json={"url": f"ftp://127.0.0.1/{HOOK}", "secret": {MAILING: SIGNING}})
    drive.ask("POST", "/api/v1/alerts/environment/test")
    drive.ask("PUT", "/api/v1/endpoints/literal", json={"kind": "chat", "route": [{"target": "literal/gpt-4o-mini"}]})
    drive.ask("POST", "/api/v1/decisions/opinion", json={"source": SOURCE, "entry": "answer"})
    drive.ask("POST", "/api/v1/assets/decision/opinion/promote", json={"version": 1})
    for key in (drive.made, WRONG, None):
        drive.ask("GET", "/api/v1/whoami", key)
        drive.ask("POST", "/api/v1/keys", key, content=json.dumps({"name": WRONG, "x": drive.made})[:-3])
        drive.ask("GET", "/v1/models", key)
        drive.ask("GET", "/v2/models", key)
        drive.ask("GET", "/metrics", key)
    drive.ask("GET", "/api/v1/whoami", None, headers={"x-api-key": WRONG})
    drive.ask("GET", "/api/v1/whoami", None, headers={"cookie": f"tandem_session={WRONG}"})
    drive.ask("POST", "/console/sign-in", None, data={"key": WRONG})
    signed = drive.ask("POST", "/console/sign-in", None, data={"key": ADMIN})
    cookie = signed.headers.get("set-cookie", "").partition(";")[0]
    deadline = time.monotonic() + 15
    while drive.ask("POST", "/v1/decide/opinion", talk=True, json={"text": PASSWORD}).status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    for key in (ADMIN, drive.made):
        assert chat(drive, "assistant", key, PASSWORD).status_code == 200
        assert chat(drive, "assistant", key, PASSWORD, stream=True).status_code == 200
        assert chat(drive, "literal", key, PASSWORD).status_code in (200, 502)  # one of its two keys is refused by the upstream
        for word in ("401", "429", "500", "cut", "malformed", "context", "refuse=400"):
            chat(drive, "assistant", key, f"{PASSWORD}\nx-mock-fault: {word}", stream=word in ("cut", "malformed"))
        assert chat(drive, "dead", key, PASSWORD).status_code == 502
    chat(drive, "none", ADMIN, PASSWORD)
    chat(drive, PASSWORD, WRONG, PASSWORD)
    drive.ask("POST", "/v1/chat/completions", talk=True, content=f'{{"model": "assistant", "messages": "{PASSWORD}"}}'.encode())
    drive.ask("POST", "/v1/chat/completions", talk=True, content=f'{{"model": 1, "messages": ["{PASSWORD}'.encode())
    drive.ask("POST", "/v1/decide/opinion", talk=True, json={"text": f"fail {PASSWORD}"})
    for name in ("mock", "literal", "dead", "none"):
        drive.ask("POST", f"/api/v1/providers/{name}/test", json={"model": "gpt-4o-mini"})
    house.settle()
    every_route(drive, cookie)
    house.api("DELETE", "/keys/made")
    time.sleep(0.3)
    drive.ask("GET", "/v1/models", drive.made)
    while drive.ask("GET", f"/api/v1/traces/{drive.traces[-1]}").status_code != 200:
        assert time.monotonic() < deadline + 60
        time.sleep(0.1)
    return drive


def every_route(drive: Drive, cookie: str) -> None:
    """All that reads, as an admin and as the made key; all that writes, with bodies that are refused."""
    described = drive.ask("GET", "/api/openapi.json").json()["paths"]
    names = {"kind": "decision", "name": "opinion", "version": "1", "member": "decision.py", "scope": "key/made"}

    def fill(path: str, trace: str) -> str:
        return re.sub(r"\{([a-z]+)\}", lambda part: {**names, "identifier": trace}.get(part[1], "x"), path)

    for path, methods in described.items():
        for method in methods:
            for key in (ADMIN, drive.made, WRONG):
                if method == "get":
                    for trace in drive.traces if "/traces/" in path else ("x",):
                        drive.ask("GET", fill(path, trace), key)
                elif path != "/api/v1/keys":
                    drive.ask(method.upper(), fill(path, "x"), key, json={"x": LITERAL, "keys": [WRONG], "messages": drive.made})
    for method, path in routes.RAW:
        for trace in drive.traces if path.startswith("/traces/") else ("x",):
            talk = path.startswith("/traces/")  # this page shows what was said, to those who may read it
            drive.ask(method, fill(path, trace), None, talk=talk, headers={"cookie": cookie})
    for path in ("/api/v1/audit?limit=1000", "/api/v1/traces?limit=1000", "/api/v1/doctor", "/api/v1/spend"):
        assert drive.ask("GET", path).status_code == 200


def files(home: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(home.rglob("*")):
        if path.is_file():
            yield str(path.relative_to(home)), path.read_bytes()


def found(secrets: dict[str, bytes], places: Iterator[tuple[str, bytes]] | list[tuple[str, bytes]]) -> list[str]:
    return sorted({f"{name} in {place}" for place, text in places for name, secret in secrets.items() if secret in text})


def test_the_drive_went_everywhere(drive: Drive) -> None:
    assert len(drive.answers) > 200
    assert len(drive.traces) > 50
    assert any(PASSWORD.encode() in text for _, text in drive.talks)
    kept = [drive.house.api("GET", f"/traces/{trace}?content=1") for trace in dict.fromkeys(drive.traces)]
    assert sum(PASSWORD in json.dumps(each["content"]) for each in kept) > 10  # it was recorded, and can be read by who may


def test_no_secret_is_in_an_answer(drive: Drive) -> None:
    assert found(drive.secrets, [*drive.answers, *drive.talks]) == []


def test_no_secret_is_in_a_file(drive: Drive) -> None:
    assert found(drive.secrets, files(drive.house.home)) == []


def test_no_secret_is_in_the_log(drive: Drive) -> None:
    assert found({**drive.secrets, "a password in a prompt": PASSWORD.encode()}, [("the log", drive.house.log().encode())]) == []


def test_what_was_said_is_in_no_file_and_in_no_answer_that_was_not_asked_for_it(drive: Drive) -> None:
    secrets = {"a password in a prompt": PASSWORD.encode()}
    assert found(secrets, files(drive.house.home)) == []
    assert found(secrets, drive.answers) == []


def test_the_home_is_its_owners_alone(drive: Drive) -> None:
    assert drive.house.home.stat().st_mode & 0o077 == 0


def test_no_secret_stands_on_a_command_line(drive: Drive) -> None:
    house = drive.house
    assert house.process is not None
    pids = [*house.pids("door"), *house.pids("control"), house.process.pid]
    assert len(pids) == 3
    assert found(drive.secrets, [(str(pid), Path(f"/proc/{pid}/cmdline").read_bytes()) for pid in pids]) == []
