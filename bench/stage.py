"""What is measured, as processes on free loopback ports: `tandem mock`, nginx before it, `tandem up` on a fresh home."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
PATIENCE_SECONDS = 60.0
ADMIN_KEY = "tdm_bench_" + "0" * 32
UPSTREAM_KEY = "sk-bench"
TEAM = KEY_NAME = "bench"
CAP = "1000"
"""US dollars a day, on the key, its team and the organisation: far from what a run can spend."""
LIMITS = {"requests": 10**9, "tokens": 10**12, "calls": 4096}
"""On the key, a day, or at once: as far."""


class Failed(Exception):
    """Something did not start, or did not do what it was started for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Something that answers requests."""

    name: str
    url: str
    model: str
    """What a chat request calls it by."""
    key: str
    pid: int
    """The first process; its descendants belong to it."""
    serving: str = ""
    """The word in the command line of the processes that answer requests; empty: all of them do."""
    headers: tuple[tuple[str, str], ...] = ()
    """Beside the key and the type, where the target wants more."""

    def answering(self) -> list[int]:
        """The processes that answer requests."""
        return [pid for pid in family(self.pid) if not self.serving or self.serving.encode() in _words(pid)]

    def cpu(self) -> tuple[float, float]:
        """Seconds of user and system time so far: of the processes that answer, and of all."""
        return cpu_seconds(self.answering()), cpu_seconds(family(self.pid))


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """`tandem up`, and what its API says."""

    target: Target
    home: Path

    def api(self, method: str, path: str, body: object = None, *, raw: bytes = b"", kind: str = "application/json") -> Any:
        """One request to `/api/v1` with the admin's key; its JSON.

        Raises:
            Failed: the answer is an error.
        """
        data = raw or (None if body is None else json.dumps(body).encode())
        request = urllib.request.Request(
            f"{self.target.url}/api/v1{path}",
            data,
            {"authorization": f"Bearer {ADMIN_KEY}", "content-type": kind},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as reply:
                return json.load(reply)
        except urllib.error.HTTPError as error:
            raise Failed(f"{method} {path} was answered {error.code}: {error.read(800).decode(errors='replace')}") from None

    def spent(self) -> tuple[int, int]:
        """What the ledger has booked for the measured key: nano-dollars and attempts."""
        row = self.api("GET", f"/spend?scope=key/{KEY_NAME}")
        return int(row["cost"]), int(row["attempts"])


def until(done: Callable[[], bool], what: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Waits until something holds.

    Raises:
        Failed: it does not within `seconds`.
    """
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            raise Failed(f"{what} took longer than {seconds:g} s.")
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int(_stat(int(entry.name))[1])
            except (OSError, IndexError):
                continue
            parents.setdefault(parent, []).append(int(entry.name))
    found = [pid]
    for one in found:
        found += parents.get(one, [])
    return found


def _words(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the state on, which is number 0."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def cpu_seconds(pids: Sequence[int]) -> float:
    """User and system time of processes, those of their children included that ended and were waited for."""
    total = 0
    for pid in pids:
        try:
            total += sum(map(int, _stat(pid)[11:15]))
        except OSError:
            continue
    return total / TICKS


def pinned(words: Sequence[str], cores: str) -> Sequence[str]:
    """The words that run a program and its children on these cores only (`0`, `1-3`); empty: wherever the system likes.

    Raises:
        Failed: this machine cannot keep a program on a core.
    """
    if not cores:
        return words
    if shutil.which("taskset") is None:
        raise Failed("taskset is not installed (Debian: apt-get install util-linux).")
    return ["taskset", "--cpu-list", cores, *words]


def stay(cores: str) -> None:
    """Keeps this process on these cores (`0`, `1-3`, `0,2`)."""
    wanted: set[int] = set()
    for part in cores.split(","):
        first, _, last = part.partition("-")
        wanted |= set(range(int(first), int(last or first) + 1))
    os.sched_setaffinity(0, wanted)


@contextmanager
def process(
    words: Sequence[str], log: Path, environment: dict[str, str] | None = None, *, cores: str = ""
) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a program for the length of the block, on `cores` where they are named; its output goes to `log`."""
    words = pinned(words, cores)
    with log.open("wb") as out:
        started = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, **(environment or {})}
        )
    try:
        yield started
    finally:
        started.terminate()
        try:
            started.wait(30)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


def wait_for(url: str, child: subprocess.Popen[bytes], log: Path) -> None:
    """Waits until `url` answers with 200.

    Raises:
        Failed: it does not; with the last words of the child.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    reason = "no answer"
    while time.monotonic() < deadline and child.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2) as reply:
                if reply.status == 200:
                    return
        except OSError as error:  # what urllib raises is one
            reason = str(error)
        time.sleep(0.1)
    said = "\n    ".join(log.read_text(errors="replace").splitlines()[-12:])
    raise Failed(f"{url} does not answer ({reason}, exit status {child.poll()}). It said:\n    {said}")


@contextmanager
def mock(folder: Path, name: str = "mock alone", *, per_token_ms: float = 0) -> Iterator[Target]:
    """The upstream itself: the floor that no proxy can pass."""
    port, log = free_port(), folder / f"{name}.log"
    words = [sys.executable, "-m", "tandem", "mock", "--port", str(port), "--per-token", f"{per_token_ms:g}"]
    with process(words, log) as child:
        wait_for(f"http://127.0.0.1:{port}/", child, log)
        yield Target(name=name, url=f"http://127.0.0.1:{port}", model="gpt-4o-mini", key=UPSTREAM_KEY, pid=child.pid)


@dataclass(frozen=True, slots=True)
class Bill:
    """What a mock says it served since its bill was last cleared."""

    requests: int
    cost: int
    """Nano-dollars."""


def clear_bill(upstream: Target) -> None:
    request = urllib.request.Request(f"{upstream.url}/bill", method="DELETE")
    with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS):
        pass


def bill(upstream: Target) -> Bill:
    with urllib.request.urlopen(f"{upstream.url}/bill", timeout=PATIENCE_SECONDS) as reply:
        totals = json.load(reply)["totals"]
    return Bill(int(totals["requests"]), int(totals["cost_nano"]))


NGINX = """
{user}daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log;
worker_processes {workers};
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    keepalive_requests 100000000;
    upstream whole {{ server {whole}; keepalive 256; keepalive_requests 100000000; }}
    upstream paced {{ server {paced}; keepalive 256; keepalive_requests 100000000; }}
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    server {{ listen 127.0.0.1:{port} backlog=2048; location / {{ proxy_pass http://whole; }} }}
    server {{ listen 127.0.0.1:{streaming} backlog=2048; location / {{ proxy_pass http://paced; proxy_buffering off; }} }}
}}
"""


@contextmanager
def nginx(folder: Path, whole: Target, paced: Target, workers: int, *, cores: str = "") -> Iterator[tuple[Target, Target]]:
    """A plain reverse proxy with kept-alive upstream connections: to `whole`, and unbuffered to `paced`.

    Raises:
        Failed: it is not installed, or does not start.
    """
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    if not Path(program).exists():
        raise Failed("nginx is not installed (Debian: apt-get install nginx-light).")
    port, streaming = free_port(), free_port()
    config, log = folder / "nginx.conf", folder / "nginx.log"
    config.write_text(
        NGINX.format(
            folder=folder,
            port=port,
            streaming=streaming,
            workers=workers,
            whole=whole.url.removeprefix("http://"),
            paced=paced.url.removeprefix("http://"),
            user="user root;\n" if os.geteuid() == 0 else "",
        )
    )
    with process([program, "-p", str(folder), "-c", str(config)], log, cores=cores) as child:
        wait_for(f"http://127.0.0.1:{port}/", child, log)

        def target(number: int) -> Target:
            return Target(name="nginx", url=f"http://127.0.0.1:{number}", model="gpt-4o-mini", key=UPSTREAM_KEY, pid=child.pid)

        yield target(port), target(streaming)


PROVIDER = """
[providers.{name}]
protocol = "openai"
base_url = "{url}/v1"
keys = ["env:BENCH_UPSTREAM_KEY"]
prices = "openai"

[endpoints.{name}]
kind = "chat"
route = [{{ target = "{name}/gpt-4o-mini" }}]
"""


@contextmanager
def tandem(
    folder: Path,
    upstreams: dict[str, Target],
    workers: int = 1,
    *,
    cores: str = "",
    patterns: int = 0,
    limits: bool = False,
    settings: str = "",
) -> Iterator[Platform]:
    """The whole platform on a fresh home, as it comes, with one chat endpoint for each upstream.

    Its caller has a key of its own, with a cap on the key, the team and the organisation; calls are traced, priced and
    their content is recorded.

    Args:
        workers: of the door.
        cores: where all of its processes run; empty: everywhere.
        patterns: how many named patterns a policy masks, both ways, in every call.
        limits: whether the key has limits of requests, of tokens, and of calls at once too.
        settings: what else stands in its `tandem.toml`.

    Raises:
        Failed: it does not start, or refuses what it is asked.
    """
    home = folder / "home"
    home.mkdir(mode=0o700)
    (home / "tandem.toml").write_text(
        "".join(PROVIDER.format(name=name, url=one.url) for name, one in upstreams.items()) + settings
    )
    with _up(home, folder, workers, cores) as first:
        platform = Platform(target=first, home=home)
        key = platform.api("POST", "/keys", {"name": KEY_NAME, "team": TEAM})["key"]
        for scope in ("org", f"team/{TEAM}", f"key/{KEY_NAME}"):
            platform.api("PUT", f"/budgets/{scope}", {"cap": CAP, "window": "day"})
        for unit, cap in LIMITS.items() if limits else ():
            window = "total" if unit == "calls" else "day"
            platform.api("PUT", f"/limits/key/{KEY_NAME}", {"unit": unit, "cap": cap, "window": window})
        if patterns:
            _guard(platform, patterns)
        time.sleep(1.0)  # a new key and a new cap hold on every worker within a second
        yield Platform(target=replace(first, model=next(iter(upstreams), ""), key=key), home=home)


@contextmanager
def resumed(folder: Path, platform: Platform) -> Iterator[Platform]:
    """A platform that has ended, started anew on its home, with one worker.

    Raises:
        Failed: it does not start.
    """
    with _up(platform.home, folder, 1, "") as first:
        yield Platform(target=replace(first, model=platform.target.model, key=platform.target.key), home=platform.home)


@contextmanager
def _up(home: Path, folder: Path, workers: int, cores: str) -> Iterator[Target]:
    """The processes of a platform; the target bears the admin's key."""
    port, log = free_port(), folder / "tandem.log"
    words = [sys.executable, "-m", "tandem", "up", "--home", str(home), "--port", str(port), "--workers", str(workers)]
    with process(words, log, {"TANDEM_ADMIN_KEY": ADMIN_KEY, "BENCH_UPSTREAM_KEY": UPSTREAM_KEY}, cores=cores) as child:
        url = f"http://127.0.0.1:{port}"
        wait_for(f"{url}/health/ready", child, log)
        yield Target(name="tandem", url=url, model="", key=ADMIN_KEY, pid=child.pid, serving="door")


def _guard(platform: Platform, patterns: int) -> None:
    """Promotes a policy that holds for every endpoint without one of its own.

    Raises:
        Failed: there are not so many patterns with a name.
    """
    forms = [form for detector in platform.api("GET", "/detectors") for form in detector["forms"]]
    kept = ["email", *[form for form in forms if form != "email"]][:patterns]
    if len(kept) < patterns:
        raise Failed(f"There are {len(forms)} named patterns, not {patterns}.")
    platform.api("POST", "/policies/default", {"guards": [{"detector": form, "action": "mask"} for form in kept]})
    platform.api("POST", "/assets/policy/default/promote", {"version": 1, "alias": "production"})


def named(target: Target, model: str) -> Target:
    """The same target, asked for another model."""
    return replace(target, model=model)


def ask(target: Target, path: str, body: bytes, key: str = "") -> tuple[dict[str, str], bytes]:
    """One POST: the reply's headers and body.

    Raises:
        Failed: the answer is an error.
    """
    headers = {"content-type": "application/json", "authorization": f"Bearer {key or target.key}", **dict(target.headers)}
    request = urllib.request.Request(f"{target.url}{path}", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as reply:
            return {name.lower(): value for name, value in reply.headers.items()}, reply.read()
    except urllib.error.HTTPError as error:
        raise Failed(f"{target.name} refuses {path} with {error.code}: {error.read(800).decode(errors='replace')}") from None
