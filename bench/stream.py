"""The closed loop on a stream: predict, learn the truth, be watched, retrain behind the gate. README.md tells the method.

    make bench DATA=stream_elec.csv
    python -m bench.stream FILE [--weeks N] [--keep 8] [--algorithm lightgbm] [--lagged] [--on alarm|data|labels] [--json FILE]

FILE is the electricity stream (45,312 half-hours; row i lies at t0 + 30 min × i): numbers, and `class`, 0 or 1. Every row is
predicted before its label is told. A week passes in a second or two, and a retraining takes no time of the stream's.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from bench import command, stage
from bench.stage import ADMIN_KEY, Failed, Platform

NAME = "elec"
DAY, WEEK = 48, 336
"""Rows: a day is one call, and after a week the monitor is asked."""
START = datetime(1996, 5, 7, tzinfo=UTC)
STEP = timedelta(minutes=30)
SPAN = 2
"""Seconds of a window of the monitor, in which a week passes."""
RUN_SECONDS = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What is run."""

    file: Path
    weeks: int | None = None
    """After those that are trained on at first; None: to the end."""
    keep: int = 8
    """Weeks that a version of the dataset holds: the newest."""
    algorithm: str = "lightgbm"
    lagged: bool = False
    """Whether the label before is a column too, as the rule 'no change' knows it."""
    on: str = "alarm"
    """When the monitor retrains: on an `alarm` about realised performance, or on every new version of the `data`.
    `labels`: there is no monitor, and the model learns online, a week's labels at a step."""


@dataclass(slots=True)
class Told:
    """What came of it."""

    rows: int = 0
    right: int = 0
    """Of the loop's predictions."""
    refused: int = 0
    """Rows that were not answered; they count as wrong."""
    unchanged: int = 0
    """Rows whose label is that of the row before."""
    sliding: int = 0
    """Right answers of the same algorithm, trained anew on the same weeks after every week."""
    still: int = 0
    """Right answers of the first model, if nobody ever trained again."""
    alarms: int = 0
    retrained: int = 0
    promoted: int = 0
    rolled_back: int = 0
    ungated: int = 0
    """Right answers of the learner, which no gate holds back: each row is learned as soon as it was predicted."""
    weeks: list[float] = field(default_factory=list)
    """The loop's accuracy, week by week."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """The rows, in the order of time."""

    names: tuple[str, ...]
    values: np.ndarray[Any, np.dtype[np.float64]]
    labels: np.ndarray[Any, np.dtype[np.int64]]

    @classmethod
    def read(cls, file: Path, lagged: bool) -> Stream:
        """The rows of a file with a header and a last column `class`.

        Raises:
            Failed: it is not one.
        """
        try:
            table = list(csv.reader(file.open()))
            names, values = tuple(table[0][:-1]), np.array(table[1:], dtype=np.float64)
        except (OSError, ValueError, IndexError) as error:
            raise Failed(f"{file} cannot be read: {error}") from None
        if table[0][-1] != "class" or len(values) < 10 * WEEK:
            raise Failed(f"{file} has no last column 'class', or fewer than ten weeks.")
        labels = values[:, -1].astype(np.int64)
        columns = values[:, :-1]
        if lagged:
            columns, names = np.column_stack((columns, np.concatenate(([0], labels[:-1])))), (*names, "before")
        return cls(names=names, values=columns, labels=labels)

    def text(self, start: int, end: int) -> bytes:
        """Rows as CSV, with their numbers and times."""
        out = io.StringIO()
        write = csv.writer(out).writerow
        write(("row", "at", *self.names, "class"))
        for row in range(start, end):
            write((row, (START + row * STEP).isoformat(), *self.values[row].tolist(), int(self.labels[row])))
        return out.getvalue().encode()


def measure(options: Options) -> Told:
    """Trains on the first weeks, and lives through the rest.

    Raises:
        Failed: the platform does not start, or a training fails.
    """
    stream = Stream.read(options.file, options.lagged)
    told, first = Told(), options.keep * WEEK
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        platform = stack.enter_context(stage.tandem(folder, {}))
        _begin(platform, stream, options)
        still = _fitted(stream, 0, first)
        weeks = (len(stream.labels) - first) // WEEK
        for number in range(min(weeks, options.weeks or weeks)):
            start = first + number * WEEK
            _week(platform, stream, start, told)
            sliding = _fitted(stream, start - first, start)
            span = slice(start, start + WEEK)
            truth = stream.labels[span]
            told.sliding += int((sliding(stream.values[span]) == truth).sum())
            told.still += 0 if options.on == "labels" else int((still(stream.values[span]) == truth).sum())
            told.unchanged += int((stream.labels[start - 1 : start + WEEK - 1] == truth).sum())
            if options.on == "labels":
                _learned(platform, number + 1, told)
            else:
                _add(platform, stream, start + WEEK - first, start + WEEK)
                _watched(platform, told)
            print(_line(number, told), file=sys.stderr, flush=True)
    return told


def _begin(platform: Platform, stream: Stream, options: Options) -> None:
    columns: list[dict[str, object]] = [{"name": "row", "dtype": "int"}, {"name": "at", "dtype": "datetime"}]
    columns += [{"name": name, "dtype": "float", "low": -1.0, "high": 2.0} for name in stream.names]
    columns.append({"name": "class", "dtype": "int"})
    _add(platform, stream, 0, options.keep * WEEK)
    contract = platform.api("GET", f"/datasets/{NAME}/1/contract")
    bounds = {each["name"]: each for each in columns}
    for column in contract["columns"]:
        if column["name"] in stream.names:
            column |= {key: value for key, value in bounds[column["name"]].items() if key in ("low", "high")}
            column.pop("values", None)
    platform.api("PUT", f"/datasets/{NAME}/contract", contract)
    _add(platform, stream, 0, options.keep * WEEK)
    inputs = {"data": f"dataset/{NAME}", "target": "class", "algorithm": options.algorithm, "split": "time", "baseline": False}
    run = platform.api("POST", "/runs", {"kind": "train", "name": NAME, "inputs": inputs})["id"]
    _ended(platform, run)
    platform.api("PUT", f"/gates/model/{NAME}", {"metric": "accuracy", "margin": 0.02})
    platform.api("POST", f"/assets/model/{NAME}/promote", {"version": 1})
    stage.until(lambda: _answers(platform, stream, 0, 1) is not None, "Serving the model")
    if options.on == "labels":
        platform.api("POST", f"/endpoints/{NAME}/online", {"every": WEEK, "confirm": WEEK})
        return
    told = {"endpoint": NAME, "question": "performance", "minimum": 100, "span": SPAN, "wait": 0, "promote": "if-gate-passes"}
    told[f"on_{options.on}"] = "retrain"
    platform.api("POST", "/monitors", {"name": NAME, "cooldown": 0, "false_alarm_every": 100, **told})


def _add(platform: Platform, stream: Stream, start: int, end: int) -> None:
    path = f"/datasets/{NAME}?format=csv&id=row&time=at"
    platform.api("POST", path, raw=stream.text(start, end), kind="text/csv")


def _week(platform: Platform, stream: Stream, start: int, told: Told) -> None:
    """Predicts a week day by day, and tells its labels after each day."""
    before = told.right
    outcomes = []
    for day in range(start, start + WEEK, DAY):
        truth = [str(label) for label in stream.labels[day : day + DAY]]
        said = _answers(platform, stream, day, day + DAY)
        told.rows += DAY
        if said is None:
            told.refused += DAY
            continue
        told.right += sum(one == other for one, other in zip(said, truth, strict=True))
        outcomes.append({"key": f"day-{day}", "label": truth})
    stage.until(lambda: _kept(platform, outcomes), "Keeping the labels")
    told.weeks.append((told.right - before) / WEEK)


def _kept(platform: Platform, outcomes: Sequence[object]) -> bool:
    return not outcomes or platform.api("POST", "/outcomes", {"endpoint": NAME, "outcomes": outcomes})["unknown"] == 0


def _answers(platform: Platform, stream: Stream, start: int, end: int) -> list[str] | None:
    """The labels that are answered for some rows; None where the call is refused."""
    tensor = {
        "name": "input",
        "shape": [end - start, len(stream.names)],
        "datatype": "FP64",
        "data": stream.values[start:end].ravel().tolist(),
        "parameters": {"columns": list(stream.names)},
    }
    body = json.dumps({"id": f"day-{start}", "inputs": [tensor]}).encode()
    headers = {"authorization": f"Bearer {ADMIN_KEY}", "content-type": "application/json"}
    request = urllib.request.Request(f"{platform.target.url}/v2/models/{NAME}/infer", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            outputs = json.load(reply)["outputs"]
    except urllib.error.HTTPError as error:
        if error.code not in (400, 404, 422):
            raise Failed(f"A prediction was answered {error.code}: {error.read(400)!r}") from None
        return None
    return [str(label) for label in next(one["data"] for one in outputs if one["name"] == "label")]


def _watched(platform: Platform, told: Told) -> None:
    """Has the monitor look at what came, and waits for a retraining that it begins and for its promotion."""
    report: dict[str, Any] = platform.api("POST", f"/monitors/{NAME}/check")
    while report["note"].startswith("The window is not over"):
        time.sleep(0.1)
        report = platform.api("POST", f"/monitors/{NAME}/check")
    told.alarms += bool(report["alarm"])
    if not report["run"]:
        return
    told.retrained += 1
    outputs = _ended(platform, report["run"])
    if outputs.get("promoted"):
        told.promoted += 1
        version = int(outputs["asset"].rpartition("@")[2])
        stage.until(lambda: _served(platform, version), "Serving the new version")


def _learned(platform: Platform, number: int, told: Told) -> None:
    """Waits until a week's labels were learned, and for what follows from it; what would need a person is declined."""

    def step() -> dict[str, Any] | None:
        found = platform.api("GET", f"/endpoints/{NAME}/online")
        if found["state"] != "learning":
            raise Failed(f"Learning ended: {found['reason']}")
        return dict(found["steps"][0]) if found["steps"] and found["steps"][0]["number"] == number else None

    stage.until(lambda: step() is not None, "A step of learning")
    done = step() or {}
    told.still += round(done["labels"] * (1 - done["losses"]["first"]))
    told.ungated += round(done["labels"] * (1 - done["losses"]["learner"]))
    told.promoted += done["outcome"] == "promoted"
    told.rolled_back += done["outcome"] == "rolled-back"
    if done["outcome"] == "asked":
        platform.api("POST", f"/requests/{done['request']}/decline", {})
    stage.until(lambda: _served(platform, int(done["champion"].rpartition("@")[2])), "Serving the champion")


def _served(platform: Platform, version: int) -> bool:
    """Whether the door answers with a version; it hears of it within a second."""
    headers = {"authorization": f"Bearer {ADMIN_KEY}"}
    request = urllib.request.Request(f"{platform.target.url}/v2/models/{NAME}", headers=headers)
    with urllib.request.urlopen(request, timeout=30) as reply:
        return str(version) in json.load(reply)["versions"]


def _ended(platform: Platform, run: str) -> dict[str, Any]:
    stage.until(lambda: platform.api("GET", f"/runs/{run}")["ended_at"] is not None, "A training", RUN_SECONDS)
    found: dict[str, Any] = platform.api("GET", f"/runs/{run}")
    if found["state"] != "succeeded":
        raise Failed(f"A training {found['state']}: {found['reason']}")
    return dict(found["outputs"])


def _fitted(stream: Stream, start: int, end: int) -> Any:
    """LightGBM with its defaults on some rows: rows → labels."""
    import lightgbm

    model = lightgbm.LGBMClassifier(n_jobs=1, verbose=-1, random_state=0)
    model.fit(stream.values[start:end], stream.labels[start:end])
    return model.predict


def _line(number: int, told: Told) -> str:
    return (
        f"week {number + 1}: {told.right / told.rows:.3f} so far, {told.alarms} alarms, "
        f"{told.retrained} retrainings, {told.promoted} promotions"
    )


def text(told: Told, options: Options) -> str:
    """What is printed."""
    rows = max(1, told.rows)
    lagged = "with the label before as a column" if options.lagged else "without the label before"
    return "\n".join(
        (
            f"The electricity stream through the closed loop: {told.rows} rows, {len(told.weeks)} weeks, {lagged}.",
            "",
            "| who | prequential accuracy | trainings |",
            "|---|--:|--:|",
            f"| {_who(options)} | {told.right / rows:.3f} | {told.retrained + 1} |",
            *([f"| the learner itself, row by row and behind no gate | {told.ungated / rows:.3f} | 1 |"] if told.ungated else []),
            f"| the first model, never trained again | {told.still / rows:.3f} | 1 |",
            f"| LightGBM, trained every week on the last {options.keep} weeks | {told.sliding / rows:.3f} | {len(told.weeks)} |",
            f"| no change: the label before | {told.unchanged / rows:.3f} | 0 |",
            "",
            f"{told.alarms} alarms, {told.retrained} retrainings, {told.promoted} promotions, {told.rolled_back} rolled back, "
            f"{told.refused} rows refused.",
        )
    )


def _who(options: Options) -> str:
    return "learning online with a gate" if options.on == "labels" else f"the loop, retrained on {options.on}"


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="python -m bench.stream", description="Runs the closed loop on a stream with labels.")
    found.add_argument("file", type=Path)
    found.add_argument("--weeks", type=int, help="after those that are trained on at first  [default: all]")
    found.add_argument("--keep", type=int, default=8, help="weeks that are trained on")
    found.add_argument("--algorithm", default="lightgbm")
    found.add_argument("--lagged", action="store_true", help="the label before is a column too")
    found.add_argument("--on", choices=("alarm", "data", "labels"), default="alarm", help="when the model learns anew")
    command.add_json(found)
    return found


def main() -> int:
    given = parser().parse_args()
    command.tidy()
    options = Options(
        file=given.file,
        weeks=given.weeks,
        keep=given.keep,
        algorithm=given.algorithm,
        lagged=given.lagged,
        on=given.on,
    )
    try:
        told = measure(options)
    except Failed as failure:
        print(failure, file=sys.stderr)
        return 1
    print(text(told, options))
    if given.json is not None:
        given.json.write_text(json.dumps(asdict(told), indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
