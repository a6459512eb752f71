"""A platform is backed up while it answers, a person is erased, and an older backup comes back without them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.journeys.conftest import ADMIN, TLS, Platform, bearer, platform
from tests.ports import free_port

pytestmark = [pytest.mark.journey, pytest.mark.slow, pytest.mark.files]

PERSON, SAID = "canary.person@example.org", "canary-of-what-a-person-said"


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Platform]:
    with platform(tmp_path / "place") as running:
        yield running


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> None:
    (tmp_path / "place").mkdir()


def tandem(house: Platform, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TANDEM_URL": house.url, "TANDEM_KEY": ADMIN}
    return subprocess.run([sys.executable, "-m", "tandem", *words], env=environment, capture_output=True, text=True, check=False)


def told(house: Platform, *words: str) -> Any:
    done = tandem(house, *words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def chat(house: Platform, subject: str, text: str) -> str:
    body = {"model": "assistant", "max_tokens": 8, "user": subject, "messages": [{"role": "user", "content": text}]}
    reply = httpx2.post(f"{house.url}/v1/chat/completions", json=body, headers=bearer(ADMIN), timeout=30, verify=TLS)
    assert reply.status_code == 200, reply.text
    return reply.headers["x-tandem-trace-id"]


def read(house: Platform, trace: str) -> tuple[str, dict[str, Any]]:
    deadline = time.monotonic() + 15
    while True:
        reply = httpx2.get(f"{house.url}/api/v1/traces/{trace}?content=1", headers=bearer(ADMIN), timeout=30, verify=TLS)
        if reply.status_code == 200 and reply.json()["calls"]:
            (text,) = reply.json()["content"].values()
            return reply.json()["calls"][0]["subject"], text
        assert time.monotonic() < deadline
        time.sleep(0.1)


def holding(folder: Path) -> list[str]:
    words = (PERSON.encode(), SAID.encode())
    return [str(path) for path in folder.rglob("*") if path.is_file() and any(word in path.read_bytes() for word in words)]


def test_the_erased_stay_erased_in_the_home_in_backups_and_in_what_is_restored(house: Platform, tmp_path: Path) -> None:
    trace, other = chat(house, PERSON, SAID), chat(house, "somebody-else", "something else")
    assert read(house, trace)[0] == PERSON
    out = tmp_path / "out"
    old = told(house, "backup", str(out / "old"), "--home", str(house.home), "--with-key")
    chat(house, PERSON, SAID)
    report = told(house, "erase", PERSON, "--yes", "--report", str(tmp_path / "report.json"))
    assert (report["contents"], report["complete"]) == (2, True)
    assert json.loads((tmp_path / "report.json").read_text()) == report
    assert told(house, "erase", "--verify", str(tmp_path / "report.json")) == {"ok": True}
    told(house, "backup", str(out / "new"), "--home", str(house.home))
    assert holding(house.home) == []
    assert holding(out) == []
    assert read(house, trace)[1]["erased"]
    assert read(house, other)[0] == "somebody-else"
    again = chat(house, PERSON, "who comes back is kept again")
    assert read(house, again)[0] == PERSON
    spent = house.api("GET", "/spend?scope=org")["attempts"]
    assert spent == 4
    assert house.down() == 0
    restored = told(house, "restore", old["path"], "--home", str(tmp_path / "place" / "again"))
    assert (restored["audit_ok"], restored["unbooked"]) == (True, 0)
    back = Platform(home=tmp_path / "place" / "again", port=free_port(), mock_url=house.mock_url)
    back.up()
    try:
        assert back.api("POST", "/audit/verify")["ok"]
        assert back.api("GET", "/spend?scope=org")["attempts"] == 2
        assert read(back, trace) == (report["id"], {**read(back, trace)[1], "request": "", "answer": "", "erased": True})
        assert read(back, other)[0] == "somebody-else"
        chat(back, "new", "the restored one answers")
    finally:
        back.down()
    assert holding(tmp_path / "place" / "again") == []


def test_a_backup_under_load_agrees_with_itself(house: Platform, tmp_path: Path) -> None:
    stop = threading.Event()
    count = [0]

    def call() -> None:
        while not stop.is_set():
            chat(house, f"person-{count[0] % 5}", "hello")
            count[0] += 1

    caller = threading.Thread(target=call)
    caller.start()
    try:
        while count[0] < 20:
            time.sleep(0.05)
        for number in range(2):
            made = told(house, "backup", str(tmp_path / f"b{number}"), "--home", str(house.home), "--with-key")
            found = told(house, "restore", made["path"], "--home", str(tmp_path / f"again{number}"))
            assert (found["audit_ok"], found["unbooked"]) == (True, 0)
    finally:
        stop.set()
        caller.join()


def test_a_backup_that_is_killed_leaves_none(house: Platform, tmp_path: Path) -> None:
    (house.home / "blobs" / "sha256" / "zz").mkdir(parents=True)
    (house.home / "blobs" / "sha256" / "zz" / "large").write_bytes(os.urandom(1 << 20) * 192)
    target = tmp_path / "out" / "one"
    command = [sys.executable, "-m", "tandem", "backup", str(target), "--home", str(house.home), "--with-key"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    part = target.with_name(".one.part")
    while not (part.exists() and part.stat().st_size > 1 << 20):
        assert process.poll() is None
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not target.exists()
    refused = tandem(house, "restore", str(part), "--home", str(tmp_path / "again"))
    assert refused.returncode != 0
    assert not (tmp_path / "again").exists()
    told(house, "backup", str(target), "--home", str(house.home), "--with-key")
    assert sorted(path.name for path in target.parent.iterdir() if path.name.startswith(".")) == []
    told(house, "restore", str(target), "--home", str(tmp_path / "again"))
