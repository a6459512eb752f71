"""How long a model takes to predict one row, from its values to the answer, as a host does. Loads numpy; knows no gate."""

from __future__ import annotations

import math
import os
import platform
import time
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from tandem.core.errors import Broken
from tandem.evaluation.evidence import Latency
from tandem.scorers.proportions import Z
from tandem.serving.base import CARD, Card, digest_of
from tandem.serving.frames import Ask
from tandem.serving.signature import Signature

if TYPE_CHECKING:
    import polars as pl

ROWS = 100
"""Rows that are predicted, one at a time and in turn."""
TIMES = 400
WARM = 20
SHARE = 0.95


def measure(
    members: Path, frame: pl.DataFrame, signature: Signature, trust: Collection[str] = (), files: Path | None = None
) -> Latency:
    """Predicts single rows, one after the other, and says how long that took.

    Args:
        members: the directory of the model's files.
        frame: at least one row, with the columns of the signature; the first hundred are taken in turn.
        signature: the model's.
        trust: as of `serving.base.load`.
        files: where the images of a dataset lie by digest.

    Raises:
        Broken: the files are not what they should be.
    """
    from tandem.serving.columns import rows_of
    from tandem.serving.host import Host
    from tandem.serving.images import sent
    from tandem.serving.offline.check import inputs
    from tandem.serving.series import Series
    from tandem.store.blobs import Blobs

    host, card = Host(trust), digest_of(members / CARD) or ""
    rows = rows_of(inputs(frame.head(ROWS), signature), signature.fields)
    if signature.pictured and files is not None:
        rows = sent(rows, Blobs(files))
    series = Series.load(members)
    if series is not None:
        rows = series.ahead(rows)
    took = []
    for number in range(WARM + TIMES):
        ask = Ask(number, "predict", str(members), str(members), [rows[number % len(rows)]], card)
        begun = time.perf_counter()
        answer = host.answer(ask)
        took.append((time.perf_counter() - begun) * 1000)
        if answer.fault is not None:
            raise Broken(answer.fault.message, hint=answer.fault.hint)
    ranked = sorted(took[WARM:])
    spread = Z * math.sqrt(TIMES * SHARE * (1 - SHARE))
    low, high = math.floor(TIMES * SHARE - spread), math.ceil(TIMES * SHARE + spread) + 1
    return Latency(
        p50_ms=ranked[TIMES // 2 - 1],
        p95_ms=ranked[math.ceil(TIMES * SHARE) - 1],
        low_ms=ranked[low - 1],
        high_ms=ranked[min(high, TIMES) - 1],
        n=TIMES,
        machine={
            "processor": _processor(),
            "cores": str(os.cpu_count() or 1),
            "system": platform.platform(),
            "python": platform.python_version(),
            "runtime": Card.read(members).runtime,
        },
    )


def _processor() -> str:
    """The processor as the system names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()
