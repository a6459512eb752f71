"""The disk is full: new calls are refused and say why, started ones end, nothing is lost, and it mends itself.

A disk of one's own is a small tmpfs, filled to the last byte. Where nothing may be mounted, the kernel refuses
every byte that the platform's processes write to a file (RLIMIT_FSIZE), which also stands for a quota.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx2
import pytest

from tests.disks import fill, kinds, mounted
from tests.journeys.conftest import ADMIN, TLS, TOML, Platform, bearer, mock_upstream, platform, until
from tests.ports import free_port

pytestmark = [pytest.mark.journey, pytest.mark.slow, pytest.mark.files]

DISK = "40m"
"""A fresh home takes about one, and the reserve of each door eight."""
STREAMS = 4
MOCK = ("--per-token", "15")
PATIENCE = 30.0
MOST = 400
"""Calls or writes after which a full disk must have been noticed; what has room in a page goes on for a while."""
IDLE_SECONDS = 20.0
"""What was lent when the ledger could not take it back is free when its lease ends, after 15 s."""
OUTAGE = 8
"""Seconds for which control is tried again; it is less than one start a second."""
SOURCE = """
from dataclasses import dataclass
from tandem.decisions import Calls

@dataclass
class Case:
    number: float

def answer(case: Case, calls: Calls) -> Case:
    return Case(number=case.number * 2)
"""


class Disk(Protocol):
    """A place for a home, whose room can be taken away."""

    folder: Path
    kept: bool
    """Whether what a process keeps of it in reserve remains its own; a limit of what it may write takes that too."""

    def fill(self, supervisor: int) -> None: ...
    def free(self, supervisor: int) -> None: ...
    def starting(self) -> Callable[[], None] | None: ...


@dataclass
class Mounted:
    """A file system of its own."""

    folder: Path
    kept: bool = True

    def fill(self, supervisor: int) -> None:
        fill(self.folder)

    def free(self, supervisor: int) -> None:
        (self.folder / "ballast").unlink()

    def starting(self) -> Callable[[], None] | None:
        return None


@dataclass
class Limited:
    """The file system of everybody, and processes that may not write to it."""

    folder: Path
    kept: bool = False
    full: bool = False

    def fill(self, supervisor: int) -> None:
        self._limit(supervisor, 0)

    def free(self, supervisor: int) -> None:
        self._limit(supervisor, resource.getrlimit(resource.RLIMIT_FSIZE)[0])

    def starting(self) -> Callable[[], None] | None:
        return (lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))) if self.full else None

    def _limit(self, supervisor: int, size: int) -> None:
        self.full = size == 0
        if supervisor:
            resource.prlimit(supervisor, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
            for pid in descendants(supervisor):  # after it, so that whom it starts meanwhile inherits
                with contextlib.suppress(ProcessLookupError):
                    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def descendants(pid: int) -> list[int]:
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                parents.setdefault(parent, []).append(int(entry.name))
    found = [pid]
    for one in found:
        found += parents.get(one, [])
    return found[1:]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "disk" in metafunc.fixturenames:
        metafunc.parametrize("disk", kinds()[:1], indirect=True)  # a whole platform takes long to fill: the truest disk there is


@pytest.fixture
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    if request.param == "limited":
        yield Limited(tmp_path)
        return
    folder = tmp_path / "disk"
    folder.mkdir()
    with mounted(folder, DISK):
        yield Mounted(folder)


@contextlib.contextmanager
def full(disk: Disk, house: Platform) -> Iterator[None]:
    assert house.process is not None
    disk.fill(house.process.pid)
    try:
        yield
    finally:
        disk.free(house.process.pid)


def bill(house: Platform) -> dict[str, int]:
    totals: dict[str, int] = httpx2.get(f"{house.mock_url}/bill", verify=TLS).json()["totals"]
    return totals


def told(reply: httpx2.Response) -> str:
    """What a refusal for want of room says, in OpenAI's shape or ours; it names what to do."""
    assert reply.status_code == 503, reply.text
    assert "x-tandem-trace-id" in reply.headers or "/api/" in str(reply.url)
    body = reply.json()
    error = body["error"] if isinstance(body["error"], dict) else {"message": body["error"], **body}
    words = f"{error['message']} {error.get('hint') or ''}"
    assert "cannot be written" in words or "disk is full" in words, words
    assert "Free space on the disk" in words, words
    return words


class Streams:
    """Answers that are being written while the disk fills up."""

    def __init__(self, house: Platform, key: str) -> None:
        self.house, self.key = house, key
        self.traces: list[str] = []
        self.texts: list[str] = []
        self.begun = threading.Semaphore(0)
        self._threads = [threading.Thread(target=self._read) for _ in range(STREAMS)]

    def __enter__(self) -> Streams:
        for thread in self._threads:
            thread.start()
        for _ in self._threads:
            assert self.begun.acquire(timeout=PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        for thread in self._threads:
            thread.join()

    @property
    def running(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def _read(self) -> None:
        body = {
            "model": "assistant",
            "max_tokens": 160,
            "stream": True,
            "messages": [{"role": "user", "content": "Tell me all."}],
        }
        url = f"{self.house.url}/v1/chat/completions"
        with httpx2.stream("POST", url, json=body, headers=bearer(self.key), timeout=60, verify=TLS) as reply:
            self.traces.append(reply.headers["x-tandem-trace-id"])
            text = ""
            for number, piece in enumerate(reply.iter_text()):
                if number == 0:
                    self.begun.release()
                text += piece
        self.texts.append(text)


def answered_until_refused(house: Platform, key: str) -> list[str]:
    """Calls until one is refused; the traces of those that were answered."""
    traces = []
    for _ in range(MOST):
        reply = house.chat(key)
        if reply.status_code != 200:
            told(reply)
            return traces
        traces.append(reply.headers["x-tandem-trace-id"])
    raise AssertionError(f"{MOST} calls on a full disk, and none was refused.")


def refused_write(write: Callable[[], httpx2.Response]) -> str:
    """A change of the control plane, again and again until it is refused: it is done or it is refused, never a fault of ours."""
    for _ in range(MOST):
        reply = write()
        if reply.status_code >= 300:
            return told(reply)
    raise AssertionError(f"{MOST} changes on a full disk, and none was refused.")


def check_books(house: Platform, answered: list[str], cap: int) -> None:
    """Every answered call stands in the trace store once; ledger, trace store and bill tell the same sum, within the cap."""
    house.settle(PATIENCE)

    def budget_of() -> Any:
        return next(row for row in house.api("GET", "/budgets") if row["scope"] == "key/load")

    until(lambda: budget_of()["reserved"] == 0, "idle money is handed back", IDLE_SECONDS)
    budget = budget_of()
    calls: dict[str, int] = {}
    outcomes: dict[str, str] = {}
    for trace, outcome in house.rows("traces", "SELECT trace, outcome FROM calls"):
        calls[trace] = calls.get(trace, 0) + 1
        outcomes[trace] = outcome
    costs = sum(cost for (cost,) in house.rows("traces", "SELECT coalesce(cost, 0) FROM attempts"))
    assert len(set(answered)) == len(answered)
    assert [trace for trace in answered if calls.get(trace) != 1 or outcomes[trace] != "ok"] == []
    assert budget["settled"] == costs == bill(house)["cost_nano"]
    assert costs <= cap == budget["cap"]
    assert house.api("POST", "/audit/verify")["ok"]


def test_a_full_disk_refuses_what_is_new_ends_what_runs_and_loses_nothing(disk: Disk) -> None:
    with platform(disk.folder, mock=MOCK) as house:
        key = house.key("load")
        house.api("PUT", "/budgets/key/load", json={"cap": "0.05", "window": "total"})
        house.api("POST", "/decisions/double", json={"source": SOURCE, "entry": "answer"})
        house.api("POST", "/assets/decision/double/promote", json={"version": 1})
        until((house.home / "jobs.db").exists, "jobs run")
        until(lambda: decide(house).status_code == 200, "the decision answers")
        answered = [house.chat(key).headers["x-tandem-trace-id"] for _ in range(8)]
        before = {kind: house.pids(kind) for kind in ("door", "control")}
        with httpx2.Client(base_url=house.url, verify=TLS, timeout=30, follow_redirects=True) as browser:
            assert browser.post("/console/sign-in", data={"key": ADMIN}).status_code == 200
            with Streams(house, key) as streams, full(disk, house):
                answered += answered_until_refused(house, key)
                assert streams.running
                until(lambda: not streams.running, "streams end")
                answered += answered_until_refused(house, key)
                answered += streams.traces
                assert len(streams.texts) == STREAMS
                assert all(text.rstrip().endswith("[DONE]") for text in streams.texts)
                billed = bill(house)["requests"]
                for _ in range(20):
                    told(house.chat(key))
                    told(decide(house))
                assert bill(house)["requests"] == billed
                for write in writes(house):
                    refused_write(write)
                check_reads(house, browser)
                ready = httpx2.get(f"{house.url}/health/ready", timeout=10, verify=TLS)
                assert ready.status_code == 503
                assert ready.json()["parts"]["journal"] in (os.strerror(errno.ENOSPC), os.strerror(errno.EFBIG))
                assert ready.json()["parts"]["snapshot"] == ready.json()["parts"]["control"] == "ok"
                time.sleep(16)  # longer than any lease of money
                told(house.chat(key))
                check_reads(house, browser)
            until(lambda: house.chat(key).status_code == 200, "calls go on by themselves", 10)
            house.wait()
        answered += [house.chat(key).headers["x-tandem-trace-id"] for _ in range(8)]
        assert {kind: house.pids(kind) for kind in ("door", "control")} == before
        check_books(house, answered, 50_000_000)
        house.key("afterwards")
        assert "Traceback" not in house.log()
        assert house.down() == 0


def decide(house: Platform) -> httpx2.Response:
    return httpx2.post(f"{house.url}/v1/decide/double", json={"number": 2}, headers=bearer(ADMIN), timeout=30, verify=TLS)


def writes(house: Platform) -> list[Callable[[], httpx2.Response]]:
    """Changes of every store that control writes to."""
    numbers = iter(range(10**6))

    def api(method: str, path: str, **body: Any) -> httpx2.Response:
        return httpx2.request(method, f"{house.url}/api/v1{path}", headers=bearer(ADMIN), timeout=60, verify=TLS, **body)

    csv = ("number,label\n" + "".join(f"{n},{n % 2}\n" for n in range(2000))).encode()
    return [
        lambda: api("POST", "/keys", json={"name": f"more-{next(numbers)}"}),
        lambda: api("PUT", f"/budgets/key/more-{next(numbers)}", json={"cap": "1", "window": "total"}),
        lambda: api("PUT", f"/endpoints/more-{next(numbers)}", json={"kind": "chat", "route": [{"target": "mock/gpt-4o"}]}),
        lambda: api("POST", f"/prompts/more-{next(numbers)}", json={"template": "hello " * 1000}),
        lambda: api("POST", f"/decisions/more-{next(numbers)}", json={"source": SOURCE, "entry": "answer"}),
        lambda: api("POST", f"/datasets/more-{next(numbers)}?format=csv", content=csv),
    ]


def check_reads(house: Platform, browser: httpx2.Client) -> None:
    for path in ("/keys", "/budgets", "/traces", "/endpoints", "/assets", "/runs", "/doctor", "/audit"):
        assert house.api("GET", path) is not None
    assert house.api("POST", "/audit/verify")["ok"]
    rows = {row["check"]: row for row in house.api("GET", "/doctor")}
    assert rows["disk"]["hint"]
    for path in ("/", "/traces", "/keys", "/budgets"):
        page = browser.get(path)
        assert page.status_code == 200, page.text
        assert "Sign out" in page.text
    assert httpx2.get(f"{house.url}/health", timeout=5, verify=TLS).status_code == 200


def test_control_that_is_killed_on_a_full_disk_comes_back_when_there_is_room(disk: Disk) -> None:
    with platform(disk.folder, workers=2) as house:
        key = house.key("load")
        house.api("PUT", "/budgets/key/load", json={"cap": "0.05", "window": "total"})
        time.sleep(0.3)
        answered = [house.chat(key).headers["x-tandem-trace-id"] for _ in range(8)]
        doors = house.pids("door")
        with full(disk, house):
            answered += answered_until_refused(house, key)
            (pid,) = house.pids("control")
            assert house.process is not None
            os.kill(pid, signal.SIGKILL)
            seen: set[int] = set()
            deadline = time.monotonic() + OUTAGE
            while time.monotonic() < deadline:
                disk.fill(house.process.pid)  # what the dead one left is not room either
                seen.update(house.pids("control"))
                assert httpx2.get(f"{house.url}/health", timeout=5, verify=TLS).status_code == 200
                time.sleep(0.1)
            assert 1 <= len(seen - {pid}) <= OUTAGE
        house.wait()
        until(lambda: house.chat(key).status_code == 200, "calls go on by themselves", 10)
        answered += [house.chat(key).headers["x-tandem-trace-id"] for _ in range(8)]
        assert house.pids("door") == doors
        check_books(house, answered, 50_000_000)
        assert "Traceback" not in house.log()


def test_a_stop_and_a_start_on_a_full_disk_say_so_and_end(disk: Disk) -> None:
    home = disk.folder / "home"
    home.mkdir(mode=0o700)
    with mock_upstream() as mock_url:
        (home / "tandem.toml").write_text(TOML.format(mock=mock_url))
        house = Platform(home=home, port=free_port(), mock_url=mock_url)
        answered = []
        for used in (False, True):
            if used:
                assert house.process is not None
                disk.fill(house.process.pid)
                answered += answered_until_refused(house, ADMIN)
                assert house.down() == 0
            disk.fill(0)  # what the ended ones kept in reserve is not room either
            try:
                refused_start(house, disk)
            finally:
                disk.free(0)
            house.up()
            answered.append(house.chat(ADMIN).headers["x-tandem-trace-id"])
        try:
            until(lambda: all(found(house, trace) for trace in answered), "what was answered is in the trace store")
            outcomes = [found(house, trace) for trace in answered]
            if not disk.kept:  # the end of the last call before the refusals may have waited in memory
                assert outcomes.pop(-2) in (["ok"], ["crashed"])
            assert outcomes == [["ok"]] * len(outcomes)
            assert "Traceback" not in house.log()
        finally:
            assert house.down() == 0


def test_a_door_that_is_killed_on_a_full_disk_had_written_down_what_it_answered(disk: Disk) -> None:
    with platform(disk.folder, mock=MOCK) as house:
        key = house.key("load")
        house.api("PUT", "/budgets/key/load", json={"cap": "0.05", "window": "total"})
        time.sleep(0.3)
        with Streams(house, key) as streams, full(disk, house):
            answered = answered_until_refused(house, key)
            assert streams.running
            until(lambda: not streams.running, "streams end")
            assert all(text.rstrip().endswith("[DONE]") for text in streams.texts)
            told(house.chat(key))
            (door,) = house.pids("door")
            os.kill(door, signal.SIGKILL)
            until(lambda: house.pids("door") not in ([], [door]), "it is started again")
        house.wait()
        until(lambda: house.chat(key).status_code == 200, "calls go on by themselves", 10)
        last = house.chat(key).headers["x-tandem-trace-id"]
        until(lambda: found(house, last) == ["ok"], "what is answered later is in the trace store")
        if disk.kept:
            assert [trace for trace in answered + streams.traces if found(house, trace) != ["ok"]] == []
        else:  # their ends waited in memory
            assert [found(house, trace) for trace in streams.traces] == [["crashed"]] * STREAMS
        left = [file.name for file in (house.home / "journal").glob("*.reserve")]
        assert len(left) == 1
        assert "Traceback" not in house.log()
        assert house.down() == 0
        assert list((house.home / "journal").glob("*.reserve")) == []


def found(house: Platform, trace: str) -> list[str]:
    reply = httpx2.get(f"{house.url}/api/v1/traces/{trace}", headers=bearer(ADMIN), timeout=30, verify=TLS)
    return [call["outcome"] for call in reply.json()["calls"]] if reply.status_code == 200 else []


def refused_start(house: Platform, disk: Disk) -> None:
    command = [sys.executable, "-m", "tandem", "up", "--home", str(house.home), "--port", str(house.port)]
    environment = {**os.environ, "TANDEM_ADMIN_KEY": ADMIN}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=45, check=False, env=environment, preexec_fn=disk.starting()
    )
    assert done.returncode == 1, done
    assert "disk is full" in done.stderr or "takes no more" in done.stderr, done.stderr
    assert "  → Free space on the disk" in done.stderr
    assert "Traceback" not in done.stderr
    assert "started again" not in done.stderr
