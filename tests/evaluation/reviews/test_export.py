"""What people said, as rows: to train on, or to ask."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
import polars as pl
import pytest
from tests.monitoring.house import House, person

from tandem.core.asset import Version
from tandem.core.errors import Forbidden, Invalid
from tandem.core.review import Said
from tandem.data.repo import Contracts
from tandem.data.tasks import Datasets
from tandem.evaluation.reviews.export import Exported, Exports
from tandem.governance.authorise import ALL

MODEL = {"versions": {"model/credit@1": {}}, "review": 1}


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    made.serve()
    yield made
    made.close()


def export(house: House, endpoint: str, name: str = "reviewed") -> Exported:
    contracts = Contracts(house.sql, house.audit, house.clock)
    datasets = Datasets(house.registry, house.runs, contracts, lake=house.home / "lake", work=house.home / "work")
    return Exports(house.queue, house.registry, datasets, house.home / "work").export(endpoint, name, person("editor"))


def rows(house: House, version: Version) -> pl.DataFrame:
    lake = version.meta["lake"]
    assert isinstance(lake, Mapping)
    return house.lake.read(str(lake["table"]), int(str(lake["version"])))


def judged(house: House, *said: Said | None, **call: object) -> None:
    """Calls that ask for a person, each judged as told; None leaves it open."""
    for one in said:
        trace = house.call(**{"attributes": {"review": 1}, **call})  # type: ignore[arg-type]
        house.traces.flush()
        house.queue.step(house.traces.days())
        (review,) = [each for each in house.queue.reviews.list(ALL) if each.trace == trace]
        if one is not None:
            house.queue.decide(review.id, one, person("editor"))


def prediction(label: str, *values: tuple[float, float | None]) -> dict[str, object]:
    inputs = [
        {"name": name, "shape": [len(values)], "datatype": "FP64", "data": [value[place] for value in values]}
        for place, name in enumerate("xy")
    ]
    outputs = [
        {"name": "probability", "datatype": "FP64", "shape": [len(values)], "data": [0.7] * len(values)},
        {"name": "label", "datatype": "BYTES", "shape": [len(values)], "data": [label] * len(values)},
    ]
    return {
        "request": msgspec.json.encode({"inputs": inputs}),
        "answer": msgspec.json.encode({"outputs": outputs}),
        "attributes": MODEL,
    }


RIGHT, WRONG, UNSURE = Said(opinion="right"), Said(opinion="wrong"), Said(opinion="unsure")


def test_predictions_become_rows_to_train_on(house: House) -> None:
    judged(house, RIGHT, WRONG, Said(opinion="wrong", correction="1"), UNSURE, None, **prediction("1", (0.5, None)))
    judged(house, RIGHT, **prediction("0", (1.0, 2.0), (3.0, 4.0)))
    judged(house, WRONG, **prediction("1", (1.0, 2.0), (3.0, 4.0)))  # two rows, and nobody said which is wrong
    judged(house, Said(opinion="wrong", correction='["0", "1"]'), **prediction("1", (5.0, 2.0), (6.0, 4.0)))
    judged(house, Said(opinion="wrong", correction="purple"), **prediction("1", (5.0, 2.0)))
    done = export(house, "credit")
    assert str(done.version.ref) == "dataset/reviewed@1"
    assert (done.rows, done.left_out) == (7, {"unsure": 1, "no-truth": 2})
    frame = rows(house, done.version)
    assert frame.columns == ["review", "reviewed_at", "x", "y", "late"]
    assert sorted(frame.select("x", "y", "late").rows(), key=str) == sorted(
        [(0.5, None, 1), (0.5, None, 0), (0.5, None, 1), (1.0, 2.0, 0), (3.0, 4.0, 0), (5.0, 2.0, 0), (6.0, 4.0, 1)], key=str
    )
    assert done.version.meta["id"] == "review"
    assert done.version.meta["time"] == "reviewed_at"
    assert frame["review"].n_unique() == frame.height


def test_the_same_reviews_are_the_same_version(house: House) -> None:
    judged(house, RIGHT, WRONG, **prediction("1", (0.5, 1.0)))
    first = export(house, "credit").version
    assert export(house, "credit").version.ref == first.ref
    judged(house, RIGHT, **prediction("0", (0.7, 1.0)))
    assert export(house, "credit").version.version == 2


def test_chats_become_questions_with_the_answer_that_was_wanted(house: House) -> None:
    chat = {
        "endpoint": "assistant",
        "kind": "chat",
        "request": msgspec.json.encode(
            {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "How much?"}]}
        ),
        "answer": b'data: {"choices": [{"index": 0, "delta": {"content": "Forty-"}}]}\n\n'
        b'data: {"choices": [{"index": 0, "delta": {"content": "two."}}]}\n\ndata: [DONE]\n\n',
    }
    judged(house, RIGHT, WRONG, Said(opinion="wrong", correction="Forty-three."), **chat)
    frame = rows(house, export(house, "assistant").version)
    assert frame.select("question", "answer", "verdict", "expected").rows() == [
        ("How much?", "Forty-two.", "right", "Forty-two."),
        ("How much?", "Forty-two.", "wrong", None),
        ("How much?", "Forty-two.", "wrong", "Forty-three."),
    ]


def test_decisions_become_cases_with_their_outcome(house: House) -> None:
    case = {
        "endpoint": "claims",
        "kind": "decide",
        "request": b'{"claim": {"amount": 3, "tags": ["a"]}, "late": true}',
        "answer": b'{"pay": true}',
    }
    judged(house, RIGHT, Said(opinion="wrong", correction='{"pay": false}'), **case)
    judged(house, RIGHT, **{**case, "request": b'{"claim": {"amount": 4.5}}'})
    frame = rows(house, export(house, "claims").version)
    assert frame.columns[2:] == ["case.claim.amount", "case.claim.tags", "case.late", "answer", "verdict", "expected"]
    assert frame.drop("review", "reviewed_at").rows()[1:] == [
        (3.0, '["a"]', True, '{"pay": true}', "wrong", '{"pay": false}'),
        (4.5, None, None, '{"pay": true}', "right", '{"pay": true}'),
    ]


def test_what_cannot_be_read_is_left_out_and_said(house: House) -> None:
    chat = {"endpoint": "assistant", "kind": "chat", "request": b"{}", "answer": b"{}"}
    judged(house, RIGHT, **chat, recorded=False)
    judged(house, RIGHT, **chat, cut=True)
    judged(house, RIGHT, **chat, subject="patient")
    house.subjects.erase("patient", now=house.clock.now())
    judged(house, UNSURE, **chat)
    with pytest.raises(Invalid, match=r"No review of 'assistant' gives a row \(1 cut, 1 erased, 1 unrecorded, 1 unsure\)"):
        export(house, "assistant")
    judged(house, RIGHT, **chat)
    done = export(house, "assistant")
    assert (done.rows, done.left_out) == (1, {"cut": 1, "erased": 1, "unrecorded": 1, "unsure": 1})
    house.traces.thin(4_000_000_000_000_000, kind=None, team=None)
    with pytest.raises(Invalid, match="4 gone, 1 unsure"):
        export(house, "assistant")
    assert list((house.home / "work").iterdir()) == []


def test_a_viewer_makes_no_dataset(house: House) -> None:
    with pytest.raises(Forbidden):
        Exports(house.queue, house.registry, None, house.home).export("credit", "x", person("viewer"))  # type: ignore[arg-type]
