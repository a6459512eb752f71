"""Every command against canned answers in the platform's shapes: what is asked, what is printed."""

from __future__ import annotations

import json
import stat
import time
from pathlib import Path
from typing import Any

import pytest

from tandem_sdk import Target
from tandem_sdk.fake import Canned, FakePlatform
from tandem_sdk.shape import plain

DATASET = {
    "ref": "dataset/biopsies@1",
    "kind": "dataset",
    "name": "biopsies",
    "version": 1,
    "digest": "sha256:" + "ab" * 32,
    "created_at": 1_750_000_000_000_000,
    "created_by": "ann",
    "team": "onco",
    "aliases": [],
    "parents": [],
    "run": "run_1",
    "members": {"contract.json": "sha256:1"},
    "meta": {
        "rows": 569,
        "id": "id",
        "time": None,
        "contract": {
            "columns": [
                {"name": "id", "dtype": "string", "unique": True},
                {"name": "radius", "dtype": "float", "low": 6.98, "high": 28.1},
                {"name": "diagnosis", "dtype": "string", "categories": ["B", "M"]},
            ],
            "id_column": "id",
        },
        "profile": {
            "rows": 569,
            "columns": [{"name": "radius", "nulls": 0, "distinct": 456, "min": 6.98, "mean": 14.1272, "max": 28.1}],
        },
    },
}
ESTIMATE = {"value": 0.9912, "low": 0.9801, "high": 0.9962, "n": 569, "level": 0.95}
LOSS = {"value": -0.031, "low": -0.052, "high": -0.010, "n": 569, "level": 0.95}
MODEL = {
    "ref": "model/tumor@1",
    "kind": "model",
    "name": "tumor",
    "version": 1,
    "digest": "sha256:" + "cd" * 32,
    "created_at": 5,
    "created_by": "ann",
    "aliases": ["production"],
    "parents": ["dataset/biopsies@1"],
    "meta": {"algorithm": "logistic", "long": "x" * 999},
    "members": {"m.onnx": "s"},
    "lineage": {
        "nodes": [
            {"ref": "model/tumor@1", "digest": "sha256:" + "cd" * 32},
            {"ref": "dataset/biopsies@1", "digest": "sha256:ab"},
            {"ref": "decision/second-opinion@1"},
        ],
        "edges": [["dataset/biopsies@1", "model/tumor@1"], ["model/tumor@1", "decision/second-opinion@1"]],
    },
    "scores": [{"scorer": "roc_auc", "value": 0.99, "low": 0.98, "high": 0.995, "n": 569}],
}


def run(state: str, **more: object) -> dict[str, object]:
    return {"id": "run_1", "kind": "train", "name": "tumor", "state": state, "team": "onco", "created_by": "ann", **more}


DONE = run(
    "succeeded",
    progress=1.0,
    outputs={"asset": "model/tumor@1", "metrics": {"roc_auc": ESTIMATE}},
    started_at=1,
    ended_at=2_500_001,
)


def test_data_add(tandem, platform: FakePlatform, tmp_path: Path) -> None:
    file = tmp_path / "biopsies.csv"
    file.write_text("id,radius,diagnosis\na,9,B\n")
    platform.on("POST", "/api/v1/datasets/biopsies", Canned(status=201, body=DATASET))
    done = tandem("data", "add", "biopsies", str(file), "--id", "id", "--time", "at")
    assert done.code == 0
    assert done.out == "dataset/biopsies@1\n  569 rows × 3 columns, sha256:abababababab…\n"
    assert platform.asked[0].query == {"id": "id", "time": "at", "format": "csv"}
    assert platform.asked[0].body == file.read_bytes()
    assert tandem("data", "add", "dataset/biopsies", str(file), "--json").json()["ref"] == "dataset/biopsies@1"


def test_data_add_tells_what_the_contract_kept_apart(tandem, platform: FakePlatform, tmp_path: Path) -> None:
    file = tmp_path / "b.csv"
    file.write_text("id\n1\n")
    meta = {
        **DATASET["meta"],
        "appended": {"to": "dataset/biopsies@1", "rows": 9, "repeated": 3},
        "quarantined": 1,
        "checks": [{"rule": "column 'age': is above 9", "severity": "quarantine", "count": 1, "example": "row 2"}],
        "references": {"who": "dataset/people@4.id"},
        "evolved": ["column 'colour' is new, string or empty"],
    }
    platform.on("POST", "/api/v1/datasets/biopsies", Canned(status=201, body={**DATASET, "meta": meta}))
    done = tandem("data", "add", "biopsies", str(file), "--append", "--evolve")
    assert (platform.asked[-1].query["append"], platform.asked[-1].query["evolve"]) == ("true", "true")
    for line in (
        "9 rows added to dataset/biopsies@1; 3 stood there already",
        "1 rows were kept apart: tandem data quarantine biopsies@1",
        "quarantine: column 'age': is above 9, 1 times, first row 2",
        "who was looked up in dataset/people@4.id",
        "column 'colour' is new, string or empty",
    ):
        assert f"  {line}\n" in done.out


PAGE = {"columns": ["id", "size"], "total": 7, "rows": [[1, 2.5], [2, None]]}


def test_data_rows(tandem, platform: FakePlatform, tmp_path: Path) -> None:
    platform.on("GET", "/api/v1/datasets/biopsies/3/rows", PAGE)
    done = tandem("data", "rows", "biopsies@3", "--columns", "id,size", "--where", "size > 1", "--limit", "2", "--lineage")
    assert done.out == "ID  SIZE\n 1   2.5\n 2      \n2 of 7 rows.\n".replace("2      ", "2")
    asked = platform.asked[-1].query
    assert (asked["where"], asked["limit"], asked["lineage"]) == ("size > 1", "2", "true")
    assert tandem("data", "rows", "biopsies@3", "--json").json()["total"] == 7
    platform.on("GET", "/api/v1/datasets/biopsies/3/rows/file", Canned(body=b"id,size\n1,2.5\n"))
    out = tmp_path / "out.csv"
    assert "holds the rows" in tandem("data", "rows", "biopsies@3", "--out", str(out)).out
    assert out.read_bytes() == b"id,size\n1,2.5\n"
    assert tandem("data", "rows", "biopsies@3", "--out", str(tmp_path / "out.xls")).code != 0


def test_data_quarantine(tandem, platform: FakePlatform, tmp_path: Path) -> None:
    platform.on("GET", "/api/v1/datasets/biopsies/1/quarantine", {"columns": ["_reasons"], "total": 1, "rows": [["is above 9"]]})
    assert "is above 9" in tandem("data", "quarantine", "biopsies@1").out
    platform.on("GET", "/api/v1/datasets/biopsies/1/quarantine", {"columns": [], "total": 0, "rows": []})
    assert tandem("data", "quarantine", "biopsies@1").out == "No rows were kept apart.\n"
    platform.on("GET", "/api/v1/datasets/biopsies/1/quarantine/file", Canned(body=b"x\n"))
    out = tmp_path / "bad.csv"
    assert tandem("data", "quarantine", "biopsies@1", "--out", str(out), "--json").json() == {"file": str(out)}


def test_data_diff(tandem, platform: FakePlatform) -> None:
    moved = {
        "name": "size",
        "dtype": "float",
        "verdict": "changed",
        "effect": {"value": 0.31, "low": 0.2, "high": 0.4, "n": 9, "level": 0.95},
        "variation": 0.4,
        "adjusted": 0.00012,
        "histogram": {"labels": ["a", "missing"], "reference": [1, 0], "now": [0, 1]},
    }
    told = {
        "old": "dataset/biopsies@1",
        "new": "dataset/biopsies@2",
        "schema": [{"where": "colour", "was": None, "now": "string"}],
        "contract": [],
        "rows": {"old": 3, "new": 5, "by": "id", "added": 2, "removed": 0, "changed": 1, "examples": {}, "cells": {"size": 1}},
        "columns": [moved],
    }
    platform.on("GET", "/api/v1/datasets/biopsies/1/diff/2", told)
    out = tandem("data", "diff", "biopsies@1", "2").out
    assert "dataset/biopsies@1 → dataset/biopsies@2" in out
    assert "3 → 5" in out
    assert "size" in out
    assert "0.00012" in out
    assert tandem("data", "diff", "biopsies@1", "biopsies@2", "--json").json()["rows"]["cells"] == {"size": 1}
    for wrong in (("biopsies", "2"), ("biopsies@1", "other@2")):
        assert tandem("data", "diff", *wrong).code == 2


def test_data_contract_from_pandera(tandem, platform: FakePlatform, tmp_path: Path) -> None:
    platform.on(
        "POST", "/api/v1/datasets/biopsies/contract/pandera", {"contract": {"columns": []}, "notes": ["title of a is left out."]}
    )
    file = tmp_path / "schema.yaml"
    file.write_text("schema_type: dataframe\ncolumns:\n  a:\n    dtype: int64\n")
    done = tandem("data", "contract", "biopsies", "--from-pandera", str(file))
    assert done.out.startswith("title of a is left out.\nThe contract of dataset/biopsies is stored")
    assert platform.asked[-1].json() == {"schema_type": "dataframe", "columns": {"a": {"dtype": "int64"}}}
    for text in ("a: [", "just text"):
        file.write_text(text)
        assert tandem("data", "contract", "biopsies", "--from-pandera", str(file)).code == 2


def test_data_add_refused(tandem, platform: FakePlatform, tmp_path: Path) -> None:
    file = tmp_path / "biopsies.csv"
    file.write_text("x\n")
    error = {
        "code": "invalid",
        "message": "biopsies.csv: 2 faults.\nrow 3: radius is 'x', not a number.",
        "hint": "Mend it.",
        "field": "rows",
    }
    platform.on("POST", "/api/v1/datasets/biopsies", Canned(status=400, body={"error": error}))
    done = tandem("data", "add", "biopsies", str(file))
    assert (done.code, done.out) == (1, "")
    assert "row 3: radius is 'x', not a number." in done.err
    assert tandem("data", "add", "biopsies", str(tmp_path / "none.csv")).code == 1


def test_data_show(tandem, platform: FakePlatform) -> None:
    platform.on("GET", "/api/v1/assets/dataset/biopsies/1", DATASET)
    out = tandem("data", "show", "biopsies@1").out
    lines = out.splitlines()
    assert lines[0] == "dataset/biopsies@1"
    assert "rows       569" in lines
    assert "made       2025-06-15 15:06:40 by ann" in lines
    radius = next(line for line in lines if line.startswith("radius"))
    assert "6.98 … 28.1" in radius
    assert "14.1272" in radius
    assert "B, M" in next(line for line in lines if line.startswith("diagnosis"))


def test_data_contract(tandem, platform: FakePlatform, tmp_path: Path) -> None:
    contract = DATASET["meta"]["contract"]  # type: ignore[index]
    platform.on("GET", "/api/v1/datasets/biopsies/1/contract", contract)
    platform.on("GET", "/api/v1/assets/dataset/biopsies", {"kind": "dataset", "name": "biopsies", "versions": [DATASET]})
    platform.on("GET", "/api/v1/assets/dataset/biopsies/1", DATASET)
    platform.on("PUT", "/api/v1/datasets/biopsies/contract", contract)
    assert tandem("data", "contract", "biopsies").json() == contract
    file = tmp_path / "contract.json"
    out = tandem("data", "contract", "biopsies@1", "--out", str(file)).out
    assert f"tandem data contract biopsies --edit {file}" in out
    assert json.loads(file.read_text()) == contract
    assert "is stored" in tandem("data", "contract", "biopsies", "--edit", str(file)).out
    assert platform.asked[-1].json() == contract
    assert tandem("data", "contract", "biopsies", "--edit", str(file), "--json").json() == contract
    file.write_text("[]")
    assert tandem("data", "contract", "biopsies", "--edit", str(file)).code == 2
    assert tandem("data", "contract", "biopsies@1", "--out", str(tmp_path / "no" / "x")).code == 1


def test_train(tandem, platform: FakePlatform) -> None:
    platform.on("POST", "/api/v1/runs", Canned(status=202, body=run("queued")))
    platform.on("GET", "/api/v1/runs/run_1", DONE)
    done = tandem(
        "train",
        "tumor",
        "--data",
        "dataset/biopsies",
        "--target",
        "diagnosis",
        "--param",
        "depth=3",
        "--param",
        "kind=fast",
        "--seed",
        "1",
    )
    assert done.code == 0
    assert done.out == "model/tumor@1\n\nMETRIC   VALUE [95 % INTERVAL]\nroc_auc  0.9912 [0.9801, 0.9962] on 569 rows\n"
    inputs = platform.asked[0].json()["inputs"]
    assert inputs["params"] == {"depth": 3, "kind": "fast"}
    assert (inputs["seed"], inputs["folds"], inputs["algorithm"]) == (1, 5, None)
    told = tandem("train", "tumor", "--data", "biopsies", "--target", "diagnosis", "--json").json()
    assert told == {"ref": "model/tumor@1", "metrics": {"roc_auc": ESTIMATE}, "run": "run_1"}
    assert platform.asked[-2].json()["inputs"]["data"] == "dataset/biopsies"


def test_train_tells_the_task_and_warns(tandem, platform: FakePlatform) -> None:
    platform.on("POST", "/api/v1/runs", Canned(status=202, body=run("queued")))
    outputs = {"asset": "model/price@1", "task": "regression", "metrics": {}, "warnings": ["Column 'x' names rows."]}
    platform.on("GET", "/api/v1/runs/run_1", run("succeeded", outputs=outputs))
    words = "train price --data homes --target price --task regression --algorithm lightgbm --split time --time at --tune 5"
    more = "--leaks refuse --calibrate auto --balance --cost-false-positive 1 --cost-false-negative 9"
    done = tandem(*words.split(), *more.split())
    assert "model/price@1" in done.out
    assert "Learned a regression." in done.err
    assert "Warning: Column 'x' names rows." in done.err
    sent = platform.asked[-2].json()["inputs"]
    wanted = {
        "task": "regression", "algorithm": "lightgbm", "split": "time", "group": None, "time": "at", "tune": 5, "leaks": "refuse",
        "calibrate": "auto", "balance": True, "cost_false_positive": 1.0, "cost_false_negative": 9.0,
    }  # fmt: skip
    assert {name: sent[name] for name in wanted} == wanted
    told = tandem(*words.split(), "--json").json()
    assert (told["task"], told["warnings"]) == ("regression", ["Column 'x' names rows."])


def test_add_signals_and_train_on_their_windows(tandem, platform: FakePlatform, tmp_path: Path) -> None:
    (tmp_path / "shakes").mkdir()
    (tmp_path / "shakes" / "pump-1.csv").write_text("x\n1\n")
    added = {"ref": "dataset/shakes@1", "kind": "dataset", "name": "shakes", "version": 1, "meta": {"rows": 1}}
    platform.on("POST", "/api/v1/datasets/shakes", Canned(status=201, body=added))
    assert tandem("data", "add", "shakes", str(tmp_path / "shakes"), "--signals").code == 0
    assert (platform.asked[-1].query["signals"], platform.asked[-1].query["format"]) == ("true", "tar")
    assert tandem("data", "add", "shakes", "--sql", "x.sql", "--database", "env:X", "--signals").code == 2
    platform.on("POST", "/api/v1/runs", Canned(status=202, body=run("queued")))
    words = "train pump --data shakes --target fault --signal unit --at at --window 64 --stride 32 --no-wait"
    assert tandem(*words.split()).code == 0
    wanted = {"signal": "unit", "time": "at", "window": 64, "stride": 32}
    sent = platform.asked[-1].json()["inputs"]
    assert {name: sent[name] for name in wanted} == wanted


def test_train_a_forecast_and_anomalies(tandem, platform: FakePlatform) -> None:
    platform.on("POST", "/api/v1/runs", Canned(status=202, body=run("queued")))
    words = "train sales --data sales --target sold --task forecasting --series store --horizon 24 --season 24,168 --no-wait"
    assert tandem(*words.split(), "--known", "price", "--known", "holiday", "--frequency", "1h").code == 0
    wanted = {
        "task": "forecasting", "series": "store", "horizon": 24, "season": [24, 168], "known": ["price", "holiday"],
        "frequency": "1h", "algorithm": None,
    }  # fmt: skip
    sent = platform.asked[-1].json()["inputs"]
    assert {name: sent[name] for name in wanted} == wanted
    wrong = tandem("train", "sales", "--data", "sales", "--target", "sold", "--season", "day")
    assert (wrong.code, "no list of whole numbers" in wrong.err) == (2, True)

    assert tandem("train", "odd", "--data", "d", "--task", "anomaly", "--false-alarms", "0.02", "--no-wait").code == 0
    sent = platform.asked[-1].json()["inputs"]
    assert (sent["task"], sent["target"], sent["false_alarms"]) == ("anomaly", "", 0.02)


def test_train_without_waiting_and_failing(tandem, platform: FakePlatform) -> None:
    platform.on("POST", "/api/v1/runs", Canned(status=202, body=run("queued")))
    assert tandem("train", "tumor", "--data", "d", "--target", "t", "--no-wait").out == "run_1\n"
    assert tandem("train", "tumor", "--data", "d", "--target", "t", "--no-wait", "--json").json() == {
        "run": "run_1",
        "state": "queued",
    }
    platform.on("GET", "/api/v1/runs/run_1", run("failed", reason="There is no column 't'."))
    done = tandem("train", "tumor", "--data", "d", "--target", "t")
    assert (done.code, done.out) == (1, "")
    assert "failed: There is no column 't'." in done.err


EVALUATED = {
    "evaluation": "evl_1",
    "prompt": "prompt/explain@2",
    "suite": "suite/explain@1",
    "metric": "exact",
    "metrics": {"exact": {"value": 0.5, "low": 0.4, "high": 0.6, "n": 90}},
    "reused": 12,
    "asked": {
        "rows": 90,
        "answers": 180,
        "errors": {"upstream": 2},
        "labels": {"grounded: no-claims": 4},
        "agreement": {"texts": 0.5, "grades": 0.9},
        "judge": {"consistent": 0.8, "first": 0.55, "longer": None, "unreadable": 1},
        "models": ["small"],
        "seconds": {"p50": 0.5, "p95": 1.5},
        "cost": 5454000,
    },
    "comparison": {
        "passed": False,
        "gate": {"metric": "exact", "require": "non-inferior"},
        "verdict": {"outcome": "regressed", "metric": "exact", "difference": LOSS},
        "reasons": ["exact regressed."],
        "candidate_ref": "prompt/explain@2",
        "champion_ref": "prompt/explain@1",
    },
}


def test_eval(tandem, platform: FakePlatform) -> None:
    platform.on("POST", "/api/v1/runs", Canned(status=202, body=run("queued")))
    platform.on("GET", "/api/v1/runs/run_1", run("succeeded", outputs=EVALUATED))
    done = tandem("eval", "explain@2", "--suite", "explain", "--repeats", "2", "--fresh")
    assert done.code == 0
    assert platform.asked[0].json() == {
        "kind": "evaluate",
        "name": "explain",
        "inputs": {"prompt": "prompt/explain@2", "suite": "suite/explain", "repeats": 2, "fresh": True, "against": None},
    }
    for told in (
        "exact   0.5000 [0.4000, 0.6000] on 90 rows",
        "upstream × 2",
        "grounded: no-claims × 4",
        "the same text in 50% of the rows, the same grade in 90%",
        "both orders alike 80%, the first shown preferred 55%, the longer answer won —, unreadable 1",
        "12 rows answered before",
        "0.005454 USD",
        "regressed",
        "- exact regressed.",
    ):
        assert told in done.out, told
    assert tandem("eval", "explain@2", "--suite", "explain", "--json").json() == {"run": "run_1", **EVALUATED}
    assert tandem("eval", "explain@2", "--suite", "explain", "--no-wait").out == "run_1\n"
    assert tandem("eval", "explain@2").code == 2


def test_an_evaluation_that_fails_says_why(tandem, platform: FakePlatform) -> None:
    platform.on("POST", "/api/v1/runs", Canned(status=202, body=run("queued")))
    platform.on("GET", "/api/v1/runs/run_1", run("failed", reason="A cap has no room (over_budget)."))
    done = tandem("eval", "explain@2", "--suite", "explain")
    assert (done.code, done.out) == (1, "")
    assert "over_budget" in done.err


def test_suites(tandem, platform: FakePlatform, tmp_path: Path) -> None:
    scorers = [{"scorer": "regex", "name": "", "options": {"pattern": "^[0-9]{1,3}$"}, "weight": 1}]
    meta = {
        "data": "dataset/cases@1",
        "endpoint": "assistant",
        "scorers": scorers,
        "sources": ["a", "b"],
        "variables": {"q": "c"},
    }
    version = {"ref": "suite/explain@1", "kind": "suite", "name": "explain", "version": 1, "meta": meta}
    platform.on("POST", "/api/v1/suites/explain", Canned(status=201, body=version))
    platform.on("GET", "/api/v1/assets/suite/explain/1", version)
    words = ["suite", "add", "suite/explain", "--data", "cases", "--endpoint", "assistant", "--var", "the:column:q"]
    scored = ["--scorer", "regex,pattern=^[0-9]{1,3}$,name=short", "--scorer", "latency,seconds=2,weight=3"]
    assert tandem(*words, *scored).out == "suite/explain@1\n"
    sent = platform.asked[0].json()
    assert sent["data"] == "dataset/cases"
    assert sent["variables"] == {"q": "the:column"}
    assert sent["scorers"] == [
        {"scorer": "regex", "name": "short", "options": {"pattern": "^[0-9]{1,3}$"}, "weight": 1.0},
        {"scorer": "latency", "name": "", "options": {"seconds": 2}, "weight": 3.0},
    ]
    for name, text in (("s.toml", 'data = "dataset/cases"\n'), ("s.json", '{"data": "dataset/cases"}')):
        (tmp_path / name).write_text(text)
        assert tandem("suite", "add", "explain", "--file", str(tmp_path / name), "--json").json()["ref"] == "suite/explain@1"
        assert platform.asked[-1].json() == {"data": "dataset/cases"}
    shown = tandem("suite", "show", "explain@1").out
    assert "pattern=^[0-9]{1,3}$" in shown
    assert "a, b" in shown
    for wrong in (words[:3], [*words, *scored, "--file", str(tmp_path / "s.json")], [*words, "--scorer", "exact,weight=heavy"]):
        assert tandem(*wrong).code == 2
    (tmp_path / "bad.toml").write_text("data =")
    assert tandem("suite", "add", "explain", "--file", str(tmp_path / "bad.toml")).code == 2


def test_a_gate_needs_a_metric_or_a_suite(tandem, platform: FakePlatform) -> None:
    platform.on("PUT", "/api/v1/gates/prompt/explain", {**GATE, "asset": "prompt/explain", "suite": "suite/explain"})
    assert "suite/explain" in tandem("gate", "set", "prompt/explain", "--suite", "suite/explain").out
    assert tandem("gate", "set", "prompt/explain").code == 2


def test_runs(tandem, platform: FakePlatform) -> None:
    platform.on("GET", "/api/v1/runs", [DONE])
    platform.on("GET", "/api/v1/runs/run_1", DONE)
    platform.on("POST", "/api/v1/runs/run_1/cancel", Canned(status=202, body=run("cancelled")))
    assert "run_1  train  tumor  succeeded  100%" in tandem("run", "list").out
    out = tandem("run", "show", "run_1").out
    assert "took   2.5 s" in out
    assert "0.9912 [0.9801, 0.9962]" in out
    assert tandem("run", "wait", "run_1").out.startswith("model/tumor@1\n")
    assert tandem("run", "cancel", "run_1").out == "run_1 is cancelled.\n"
    assert tandem("run", "list", "--json").json()[0]["id"] == "run_1"


VERDICT = {
    "outcome": "regressed",
    "metric": "roc_auc",
    "candidate": ESTIMATE,
    "champion": ESTIMATE,
    "difference": LOSS,
    "margin": 0.02,
    "method": "DeLong (1988), paired",
}
GATE = {
    "asset": "model/tumor",
    "alias": "production",
    "metric": "roc_auc",
    "minimum": 0.95,
    "margin": 0.02,
    "require": "non-inferior",
}


def report(**more: object) -> dict[str, object]:
    return {
        "passed": True,
        "gate": GATE,
        "candidate": ESTIMATE,
        "verdict": None,
        "reasons": ["There is no champion yet."],
        "candidate_ref": "model/tumor@1",
        "champion_ref": None,
        **more,
    }


def test_promote(tandem, platform: FakePlatform) -> None:
    done = {
        "alias": "production",
        "version": 1,
        "etag": 1,
        "ref": "model/tumor@1",
        "passed": True,
        "verdict": None,
        "report": report(),
        "reasons": ["There is no champion yet."],
        "endpoint": "tumor",
    }
    platform.on("POST", "/api/v1/assets/model/tumor/promote", done)
    told = tandem("promote", "model/tumor@1", "production", "--etag", "0")
    assert told.code == 0
    lines = told.out.splitlines()
    assert lines[0] == "model/tumor@production is now model/tumor@1."
    assert "gate          passed" in lines
    assert "candidate     0.9912 [0.9801, 0.9962] on 569 rows" in lines
    assert "- There is no champion yet." in lines
    assert lines[-1] == "The endpoint 'tumor' serves it."
    assert platform.asked[0].json() == {"version": 1, "alias": "production", "etag": 0}
    assert tandem("promote", "model/tumor@1", "production", "--json").json()["report"]["candidate"]["low"] == 0.9801


def test_promote_without_a_gate(tandem, platform: FakePlatform) -> None:
    platform.on("POST", "/api/v1/assets/prompt/explain/promote", {"alias": "production", "version": 2, "ungated": True})
    out = tandem("promote", "prompt/explain@2", "production").out
    assert out == "prompt/explain@production is now prompt/explain@2.\nNo gate applied.\n"


def test_promote_refused(tandem, platform: FakePlatform) -> None:
    body = {
        "error": {
            "code": "gate_refused",
            "message": "model/tumor@2 was not promoted.",
            "hint": "Train a better one.",
            "field": None,
            "report": report(passed=False, verdict=VERDICT, reasons=["roc_auc regressed."], champion_ref="model/tumor@1"),
        }
    }
    platform.on("POST", "/api/v1/assets/model/tumor/promote", Canned(status=403, body=body))
    told = tandem("promote", "model/tumor@2", "production")
    assert told.code == 4
    for line in (
        "gate          refused",
        "verdict       regressed",
        "difference    -0.0310 [-0.0520, -0.0100] on 569 rows",
        "method        DeLong (1988), paired",
        "champion is   model/tumor@1",
        "- roc_auc regressed.",
    ):
        assert line in told.out.splitlines()
    assert told.err == "tandem: model/tumor@2 was not promoted.\n  → Train a better one.\n"
    error = tandem("promote", "model/tumor@2", "production", "--json").json()["error"]
    assert error["report"]["verdict"]["difference"]["high"] == -0.01


def test_promote_without_evidence_is_refused_by_the_gate_too(tandem, platform: FakePlatform) -> None:
    body = {"error": {"code": "no_evidence", "message": "There is nothing to judge.", "hint": None, "field": None}}
    platform.on(
        "POST", "/api/v1/assets/model/tumor/promote", Canned(status=403, body={"error": {**body["error"], "code": "blocked"}})
    )
    assert tandem("promote", "model/tumor@2", "production").code == 4


def test_rollback(tandem, platform: FakePlatform) -> None:
    platform.on("POST", "/api/v1/assets/model/tumor/rollback", {"alias": "production", "version": 1, "etag": 3})
    assert tandem("rollback", "model/tumor", "production").out == "model/tumor@production is back at model/tumor@1.\n"
    assert tandem("rollback", "model/tumor", "production", "--json").json()["version"] == 1


def test_gates(tandem, platform: FakePlatform) -> None:
    platform.on("PUT", "/api/v1/gates/model/tumor", GATE)
    platform.on("GET", "/api/v1/gates", [GATE], [])
    words = (
        "gate",
        "set",
        "model/tumor",
        "--metric",
        "roc_auc",
        "--min",
        "0.95",
        "--margin",
        "0.02",
        "--require",
        "non-inferior",
    )
    assert "model/tumor  production  roc_auc     0.95    0.02  non-inferior" in tandem(*words).out
    assert platform.asked[0].json() == {
        "alias": "production",
        "metric": "roc_auc",
        "minimum": 0.95,
        "margin": 0.02,
        "require": "non-inferior",
    }
    (listed,) = tandem("gate", "list", "--json").json()
    assert {name: listed[name] for name in GATE} == GATE
    assert "No gate is set" in tandem("gate", "list").out


def test_a_gate_of_several_conditions(tandem, platform: FakePlatform) -> None:
    platform.on("PUT", "/api/v1/gates/model/tumor", {**GATE, "minimums": {"recall": 0.8}, "latency_ms": 5.0})
    words = ["gate", "set", "model/tumor", "--metric", "roc_auc", "--minimum", "recall=0.8", "--minimum", "cost=0.5"]
    words += ["--cost-false-positive", "1", "--cost-false-negative", "10", "--latency-ms", "5", "--size-bytes", "100000"]
    words += ["--slice", "region=north,metric=recall,minimum=0.7", "--slice", "age=18..30,margin=0.05,allow-small"]
    assert "recall=0.8, 5 ms" in tandem(*words, "--looks", "5", "--rows", "2000").out
    asked = platform.asked[0].json()
    assert asked["minimums"] == {"recall": 0.8, "cost": 0.5}
    assert (asked["latency_ms"], asked["size_bytes"], asked["looks"], asked["rows"]) == (5, 100_000, 5, 2000)
    north, young = asked["slices"]
    assert (north["column"], north["value"], north["metric"], north["minimum"]) == ("region", "north", "recall", 0.7)
    assert (young["low"], young["high"], young["margin"], young["allow_small"]) == (18, 30, 0.05, True)


@pytest.mark.parametrize("word", ["--slice=region", "--slice=region=north,least=1", "--minimum=recall", "--minimum=recall=x"])
def test_what_is_no_condition_is_wrong_usage(tandem, platform: FakePlatform, word: str) -> None:
    assert tandem("gate", "set", "model/tumor", "--metric", "roc_auc", word).code == 2
    assert not platform.asked


def test_a_gate_is_asked_without_a_move(tandem, platform: FakePlatform) -> None:
    low, high = {"value": 0.9, "low": 0.8, "high": 0.95, "n": 90}, {"value": 0.1, "low": 0.0, "high": 0.2, "n": 90}
    conditions = [
        {"kind": "minimum", "name": "recall", "outcome": "missed", "held": False, "n": 90, "effect": low, "bound": 0.97},
        {"kind": "slice", "name": "region = north", "outcome": "inconclusive", "held": False, "n": 9, "effect": high},
    ]
    report = {"passed": False, "reasons": ["It is not."], "conditions": conditions, "gate": {"require": "improved"}}
    platform.on("POST", "/api/v1/assets/model/tumor/2/check", {"report": report}, {"report": None})
    said = tandem("gate", "check", "model/tumor@2")
    assert said.code == 4
    assert "recall          missed        0.9 [0.8, 0.95] on 90" in said.out
    assert tandem("gate", "check", "model/tumor@2", "--json").code == 0


def test_evidence_is_brought_or_made(tandem, platform: FakePlatform, tmp_path: Path) -> None:
    made = {"id": "evd_1", "model": "model/tumor@2", "dataset": "dataset/later@1", "rows": 2, "given": True}
    platform.on("POST", "/api/v1/assets/model/tumor/2/evidence", made)
    path = tmp_path / "said.txt"
    path.write_text("0.25\n0.75\n")
    said = tandem("gate", "evidence", "model/tumor@2", "--data", "dataset/later", "--predictions", str(path))
    assert "on the 2 rows of dataset/later@1, brought" in said.out
    assert platform.asked[0].json() == {"dataset": "dataset/later", "probabilities": [0.25, 0.75], "fairness": []}


def test_keys(tandem, platform: FakePlatform) -> None:
    made = {
        "key": "tdm_secret",
        "principal": {"name": "app", "team": "onco", "role": "viewer", "endpoints": ["tumor"], "scopes": []},
    }
    platform.on("POST", "/api/v1/keys", Canned(status=201, body=made))
    before = time.time_ns() // 1000
    done = tandem(
        "key",
        "create",
        "--name",
        "app",
        "--team",
        "onco",
        "--role",
        "viewer",
        "--endpoint",
        "tumor",
        "--scope",
        "any-version",
        "--expires",
        "30d",
    )
    assert done.out == "tdm_secret\n"
    assert "only this once" in done.err
    asked = platform.asked[0].json()
    assert (asked["name"], asked["team"], asked["role"], asked["endpoints"], asked["scopes"]) == (
        "app",
        "onco",
        "viewer",
        ["tumor"],
        ["any-version"],
    )
    assert 0 <= asked["expires_at"] - before - 30 * 86_400_000_000 < 60_000_000
    assert tandem("key", "create", "--name", "app", "--json").json()["key"] == "tdm_secret"
    assert "expires_at" not in platform.asked[1].json()
    rows = [
        {"name": "a", "team": "t", "role": "viewer", "created_at": 1},
        {"name": "b", "team": "t", "role": "viewer", "created_at": 1, "expires_at": 2},
        {"name": "c", "team": "t", "role": "admin", "created_at": 1, "revoked_at": 9},
    ]
    platform.on("GET", "/api/v1/keys", rows)
    out = tandem("key", "list").out.splitlines()
    assert [line.split()[-1] for line in out[1:]] == ["valid", "expired", "revoked"]
    platform.on("DELETE", "/api/v1/keys/app", {})
    assert tandem("key", "revoke", "key/app").out == "The key 'app' is revoked.\n"


def test_budgets(tandem, platform: FakePlatform) -> None:
    budget = {"scope": "key/app", "window": "day", "cap": 2_000_000, "cap_usd": "0.002", "settled": 300_000, "reserved": 1}
    platform.on("PUT", "/api/v1/budgets/key/app", budget)
    platform.on("GET", "/api/v1/budgets", [budget], [])
    platform.on("DELETE", "/api/v1/budgets/key/app", {})
    out = tandem("budget", "set", "key/app", "--cap", "0.002", "--window", "day").out
    assert out.splitlines()[1].split() == ["key/app", "day", "$0.002", "$0.0003", "$0.000000001", "$0.001699999"]
    assert platform.asked[0].json() == {"cap": "0.002", "window": "day"}
    assert tandem("budget", "list", "--json").json()[0]["cap"] == 2_000_000
    assert "No cap is set" in tandem("budget", "list").out
    assert tandem("budget", "drop", "key/app").code == 0
    assert platform.asked[-1].query == {"window": "day"}
    assert tandem("budget", "set", "key/app", "--cap", "much").code == 1


def test_budgets_that_only_tell_are_prepaid_or_shared_out(tandem, platform: FakePlatform) -> None:
    budget = {"scope": "org", "window": "rolling-24h", "cap": 1, "mode": "soft", "fair": True, "ends": 1_750_000_000_000_000}
    platform.on("PUT", "/api/v1/budgets/org", budget)
    out = tandem("budget", "set", "org", "--cap", "9", "--window", "rolling-24h", "--soft", "--fair", "--alert", "50").out
    assert out.splitlines()[1].endswith("soft, fair, until 2025-06-15 15:06:40")
    told = {"cap": "9", "window": "rolling-24h", "mode": "soft", "fair": True, "alerts": [50]}
    assert platform.asked[0].json() == told
    platform.on("POST", "/api/v1/budgets/key/shop/credits", {**budget, "mode": "prepaid"})
    assert "prepaid" in tandem("budget", "credit", "key/shop", "--amount", "25", "--reference", "inv-1").out
    assert platform.asked[-1].json() == {"amount": "25", "reference": "inv-1"}
    platform.on("DELETE", "/api/v1/budgets/run/red/nightly", {})
    assert "is over" in tandem("budget", "drop", "run/red/nightly").out


def test_limits(tandem, platform: FakePlatform) -> None:
    limit = {"scope": "key/app", "unit": "requests", "window": "minute", "cap": 60, "settled": 12, "reserved": 8}
    at_once = {"scope": "team/red", "unit": "calls", "window": "total", "cap": 8, "settled": 0, "reserved": 2, "fair": True}
    platform.on("PUT", "/api/v1/limits/key/app", limit)
    platform.on("GET", "/api/v1/limits", [limit, at_once], [])
    platform.on("DELETE", "/api/v1/limits/key/app", {})
    out = tandem("limit", "set", "key/app", "--unit", "requests", "--cap", "60").out
    assert out.splitlines()[1].split() == ["key/app", "requests", "minute", "60", "12", "8", "40"]
    assert platform.asked[0].json() == {"unit": "requests", "cap": 60, "window": "minute"}
    assert tandem("limit", "list").out.splitlines()[2].split() == ["team/red", "calls", "at", "once", "8", "0", "2", "6", "fair"]
    assert "No limit is set" in tandem("limit", "list").out
    assert "no limit of requests a minute" in tandem("limit", "drop", "key/app", "--unit", "requests").out
    assert platform.asked[-1].query == {"unit": "requests", "window": "minute"}
    assert tandem("limit", "set", "key/app", "--unit", "bytes", "--cap", "1").code == 2


def test_audit(tandem, platform: FakePlatform) -> None:
    platform.on(
        "GET",
        "/api/v1/audit",
        [
            {
                "seq": 7,
                "at": 1_750_000_000_000_000,
                "actor": "ann",
                "action": "key.create",
                "subject": "key/ci",
                "detail": {"role": "viewer"},
            }
        ],
    )
    assert '7  2025-06-15 15:06:40  ann  key.create  key/ci  {"role": "viewer"}' in tandem("audit", "list").out
    platform.on("POST", "/api/v1/audit/verify", {"ok": True, "count": 7, "problems": []})
    whole = tandem("audit", "verify")
    assert (whole.code, whole.out) == (0, "The audit is whole: 7 rows.\n")
    platform.on("POST", "/api/v1/audit/verify", {"ok": False, "count": 6, "problems": ["Before row 4, row 3 is missing."]})
    broken = tandem("audit", "verify")
    assert broken.code == 5
    assert "- Before row 4, row 3 is missing." in broken.out
    told = tandem("audit", "verify", "--json")
    assert (told.code, told.json()["ok"]) == (5, False)


def test_assets(tandem, platform: FakePlatform) -> None:
    platform.on(
        "GET",
        "/api/v1/assets",
        [{"kind": "model", "name": "tumor", "newest": MODEL, "aliases": {"production": 1}}, {"kind": "x", "name": "y"}],
    )
    assert "model/tumor       1  production → 1" in tandem("asset", "list", "--kind", "model").out
    alias = {
        "alias": "production",
        "version": 1,
        "etag": 1,
        "moved_at": 1_750_000_000_000_000,
        "moved_by": "ann",
        "ungated": False,
    }
    platform.on(
        "GET",
        "/api/v1/assets/model/tumor",
        {
            "kind": "model",
            "name": "tumor",
            "versions": [MODEL],
            "aliases": {"production": {"version": 1, "etag": 1}},
            "history": [{"alias": alias, "action": "promote"}],
        },
    )
    out = tandem("asset", "show", "model/tumor").out
    assert "production → 1  (etag 1)" in out
    assert "2025-06-15 15:06:40  ann  promote  production        1  passed" in out
    platform.on("GET", "/api/v1/assets/model/tumor/production", MODEL)
    platform.on("GET", "/api/v1/assets/model/tumor/1", MODEL)
    platform.on("GET", "/api/v1/assets/model/tumor/1/about", {"slices": None, "fairness": [], "importance": None})
    out = tandem("asset", "show", "model/tumor@production").out
    assert "sha256:" + "cd" * 32 in out
    assert "(999 characters, --json has all)" in out
    assert "roc_auc   0.99  0.98  0.995  569" in out
    assert tandem("asset", "lineage", "model/tumor@1").out.splitlines() == [
        "model/tumor@1  sha256:cdcdcdcdcdcd…",
        "made from",
        "  dataset/biopsies@1  sha256:ab",
        "made into",
        "  decision/second-opinion@1",
    ]
    assert tandem("asset", "lineage", "model/tumor@1", "--json").json()["edges"][0] == ["dataset/biopsies@1", "model/tumor@1"]
    assert tandem("asset", "show", "tumor").code == 1


def test_releases(tandem, platform: FakePlatform) -> None:
    pins = ["model/fraud@3", "prompt/explain@2"]
    version = {
        "ref": "release/triage@1",
        "kind": "release",
        "name": "triage",
        "version": 1,
        "parents": pins,
        "meta": {"pins": pins},
    }
    platform.on("POST", "/api/v1/releases/triage", Canned(status=201, body=version))
    platform.on("GET", "/api/v1/assets/release/triage/1", version)
    platform.on(
        "GET", "/api/v1/assets/model/fraud", {"kind": "model", "name": "fraud", "aliases": {"production": {"version": 2}}}
    )
    platform.on(
        "GET", "/api/v1/assets/prompt/explain", {"kind": "prompt", "name": "explain", "aliases": {"live": {"version": 2}}}
    )
    added = tandem("release", "add", "release/triage", *pins).out
    assert added == "release/triage@1\n  model/fraud@3\n  prompt/explain@2\n"
    assert platform.asked[0].json() == {"pins": pins}
    assert tandem("release", "add", "triage").code == 2
    rows = [line.split() for line in tandem("release", "show", "triage@1").out.splitlines()]
    assert ["model/fraud@3", "@2", "no"] in rows
    assert ["prompt/explain@2", "nothing", "no"] in rows
    live = tandem("release", "show", "triage@1", "--alias", "live", "--json").json()
    assert [pin["there"] for pin in live["pins"]] == [False, True]

    told = [
        {"ref": "model/fraud@3", "moved": True, "report": {"passed": True, "gate": {"metric": "auc"}}, "endpoint": "fraud"},
        {"ref": "prompt/explain@2", "moved": False, "why": "prompt/explain@2 was production already."},
    ]
    state = {"alias": "production", "version": 1, "ref": "release/triage@1", "pins": told}
    platform.on("POST", "/api/v1/assets/release/triage/promote", state)
    out = tandem("promote", "release/triage@1", "production").out
    for said in (
        "release/triage@production is now release/triage@1.",
        "model/fraud@3 is now production.",
        "The endpoint 'fraud' serves it.",
        "prompt/explain@2 was production already.",
    ):
        assert said in out
    platform.on("POST", "/api/v1/assets/release/triage/rollback", state)
    assert tandem("rollback", "release/triage", "production").out == (
        "release/triage@production is back at release/triage@1.\n"
        "  model/fraud@3\n"
        "  left alone: prompt/explain@2 was production already.\n"
    )


def test_prompts(tandem, platform: FakePlatform, tmp_path: Path) -> None:
    version = {
        "ref": "prompt/explain@1",
        "kind": "prompt",
        "name": "explain",
        "version": 1,
        "meta": {"template": "Say {{ it }}.", "variables": {"it": "string"}},
    }
    platform.on("POST", "/api/v1/prompts/explain", Canned(status=201, body=version))
    platform.on("GET", "/api/v1/assets/prompt/explain/1", version)
    text = tmp_path / "explain.txt"
    text.write_text("Say {{ it }}.")
    assert tandem("prompt", "add", "explain", str(text), "--var", "it:string", "--var", "n").out == "prompt/explain@1\n"
    assert platform.asked[0].json() == {"variables": {"it": "string", "n": "string"}, "template": "Say {{ it }}."}
    chat = tmp_path / "explain.json"
    chat.write_text('[{"role": "system", "content": "Be brief."}]')
    assert tandem("prompt", "add", "explain", str(chat), "--model", "assistant").code == 0
    assert platform.asked[1].json() == {
        "variables": {},
        "messages": [{"role": "system", "content": "Be brief."}],
        "model": "assistant",
    }
    chat.write_text('{"role": "system"}')
    assert "holds no messages" in tandem("prompt", "add", "explain", str(chat)).err
    out = tandem("prompt", "show", "explain@1").out
    assert "variables  it:string" in out
    assert "user:\nSay {{ it }}." in out


def test_policies(tandem, platform: FakePlatform) -> None:
    platform.on("POST", "/api/v1/policies/strict", {"ref": "policy/strict@1", "kind": "policy", "name": "strict", "version": 1})
    assert tandem("policy", "add", "strict", "--guard", "card=mask", "--guard", "injection=block:in").out == "policy/strict@1\n"
    assert platform.asked[-1].json() == {
        "guards": [
            {"detector": "card", "action": "mask", "on": ["in", "out"]},
            {"detector": "injection", "action": "block", "on": ["in"]},
        ]
    }
    found = [{"detector": "card", "on": "in", "action": "mask", "count": 1}]
    platform.on("POST", "/api/v1/policies/strict/try", {"passes": True, "text": "pay <CARD-1>", "found": found})
    out = tandem("policy", "try", "policy/strict@production", "pay 4111 1111 1111 1111").out
    assert "mask" in out
    assert "pay <CARD-1>" in out
    assert platform.asked[-1].json() == {"text": "pay 4111 1111 1111 1111", "on": "in", "version": "production"}
    platform.on("POST", "/api/v1/policies/strict/try", {"passes": False, "text": "", "found": found})
    assert "It does not pass." in tandem("policy", "try", "strict", "-", "--out", stdin="x").out
    assert platform.asked[-1].json() == {"text": "x", "on": "out", "version": None}
    platform.on("GET", "/api/v1/detectors", [{"name": "card", "finds": "payment card numbers", "forms": ["card"]}])
    assert "payment card numbers" in tandem("policy", "detectors").out


@pytest.mark.parametrize("word", ["card", "card=shout", "card=mask:up"])
def test_a_guard_that_is_none_is_explained(tandem, word: str) -> None:
    done = tandem("policy", "add", "strict", "--guard", word)
    assert done.code == 2
    assert "DETECTOR=ACTION" in done.err


SOURCE = """
from dataclasses import dataclass
from tandem import decisions
from tandem.decisions import Calls

def helper(x): ...
def decide_it(case: dict, calls: decisions.Calls) -> dict: ...
"""


@pytest.mark.parametrize(
    ("source", "words", "entry"),
    [
        (SOURCE, [], "decide_it"),
        (SOURCE, ["--entry", "helper"], "helper"),
        (SOURCE + "def second_opinion(case: dict, calls: 'Calls') -> dict: ...\n", [], "second_opinion"),
    ],
)
def test_decision_add(tandem, platform: FakePlatform, tmp_path: Path, source: str, words: list[str], entry: str) -> None:
    file = tmp_path / "opinion.py"
    file.write_text(source)
    platform.on(
        "POST",
        "/api/v1/decisions/second-opinion",
        {"ref": "decision/second-opinion@1", "kind": "decision", "name": "s", "version": 1},
    )
    assert tandem("decision", "add", "second-opinion", str(file), *words).out == "decision/second-opinion@1\n"
    assert platform.asked[0].json() == {"source": source, "entry": entry}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def a(): ...\n", "has no function that could be the decision"),
        ("def a(c: Calls): ...\ndef b(c: Calls): ...\n", "has several functions"),
        ("def a(:\n", "is no Python"),
    ],
)
@pytest.mark.usefixtures("platform")
def test_decision_add_asks_for_the_entry(tandem, tmp_path: Path, source: str, message: str) -> None:
    file = tmp_path / "opinion.py"
    file.write_text(source)
    done = tandem("decision", "add", "x", str(file))
    assert done.code == 2
    assert message in done.err


INFERRED: dict[str, Any] = {
    "model_name": "tumor",
    "model_version": "1",
    "outputs": [{"name": "probability", "shape": [1], "data": [0.9731]}, {"name": "label", "shape": [1], "data": ["M"]}],
}


def test_predict(tandem, platform: FakePlatform, tmp_path: Path) -> None:
    platform.on("POST", "/v2/models/tumor/infer", Canned(body=INFERRED, headers={"x-tandem-trace-id": "trc_7"}))
    done = tandem("predict", "tumor", "--input", '{"radius": 14.2}')
    assert done.out.splitlines() == ["model/tumor@1", "ROW  PROBABILITY  LABEL", "  0       0.9731  M"]
    assert done.err == "trace trc_7\n"
    file = tmp_path / "rows.json"
    file.write_text('[{"radius": 1.5}, {"radius": 2}]')
    assert tandem("predict", "model/tumor", "--input", f"@{file}", "--json").json()["outputs"]["label"] == ["M"]
    assert platform.asked[1].json()["inputs"][0]["data"] == [1.5, 2]
    tandem("predict", "tumor", "--input", "@-", stdin='{"radius": 3}')
    assert platform.asked[2].json()["inputs"][0]["data"] == [3]


def test_predict_explained(tandem, platform: FakePlatform) -> None:
    names = [f"c{number}" for number in range(12)]
    added = {
        "name": "contributions",
        "shape": [1, 12],
        "data": [0.1 * number * (-1 if number == 5 else 1) for number in range(12)],
        "parameters": {"columns": names},
    }
    base = {"name": "base", "shape": [1], "data": [-0.5]}
    platform.on("POST", "/v2/models/tumor/infer", {**INFERRED, "outputs": [*INFERRED["outputs"], added, base]})
    out = tandem("predict", "tumor", "--input", '{"c0": 1}', "--explain").out
    assert "row 0: what each column added, in the model's own unit, base -0.5000" in out
    assert f"raises  {'█' * 20}\n" in out
    assert f"lowers  {'░' * 9}" in out
    assert out.index("c11") < out.index("c10")
    assert "… and 2 more, +0.1000 together" in out
    assert platform.asked[0].json()["parameters"] == {"explain": True}


def test_decide(tandem, platform: FakePlatform) -> None:
    platform.on("POST", "/v1/decide/second-opinion", Canned(body={"opinion": "benign"}, headers={"x-tandem-trace-id": "trc_8"}))
    done = tandem("decide", "second-opinion", "--input", '{"case": 1}')
    assert json.loads(done.out) == {"opinion": "benign"}
    assert done.err == "trace trc_8\n"
    told = tandem("decide", "second-opinion", "--input", "@-", "--json", stdin='{"case": 2}').json()
    assert told == {"output": {"opinion": "benign"}, "trace": "trc_8"}
    assert platform.asked[1].json() == {"case": 2}


def test_chat(tandem, platform: FakePlatform) -> None:
    answer = {
        "model": "m",
        "choices": [{"message": {"content": "Hi."}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2},
    }
    platform.on("POST", "/v1/chat/completions", Canned(body=answer, headers={"x-tandem-trace-id": "trc_9"}))
    done = tandem("chat", "assistant", "Hello", "--system", "Be brief.", "--max-tokens", "5", "--temperature", "0")
    assert (done.out, done.err) == ("Hi.\n", "trace trc_9\n")
    asked = platform.asked[0].json()
    assert [message["role"] for message in asked["messages"]] == ["system", "user"]
    assert (asked["max_tokens"], asked["temperature"]) == (5, 0)
    told = tandem("chat", "assistant", "Hello", "--json").json()
    assert (told["text"], told["finish"], told["tokens"]["completion_tokens"]) == ("Hi.", "stop", 2)


def test_chat_streamed(tandem, platform: FakePlatform) -> None:
    frames = [{"choices": [{"delta": {"content": part}}]} for part in ("Hel", "lo")] + [
        {"choices": [{"delta": {}, "finish_reason": "stop"}]},
        {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}},
    ]
    body = "".join(f"data: {json.dumps(frame)}\n\n" for frame in frames) + "data: [DONE]\n\n"
    platform.on("POST", "/v1/chat/completions", Canned(body=body.encode(), headers={"content-type": "text/event-stream"}))
    assert tandem("chat", "assistant", "Hello", "--stream").out == "Hello\n"
    told = tandem("chat", "assistant", "Hello", "--stream", "--json").json()
    assert (told["text"], told["finish"], told["tokens"]["prompt_tokens"]) == ("Hello", "stop", 1)


def test_endpoints(tandem, platform: FakePlatform) -> None:
    endpoint = {
        "name": "assistant",
        "kind": "chat",
        "route": [{"target": "mock/a", "weight": 0.9}, {"target": "mock/b", "weight": 0, "priority": 1}],
        "managed": "file:3",
    }
    platform.on("GET", "/api/v1/endpoints", [endpoint])
    platform.on("PUT", "/api/v1/endpoints/assistant", endpoint)
    platform.on("DELETE", "/api/v1/endpoints/assistant", {})
    assert "mock/a (weight 0.9, priority 0), mock/b (weight 0, priority 1)" in tandem("endpoint", "list").out
    tandem(
        "endpoint",
        "set",
        "assistant",
        "--kind",
        "chat",
        "--target",
        "mock/a,weight=0.9",
        "--target",
        "mock/b,weight=0,priority=1",
        "--retries",
        "2",
        "--no-record-content",
    )
    assert platform.asked[-1].json() == {
        "kind": "chat",
        "retries": 2,
        "record_content": False,
        "route": [plain(Target(target="mock/a", weight=0.9)), plain(Target(target="mock/b", weight=0.0, priority=1))],
    }
    assert tandem("endpoint", "drop", "assistant").out == "The endpoint 'assistant' is gone.\n"


LEARNS = {
    "endpoint": "loans",
    "state": "learning",
    "plan": {"endpoint": "loans", "every": 100},
    "run": "run_2",
    "champion": "model/loans@2",
    "stage": "40 of 100 labels have come",
    "steps": [
        {
            "run": "run_1", "number": 1, "at": 1_750_000_000_000_000, "outcome": "promoted", "reason": "It is better.",
            "labels": 100, "losses": {"champion": 0.2, "first": 0.25, "learner": 0.18}, "champion": "model/loans@2",
        }
    ],
}  # fmt: skip


def test_learning_online(tandem, platform: FakePlatform) -> None:
    path = "/api/v1/endpoints/loans/online"
    for method in ("POST", "GET", "DELETE"):
        platform.on(method, path, LEARNS)
    shown = tandem("endpoint", "online", "start", "loans", "--every", "100", "--after", "30m", "--need", "non-inferior")
    assert shown.code == 0, shown.err
    sent = {"every": 100, "seconds": 1800, "need": "non-inferior", "margin": 0.01, "confirm": 400, "rate": 0.3}
    assert platform.asked[-1].json() == sent
    assert "40 of 100 labels have come" in shown.out
    assert "   1  2025-06-15 15:06:40  promoted     champion 0.200  learner 0.180  first 0.250" in shown.out
    assert "It is better." in tandem("endpoint", "online", "show", "loans").out
    platform.on("GET", "/api/v1/online", [LEARNS])
    assert "loans" in tandem("endpoint", "online", "list").out
    tandem("endpoint", "online", "stop", "loans")
    assert platform.asked[-1].method == "DELETE"


def test_a_route_with_conditions_canaries_and_bounds(tandem, platform: FakePlatform) -> None:
    route = [
        {"target": "mock/a", "when": {"principal.team": "risk"}},
        {"target": "mock/b", "role": "canary", "share": 0.05},
    ]
    endpoint = {"name": "assistant", "kind": "chat", "route": route, "sticky": True}
    platform.on("PUT", "/api/v1/endpoints/assistant", endpoint)
    words = ["endpoint", "set", "assistant", "--kind", "chat", "--sticky", "--region", "eu", "--max-cost", "0.05"]
    words += ["--target", json.dumps(route[0]), "--target", "mock/b,role=canary,share=0.05,context=8000,lacks=vision+tools"]
    shown = tandem(*words)
    assert shown.code == 0, shown.err
    assert "mock/a (weight 1, priority 0, conditional), mock/b (canary of 0.05)" in shown.out
    assert "weighted, sticky" in shown.out
    asked: Any = platform.asked[-1].json()
    assert (asked["sticky"], asked["regions"], asked["max_cost"]) == (True, ["eu"], "0.05")
    assert asked["route"][0]["when"] == {"principal.team": "risk"}
    assert asked["route"][1]["lacks"] == ["vision", "tools"]
    assert (asked["route"][1]["share"], asked["route"][1]["context"]) == (0.05, 8000)


@pytest.mark.parametrize(
    "target", ["mock/a,colour=red", "mock/a,share=much", "{", '{"weight": 1}', '{"target": "mock/a", "weight": "x"}']
)
def test_a_target_that_is_none_is_told_before_anything_is_asked(tandem, platform: FakePlatform, target: str) -> None:
    done = tandem("endpoint", "set", "assistant", "--kind", "chat", "--target", target)
    assert done.code == 2
    assert "target" in done.err
    assert platform.asked == []


def test_resting_targets_are_shown_and_woken(tandem, platform: FakePlatform) -> None:
    rest = {"worker": "0", "name": "mock/a", "outcome": "rate_limited", "failures": 3, "since": 1, "until": 2}
    platform.on("GET", "/api/v1/targets/resting", [rest], [])
    platform.on("POST", "/api/v1/targets/wake", {"name": "mock/a"})
    assert "mock/a" in tandem("endpoint", "resting").out
    assert "every target is asked in turn" in tandem("endpoint", "resting").out
    assert tandem("endpoint", "wake", "mock/a").out == "mock/a is asked again.\n"
    assert platform.asked[-1].json() == {"name": "mock/a"}
    assert tandem("endpoint", "wake", "--json").json() == {"name": None, "woken": True}


def test_providers(tandem, platform: FakePlatform) -> None:
    provider = {"name": "mock", "protocol": "openai", "base_url": "http://x/v1", "keys": ["env:K"], "prices": "openai"}
    platform.on("GET", "/api/v1/providers", [provider])
    platform.on("PUT", "/api/v1/providers/mock", provider)
    platform.on("DELETE", "/api/v1/providers/mock", {})
    platform.on(
        "POST",
        "/api/v1/providers/mock/test",
        [{"check": "reply", "ok": True}],
        [{"check": "reply", "ok": False, "detail": "HTTP 401"}],
    )
    assert "env:K" in tandem("provider", "list").out
    assert tandem("provider", "set", "mock", "--url", "http://x/v1", "--key", "env:K", "--prices", "openai").code == 0
    assert platform.asked[-1].json() == {"base_url": "http://x/v1", "keys": ["env:K"], "prices": "openai"}
    platform.on("PUT", "/api/v1/providers/groq", {**provider, "name": "groq"})
    assert tandem("provider", "set", "groq", "--key", "env:GROQ_API_KEY").code == 0
    assert platform.asked[-1].json() == {"keys": ["env:GROQ_API_KEY"]}
    assert tandem("provider", "test", "mock", "--model", "m").code == 0
    failed = tandem("provider", "test", "mock", "--model", "m")
    assert failed.code == 1
    assert "HTTP 401" in failed.out
    assert tandem("provider", "drop", "mock").code == 0
    host = {"name": "groq", "protocol": "openai", "base_url": "https://g/v1", "variable": "GROQ_API_KEY", "models": 33}
    platform.on("GET", "/api/v1/providers/known", [host])
    assert "GROQ_API_KEY" in tandem("provider", "known").out
    assert tandem("provider", "known", "--json").json()[0]["models"] == 33
    platform.on("GET", "/api/v1/providers/groq/models", [{"model": "gpt-oss-20b", "input": "0.1"}], [])
    assert "gpt-oss-20b" in tandem("provider", "models", "groq").out
    assert "without a price" in tandem("provider", "models", "groq").out


def test_login_and_whoami(tandem, platform: FakePlatform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TANDEM_KEY")
    platform.on("GET", "/api/v1/whoami", {"name": "ci", "team": "onco", "role": "editor"})
    done = tandem("login", stdin="tdm_stored\n")
    file = tmp_path / "config" / "tandem" / "credentials.json"
    assert f"You are 'ci' (editor, team onco) at {platform.url}." in done.out
    assert "tdm_stored" not in done.out + done.err
    assert json.loads(file.read_text()) == {"url": platform.url, "key": "tdm_stored"}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "role       editor" in tandem("whoami").out
    assert platform.asked[-1].headers["authorization"] == "Bearer tdm_stored"
    monkeypatch.delenv("TANDEM_URL")
    assert tandem("whoami", "--json").json()["name"] == "ci"


def test_login_keeps_no_key_that_is_refused(tandem, platform: FakePlatform, tmp_path: Path) -> None:
    platform.on("GET", "/api/v1/whoami", Canned(status=401, body={"error": {"code": "unauthenticated", "message": "Who?"}}))
    assert tandem("login", stdin="tdm_wrong\n").code == 1
    assert tandem("login", stdin="\n").code == 2
    assert not (tmp_path / "config").exists()


def test_doctor(tandem, platform: FakePlatform) -> None:
    platform.on("GET", "/health", {"status": "ok"})
    platform.on("GET", "/api/v1/whoami", {"name": "root", "team": "default", "role": "admin"})
    platform.on("GET", "/api/v1/doctor", [{"check": "disk", "ok": True, "detail": "900 MiB free", "hint": "Free space."}])
    done = tandem("doctor")
    assert done.code == 0
    assert [line.split()[:2] for line in done.out.splitlines()] == [["ok", "platform"], ["ok", "key"], ["ok", "disk"]]
    assert "Free space" not in done.out
    bad = {"check": "provider mock", "ok": False, "detail": "its key env:K is not there", "hint": "Set it."}
    platform.on("GET", "/api/v1/doctor", [bad])
    done = tandem("doctor")
    assert done.code == 1
    assert "BAD  provider mock  its key env:K is not there" in done.out
    assert "→ Set it." in done.out
    assert tandem("doctor", "--json").json()[2]["ok"] is False


def test_doctor_stops_where_the_next_check_could_tell_nothing(
    tandem, platform: FakePlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform.on("GET", "/health", {"status": "ok"})
    platform.on("GET", "/api/v1/whoami", {"name": "v", "role": "viewer"})
    platform.on("GET", "/api/v1/doctor", Canned(status=403, body={"error": {"code": "forbidden", "message": "No."}}))
    assert "not shown to the role viewer" in tandem("doctor").out
    platform.on("GET", "/api/v1/whoami", Canned(status=401, body={"error": {"code": "unauthenticated", "message": "Who?"}}))
    monkeypatch.delenv("TANDEM_KEY")
    done = tandem("doctor")
    assert done.code == 1
    assert "`tandem login` keeps a key" in done.out
    monkeypatch.setenv("TANDEM_URL", "http://127.0.0.1:1")
    done = tandem("doctor")
    assert done.code == 1
    assert "`tandem up` starts the platform" in done.out


WEAK = {
    "loss": "log_loss",
    "found": [
        {"where": [{"column": "sex", "value": "f"}, {"column": "age", "low": 40.0}], "n": 90, "inside": 0.7, "outside": 0.3,
         "difference": {"value": 0.4, "low": 0.2, "high": 0.6, "n": 45}},
    ],
}  # fmt: skip
FAIR = [
    {"column": "sex", "gaps": [
        {"measure": "equal_opportunity", "widest": ["f", "m"], "estimate": {"value": 0.1, "low": 0.0, "high": 0.2, "n": 80}},
        {"measure": "accuracy", "small": ["m"]},
    ]},
]  # fmt: skip
COUNTS = {"loss": "log_loss", "features": [{"name": "age", "added": ESTIMATE, "direction": -0.5, "lost": ESTIMATE}]}
ABOUT = {"slices": WEAK, "fairness": FAIR, "importance": COUNTS}


def test_a_model_shows_where_it_does_worse_and_what_it_answers_by(tandem, platform: FakePlatform) -> None:
    platform.on(
        "GET", "/api/v1/assets/model/credit/1", {"ref": "model/credit@1", "kind": "model", "name": "credit", "version": 1}
    )
    platform.on("GET", "/api/v1/assets/model/credit/1/about", ABOUT)
    out = tandem("asset", "show", "model/credit@1").out
    assert "sex = f and 40 <= age    90       0.7        0.3  0.4000 [0.2000, 0.6000] on 45 rows" in out
    assert "equal_opportunity  f and m         0.1000 [0.0000, 0.2000] on 80 rows" in out
    assert "LOG_LOSS ADDED WHEN SHUFFLED" in out
    platform.on("GET", "/api/v1/assets/model/credit/1/about", {"slices": None, "fairness": [], "importance": None})
    assert "DOES WORSE" not in tandem("asset", "show", "model/credit@1").out


def test_a_card_is_printed_as_it_is_asked_for(tandem, platform: FakePlatform) -> None:
    platform.on(
        "GET", "/api/v1/assets/model/credit/1", {"ref": "model/credit@1", "kind": "model", "name": "credit", "version": 1}
    )
    card = {
        "ref": "model/credit@1",
        "digest": "sha256:2",
        "sections": [{"title": "Data", "facts": [{"name": "rows", "value": 3}]}],
    }
    texts = (Canned(body=b"# model/credit@1\n"), Canned(body=b"<html>\n"))
    platform.on("GET", "/api/v1/assets/model/credit/1/card", *texts, card, card)
    assert tandem("asset", "card", "model/credit@1").out == "# model/credit@1\n"
    assert platform.asked[-1].query == {"as": "md"}
    assert tandem("asset", "card", "model/credit@1", "--as", "html").out == "<html>\n"
    told = tandem("asset", "card", "model/credit@1", "--as", "json").json()
    assert told == tandem("asset", "card", "model/credit@1", "--json").json()
    assert told["sections"][0]["facts"] == [{"name": "rows", "value": 3, "source": ""}]


def test_a_gate_asks_for_fairness(tandem, platform: FakePlatform) -> None:
    fair = [
        {"measure": "equal_opportunity", "by": "sex", "bound": 0.1, "allow_small": False},
        {"measure": "demographic_parity_ratio", "by": "race", "bound": 0.8, "allow_small": False},
    ]
    platform.on("PUT", "/api/v1/gates/model/credit", {"asset": "model/credit", "metric": "roc_auc", "fairness": fair})
    asked = ("--fairness", "equal_opportunity", "--by", "sex", "--at-most", "0.1")
    also = ("--fairness", "demographic_parity_ratio", "--by", "race", "--at-least", "0.8")
    out = tandem("gate", "set", "model/credit", "--metric", "roc_auc", *asked, *also).out
    assert platform.asked[-1].json()["fairness"] == fair
    assert "equal_opportunity by sex to 0.1, demographic_parity_ratio by race to 0.8" in out
    for wrong in (asked[:4], (*asked, "--at-most", "1"), (*also[:4], "--at-most", "0.8")):
        done = tandem("gate", "set", "model/credit", "--metric", "roc_auc", *wrong)
        assert (done.code, "Give each --fairness its --by" in done.err) == (2, True)
