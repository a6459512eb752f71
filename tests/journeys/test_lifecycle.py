"""The life of a home: one platform at a time, a stop that drains, a kill that leaves nothing, a start that remembers."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from tests.journeys.conftest import ADMIN, TLS, Platform, bearer, platform
from tests.ports import free_port

pytestmark = [pytest.mark.journey, pytest.mark.slow]

TOKENS = 40
MS_PER_TOKEN = 40


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform whose upstream speaks slowly; the tests stop and start it."""
    with platform(tmp_path_factory.mktemp("home"), workers=2, mock=("--per-token", str(MS_PER_TOKEN))) as running:
        yield running


@pytest.fixture(autouse=True)
def running(home: Platform) -> None:
    """Every test begins with a platform that runs."""
    if home.process is None or home.process.poll() is not None:
        home.up()


def until(true: Callable[[], bool], what: str, seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def second(home: Path, port: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tandem", "up", "--home", str(home), "--port", str(port)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def members(home: Platform) -> list[int]:
    """Every process of the home but the supervisor."""
    return [pid for kind in ("door", "control") for pid in home.pids(kind)]


def test_a_second_start_on_a_home_names_the_first(home: Platform) -> None:
    assert home.process is not None
    for port in (home.port, free_port()):
        done = second(home.home, port)
        assert done.returncode == 3, done
        assert str(home.process.pid) in done.stderr
    assert httpx2.get(f"{home.url}/health", verify=TLS).status_code == 200


def test_a_start_on_a_port_that_is_taken_says_so_and_ends(home: Platform, tmp_path: Path) -> None:
    done = second(tmp_path / "other", home.port)
    assert done.returncode == 1, done
    assert f"Port {home.port}" in done.stderr
    assert "started again" not in done.stderr


def stop_under_a_stream(home: Platform) -> None:
    """SIGTERM at the first frame: the stream goes on to its end, new callers are refused, everything ends well."""
    assert home.process is not None
    body = {"model": "assistant", "stream": True, "messages": [{"role": "user", "content": f"x-mock-tokens: {TOKENS}"}]}
    pieces, refused = 0, 0
    with httpx2.Client(base_url=home.url, headers=bearer(ADMIN), timeout=30, verify=TLS) as http:
        with http.stream("POST", "/v1/chat/completions", json=body) as reply:
            assert reply.status_code == 200
            last = ""
            for line in reply.iter_lines():
                if not line.startswith("data: "):
                    continue
                if pieces == 0:
                    home.process.send_signal(signal.SIGTERM)
                elif last.startswith("{") and connects(home.port) is False:
                    refused += 1
                pieces, last = pieces + 1, line.removeprefix("data: ")
    assert last == "[DONE]"
    assert pieces >= TOKENS
    assert refused > 0
    assert home.process.wait(20) == 0
    assert members(home) == []
    assert "ended with" not in home.log()


def connects(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_stop_drains_and_the_next_start_remembers(home: Platform) -> None:
    key = home.key("lasting", team="red", role="editor")
    gone = home.key("gone")
    home.api("DELETE", "/keys/gone")
    home.api("PUT", "/budgets/key/lasting", json={"cap": "1.5", "window": "total"})
    home.api("POST", "/prompts/lasting", json={"template": "Say it"})
    home.api("POST", "/assets/prompt/lasting/promote", json={"version": 1})
    home.api("PUT", "/endpoints/lasting", json={"kind": "chat", "route": [{"target": "mock/gpt-4o-mini"}]})
    home.api("PUT", "/providers/lasting", json={"protocol": "openai", "base_url": home.mock_url, "keys": ["a-literal-key"]})
    until(lambda: home.chat(key).status_code == 200, "a new key works")
    trace = home.chat(key).headers["x-tandem-trace-id"]
    home.settle()
    until(lambda: all(row["reserved"] == 0 for row in home.api("GET", "/budgets")), "idle leases come back")
    paths = ("/keys", "/assets", "/endpoints", "/providers", f"/traces/{trace}?content=1", "/spend?scope=key/lasting", "/budgets")
    before = {path: home.api("GET", path) for path in paths}
    audited = home.api("GET", "/audit?limit=1")[0]["seq"]
    assert before["/spend?scope=key/lasting"]["cost"] > 0

    stop_under_a_stream(home)
    home.up()

    assert {path: home.api("GET", path) for path in paths} == before
    assert home.api("GET", "/audit?limit=1")[0]["seq"] == audited  # a start changes nothing that has to be told
    assert home.api("POST", "/audit/verify")["ok"]
    assert home.chat(key).status_code == 200
    assert home.chat(gone).status_code == 401


def test_a_killed_supervisor_leaves_no_process(home: Platform) -> None:
    assert home.process is not None
    children = members(home)
    assert len(children) == 3
    body = {"model": "assistant", "stream": True, "messages": [{"role": "user", "content": "x-mock-tokens: 2000"}]}
    text = json.dumps(body)  # longer than anybody waits
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {ADMIN}\r\ncontent-length: {len(text)}"
    with socket.create_connection(("127.0.0.1", home.port)) as stream:
        stream.sendall(f"{head}\r\n\r\n{text}".encode())
        assert stream.recv(12) == b"HTTP/1.1 200"
        os.kill(home.process.pid, signal.SIGKILL)
        home.process.wait()
        until(lambda: members(home) == [], f"{members(home)} of {children} are left")
        assert not connects(home.port)
    home.up()
    assert home.chat(ADMIN).status_code == 200
    home.settle()
