"""A prediction through the door beside the same model in the caller's own process. README.md tells the method.

    python -m bench.predict [--rounds 3] [--seconds 5] [--connections 1,32] [--json FILE]

One row of 30 numbers as Open Inference Protocol JSON to `/v2/models/tumor/infer`, with key, contract check, trace and recorded
content; onnxruntime on the very ONNX file that the door serves; XGBoost on the native file. All three must say the same.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import xgboost

from bench import command, load, stage, tumor
from bench.figures import Report, Round, complaints, percentile, ratio, rows
from bench.stage import ADMIN_KEY, Failed, Platform, Target

PATH = f"/v2/models/{tumor.NAME}/infer"
HERE = "in process"
AGREE = 1e-5
"""How far two runtimes' probabilities may lie apart; the door refuses to serve an ONNX form that is further off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How long and how much."""

    rounds: int = 3
    seconds: int = 5
    connections: tuple[int, ...] = (1, 32)


def measure(options: Options) -> Report:
    """Trains and promotes a model, then measures in turn.

    Raises:
        Failed: something did not start, or the three do not agree.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        platform = stack.enter_context(stage.tandem(folder, {}))
        case = tumor.add_data(platform, folder)
        tumor.train(platform)
        body = case.infer()
        until_served(platform, body)
        own = {"onnxruntime": _onnx(member(platform, "model.onnx")), "xgboost": _xgboost(member(platform, "model.ubj"))}
        row = list(case.values)
        agreed = _agree(platform, body, {name: predict(row) for name, predict in own.items()})
        load.burst(platform.target, PATH, body, connections=max(options.connections), seconds=1)  # warm-up
        rounds: list[Round] = []
        for _ in range(options.rounds):
            rounds += [
                asked(platform.target, PATH, body, connections=count, seconds=options.seconds, platform=platform)
                for count in options.connections
            ]
            rounds += [_in_process(name, predict, row, options.seconds) for name, predict in own.items()]
    bases = {(one.target, one.load): ("onnxruntime", HERE) for one in rounds if one.target == platform.target.name}
    table = rows(rounds, bases)
    p50 = {row.target: row.p50 for row in table if row.load == HERE}
    others = [
        f"p50 of the door at {row.load} ÷ xgboost in process: {ratio(row.p50, p50['xgboost']) or 0:.2f}."
        for row in table
        if row.base
    ]
    lengths = f"medians of {options.rounds} interleaved rounds of {options.seconds} s."
    return Report(title="Prediction of one row", rows=table, notes=[*others, agreed, lengths, *complaints(rounds)], rounds=rounds)


def until_served(platform: Platform, body: bytes) -> None:
    """Waits until the promotion has reached the door."""

    def answered() -> bool:
        try:
            stage.ask(platform.target, PATH, body)
        except Failed:
            return False
        return True

    stage.until(answered, "Serving the promoted model", 10)


def member(platform: Platform, name: str) -> bytes:
    """One file of the model that was trained."""
    url = f"{platform.target.url}/api/v1/assets/model/{tumor.NAME}/1/members/{name}"
    with urllib.request.urlopen(urllib.request.Request(url, headers={"authorization": f"Bearer {ADMIN_KEY}"})) as reply:
        content: bytes = reply.read()
    return content


def _onnx(content: bytes) -> Callable[[Sequence[float]], float]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session: Any = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    name, wanted = session.get_inputs()[0].name, [session.get_outputs()[-1].name]

    def predict(row: Sequence[float]) -> float:
        return float(session.run(wanted, {name: np.array([row], dtype=np.float32)})[0][0, -1])

    return predict


def _xgboost(content: bytes) -> Callable[[Sequence[float]], float]:
    booster: Any = xgboost.Booster({"nthread": 1})
    booster.load_model(bytearray(content))

    def predict(row: Sequence[float]) -> float:
        return float(booster.inplace_predict(np.array([row], dtype=np.float32))[0])

    return predict


def _agree(platform: Platform, body: bytes, own: dict[str, float]) -> str:
    """That all answer the same question with the same probability.

    Raises:
        Failed: they do not.
    """
    outputs = json.loads(stage.ask(platform.target, PATH, body)[1])["outputs"]
    door = float(next(one["data"][0] for one in outputs if one["name"] == "probability"))
    apart = max(abs(door - value) for value in own.values())
    if apart > AGREE:
        raise Failed(f"The door says {door}, the runtimes {own}.")
    return f"all say {door:.6f}, within {apart:.0e}."


def asked(
    target: Target, path: str, body: bytes, *, connections: int, seconds: int, cores: str = "", platform: Platform | None = None
) -> Round:
    """One server under one load; of the platform also what it records behind the calls."""
    booked, before = platform.spent()[1] if platform is not None else 0, target.cpu()
    seen = load.burst(target, path, body, connections=connections, seconds=seconds, cores=cores)
    serving = target.cpu()[0] - before[0]
    if platform is not None:
        stage.until(lambda: platform.spent()[1] - booked >= seen.requests, "Recording", 120)
    requests = max(1, seen.requests)
    return Round(
        target=target.name,
        load="1 connection" if connections == 1 else f"{connections} connections",
        requests=seen.requests,
        per_second=seen.per_second,
        p50=seen.p50,
        p99=seen.p99,
        cpu=serving / requests * 1e6,
        cpu_all=(target.cpu()[1] - before[1]) / requests * 1e6,
        refused=seen.refused,
        broken=seen.broken,
    )


def _in_process(name: str, predict: Callable[[Sequence[float]], float], row: Sequence[float], seconds: float) -> Round:
    """From a list of floats to a float, one after the other, on one thread."""
    for _ in range(50):
        predict(row)
    taken: list[float] = []
    begun, spent = time.perf_counter(), time.process_time()
    at = begun
    while at - begun < seconds:
        predict(row)
        now = time.perf_counter()
        taken.append((now - at) * 1e6)
        at = now
    cpu = (time.process_time() - spent) / len(taken) * 1e6
    return Round(
        target=name,
        load=HERE,
        requests=len(taken),
        per_second=len(taken) / (at - begun),
        p50=percentile(taken, 0.5),
        p99=percentile(taken, 0.99),
        cpu=cpu,
        cpu_all=cpu,
    )


def parser() -> argparse.ArgumentParser:
    options = Options()
    found = argparse.ArgumentParser(
        prog="python -m bench.predict", description="Measures a prediction through the door beside the same model in process."
    )
    found.add_argument("--rounds", type=int, default=options.rounds)
    found.add_argument("--seconds", type=int, default=options.seconds, help="of each measurement")
    found.add_argument("--connections", type=command.numbers, default=options.connections, help="comma-separated")
    command.add_json(found)
    return found


def main() -> int:
    given = parser().parse_args()
    options = Options(rounds=given.rounds, seconds=given.seconds, connections=given.connections)
    return command.run(lambda: [measure(options)], given.json)


if __name__ == "__main__":
    sys.exit(main())
