"""Features beside Feast: the point-in-time join, and the read of one vector. README.md tells the method.

    python -m bench.features [--entities 20000] [--rounds 5] [--reads 20000] [--alone] [--redis URL] [--json FILE]

Three views of 200,000 rows each (200 entities, one row an hour), read from Parquet; both get the same files and the same
questions. Feast is installed into a cache at the first run. With `--redis` the same vectors are read from a copy there too;
what is in that database under `tandem:features:` stays.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import polars as pl

from bench.bars import Bar
from bench.rivals import feast_home
from bench.stage import Failed
from tandem.core.clock import SystemClock
from tandem.core.secret import Secret
from tandem.data.features import offline
from tandem.data.features.features import adding
from tandem.data.features.online import Fact
from tandem.data.features.redis import Mirror, RedisReading
from tandem.data.features.repo import Store
from tandem.data.features.vectors import Reading, read
from tandem.data.features.view import Service, View, service, view

KEYS, HOURS, VIEWS = 200, 1_000, 3
HOUR = 3_600_000_000
T0 = 1_700_000_000_000_000
PEER_SECONDS = 900
COLUMNS = [{"driver": "int", "at": "datetime", f"a{n}": "float", f"b{n}": "float"} for n in range(VIEWS)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What was measured; seconds and microseconds."""

    entities: int
    join: float
    lost: int
    """Rows that were asked for and did not come out, or in another place."""
    read_p50: float
    read_p99: float
    peer: Mapping[str, Mapping[str, float]] | None
    redis: tuple[float, float] | None
    """Median and 99th percentile of the reads from Redis."""


def views() -> list[View]:
    return [
        view(f"view{n}", 1, {"entity": ["driver"], "time": "at", "ttl": "3d", "features": [f"a{n}", f"b{n}"]}, columns)  # type: ignore[arg-type]
        for n, columns in enumerate(COLUMNS)
    ]


def write(folder: Path, entities: int) -> None:
    """The files that both read."""
    draw = np.random.default_rng(7)
    at = pl.Series(np.tile(T0 + HOUR * np.arange(HOURS), KEYS)).cast(pl.Datetime("us", "UTC"))
    for n in range(VIEWS):
        values = {f"{letter}{n}": draw.normal(size=KEYS * HOURS) for letter in "ab"}
        frame = pl.DataFrame({"driver": np.repeat(np.arange(KEYS), HOURS), "at": at, **values})
        frame.sample(fraction=1, shuffle=True, seed=n).write_parquet(folder / f"view{n}.parquet")
    moments = pl.Series(T0 + draw.integers(0, HOURS * HOUR, entities)).cast(pl.Datetime("us", "UTC"))
    asked = pl.DataFrame({"driver": draw.integers(0, KEYS + 10, entities), "at": moments})
    asked.write_parquet(folder / "asked.parquet")


def join(folder: Path, wanted: Service) -> pl.DataFrame:
    """From files to vectors."""
    asked = pl.read_parquet(folder / "asked.parquet")
    facts = {each.key: offline.facts_of(each, pl.read_parquet(folder / f"{each.name}.parquet")) for each in wanted.views}
    found, _ = offline.vectors(wanted, facts, asked, asked["at"].cast(pl.Int64).to_numpy())
    return pl.concat([asked, found], how="horizontal")


def lost(folder: Path, found: pl.DataFrame) -> int:
    """Rows of the join that differ from a plain look at each question: the newest row of at most three days before."""
    asked = pl.read_parquet(folder / "asked.parquet").with_row_index("place").sort("at")
    expected = asked
    for n in range(VIEWS):
        rows = pl.read_parquet(folder / f"view{n}.parquet").sort("at").with_columns(pl.col("at").alias("event"))
        joined = expected.join_asof(rows, on="at", by="driver", check_sortedness=False)
        late = pl.col("at") >= pl.col("event") + pl.duration(days=3)
        expected = joined.with_columns(pl.when(~late).then(pl.col(f"{letter}{n}")).alias(f"{letter}{n}") for letter in "ab").drop(
            "event"
        )
    expected = expected.sort("place")
    names = [f"{letter}{n}" for n in range(VIEWS) for letter in "ab"]
    if found.height != expected.height:
        return abs(found.height - expected.height)
    return int((~pl.concat([found.select(names), expected.select(pl.col(names).name.suffix("_"))], how="horizontal").select(
        pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"{name}_")) for name in names)
    ).to_series()).sum())  # fmt: skip


class Counted(Store):
    """A store that counts its reads."""

    reads = 0

    def read(self, views: Sequence[str], entities: Sequence[bytes]) -> dict[tuple[str, bytes], bytes]:
        self.reads += 1
        return super().read(views, entities)


def filled(folder: Path, wanted: Service) -> Counted:
    """A store of online values."""
    store = Counted(folder / "features.db", SystemClock())
    now = T0 + HOURS * HOUR
    for each in wanted.views:
        begun = store.begin(each.key, "")
        changes = {}
        for key in range(KEYS):
            fact = Fact(now - HOUR, now - HOUR, now - HOUR, key, "", (1.0, 2.0))
            changes[f'["driver","{key}"]'.encode()] = adding(each, [fact], now)
        store.merge(each.key, begun.number, changes)
        store.finish(each.key, begun.number)
    return store


def reads(store: Reading, wanted: Service, count: int, between: Callable[[], object] = bool) -> tuple[float, float]:
    """Median and 99th percentile of the microseconds of reading one vector of three views.

    Args:
        between: what is done every now and then between two reads.
    """
    now = T0 + HOURS * HOUR
    assert read(store, wanted, [{"driver": 3}], now)[0][0].value == 1.0
    found: list[float] = []
    for place in range(count + 1_000):
        if place % 1_000 == 0:
            between()
        start = time.perf_counter_ns()
        read(store, wanted, [{"driver": place % KEYS}], now)
        found.append((time.perf_counter_ns() - start) / 1000)
    found = sorted(found[1_000:])
    return found[len(found) // 2], found[int(len(found) * 0.99)]


def copied(store: Counted, wanted: Service, count: int, url: str) -> tuple[float, float]:
    """As `reads`, of a copy in Redis.

    Raises:
        Failed: the store was read instead.
    """
    mirror, reading = Mirror(store, Secret(url), SystemClock()), RedisReading(store, Secret(url), SystemClock())
    while mirror.step() or store.noted(whole=True):
        pass
    before = store.reads
    found = reads(reading, wanted, count, mirror.step)
    if store.reads > before + 1:  # the first read finds out where the copy is
        raise Failed(f"{store.reads - before} of the reads were not answered by Redis.")
    return found


def peer(folder: Path, entities: int, rounds: int, count: int) -> dict[str, dict[str, float]]:
    """What Feast takes.

    Raises:
        Failed: it cannot be installed, or does not end well.
    """
    script = Path(__file__).with_name("features_feast.py")
    words = [str(feast_home() / "bin" / "python"), str(script), str(folder), str(entities), str(rounds), str(count)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=PEER_SECONDS)
    if done.returncode:
        raise Failed(f"Feast ended with {done.returncode}: {done.stderr[-800:]}")
    told: dict[str, dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
    return told


def measure(entities: int, rounds: int, count: int, *, alone: bool, redis: str | None) -> Figures:
    wanted = service("bench", 1, {"features": [f"view{n}" for n in range(VIEWS)]}, views())
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        write(folder, entities)
        found = join(folder, wanted)
        seconds = []
        for _ in range(rounds):
            start = time.perf_counter()
            found = join(folder, wanted)
            seconds.append(time.perf_counter() - start)
        store = filled(folder, wanted)
        p50, p99 = reads(store, wanted, count)
        told = None if alone else peer(folder, entities, min(rounds, 3), min(count, 2_000))
        return Figures(
            entities=entities,
            join=statistics.median(seconds),
            lost=lost(folder, found),
            read_p50=p50,
            read_p99=p99,
            peer=told,
            redis=None if redis is None else copied(store, wanted, count, redis),
        )


def report(found: Figures) -> str:
    lines = ["| | join, s | rows out | vector p50, µs | p99, µs |", "|---|--:|--:|--:|--:|"]
    lines.append(f"| tandem | {found.join:.3f} | {found.entities} | {found.read_p50:.0f} | {found.read_p99:.0f} |")
    if found.redis is not None:
        lines.append("| tandem, the copy in Redis | | | {:.0f} | {:.0f} |".format(*found.redis))
    bars = [Bar(what="join", value=found.join, bar=0.15, unit=" s"), Bar(what="rows lost", value=found.lost, bar=0)]
    if found.peer is not None:
        online = found.peer["online"]
        for kind, name in (("dask", "Feast, its default store"), ("duckdb", "Feast, DuckDB")):
            each = found.peer[kind]
            read_ = f"{online['p50']:.0f} | {online['p99']:.0f}" if kind == "dask" else "| "
            lines.append(f"| {name} | {each['seconds']:.3f} | {each['rows']:.0f} | {read_} |")
            least = 100 if kind == "dask" else 25
            ratio = each["seconds"] / found.join
            bars.append(Bar(what=f"times as fast as {name}", value=ratio, bar=least, least=True))
    bars.append(Bar(what="vector p50", value=found.read_p50 / 1000, bar=0.05, unit=" ms"))
    bars.append(Bar(what="vector p99", value=found.read_p99 / 1000, bar=0.3, unit=" ms"))
    return "\n".join([*lines, "", *(bar.line() for bar in bars)])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.features", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--entities", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--reads", type=int, default=20_000)
    parser.add_argument("--alone", action="store_true", help="without Feast")
    parser.add_argument("--redis", metavar="URL", help="such as redis://127.0.0.1:6379/0")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    try:
        found = measure(options.entities, options.rounds, options.reads, alone=options.alone, redis=options.redis)
    except Failed as error:
        print(f"bench.features: {error}", file=sys.stderr)
        return 1
    if options.json:
        options.json.write_text(json.dumps(asdict(found), indent=2))
    print(report(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
