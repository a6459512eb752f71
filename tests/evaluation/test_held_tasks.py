"""Evidence on held-out rows of models that tell numbers or more than two classes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tandem.core.errors import Invalid
from tandem.evaluation.compare import compare
from tandem.evaluation.held.predict import Case, carry_out
from tandem.evaluation.table import Rows
from tandem.serving.columns import predict
from tandem.store.lake import Lake
from tandem.training.fit import fit
from tandem.training.task import Task


def frame(task: str, seed: int, n: int = 90) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    size = random.normal(size=n)
    noise = random.normal(size=n) / 3
    target = size * 3 + noise if task == "regression" else np.digitize(size + noise, [-0.5, 0.5])
    return pl.DataFrame({"size": size, "colour": random.choice(["red", "blue"], n), "y": target})


@pytest.mark.parametrize("task", ["regression", "multiclass"])
def test_a_model_is_asked_about_rows_that_it_has_not_seen(task: str, tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    seen, asked = frame(task, 1), frame(task, 2)
    lake.write("seen", seen)
    lake.write("asked", asked)
    algorithm = "linear" if task == "regression" else "logistic"
    made = fit(
        Task(name="m", dataset="dataset/m@1", target="y", algorithm=algorithm),  # type: ignore[arg-type]
        seen,
        lambda share, stage: None,
    )
    for name, content in made.members.items():
        (tmp_path / "model" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "model" / name).write_bytes(content)

    def rows(table: str) -> Rows:
        return Rows(lake=str(tmp_path / "lake"), table=table, version=0)

    case = Case(
        dataset="dataset/m@2",
        digest="d",
        target="y",
        threshold=0.5,
        signature=made.signature,
        classes=made.classes,
        asked=rows("asked"),
        seen=(rows("seen"),),
        members=str(tmp_path / "model"),
    )
    found = carry_out(case)
    assert found.seen == 0
    assert found.latency is not None
    evidence = found.evidence
    assert evidence is not None
    assert (evidence.task, evidence.folds == 0, len(evidence.rows)) == (task, True, 90)
    assert evidence.probabilities == pytest.approx(predict(tmp_path / "model", asked, made.signature).ravel().tolist())
    metric = "mae" if task == "regression" else "macro_f1"
    assert compare(metric, evidence, evidence, margin=0.1).outcome == "non-inferior"
    assert evidence.at([3, 1]).labels == (evidence.labels[3], evidence.labels[1])
    assert carry_out(replace(case, asked=rows("seen"))).seen == 90
    if task == "multiclass":
        lake.write("asked", asked.with_columns(y=pl.lit(9)))
        strange = Rows(lake=str(tmp_path / "lake"), table="asked", version=1)
        with pytest.raises(Invalid, match="class '9', which the model does not know"):
            carry_out(replace(case, asked=strange))
