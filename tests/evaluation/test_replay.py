"""A champion asked about a candidate's rows: what it had seen keeps its out-of-fold prediction, the rest is predicted."""

from __future__ import annotations

from pathlib import Path

import msgspec
import polars as pl
import pytest

from tandem.core.errors import Invalid
from tandem.evaluation.evidence import OutOfFold
from tandem.evaluation.gate import compare
from tandem.evaluation.replay import Case, Place, replay
from tandem.serving.base import Card
from tandem.serving.signature import Field, Signature
from tandem.store.lake import Lake


def evidence(dataset: str, chances: list[float], labels: list[int]) -> OutOfFold:
    return OutOfFold(
        dataset=dataset,
        digest=f"sha256:{dataset}",
        target="late",
        positive="1",
        rows=tuple(str(number) for number in range(1, len(labels) + 1)),
        labels=tuple(labels),
        probabilities=tuple(chances),
        seed=7,
        folds=5,
    )


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """The champion has seen three rows; the candidate has two of them, one changed, and a new one."""
    seen = pl.DataFrame({"x": [0.0, 1.0, None], "late": [0, 1, 1]})
    asked = pl.DataFrame({"x": [None, 5.0, 1.0, 0.0], "late": [1, 0, 1, 1], "new": [1, 2, 3, 4]})
    lake = Lake(tmp_path / "lake")
    places = [Place(ref="dataset/rows@1", table="rows", version=lake.write("rows", frame)) for frame in (seen, asked)]
    members = tmp_path / "members"
    members.mkdir()
    card = Card(runtime="fake", native="fake", threshold=0.5, classes=("0", "1"))
    (members / "model.json").write_bytes(msgspec.json.encode(card))
    return Case(
        lake=str(tmp_path / "lake"),
        members=str(members),
        signature=Signature(fields=(Field(name="x", nullable=True),)),
        seen=places[0],
        asked=places[1],
        candidate=evidence("dataset/rows@2", [0.5] * 4, [1, 0, 1, 1]),
        champion=evidence("dataset/rows@1", [0.11, 0.22, 0.33], [0, 1, 1]),
    )


def test_no_row_is_predicted_by_a_model_that_had_seen_it(case: Case) -> None:
    found = replay(case)
    assert (found.dataset, found.digest, found.rows) == ("dataset/rows@2", "sha256:dataset/rows@2", ("1", "2", "3", "4"))
    assert found.probabilities[0] == 0.33  # seen, though its value is missing
    assert found.probabilities[1] == pytest.approx(1 / (1 + 2.718281828**-5), abs=1e-6)  # new
    assert found.probabilities[2] == 0.22  # seen
    assert found.probabilities[3] == 0.5  # its label was another one then, so it is another row
    assert found.labels == case.candidate.labels
    assert compare("brier", case.candidate, found, margin=0.1).outcome == "not-enough-data"


def test_rows_with_the_same_content_share_their_prediction(case: Case, tmp_path: Path) -> None:
    version = Lake(Path(case.lake)).write("rows", pl.DataFrame({"x": [1.0, 1.0, None], "late": [1, 1, 1]}))
    found = replay(
        Case(
            lake=case.lake,
            members=case.members,
            signature=case.signature,
            seen=Place(ref="dataset/rows@1", table="rows", version=version),
            asked=case.asked,
            candidate=case.candidate,
            champion=case.champion,
        )
    )
    assert found.probabilities[2] == pytest.approx((0.11 + 0.22) / 2)


def test_a_champion_whose_column_is_gone_cannot_answer(case: Case) -> None:
    version = Lake(Path(case.lake)).write("rows", pl.DataFrame({"z": [1.0] * 4, "late": [1, 0, 1, 1]}))
    gone = Case(
        lake=case.lake,
        members=case.members,
        signature=case.signature,
        seen=case.seen,
        asked=Place(ref="dataset/rows@1", table="rows", version=version),
        candidate=case.candidate,
        champion=case.champion,
    )
    with pytest.raises(Invalid, match="needs the column 'x'"):
        replay(gone)


def test_rows_that_are_not_those_of_the_evidence_are_refused(case: Case) -> None:
    swapped = Case(
        lake=case.lake,
        members=case.members,
        signature=case.signature,
        seen=case.asked,
        asked=case.seen,
        candidate=case.candidate,
        champion=case.champion,
    )
    with pytest.raises(Invalid, match="do not hold the rows"):
        replay(swapped)
