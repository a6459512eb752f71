"""The door beside nginx: what a proxied chat request costs, on the machine at hand. README.md tells the method.

    python bench/door.py [--rounds 3] [--seconds 5] [--connections 1,32] [--workers 1] [--only nginx,tandem] [--json FILE]

Starts `tandem mock`, nginx as a reverse proxy to it, and `tandem up` with one endpoint on it, side by side.
It asserts nothing about time; it measures, and says what went wrong where something did.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
TICKS = os.sysconf("SC_CLK_TCK")
PROMPT = "Please tell the team in one friendly sentence that the nightly report is ready and where they can find it."
ADMIN_KEY = "tdm_bench_" + "0" * 32
PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Something that answers chat requests."""

    name: str
    url: str
    model: str
    pid: int
    """The first process; its descendants belong to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One round against one target."""

    requests: int
    p50: float
    """Milliseconds."""
    p99: float
    per_second: float
    cpu: float
    """Microseconds of user and system time per request, over all processes of the target."""
    refused: int
    """Replies that were not 2xx."""
    broken: int
    """Connections that failed or timed out."""
    forwarded: int
    """Requests that the mock has on its bill for this round."""


class Failed(Exception):
    """A target that did not start."""


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


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the state on, which is number 0."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and its descendants, those included that ended and were waited for."""
    total = 0
    for one in family(pid):
        try:
            total += sum(map(int, _stat(one)[11:15]))
        except OSError:
            continue
    return total / TICKS


@contextmanager
def process(words: Sequence[str], log: Path, environment: dict[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a program for the length of the block; its output goes to `log`."""
    with log.open("wb") as out:
        started = subprocess.Popen(words, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, **(environment or {})})
    try:
        yield started
    finally:
        started.terminate()
        try:
            started.wait(20)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


def wait_for(url: str, child: subprocess.Popen[bytes], log: Path) -> None:
    """Waits until `url` answers with 200."""
    until = time.monotonic() + PATIENCE_SECONDS
    reason = "no answer"
    while time.monotonic() < until and child.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2) as reply:
                if reply.status == 200:
                    return
        except (OSError, urllib.error.URLError) as error:
            reason = str(error)
        time.sleep(0.1)
    said = "\n    ".join(log.read_text(errors="replace").splitlines()[-12:])
    raise Failed(f"{url} does not answer ({reason}, exit status {child.poll()}). It said:\n    {said}")


@contextmanager
def mock(folder: Path) -> Iterator[Target]:
    port = free_port()
    program = [sys.executable, "-c", "from tandem.mock.command import mock; mock()", "--port", str(port)]
    with process(program, folder / "mock.log") as child:
        wait_for(f"http://127.0.0.1:{port}/", child, folder / "mock.log")
        yield Target(name="mock alone", url=f"http://127.0.0.1:{port}", model="gpt-4o-mini", pid=child.pid)


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
    upstream mock {{ server {upstream}; keepalive 256; keepalive_requests 100000000; }}
    server {{
        listen 127.0.0.1:{port} backlog=2048;
        location / {{ proxy_pass http://mock; proxy_http_version 1.1; proxy_set_header Connection ""; }}
    }}
}}
"""


@contextmanager
def nginx(folder: Path, upstream: Target, workers: int) -> Iterator[Target]:
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    if not Path(program).exists():
        raise Failed("nginx is not installed (Debian: apt-get install nginx-light).")
    port = free_port()
    config = folder / "nginx.conf"
    user = "user root;\n" if os.geteuid() == 0 else ""
    config.write_text(
        NGINX.format(folder=folder, port=port, workers=workers, upstream=upstream.url.removeprefix("http://"), user=user)
    )
    log = folder / "nginx.log"
    with process([program, "-p", str(folder), "-c", str(config)], log) as child:
        wait_for(f"http://127.0.0.1:{port}/", child, log)
        yield Target(name="nginx", url=f"http://127.0.0.1:{port}", model="gpt-4o-mini", pid=child.pid)


SETTINGS = """
[providers.mock]
protocol = "openai"
base_url = "{upstream}/v1"
keys = ["env:MOCK_KEY"]

[endpoints.assistant]
kind = "chat"
route = [{{ target = "mock/gpt-4o-mini", weight = 1 }}]
"""


@contextmanager
def tandem(folder: Path, upstream: Target, workers: int) -> Iterator[Target]:
    program = Path(sys.executable).with_name("tandem")
    if not program.exists():
        raise Failed(f"{program} is not there: install the package into this Python first.")
    home = folder / "home"
    home.mkdir()
    (home / "tandem.toml").write_text(SETTINGS.format(upstream=upstream.url))
    port = free_port()
    words = [str(program), "up", "--home", str(home), "--port", str(port), "--workers", str(workers)]
    log = folder / "tandem.log"
    with process(words, log, {"TANDEM_ADMIN_KEY": ADMIN_KEY, "MOCK_KEY": "sk-bench"}) as child:
        wait_for(f"http://127.0.0.1:{port}/health", child, log)
        target = Target(name="tandem", url=f"http://127.0.0.1:{port}", model="assistant", pid=child.pid)
        check(target, log)
        yield target


def check(target: Target, log: Path) -> None:
    """Sends one request, so that a wrong set-up is told instead of measured."""
    body = json.dumps({"model": target.model, "messages": [{"role": "user", "content": PROMPT}]}).encode()
    headers = {"content-type": "application/json", "authorization": f"Bearer {ADMIN_KEY}"}
    request = urllib.request.Request(f"{target.url}/v1/chat/completions", body, headers)
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            with urllib.request.urlopen(request, timeout=10):
                return
        except urllib.error.HTTPError as error:
            reason = f"{error.code}: {error.read(600).decode(errors='replace')}"
            if error.code != 503 or time.monotonic() > until:
                raise Failed(f"{target.name} refuses the request with {reason}") from None
            time.sleep(0.2)
        except OSError as error:
            said = "\n    ".join(log.read_text(errors="replace").splitlines()[-12:])
            raise Failed(f"{target.name} does not answer: {error}. It said:\n    {said}") from None


def empty_bill(upstream: Target) -> None:
    request = urllib.request.Request(f"{upstream.url}/bill", method="DELETE")
    with urllib.request.urlopen(request, timeout=60):
        pass


def billed(upstream: Target) -> int:
    """Requests on the mock's bill since it was last emptied."""
    with urllib.request.urlopen(f"{upstream.url}/", timeout=60) as reply:
        return int(json.load(reply)["billed"])


def measure(target: Target, upstream: Target, connections: int, seconds: float) -> Figures:
    """One round: wrk with one thread against one target."""
    environment = {**os.environ, "KEY": ADMIN_KEY, "MODEL": target.model, "PROMPT": PROMPT}
    words = [
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{seconds:g}s",
        "-s",
        str(HERE / "chat.lua"),
        f"{target.url}/v1/chat/completions",
    ]
    empty_bill(upstream)
    before = cpu_seconds(target.pid)
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    spent = cpu_seconds(target.pid) - before
    lines = [line for line in done.stdout.splitlines() if line.startswith("FIGURES ")]
    if not lines:
        raise Failed(f"wrk gave no figures: {done.stdout}{done.stderr}")
    raw = json.loads(lines[0].removeprefix("FIGURES "))
    requests = max(1, raw["requests"])
    return Figures(
        requests=raw["requests"],
        p50=raw["p50"] / 1000,
        p99=raw["p99"] / 1000,
        per_second=raw["requests"] / raw["microseconds"] * 1e6,
        cpu=spent / requests * 1e6,
        refused=raw["refused"],
        broken=raw["broken"],
        forwarded=billed(upstream),
    )


def median(rounds: Sequence[Figures], name: str) -> float:
    return statistics.median(float(getattr(one, name)) for one in rounds)


def table(results: dict[tuple[str, int], list[Figures]], rounds: int, seconds: float) -> str:
    """The medians, with ratios to nginx at the same number of connections."""
    lines = [
        f"Median of {rounds} rounds of {seconds:g} s, interleaved; {os.cpu_count()} cores for load, proxies and mock together.",
        "",
        f"{'target':<12}{'connections':>12}{'requests/s':>12}{'p50 ms':>9}{'p99 ms':>9}{'CPU µs/request':>16}{'CPU ÷ nginx':>13}",
    ]
    for (name, connections), figures in results.items():
        cpu = median(figures, "cpu")
        base = results.get(("nginx", connections))
        ratio = f"{cpu / median(base, 'cpu'):.2f}" if base and median(base, "cpu") and name != "mock alone" else ""
        lines.append(
            f"{name:<12}{connections:>12}{median(figures, 'per_second'):>12.0f}{median(figures, 'p50'):>9.2f}"
            f"{median(figures, 'p99'):>9.2f}{cpu:>16.1f}{ratio:>13}"
        )
    for (name, connections), figures in results.items():
        refused, broken = (sum(getattr(one, word) for one in figures) for word in ("refused", "broken"))
        missing = sum(max(0, one.requests - one.forwarded) for one in figures)
        if refused or broken or missing:
            lines.append(
                f"{name} at {connections}: {refused} not 2xx, {broken} broken connections, {missing} not on the mock's bill."
            )
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measures the door beside nginx, in front of the same mock.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--connections", default="1,32", help="comma-separated")
    parser.add_argument("--workers", type=int, default=1, help="worker processes of nginx and of the door")
    parser.add_argument("--only", default="nginx,tandem", help="comma-separated: nginx, tandem")
    parser.add_argument("--json", type=Path, help="writes all rounds to this file")
    return parser.parse_args()


def main() -> int:
    chosen = arguments()
    if shutil.which("wrk") is None:
        print("wrk is not installed (Debian: apt-get install wrk).", file=sys.stderr)
        return 1
    results: dict[tuple[str, int], list[Figures]] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        upstream = stack.enter_context(mock(folder))
        targets = [upstream]
        for name, start in (("nginx", nginx), ("tandem", tandem)):
            if name in chosen.only.split(","):
                try:
                    targets.append(stack.enter_context(start(folder, upstream, chosen.workers)))
                except Failed as failure:
                    print(f"Without {name}: {failure}", file=sys.stderr)
        for target in targets:
            measure(target, upstream, 8, 1)  # warm-up
        for _ in range(chosen.rounds):
            for connections in map(int, chosen.connections.split(",")):
                for target in targets:
                    figures = measure(target, upstream, connections, chosen.seconds)
                    results.setdefault((target.name, connections), []).append(figures)
    print(table(dict(sorted(results.items(), key=lambda item: item[0][1])), chosen.rounds, chosen.seconds))
    if chosen.json is not None:
        rows = [
            {"target": name, "connections": connections, **{word: getattr(one, word) for word in Figures.__slots__}}
            for (name, connections), figures in results.items()
            for one in figures
        ]
        chosen.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
