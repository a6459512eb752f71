"""How much memory an ingest takes: it grows with the rows as values, not with the text they came as."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest

from tandem.data.child import Order

MEASURED = (
    "import resource,sys; from tandem.data.child import main; code=main(); "
    "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr); sys.exit(code)"
)


def peak(folder: Path, rows: int) -> tuple[int, int]:
    """Bytes of the rows as values, and the most that the process which ingested them held."""
    random = np.random.default_rng(rows)
    frame = pl.DataFrame({"id": np.arange(rows), **{f"x{n}": random.normal(size=rows).round(6) for n in range(18)}})
    frame = frame.with_columns(kind=pl.Series(random.choice(list("abcdefgh"), rows)))
    path = folder / f"rows{rows}.csv"
    frame.write_csv(path)
    order = msgspec.msgpack.encode(Order(path=str(path), lake=str(folder / "lake"), table=f"t{rows}", id_column="id"))
    done = subprocess.run([sys.executable, "-c", MEASURED], input=order, capture_output=True, check=True)
    assert b'"done"' in done.stdout
    scale = 1 if sys.platform == "darwin" else 1024
    return int(frame.estimated_size()), int(done.stderr.split()[-1]) * scale


@pytest.mark.alone
@pytest.mark.slow
def test_memory_grows_by_less_than_four_times_the_rows(tmp_path: Path) -> None:
    (few, least), (many, most) = peak(tmp_path, 100_000), peak(tmp_path, 500_000)
    assert most - least < 4 * (many - few)
