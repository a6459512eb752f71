"""`tandem route`: what is trained, what is scored, what is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Shell
from tests.routing import COSTS, rows, written


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
