"""A million keys: what a worker holds, how soon a change is heard, how long the swap of a policy stops it. README.md: the method.

    python -m bench.keys [--keys 1000000] [--asked 60000] [--changes 20] [--json FILE]

The keys are written into the home's database between two starts, as many calls to the API would have left them; from there on
everything takes its usual way.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from bench import command, load, stage, upstream
from bench.bars import Bar
from bench.figures import percentile
from bench.memory import resident
from bench.stage import Failed, Platform, Target
from tandem.core.clock import SystemClock
from tandem.gateway.snapshot import Replica
from tandem.governance.digest import PEPPER, digest
from tandem.store.vault import Vault

WORKER_MB, VISIBLE_SECONDS, STALL_MS = 150.0, 1.0, 1.0
ENDPOINT = "whole"
BATCH = 10_000
START_SECONDS = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How many keys there are, how many of them ask, and how often something changes."""

    keys: int = 1_000_000
    asked: int = 60_000
    """Different keys that call, so that what a worker remembers of keys is full."""
    changes: int = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What was found."""

    keys: int
    rest: float
    """Megabytes of a worker at rest."""
    busy: float
    """Megabytes after `asked` keys have called."""
    visible: list[float]
    """Seconds from the API's answer until the door acts on a new, then on a revoked key."""
    swaps: list[float]
    """Milliseconds that a worker's refresh took when a new policy was there."""
    looks: list[float]
    """The same when there was none."""


def token(number: int) -> str:
    """A key of the bench, in the form of real ones."""
    return f"tdm_{number:043d}"


def fill(home: Path, pepper: bytes, count: int) -> None:
    """Writes keys into the database of a home that is not running, under one version of the key feed."""
    columns = "id, name, team, org, kind, role, endpoints, scopes, expires_at, digest, created_at, created_by, changed"
    with closing(sqlite3.connect(home / "control.db")) as db, db:
        (version,) = db.execute("SELECT version FROM key_feed").fetchone()
        template = db.execute(f"SELECT {columns} FROM keys WHERE name = ?", (stage.KEY_NAME,)).fetchone()
        given = dict(zip(columns.split(", "), template, strict=True))
        statement = f"INSERT INTO keys ({columns}) VALUES ({', '.join('?' * len(given))})"
        for start in range(0, count, BATCH):
            rows = []
            for number in range(start, min(count, start + BATCH)):
                own = {"id": f"key_bench{number:019d}", "name": f"bench-{number}", "digest": digest(pepper, token(number))}
                rows.append(tuple({**given, **own, "changed": version + 1}.values()))
            db.executemany(statement, rows)
        db.execute("UPDATE key_feed SET version = ?", (version + 1,))


def measure(options: Options) -> Figures:
    """Fills a home, starts it, asks with many keys, changes keys and policy.

    Raises:
        Failed: something does not start, or a change is never heard.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        own = stack.enter_context(upstream.running(folder, "upstream alone"))
        with stage.tandem(folder, {ENDPOINT: own}) as platform:
            home = platform.home
        pepper, lending = _secrets(home)
        print(f"writing {options.keys} keys …", file=sys.stderr, flush=True)
        fill(home, pepper, options.keys)
        platform = stack.enter_context(stage.resumed(folder, platform))
        target = platform.target
        stage.until(lambda: _accepted(target, token(options.keys - 1)), "Publishing the keys", START_SECONDS)
        rest = _largest(platform)
        _ask_with(target, options.asked)
        busy = _largest(platform)
        visible = [second for number in range(options.changes) for second in _change(platform, target, number)]
        replica = Replica(home / "replica.db", pepper, SystemClock(), lending)
        try:
            swaps, looks = _swaps(platform, replica, options.changes)
        finally:
            replica.close()
        return Figures(keys=options.keys, rest=rest, busy=busy, visible=visible, swaps=swaps, looks=looks)


def _secrets(home: Path) -> tuple[bytes, bytes]:
    vault = Vault.load(home, {})
    return vault.derive(PEPPER), vault.derive("lent-keys")


def _largest(platform: Platform) -> float:
    return max(map(resident, platform.target.answering()), default=0.0)


def _accepted(target: Target, key: str) -> bool:
    try:
        stage.ask(target, load.CHAT, load.chat(target.model), key)
    except Failed:
        return False
    return True


def _ask_with(target: Target, count: int) -> None:
    """One call with each of so many keys, over one connection."""
    body = load.chat(target.model)
    caller = load.Caller(target, load.CHAT, body)
    try:
        for number in range(count):
            caller.call(load.request(replace(target, key=token(number)), load.CHAT, body))
    finally:
        caller.close()


def _change(platform: Platform, target: Target, number: int) -> tuple[float, float]:
    """Makes a key and revokes it: the seconds until each is heard."""
    name = f"new-{number}"
    key = platform.api("POST", "/keys", {"name": name, "team": stage.TEAM})["key"]
    made = _heard(lambda: _accepted(target, key))
    platform.api("DELETE", f"/keys/{name}")
    return made, _heard(lambda: not _accepted(target, key))


def _heard(true: Callable[[], bool]) -> float:
    begun = time.perf_counter()
    while not true():
        if time.perf_counter() - begun > stage.PATIENCE_SECONDS:
            raise Failed("A change was not heard.")
        time.sleep(0.002)
    return time.perf_counter() - begun


def _swaps(platform: Platform, replica: Replica, changes: int) -> tuple[list[float], list[float]]:
    """What a worker does when the policy changes, done here on the same file: the time each look at it took."""
    swaps: list[float] = []
    looks: list[float] = []
    for number in range(changes):
        platform.api("PUT", f"/budgets/team/{stage.TEAM}", {"cap": str(1000 + number), "window": "day"})
        platform.api("PUT", f"/budgets/team/bench-{number}", {"cap": "1000", "window": "day"})
        deadline, swapped = time.monotonic() + stage.PATIENCE_SECONDS, False
        while not swapped:
            begun = time.perf_counter()
            swapped = replica.refresh()
            (swaps if swapped else looks).append((time.perf_counter() - begun) * 1e3)
            if time.monotonic() > deadline:
                raise Failed("A new policy was not published.")
            time.sleep(0.01)
    return swaps, looks


def told(found: Figures) -> str:
    """The figures as lines."""
    swap, look = percentile(found.swaps, 0.99), percentile(found.looks, 0.5)
    lines = [
        f"{found.keys} keys: a worker holds {found.rest:.0f} MB at rest.",
        Bar(what="a worker after many keys have called", value=found.busy, bar=WORKER_MB, unit=" MB").line(),
        f"a changed key is heard after {statistics.median(found.visible):.2f} s (median of {len(found.visible)}).",
        Bar(what="slowest change to be heard", value=max(found.visible), bar=VISIBLE_SECONDS, unit=" s").line(),
        f"a look at the replica without a change: {look:.3f} ms (median).",
        Bar(what=f"swap of a policy, p99 of {len(found.swaps)}", value=swap, bar=STALL_MS, unit=" ms").line(),
    ]
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    options = Options()
    found = argparse.ArgumentParser(prog="python -m bench.keys", description="Measures a platform with very many keys.")
    found.add_argument("--keys", type=int, default=options.keys)
    found.add_argument("--asked", type=int, default=options.asked, help="keys that call once")
    found.add_argument("--changes", type=int, default=options.changes, help="of keys, and of the policy")
    command.add_json(found)
    return found


def main() -> int:
    given = parser().parse_args()
    command.tidy()
    try:
        found = measure(Options(keys=given.keys, asked=min(given.asked, given.keys), changes=given.changes))
    except Failed as failure:
        print(failure, file=sys.stderr)
        return 1
    print(told(found))
    if given.json is not None:
        given.json.write_text(json.dumps(asdict(found), indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
