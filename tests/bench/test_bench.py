"""The benchmarks' arguments and arithmetic; nothing here is timed and nothing is started."""

from __future__ import annotations

import json
import os
import random
import signal
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bench.figures import Report, Round
from bench.stage import Failed
from hypothesis import given
from hypothesis import strategies as st

from bench import all as everything
from bench import (
    beside_predict,
    beside_training,
    command,
    door,
    drift,
    figures,
    gate,
    load,
    metering,
    peers,
    predict,
    shape,
    stage,
    tumor,
)

ROOT = Path(__file__).parents[2]
PARSERS: dict[str, Callable[[], ArgumentParser]] = {
    "door": door.parser,
    "predict": predict.parser,
    "beside_training": beside_training.parser,
    "beside_predict": beside_predict.parser,
    "peers": peers.parser,
    "all": everything.parser,
}


def made(target: str, load: str = "1 connection", **more: float) -> Round:
    return Round(target=target, load=load, requests=10, per_second=more.get("per_second", 5.0), p50=more["p50"], p99=more["p99"])


@pytest.mark.parametrize("name", sorted(PARSERS))
def test_every_script_takes_its_arguments(name: str) -> None:
    parser = PARSERS[name]()
    given = parser.parse_args(["--rounds", "1", "--seconds", "2", "--json", "out.json"])
    assert (given.rounds, given.seconds, given.json) == (1, 2, Path("out.json"))
    assert parser.prog == f"python -m bench.{name}"
    with pytest.raises(SystemExit) as refused:
        parser.parse_args(["--rounds", "many"])
    assert refused.value.code == 2


def test_connections_are_a_list() -> None:
    assert door.parser().parse_args(["--connections", "1,8,64"]).connections == (1, 8, 64)
    assert predict.parser().parse_args([]).connections == (1, 32)
    for wrong in ("", "0", "1,,2", "x"):
        with pytest.raises(ValueError):
            command.numbers(wrong)


def test_the_makefile_calls_what_is_there() -> None:
    recipes = (ROOT / "Makefile").read_text()
    assert "-m bench.all $(ARGS)" in recipes
    assert "-m bench.stream $(DATA) $(ARGS)" in recipes
    assert "-m bench.shape $(ARGS)" in recipes


@given(st.lists(st.floats(0, 1e9), min_size=1), st.floats(0.001, 1))
def test_a_percentile_is_a_value_that_enough_do_not_pass(values: list[float], share: float) -> None:
    found = figures.percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9
    below = [value for value in values if value < found]
    assert len(below) < share * len(values)


def test_percentiles_by_hand() -> None:
    hundred = [float(number) for number in range(100, 0, -1)]
    assert figures.percentile(hundred, 0.5) == 50
    assert figures.percentile(hundred, 0.99) == 99
    assert figures.percentile(hundred, 1) == 100
    assert figures.percentile([7.0], 0.01) == 7
    for values, share in (([], 0.5), ([1.0], 0), ([1.0], 1.1)):
        with pytest.raises(ValueError):
            figures.percentile(values, share)


def test_rows_are_medians_beside_their_base() -> None:
    rounds = [
        made("nginx", p50=10, p99=100),
        made("tandem", p50=50, p99=90),
        made("nginx", p50=30, p99=100),
        made("tandem", p50=10, p99=80),
        made("nginx", p50=20, p99=400),
        made("tandem", p50=30, p99=70),
        made("tandem", "32 connections", p50=1, p99=2),
    ]
    key = "1 connection"
    table = figures.rows(rounds, {("tandem", key): ("nginx", key), ("tandem", "32 connections"): ("nginx", "32 connections")})
    nginx, tandem, alone = table
    assert (nginx.target, nginx.p50, nginx.p99, nginx.base, nginx.p50_ratio) == ("nginx", 20, 100, "", None)
    assert (tandem.p50, tandem.p99, tandem.base) == (30, 80, "nginx, 1 connection")
    assert (tandem.p50_ratio, tandem.p99_ratio, tandem.cpu_ratio) == (1.5, 0.8, None)
    assert (alone.load, alone.base, alone.p50_ratio) == ("32 connections", "", None)


def test_ledger_errors_are_summed_and_never_cancel() -> None:
    rounds = [
        Round(target="tandem", load="x", requests=1, per_second=1, p50=1, p99=1, cpu=cpu, error=error)
        for cpu, error in ((9.0, 0), (1.0, -3), (2.0, 2))
    ]
    (row,) = figures.rows(rounds, {})
    assert (row.error, row.cpu, row.cpu_all) == (5, 2.0, None)
    assert everything.inexact([Report(title="Chat", rows=[row])]) == ["tandem, x, by 5 n$"]
    assert everything.inexact([report()]) == []


def test_what_went_wrong_is_told() -> None:
    well = made("nginx", p50=1, p99=1)
    ill = Round(target="tandem", load="x", requests=9, per_second=1, p50=1, p99=1, refused=2, broken=1, unbilled=4)
    assert figures.complaints([well]) == []
    (line,) = figures.complaints([well, ill, ill])
    assert "4 replies were not 2xx" in line
    assert "2 connections broke" in line
    assert "8 replies are not on the bill" in line


def test_ratios_of_nothing_are_nothing() -> None:
    assert figures.ratio(1.0, None) is None
    assert figures.ratio(None, 2.0) is None
    assert figures.ratio(1.0, 0.0) is None
    assert figures.ratio(1.0, 4.0) == 0.25


def report() -> Report:
    rounds = [made("nginx", p50=20, p99=100), made("tandem", p50=30, p99=1234.5)]
    key = "1 connection"
    return Report(title="Chat", rows=figures.rows(rounds, {("tandem", key): ("nginx", key)}), notes=["a note."], rounds=rounds)


def test_the_table_tells_titles_figures_and_notes() -> None:
    lines = figures.text([report(), report()]).splitlines()
    assert lines[0].split()[:2] == ["target", "load"]
    assert sum(line.startswith("target") for line in lines) == 1
    assert lines.count("Chat") == 2
    row = next(line for line in lines if line.startswith("tandem"))
    assert row.split() == ["tandem", "1", "connection", "5.0", "30.0", "1234", "1.50", "12.35"]
    assert "Chat: a note." in lines
    assert "Chat: ratios are to: nginx, 1 connection." in lines


def test_markdown_has_as_many_cells_in_every_row() -> None:
    table = [line for line in figures.markdown([report()]).splitlines() if line.startswith("|")]
    assert len(table) == 4
    assert {line.count("|") for line in table} == {len(figures.COLUMNS) + 1}


def test_the_file_holds_every_round(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "out.json"
    assert command.run(lambda: [report()], file) == 0
    (written,) = json.loads(file.read_text())
    assert [one["p99"] for one in written["rounds"]] == [100, 1234.5]
    assert written["rows"][1]["p50_ratio"] == 1.5
    assert "tandem" in capsys.readouterr().out


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def test_the_end_is_an_orderly_one() -> None:
    command.tidy()
    with pytest.raises(SystemExit) as ended:
        os.kill(os.getpid(), signal.SIGTERM)
    assert ended.value.code == 143


def test_what_does_not_start_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    def fails() -> list[Report]:
        raise Failed("nginx is not installed")

    assert command.run(fails, None) == 1
    assert capsys.readouterr().err == "nginx is not installed\n"


def test_the_block_of_the_page_is_replaced_and_nothing_else() -> None:
    page = everything.PAGE.read_text()
    once = figures.write_block(page, "| new |")
    assert "| new |" in once
    assert figures.write_block(once, "| newer |") == figures.write_block(page, "| newer |")
    before, _, rest = page.partition(figures.MARK.format("begin"))
    assert once.startswith(before)
    assert once.endswith(rest.partition(figures.MARK.format("end"))[2])
    for broken in ("no marks", once + figures.MARK.format("end")):
        with pytest.raises(ValueError):
            figures.write_block(broken, "x")


def test_how_much_of_a_time_a_run_covers() -> None:
    def run(start: int | None, end: int | None) -> dict[str, int | None]:
        return {"started_at": start, "ended_at": end}

    assert beside_training.covered([run(0, 500)], 100, 200) == 1
    assert beside_training.covered([run(0, 120), run(150, None), run(None, None)], 100, 200) == 0.7
    assert beside_training.covered([run(0, 90), run(210, None)], 100, 200) == 0


def test_the_requests_are_what_the_wires_take() -> None:
    chat = json.loads(load.chat("assistant"))
    assert (chat["model"], chat["max_tokens"], "stream" in chat) == ("assistant", 32, False)
    stream = json.loads(load.chat("assistant", deltas=64))
    assert (stream["stream"], stream["max_tokens"]) == (True, 64)
    assert stream["messages"][0]["content"].endswith("\nx-mock-tokens: 64")
    (tensor,) = json.loads(tumor.Case(("a", "b"), (1.5, 2.0)).infer())["inputs"]
    assert (tensor["shape"], tensor["data"], tensor["parameters"]["columns"]) == ([1, 2], [1.5, 2.0], ["a", "b"])


def test_replies_are_read_by_their_length() -> None:
    assert load.content_length(b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 12") == 12
    for head in (b"HTTP/1.1 500 Oops\r\ncontent-length: 1", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked"):
        with pytest.raises(Failed):
            load.content_length(head)


def test_a_process_knows_its_children_and_its_time() -> None:
    assert os.getpid() in stage.family(os.getppid())
    assert stage.cpu_seconds([os.getpid()]) > 0
    assert stage.cpu_seconds([2**22 + 1]) == 0


SOURCE = """
class Wide:
    def __init__(self): ...
{methods}
    def _hidden(self): ...

def crowded(a, b, /, c, *rest, d, e, f, **more): ...

def long():
{lines}
"""


def test_the_mirror_shows_what_is_large() -> None:
    text = SOURCE.format(
        methods="\n".join(f"    def m{number}(self): ..." for number in range(16)),
        lines="\n".join("    x = 1" for _ in range(80)),
    )
    found = {one.what: one for one in shape.shape(text, "a.py")}
    assert {what: one.size for what, one in found.items()} == {"public methods": 16, "parameters": 8, "lines in a function": 81}
    assert found["parameters"].where.endswith(" crowded")
    assert list(shape.shape("x = 1\n" * 501, "b.py")) == [shape.Found("lines in a file", 501, "b.py")]
    smaller = text.replace("    def m0(self): ...\n", "").replace("a, b, /,", "a, /,").replace("    x = 1\n", "", 1)
    assert list(shape.shape(smaller, "a.py")) == []
    assert "nothing" in shape.table([], 3)
    assert "16 public methods" in shape.table(list(found.values()), 3)


def test_drift_is_noticed_where_a_stream_changes_and_not_where_it_is_shuffled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw = random.Random(1)
    lines = [f"{draw.gauss(2 if 900 <= row < 1800 else 0, 1)},{draw.random()},word" for row in range(2700)]
    path = tmp_path / "stream.csv"
    path.write_text("x,y,text\n" + "\n".join(lines) + "\n")
    words = ["--window", "150", "--reference", "450", "--json"]
    assert drift.main([str(path), "--change", "900", "--change", "1800", *words]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert [(change["at"], change["noticed"], change["columns"]) for change in told["detected"]] == [
        (900, 150, ["x"]),
        (1800, 150, ["x"]),
    ]
    assert (told["checks"], told["false_alarms"]) == (9, 0)
    assert drift.main([str(path), "--null", "--checks", "10", *words[:-1]]) == 0
    assert "| stream.csv | 150 | 450 | 10 | 0 | 0.0 | - |" in capsys.readouterr().out


CLAUDE = {
    "model": "claude-haiku-4-5",
    "body": {
        "model": "claude-haiku-4-5",
        "usage": {"input_tokens": 1000, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 500, "output_tokens": 100},
    },
    "extracted": [
        {
            "usage": {"input_tokens": 1500, "cache_read_tokens": 500, "output_tokens": 100},
            "extractors": [{"provider_id": "anthropic", "api_flavor": "default", "total_price": "0.00155"}],
        }
    ],
}


@pytest.mark.parametrize(
    ("change", "exact", "why"),
    [
        (lambda row: None, True, ""),
        (lambda row: row["extracted"][0]["usage"].update(output_tokens=99), False, "output_tokens: 100 for 99"),
        (
            lambda row: row["extracted"][0]["extractors"][0].update(total_price="0.00156"),
            False,
            "1550000 nano-dollars for 1560000",
        ),
        (lambda row: row["body"].pop("usage"), False, "does not speak"),
        (lambda row: row["body"]["usage"].pop("cache_creation_input_tokens"), False, "nothing is expected of openai"),
    ],
)
def test_metering_finds_what_is_not_exact(change: Callable[[Any], object], exact: bool, why: str) -> None:
    row = json.loads(json.dumps(CLAUDE))
    change(row)
    outcome = metering.judge(row)
    assert outcome.exact is exact
    assert why in outcome.why


def test_the_bench_of_gates_tells_every_method(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--runs", "30", "--looks", "4", "--rows", "400", "--discordance", "0.1"]
    assert gate.main([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert len(told) == 9
    assert all(0 <= each["wrong"] <= each["wrong_high"] <= 1 and each["found"].keys() == {"0.1"} for each in told)
    assert gate.main(words) == 0
    assert "| fixed: McNemar once at the end |" in capsys.readouterr().out
    assert gate.main(["--areas", "3", "--looks", "2", "--rows", "200", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == {"planned", "without a plan", "naive", "at the end"}
