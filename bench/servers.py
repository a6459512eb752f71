"""Predictions by the door beside MLServer and `mlflow models serve`, on one core each. README.md tells the method.

    python -m bench.servers [--rounds 3] [--seconds 5] [--cores 0] [--load-cores 1] [--only tandem,mlserver,mlflow] [--json FILE]

All three serve the very XGBoost model that Tandem trained, and must say the same of the same row. Of ours everything is on: key,
contract, caps, trace, recorded content. MLServer and mlflow are installed into a cache at the first run, and have none of it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bench import command, predict, rivals, stage, tumor
from bench.bars import Bar
from bench.figures import Report, Round, Row, complaints, ratio, rows
from bench.stage import Failed, Platform, Target

OURS, MLSERVER, MLFLOW, FRAME = "tandem", "mlserver", "mlflow", "mlflow, data frame"
NAMES = (OURS, MLSERVER, MLFLOW)
CONNECTIONS = (1, 8, 64)
"""A server that answers a thousand calls a second is at its best with few connections; ratios are to the best of each."""
AGREE = 1e-5
WARM_UP_SECONDS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How long, where, and beside whom."""

    rounds: int = 3
    seconds: int = 5
    cores: str = "0"
    """Where each server runs with all its processes."""
    load_cores: str = "1"
    only: tuple[str, ...] = NAMES


@dataclass(frozen=True, slots=True, kw_only=True)
class Stand:
    """A server, and how it is asked about the row."""

    target: Target
    path: str
    body: bytes
    platform: Platform | None = None


def measure(options: Options) -> Report:
    """Trains and promotes a model, starts everything, measures in turn.

    Raises:
        Failed: the platform does not start, or two servers do not say the same. A rival that does not start is left out.
    """
    notes: list[str] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        platform = stack.enter_context(stage.tandem(folder, {}, cores=options.cores))
        case = tumor.add_data(platform, folder)
        tumor.train(platform)
        predict.until_served(platform, case.infer())
        native = folder / "model.ubj"
        native.write_bytes(predict.member(platform, "model.ubj"))
        path = f"/v2/models/{tumor.NAME}/infer"
        stands = {OURS: Stand(target=platform.target, path=path, body=case.infer(), platform=platform)}
        for name in options.only:
            try:
                if name != OURS:
                    stands |= stack.enter_context(_rival(name, folder, native, case, options.cores))
            except Failed as failure:
                notes.append(f"without {name}: {failure}")
        notes.append(_agree(stands))
        for stand in stands.values():
            _round(stand, CONNECTIONS[1], options, WARM_UP_SECONDS)
        rounds = [
            _round(stand, count, options, options.seconds)
            for _ in range(options.rounds)
            for count in CONNECTIONS
            for stand in stands.values()
        ]
    table = rows(rounds, {})
    notes += [
        f"each server on core {options.cores} with one worker, load on {options.load_cores}; "
        f"medians of {options.rounds} interleaved rounds of {options.seconds} s.",
        f"MLServer {rivals.MLSERVER} without parallel workers and metrics, mlflow {rivals.MLFLOW} with one worker.",
        *(bar.line() for bar in bars(table)),
        *complaints(rounds),
    ]
    return Report(title="Predictions beside other servers, on one core", rows=table, notes=notes, rounds=rounds)


@contextmanager
def _rival(name: str, folder: Path, native: Path, case: tumor.Case, cores: str) -> Iterator[Mapping[str, Stand]]:
    if name == MLSERVER:
        with rivals.mlserver(folder, native, tumor.NAME, cores=cores) as target:
            yield {MLSERVER: Stand(target=target, path=f"/v2/models/{tumor.NAME}/infer", body=case.infer())}
    else:
        with rivals.mlflow(folder, native, cores=cores) as target:
            frame = {"dataframe_split": {"columns": case.names, "data": [case.values]}}
            yield {
                MLFLOW: Stand(target=target, path="/invocations", body=json.dumps({"inputs": [case.values]}).encode()),
                FRAME: Stand(target=replace(target, name=FRAME), path="/invocations", body=json.dumps(frame).encode()),
            }


def _agree(stands: Mapping[str, Stand]) -> str:
    """That all say the same of the row.

    Raises:
        Failed: they do not.
    """
    said = {name: _probability(stand) for name, stand in stands.items()}
    if max(said.values()) - min(said.values()) > AGREE:
        raise Failed(f"The servers do not say the same: {said}.")
    return f"all say {said[OURS]:.6f}, within {max(said.values()) - min(said.values()):.0e}."


def _probability(stand: Stand) -> float:
    told = json.loads(stage.ask(stand.target, stand.path, stand.body)[1])
    if "predictions" in told:
        return float(told["predictions"][0])
    wanted = [one for one in told["outputs"] if one["name"] in ("probability", "predict")]
    return float(wanted[0]["data"][0])


def _round(stand: Stand, connections: int, options: Options, seconds: int) -> Round:
    return predict.asked(
        stand.target,
        stand.path,
        stand.body,
        connections=connections,
        seconds=seconds,
        cores=options.load_cores,
        platform=stand.platform,
    )


def bars(table: Sequence[Row]) -> list[Bar]:
    """What the product is held against: the best of ours to the best of theirs."""
    best = {row.target: max(one.per_second for one in table if one.target == row.target) for row in table}
    cpu = {row.target: min(one.cpu or 0.0 for one in table if one.target == row.target) for row in table}
    made = []
    for name, least in ((MLSERVER, 8), (MLFLOW, 15), (FRAME, 15)):
        made.append(
            Bar(what=f"requests/s ÷ {name}'s best", value=ratio(best[OURS], best.get(name)), bar=least, least=True, unit="x")
        )
        made.append(
            Bar(what=f"CPU of {name} ÷ CPU of the door", value=ratio(cpu.get(name), cpu[OURS]), bar=least, least=True, unit="x")
        )
    return made


def parser() -> argparse.ArgumentParser:
    options = Options()
    found = argparse.ArgumentParser(prog="python -m bench.servers", description="Measures predictions beside other servers.")
    found.add_argument("--rounds", type=int, default=options.rounds)
    found.add_argument("--seconds", type=int, default=options.seconds, help="of each measurement")
    found.add_argument("--cores", default=options.cores, help="of each server, as taskset takes them")
    found.add_argument("--load-cores", default=options.load_cores, help="of the load")
    found.add_argument("--only", type=command.among(NAMES), default=options.only, help=f"some of {','.join(NAMES)}")
    command.add_json(found)
    return found


def main() -> int:
    given = parser().parse_args()
    options = Options(rounds=given.rounds, seconds=given.seconds, cores=given.cores, load_cores=given.load_cores, only=given.only)
    return command.run(lambda: [measure(options)], given.json)


if __name__ == "__main__":
    sys.exit(main())
