"""The door beside nginx: what a proxied chat request costs with everything switched on. README.md tells the method.

    python -m bench.door [--rounds 3] [--seconds 5] [--connections 1,32] [--workers 1] [--json FILE]

Caps on the caller's key, its team and the organisation, limits, a guard both ways, trace, price and recorded content are on. The
last column is how far what the ledger booked is from what the upstream billed, in the very run that was timed; it must be 0.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench import command, load, stage
from bench.figures import Report, Round, complaints, rows
from bench.stage import Bill, Failed, Platform, Target

STREAMS = 32
"""Connections of the streaming row."""
DELTAS, DELTA_MS = 64, 4.0
SETTLE_SECONDS = 120.0
PATTERNS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How long and how much."""

    rounds: int = 3
    seconds: int = 5
    connections: tuple[int, ...] = (1, 32)
    workers: int = 1
    """Of nginx and of the door."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """One target under one load."""

    target: Target
    upstream: Target
    """Whose bill counts."""
    body: bytes
    connections: int
    load: str


def measure(options: Options) -> Report:
    """Starts everything, measures in turn, stops everything.

    Raises:
        Failed: mock or platform does not start. Without nginx the rest is measured, and the report says so.
    """
    notes: list[str] = []
    bills: list[Bill] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        whole = stack.enter_context(stage.mock(folder))
        paced = stack.enter_context(stage.mock(folder, "mock alone, paced", per_token_ms=DELTA_MS))
        platform = stack.enter_context(
            stage.tandem(folder, {"whole": whole, "paced": paced}, options.workers, patterns=PATTERNS, limits=True)
        )
        targets = [(whole, paced)]
        try:
            targets.append(stack.enter_context(stage.nginx(folder, whole, paced, options.workers)))
        except Failed as failure:
            notes.append(f"without nginx: {failure}")
        targets.append((platform.target, platform.target))
        lanes = _lanes(options, targets, whole, paced)
        notes.append(_prove(platform, lanes, bills))
        for lane in lanes:
            if lane.connections == max(options.connections) or lane.upstream is paced:
                _round(lane, platform, 1, bills)  # warm-up
        rounds = [_round(lane, platform, options.seconds, bills) for _ in range(options.rounds) for lane in lanes]
        notes.append(_books(platform, bills))
    bases = {(lane.target.name, lane.load): ("nginx", lane.load) for lane in lanes if lane.target is platform.target}
    notes.append(f"medians of {options.rounds} interleaved rounds of {options.seconds} s.")
    notes.append(f"a stream is {DELTAS} deltas, {DELTA_MS:g} ms apart; its latency is to the last byte.")
    return Report(title="Chat through the door", rows=rows(rounds, bases), notes=[*notes, *complaints(rounds)], rounds=rounds)


def _lanes(options: Options, targets: Sequence[tuple[Target, Target]], whole: Target, paced: Target) -> list[Lane]:
    lanes = []
    for connections in options.connections:
        name = "1 connection" if connections == 1 else f"{connections} connections"
        for target, _ in targets:
            body = load.chat(target.model)
            lanes.append(Lane(target=target, upstream=whole, body=body, connections=connections, load=name))
    for _, target in targets:
        body = load.chat("paced" if target.serving else target.model, deltas=DELTAS)
        lanes.append(Lane(target=target, upstream=paced, body=body, connections=STREAMS, load=f"{STREAMS} streams"))
    return lanes


def _round(lane: Lane, platform: Platform, seconds: int, bills: list[Bill]) -> Round:
    """One lane for so long; of the platform, also what it books and records behind the call, and its bill."""
    target, ours = lane.target, lane.target is platform.target
    stage.clear_bill(lane.upstream)
    booked = platform.spent() if ours else (0, 0)
    before = target.cpu()
    seen = load.burst(target, load.CHAT, lane.body, connections=lane.connections, seconds=seconds)
    serving = target.cpu()[0] - before[0]
    bill = stage.bill(lane.upstream)
    everything, error = serving, None
    if ours:
        bills.append(bill)
        stage.until(lambda: platform.spent()[1] - booked[1] >= bill.requests, "Booking", SETTLE_SECONDS)
        error = platform.spent()[0] - booked[0] - bill.cost
        everything = target.cpu()[1] - before[1]
    requests = max(1, seen.requests)
    return Round(
        target="mock alone" if target is lane.upstream else target.name,
        load=lane.load,
        requests=seen.requests,
        per_second=seen.per_second,
        p50=seen.p50,
        p99=seen.p99,
        cpu=serving / requests * 1e6,
        cpu_all=everything / requests * 1e6,
        error=error,
        refused=seen.refused,
        broken=seen.broken,
        unbilled=seen.requests - bill.requests,
    )


def _books(platform: Platform, bills: Sequence[Bill]) -> str:
    """What the ledger says of the whole run, beside the bill."""
    booked, billed = platform.spent()[0], sum(bill.cost for bill in bills)
    calls = sum(bill.requests for bill in bills)
    return (
        f"ledger error of the whole run, warm-up included: {abs(booked - billed)} n$;"
        f" {calls} calls, {booked} n$ booked, {billed} n$ billed."
    )


def _prove(platform: Platform, lanes: Sequence[Lane], bills: list[Bill]) -> str:
    """Sends one call and reads it back: that caps, limits, guard, price, trace and content are on is shown, not assumed.

    Raises:
        Failed: one of them is off.
    """
    lane = next(lane for lane in lanes if lane.target is platform.target)
    stage.clear_bill(lane.upstream)
    headers, answer = stage.ask(lane.target, load.CHAT, lane.body)
    identifier = headers["x-tandem-trace-id"]
    stage.until(lambda: platform.spent()[1] > 0, "Booking the first call")
    trace = platform.api("GET", f"/traces/{identifier}?content=1")
    (content,) = trace["content"].values()
    guards = {span["name"] for span in trace["calls"][0]["spans"]} & {"guard in", "guard out"}
    held = {row["scope"] for row in platform.api("GET", "/budgets") if row["settled"] == trace["cost"] > 0}
    counted = {row["unit"] for row in platform.api("GET", "/limits") if row["settled"]}
    if len(held) != 3 or counted != {"requests", "tokens"} or len(guards) != 2 or not content["request"] or not answer:
        raise Failed(f"The first call was not priced, capped, guarded and recorded: {held}, {counted}, {guards}, {content}.")
    bills.append(stage.bill(lane.upstream))
    return (
        f"read back after the first call: trace {identifier}, {trace['cost']} n$ booked under {', '.join(sorted(held))},"
        f" {len(stage.LIMITS)} limits, {PATTERNS} patterns masked both ways, content."
    )


def parser() -> argparse.ArgumentParser:
    options = Options()
    found = argparse.ArgumentParser(prog="python -m bench.door", description="Measures the door beside nginx, before one mock.")
    found.add_argument("--rounds", type=int, default=options.rounds)
    found.add_argument("--seconds", type=int, default=options.seconds, help="of each measurement")
    found.add_argument("--connections", type=command.numbers, default=options.connections, help="comma-separated")
    found.add_argument("--workers", type=int, default=options.workers, help="processes of nginx and of the door")
    command.add_json(found)
    return found


def main() -> int:
    given = parser().parse_args()
    options = Options(rounds=given.rounds, seconds=given.seconds, connections=given.connections, workers=given.workers)
    return command.run(lambda: [measure(options)], given.json)


if __name__ == "__main__":
    sys.exit(main())
