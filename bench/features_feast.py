"""Feast's half of `bench.features`: run by an interpreter that has Feast, never by ours. Prints one line of JSON.

    python features_feast.py FOLDER ENTITY_ROWS ROUNDS READS

FOLDER holds `view0.parquet` to `view2.parquet` and `asked.parquet`.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path

warnings.simplefilter("ignore")

import pandas as pd  # noqa: E402
from feast import Entity, FeatureStore, FeatureView, Field, FileSource  # noqa: E402
from feast.types import Float64  # noqa: E402
from feast.value_type import ValueType  # noqa: E402

CONFIG = """
project: bench
registry: {folder}/registry.db
provider: local
entity_key_serialization_version: 3
offline_store: {{ type: {kind} }}
online_store: {{ type: sqlite, path: {folder}/online.db }}
"""


def store(folder: Path, kind: str) -> FeatureStore:
    home = folder / kind
    home.mkdir(exist_ok=True)
    (home / "feature_store.yaml").write_text(CONFIG.format(folder=home, kind=kind))
    made = FeatureStore(repo_path=str(home))
    driver = Entity(name="driver", join_keys=["driver"], value_type=ValueType.INT64)
    views = [
        FeatureView(
            name=f"view{n}",
            entities=[driver],
            ttl=timedelta(days=3),
            schema=[Field(name=f"a{n}", dtype=Float64), Field(name=f"b{n}", dtype=Float64)],
            source=FileSource(path=str(folder / f"view{n}.parquet"), timestamp_field="at"),
        )
        for n in range(3)
    ]
    made.apply([driver, *views])
    return made


def main() -> None:
    folder, rows, rounds, reads = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    names = [f"view{n}:{letter}{n}" for n in range(3) for letter in "ab"]
    asked = pd.read_parquet(folder / "asked.parquet").head(rows).rename(columns={"at": "event_timestamp"})
    told: dict[str, object] = {}
    for kind in ("dask", "duckdb"):
        made = store(folder, kind)
        seconds = []
        for _ in range(rounds):
            start = time.perf_counter()
            frame = made.get_historical_features(entity_df=asked, features=names).to_df()
            seconds.append(time.perf_counter() - start)
        told[kind] = {"seconds": statistics.median(seconds), "rows": len(frame)}
    made.materialize(datetime(2020, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC))
    keys = sorted(set(asked["driver"]))[:100]
    for key in keys:  # a warm-up
        made.get_online_features(features=names, entity_rows=[{"driver": int(key)}]).to_dict()
    micros = []
    for place in range(reads):
        start = time.perf_counter_ns()
        made.get_online_features(features=names, entity_rows=[{"driver": int(keys[place % len(keys)])}]).to_dict()
        micros.append((time.perf_counter_ns() - start) / 1000)
    micros.sort()
    told["online"] = {"p50": micros[len(micros) // 2], "p99": micros[int(len(micros) * 0.99)]}
    print(json.dumps(told))


if __name__ == "__main__":
    main()
