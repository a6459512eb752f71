"""What a start makes of what it is given: the settings file, keys, certificates; errors end it and say why."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.journeys.conftest import ADMIN, TLS, TOML, Platform, bearer, platform
from tests.ports import free_port

pytestmark = [pytest.mark.journey, pytest.mark.slow]

MORE = """
[providers.sealed]
protocol = "openai"
base_url = "{mock}/v1"
keys = ["a-literal-key"]

[endpoints.second]
kind = "chat"
route = [{{ target = "mock/gpt-4o-mini" }}]
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with platform(tmp_path_factory.mktemp("house")) as running:
        yield running


def start(home: Path, *words: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """A start that is expected to end by itself."""
    command = [sys.executable, "-m", "tandem", "up", "--home", str(home), "--port", str(free_port()), *words]
    given = {"TANDEM_ADMIN_KEY": ADMIN, **(environment or {})}
    return subprocess.run(command, capture_output=True, text=True, timeout=45, check=False, env={**os.environ, **given})


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("[server]\nport = 1\n\n[server.odd]\na = 1\n", 4, "odd"),
        ("[server]\nworkerz = 2\n", 2, "workerz"),
        ('# first\n\n[endpoints.a]\nkind = "chat"\nroute = []\ncolour = "red"\n', 6, "colour"),
        ("[server]\n\n[servers]\n", 3, "servers"),
        ('[server]\nworkers = "many"\n', 2, "workers"),
        ("[server]\nworkers = = 2\n", 2, "TOML"),
    ],
)
def test_a_setting_that_means_nothing_ends_the_start_with_file_and_line(tmp_path: Path, text: str, line: int, told: str) -> None:
    (tmp_path / "tandem.toml").write_text(text)
    done = start(tmp_path)
    assert done.returncode == 2, done
    assert str(tmp_path / "tandem.toml") in done.stderr
    assert str(line) in done.stderr.replace(str(tmp_path), "")
    assert told in done.stderr
    assert "started again" not in done.stderr


@pytest.mark.parametrize(
    ("environment", "words", "told"),
    [
        ({"TANDEM_SERVER__WORKERZ": "2"}, (), "workerz"),
        ({}, ("--workers", "0"), "workers"),
        ({}, ("--cert", "/none/cert.pem", "--key", "/none/key.pem"), "/none/cert.pem"),
        ({}, ("--config", "/none/tandem.toml"), "/none/tandem.toml"),
        ({"TANDEM_MASTER_KEY": "short"}, (), "TANDEM_MASTER_KEY"),
        ({"TANDEM_ADMIN_KEY": "two words"}, (), "header"),
    ],
)
def test_a_start_that_cannot_be_says_why_once_and_ends(
    tmp_path: Path, environment: dict[str, str], words: tuple[str, ...], told: str
) -> None:
    done = start(tmp_path, *words, environment=environment)
    assert done.returncode != 0
    assert told in done.stderr
    assert "  → " in done.stderr
    assert "Traceback" not in done.stderr
    assert "started again" not in done.stderr


def test_a_home_whose_master_key_is_lost_does_not_start(house: Platform) -> None:
    house.down()
    key = (house.home / "master.key").read_bytes()
    (house.home / "master.key").unlink()
    try:
        lost = start(house.home)
        other = start(house.home, environment={"TANDEM_MASTER_KEY": "A" * 43 + "="})
    finally:
        (house.home / "master.key").write_bytes(key)
        (house.home / "master.key").chmod(0o600)
    for done in (lost, other):
        assert done.returncode != 0
        assert "master key" in done.stderr
        assert "started again" not in done.stderr
        assert "Traceback" not in done.stderr
    house.up()
    assert house.chat(ADMIN).status_code == 200


@pytest.mark.files
def test_a_revoked_admin_key_does_not_come_back(house: Platform) -> None:
    other = "tdm_another_admin_for_tests_0123456789"
    house.down()
    house.environment["TANDEM_ADMIN_KEY"] = other  # the operator has changed it
    house.up()
    assert house.chat(ADMIN).status_code == 401
    house.down()
    done = start(house.home)
    assert done.returncode != 0
    assert "revoked" in done.stderr
    assert "started again" not in done.stderr


def test_what_the_file_declares_is_read_only_elsewhere_and_retired_by_the_file(house: Platform) -> None:
    house.down()
    base = TOML.format(mock=house.mock_url)
    file = house.home / "tandem.toml"
    file.write_text(base + MORE.format(mock=house.mock_url))
    house.environment["TANDEM_ADMIN_KEY"] = "tdm_another_admin_for_tests_0123456789"
    house.up()
    admin = bearer(house.environment["TANDEM_ADMIN_KEY"])
    lines = {line: number for number, line in enumerate(file.read_text().splitlines(), 1)}
    with httpx2.Client(base_url=house.url, headers=admin, timeout=30, verify=TLS) as http:
        route = {"kind": "chat", "route": [{"target": "mock/gpt-4o"}]}
        provider = {"protocol": "openai", "base_url": "http://127.0.0.1:9", "keys": ["x"]}
        for noun, name, body in (
            ("endpoints", "second", route),
            ("endpoints", "assistant", route),
            ("providers", "sealed", provider),
        ):
            for reply in (http.put(f"/api/v1/{noun}/{name}", json=body), http.delete(f"/api/v1/{noun}/{name}")):
                assert reply.status_code == 409, reply.text
                assert f"tandem.toml:{lines[f'[{noun}.{name}]']}" in reply.json()["error"]["message"]
        chat = {"model": "second", "max_tokens": 4, "messages": [{"role": "user", "content": "hi"}]}
        assert http.post("/v1/chat/completions", json=chat).status_code == 200
        sealed = {row["name"]: row["keys"] for row in http.get("/api/v1/providers").json()}["sealed"]
        assert len(sealed) == 1
        assert "a-literal-key" not in sealed[0]

    house.down()
    file.write_text(base)
    house.up()
    with httpx2.Client(base_url=house.url, headers=admin, timeout=30, verify=TLS) as http:
        assert {row["name"] for row in http.get("/api/v1/endpoints").json()} == {"assistant"}
        assert {row["name"] for row in http.get("/api/v1/providers").json()} == {"mock"}
        assert http.post("/v1/chat/completions", json=chat).status_code == 404
        assert http.post("/v1/chat/completions", json={**chat, "model": "assistant"}).status_code == 200
        told = [(row["action"], row["subject"]) for row in http.get("/api/v1/audit?limit=20").json()]
        assert ("endpoint.delete", "endpoint/second") in told
        assert ("provider.delete", "provider/sealed") in told


def test_the_port_speaks_tls(tmp_path: Path) -> None:
    trusted = certified(tmp_path)
    home, port = tmp_path / "home", free_port()
    environment = {**os.environ, "TANDEM_ADMIN_KEY": ADMIN}
    words = ["--cert", str(tmp_path / "cert.pem"), "--key", str(tmp_path / "key.pem")]
    with (tmp_path / "up.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tandem", "up", "--home", str(home), "--port", str(port), *words],
            env=environment,
            stdout=log,
            stderr=log,
        )
    try:
        with httpx2.Client(base_url=f"https://127.0.0.1:{port}", verify=trusted, headers=bearer(ADMIN), timeout=10) as http:
            deadline = time.monotonic() + 60
            while not ready(http):
                assert process.poll() is None, (tmp_path / "up.log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.05)
            assert http.get("/api/v1/whoami").json()["role"] == "admin"
            assert http.get("/v1/models").json()["object"] == "list"
            assert http.post("/v1/chat/completions", json={"model": "none", "messages": []}).status_code == 404
        with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
            plain.sendall(b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n")
            assert not plain.recv(100).startswith(b"HTTP/")
        with pytest.raises(httpx2.ConnectError):  # a caller that was not told to trust the certificate does not
            httpx2.get(f"https://127.0.0.1:{port}/health", verify=TLS)
    finally:
        process.terminate()
        assert process.wait(30) == 0


def ready(http: httpx2.Client) -> bool:
    try:
        return http.get("/health/ready").status_code == 200
    except httpx2.HTTPError:
        return False


def certified(folder: Path) -> ssl.SSLContext:
    """A self-signed certificate for 127.0.0.1 in `folder`; a client's side that trusts it."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(pem)
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return ssl.create_default_context(cafile=str(folder / "cert.pem"))


def test_a_renewal_with_a_broken_file_changes_nothing(house: Platform) -> None:
    assert house.process is not None
    file = house.home / "tandem.toml"
    before, pids = file.read_text(), house.pids("door") + house.pids("control")
    file.write_text(before + "\n[serverz]\n")
    house.process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + 20
    while "nothing was renewed" not in house.log():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    file.write_text(before)
    assert "serverz" in house.log()
    assert house.pids("door") + house.pids("control") == pids
    assert httpx2.get(f"{house.url}/health/ready", verify=TLS, timeout=10).status_code == 200
