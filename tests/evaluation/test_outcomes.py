"""Outcomes as they are written: both forms, costs from three sources, and every line that cannot be used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.routing import written

from tandem.core.errors import Invalid
from tandem.evaluation.outcomes import GUESSED_OUTPUT, Rates, packed, read, read_prices, unpacked

OURS: dict[str, Any] = {"question": "Why?", "models": {"b": {"score": 1, "cost": 7}, "a": {"score": 0.5, "cost": 3}}}
THEIRS: dict[str, Any] = {
    "question": "How?",
    "scores": {"b": 1.0, "a": 0.0},
    "task": "gsm8k",
    "cluster_id": None,
    "leaked_from_train": 0,
}
PRICES = {"a": Rates(input=0.2, output=0.2), "b": Rates(input=1.0, output=2.0)}


def test_our_form_with_costs(tmp_path: Path) -> None:
    got = read(written(tmp_path / "o.jsonl", [OURS, {**OURS, "question": "Who?", "group": "g"}]), PRICES)
    assert got.models == ("a", "b")
    assert [(row.scores, row.costs, row.group) for row in got.rows] == [((0.5, 1.0), (3, 7), "why?"), ((0.5, 1.0), (3, 7), "g")]
    assert (got.costing, got.leaked) == ("recorded", 0)
    assert got.means() == {"a": 0.5, "b": 1.0}


def test_counted_tokens_are_priced(tmp_path: Path) -> None:
    models = {
        "a": {"score": 0, "input_tokens": 100, "output_tokens": 10},
        "b": {"score": 1, "input_tokens": 7, "output_tokens": 3},
    }
    got = read(written(tmp_path / "o.jsonl", [{"question": "x", "models": models}]), PRICES)
    assert got.costing == "priced"
    assert got.rows[0].costs == (110 * 200, 7 * 1000 + 3 * 2000)


def test_their_form_guesses_tokens_and_leaves_leaked_rows_out(tmp_path: Path) -> None:
    leaked = {**THEIRS, "question": "Seen?", "leaked_from_train": 1}
    path = written(tmp_path / "o.jsonl", [THEIRS, leaked, leaked])
    got = read(path, PRICES)
    assert (len(got.rows), got.leaked, got.costing) == (1, 2, "guessed")
    assert got.rows[0].costs == ((1 + GUESSED_OUTPUT) * 200, 1000 + GUESSED_OUTPUT * 2000)
    assert read(path).costing is None
    with pytest.raises(Invalid, match=r"All 2 rows .* are marked as leaked"):
        read(written(path, [leaked, leaked]))


def test_the_task_and_the_cluster_are_not_read(tmp_path: Path) -> None:
    one = read(written(tmp_path / "a.jsonl", [THEIRS]))
    assert one == read(written(tmp_path / "b.jsonl", [{**THEIRS, "task": "math", "cluster_id": 2}]))


def test_a_repeated_question_is_a_group(tmp_path: Path) -> None:
    got = read(written(tmp_path / "o.jsonl", [OURS, {**OURS, "question": " WHY? "}, {**OURS, "question": "Why not?"}]))
    assert [row.group for row in got.rows] == ["why?", "why?", "why not?"]


def test_the_digest_is_of_questions_and_scores_in_any_order(tmp_path: Path) -> None:
    other = {**OURS, "question": "Who?"}
    one = read(written(tmp_path / "a.jsonl", [OURS, other])).digest
    assert one == read(written(tmp_path / "b.jsonl", [other, OURS])).digest
    assert one != read(written(tmp_path / "c.jsonl", [OURS, OURS])).digest


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{", "Line 2 .*"),
        ("[]", "Line 2 .*Expected `object`"),
        ("\udcff", "Line 2 .*"),
        ({"question": "x"}, "either `models` or `scores`"),
        ({**OURS, "scores": {"a": 1.0, "b": 1.0}}, "either `models` or `scores`"),
        ({**OURS, "question": " "}, "question is empty"),
        ({**OURS, "tokens": 3}, "unknown field `tokens`"),
        ({**OURS, "models": {"a": {"score": 1, "cost": 3}}}, "1 models"),
        ({**OURS, "models": {}}, "0 models"),
        ({**OURS, "models": {"a": {"score": 1.2, "cost": 3}, "b": {"score": 1, "cost": 1}}}, "score of a is 1.2"),
        ({**OURS, "models": {"a": {"score": 1, "cost": -3}, "b": {"score": 1, "cost": 1}}}, "count of a is below zero"),
        ({**OURS, "models": {"a": {"score": 1, "cost": 3}, "b": {"score": 1}}}, "only some of its models have a `cost`"),
        ({**OURS, "models": {"a": {"score": 1, "cost": 3}, "c": {"score": 1, "cost": 1}}}, "they differ in b, c"),
        ({**OURS, "models": {"a": {"score": 1, "input_tokens": 3}, "b": {"score": 1}}}, "only one of `input_tokens`"),
        (
            {**OURS, "models": {"a": {"score": 1, "input_tokens": 3, "output_tokens": 3}, "b": {"score": 1}}},
            "counted tokens",
        ),
        ({**OURS, "models": {"": {"score": 1, "cost": 3}, "b": {"score": 1, "cost": 1}}}, "has no name"),
    ],
)
def test_a_line_that_cannot_be_used_is_named(line: object, why: str, tmp_path: Path) -> None:
    text = line if isinstance(line, str) else json.dumps(line)
    path = tmp_path / "o.jsonl"
    path.write_bytes(f"{json.dumps(OURS)}\n{text}\n".encode("utf-8", "surrogateescape"))
    with pytest.raises(Invalid, match=why) as caught:
        read(path, PRICES)
    assert caught.value.field == "line 2"
    assert caught.value.message.startswith("Line 2 of the outcomes")


def test_blank_lines_count_but_say_nothing(tmp_path: Path) -> None:
    path = tmp_path / "o.jsonl"
    path.write_text(f"\n{json.dumps(OURS)}\n\nno\n")
    with pytest.raises(Invalid, match="Line 4"):
        read(path)


def test_files_that_say_nothing(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="has no rows"):
        read(written(tmp_path / "o.jsonl", []))
    with pytest.raises(Invalid, match="cannot be read"):
        read(tmp_path / "none.jsonl")
    with pytest.raises(Invalid, match="there is no price of b"):
        read(written(tmp_path / "o.jsonl", [THEIRS]), {"a": PRICES["a"]})


def test_costs_of_several_sources_are_not_mixed(tmp_path: Path) -> None:
    counted = {model: {"score": 1, "input_tokens": 3, "output_tokens": 1} for model in "ab"}
    with pytest.raises(Invalid, match="priced, recorded"):
        read(written(tmp_path / "o.jsonl", [OURS, {"question": "x", "models": counted}]), PRICES)


def test_prices_are_read_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text(json.dumps({"a": {"input_price": 0.2, "output_price": 0.4, "size": "7B"}}))
    assert read_prices(path) == {"a": Rates(input=0.2, output=0.4)}
    for text in ("{", '{"a": {"input_price": 1}}', '{"a": {"input_price": -1, "output_price": 1}}'):
        path.write_text(text)
        with pytest.raises(Invalid, match="price"):
            read_prices(path)


def test_questions_of_the_training_are_known_again(tmp_path: Path) -> None:
    seen = read(written(tmp_path / "a.jsonl", [OURS]))
    asked = read(written(tmp_path / "b.jsonl", [{**OURS, "question": "why? "}, {**OURS, "question": "Who?"}]))
    left = asked.unseen(unpacked(packed(seen.fingerprints())))
    assert ([row.question for row in left.rows], left.leaked) == (["Who?"], 1)
    with pytest.raises(Invalid, match="Every question"):
        seen.unseen(seen.fingerprints())
    for damaged in ("§", "AAAAA", "AAA="):
        with pytest.raises(Invalid, match="fingerprints"):
            unpacked(damaged)
