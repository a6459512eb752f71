"""`tandem route`: what is trained, what is scored, what is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Shell
from tests.routing import COSTS, rows, written

from tandem_sdk.fake import FakePlatform


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("routes")
    written(folder / "train.jsonl", rows(300, 1))
    written(folder / "test.jsonl", rows(150, 2))
    return folder


def test_train_then_score(tandem: Shell, folder: Path, tmp_path: Path) -> None:
    router, picture = tmp_path / "router.json", tmp_path / "curve.svg"
    done = tandem("route", "train", str(folder / "train.jsonl"), "--out", str(router))
    assert done.code == 0, done.err
    assert "300 questions, 3 models" in done.out
    done = tandem("route", "score", str(folder / "test.jsonl"), "--policy", str(router), "--plot", str(picture))
    assert done.code == 0, done.err
    assert "150 in 150 groups" in done.out
    assert "The learned router answers better than the best single model and costs no more." in done.out
    assert "LEARNED, TOLERANCE" in done.out
    assert picture.read_text().startswith("<svg")


def test_json_has_every_figure(tandem: Shell, folder: Path, tmp_path: Path) -> None:
    router = tmp_path / "router.json"
    made: Any = tandem("route", "train", str(folder / "train.jsonl"), "--out", str(router), "--seed", "4", "--json").json()
    assert (made["rows"], made["bytes"]) == (300, router.stat().st_size)
    assert made["scored"]["low"] > 0
    told: Any = tandem("route", "score", str(folder / "test.jsonl"), "--policy", str(router), "--json").json()
    assert told["beats"] is True
    assert [way["name"] for way in told["ways"]] == ["always-cheap", "best-single", "random", "mix", "oracle", "learned"]
    assert {*told["ways"][-1]["cpt"]} == {"50%", "80%", "100%"}
    assert told["ways"][-1]["points"][0]["tolerance"] == 1


def test_training_outcomes_train_a_router_and_their_questions_are_left_out(tandem: Shell, folder: Path, tmp_path: Path) -> None:
    both = written(tmp_path / "both.jsonl", [*rows(60, 2), *rows(300, 1)[:30]])
    told: Any = tandem("route", "score", str(both), "--train", str(folder / "train.jsonl"), "--json").json()
    assert (told["rows"], told["leaked"], told["chosen_on"]) == (60, 30, "training")
    assert told["ways"][-1]["name"] == "learned"


def test_it_says_plainly_what_is_not_shown(tandem: Shell, folder: Path, tmp_path: Path) -> None:
    train = written(tmp_path / "train.jsonl", rows(300, 5, shuffled=True))
    test = written(tmp_path / "test.jsonl", rows(150, 6, shuffled=True))
    done = tandem("route", "score", str(test), "--train", str(train))
    assert done.code == 0, done.err
    assert "It is not shown that the learned router answers better" in done.out


def test_without_a_router_the_others_are_scored(tandem: Shell, folder: Path) -> None:
    done = tandem("route", "score", str(folder / "test.jsonl"))
    assert done.code == 0, done.err
    assert "learned" not in done.out
    assert "by these rows" in done.out


def test_prices_stand_in_for_costs(tandem: Shell, tmp_path: Path) -> None:
    theirs = [
        {"question": row["question"], "scores": {model: told["score"] for model, told in row["models"].items()}}  # type: ignore[attr-defined]
        for row in rows(60, 2)
    ]
    path = written(tmp_path / "theirs.jsonl", theirs)
    done = tandem("route", "score", str(path))
    assert done.code == 2
    assert "Give --prices." in done.err
    prices = tmp_path / "prices.json"
    prices.write_text(
        json.dumps({model: {"input_price": cost / 100, "output_price": cost / 100} for model, cost in COSTS.items()})
    )
    done = tandem("route", "score", str(path), "--prices", str(prices))
    assert done.code == 0, done.err
    assert "guessed tokens times prices" in done.out


def test_what_cannot_be_read_or_written_is_named(tandem: Shell, folder: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text((folder / "test.jsonl").read_text() + "{\n")
    done = tandem("route", "score", str(bad))
    assert done.code == 2
    assert "Line 151 of the outcomes cannot be used" in done.err
    broken = tmp_path / "router.json"
    broken.write_text("{}")
    done = tandem("route", "score", str(folder / "test.jsonl"), "--policy", str(broken))
    assert "no file of a learned router" in done.err
    done = tandem("route", "score", str(folder / "test.jsonl"), "--policy", str(tmp_path / "none.json"))
    assert "cannot be read" in done.err
    done = tandem("route", "train", str(folder / "train.jsonl"), "--out", str(tmp_path / "no" / "where.json"))
    assert "cannot be written" in done.err


def test_a_router_is_published(tandem: Shell, platform: FakePlatform, folder: Path, tmp_path: Path) -> None:
    router = tmp_path / "router.json"
    assert tandem("route", "train", str(folder / "train.jsonl"), "--out", str(router)).code == 0
    version = {"ref": "router/tasks@1", "kind": "router", "name": "tasks", "version": 1, "digest": "sha256:" + "ab" * 32}
    platform.on("POST", "/api/v1/routers/tasks", version)
    done = tandem("route", "publish", "router/tasks", str(router))
    assert done.code == 0, done.err
    assert "router/tasks@1" in done.out
    asked: Any = platform.asked[-1].json()
    assert asked["file"] == router.read_text()
    missing = tandem("route", "publish", "tasks", str(tmp_path / "none.json"))
    assert missing.code == 2
    assert "cannot be read" in missing.err


def graded(suite: str = "suite/qa@1", **grades: tuple[float, int | None]) -> dict[str, object]:
    lines = [
        {"row": row, "grade": grade, "answers": [{"trace": f"trc_{row}", "cost": cost}]} for row, (grade, cost) in grades.items()
    ]
    return {"evaluation": "run_1", "prompt": "prompt/p@1", "suite": suite, "metric": "exact", "lines": lines}


def kept(text: str) -> dict[str, object]:
    request = json.dumps({"messages": [{"role": "user", "content": text}]})
    return {"id": "trc_1", "calls": [], "content": {"cal_1": {"request": request, "answer": ""}}}


def test_outcomes_come_out_of_evaluations(tandem: Shell, platform: FakePlatform, tmp_path: Path) -> None:
    platform.on("GET", "/api/v1/runs/run_1/rows", graded(a=(1.0, 10), b=(0.0, 20), c=(1.0, 30)))
    platform.on("GET", "/api/v1/runs/run_2/rows", graded(a=(0.5, 1), b=(1.0, 2)))
    platform.on("GET", "/api/v1/traces/trc_a", kept("First?"))
    platform.on("GET", "/api/v1/traces/trc_b", kept("Second?"))
    out = tmp_path / "outcomes.jsonl"
    done = tandem("route", "outcomes", "p/dear=run_1", "p/cheap=run_2", "--out", str(out))
    assert done.code == 0, done.err
    assert "2 questions, 2 models" in done.out
    told = [json.loads(line) for line in out.read_text().splitlines()]
    assert told[0] == {
        "question": "First?",
        "models": {"p/dear": {"score": 1.0, "cost": 10}, "p/cheap": {"score": 0.5, "cost": 1}},
        "group": "a",
    }


@pytest.mark.parametrize(
    ("words", "second", "code", "says"),
    [
        (("p/a=run_1",), graded(a=(1.0, 1)), 2, "two models"),
        (("p/a=run_1", "run_2"), graded(a=(1.0, 1)), 2, "MODEL=RUN"),
        (("p/a=run_1", "p/b=run_2"), graded(suite="suite/other@1", a=(1.0, 1)), 2, "different suites"),
        (("p/a=run_1", "p/b=run_2"), graded(z=(1.0, 1)), 2, "No row"),
        (("p/a=run_1", "p/b=run_2"), graded(a=(1.0, None)), 2, "not known"),
    ],
)
def test_runs_that_do_not_compare_make_no_outcomes(
    tandem: Shell, platform: FakePlatform, tmp_path: Path, words: tuple[str, ...], second: dict[str, object], code: int, says: str
) -> None:
    platform.on("GET", "/api/v1/runs/run_1/rows", graded(a=(1.0, 10)))
    platform.on("GET", "/api/v1/runs/run_2/rows", second)
    platform.on("GET", "/api/v1/traces/trc_a", kept("First?"))
    done = tandem("route", "outcomes", *words, "--out", str(tmp_path / "outcomes.jsonl"))
    assert (done.code, says in done.err) == (code, True), done.err
    assert not (tmp_path / "outcomes.jsonl").exists()
