"""The door beside other gateways, on one core each, before one upstream. README.md tells the method.

    python -m bench.peers [--rounds 3] [--seconds 5] [--cores 0] [--load-cores 1] [--only tandem,nginx] [--json FILE]

LiteLLM's proxy and Portkey's gateway are installed into a cache at the first run. Of ours everything is on: caps on key, team
and organisation, 24 named patterns masked both ways, trace, price, recorded content. Of theirs everything that can be is off.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import command, first_byte, load, rivals, stage, upstream
from bench.bars import Bar
from bench.figures import Report, Round, Row, complaints, ratio, rows
from bench.stage import Failed, Platform, Target

PATTERNS = 24
NOW, SLOW = "now", "slow"
"""The two upstreams: one answers at once, the other after DELAY_MS."""
DELAY_MS = 20.0
WARM_UP_SECONDS = 3
TAIL_SECONDS = 4
"""For the last replies of a slow gateway; less than the five after which some close a connection that is idle."""
MARK = "ann.lee@example.org"
DIRECT, OURS, NGINX, PORTKEY = "upstream alone", "tandem", "nginx", "portkey"
LITELLM = tuple(f"litellm, {server}" for server in rivals.SERVERS)
NAMES = (OURS, NGINX, *rivals.SERVERS, PORTKEY)
"""What `--only` takes: LiteLLM by its server."""
SETTLE_SECONDS = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How many connections ask which upstream."""

    connections: int
    upstream: str

    @property
    def name(self) -> str:
        told = "1 connection" if self.connections == 1 else f"{self.connections} connections"
        return told if self.upstream == NOW else f"{told}, {DELAY_MS:g} ms"


ONE, MANY, WAITING = Load(connections=1, upstream=NOW), Load(connections=64, upstream=NOW), Load(connections=256, upstream=SLOW)
FEW, SOME = Load(connections=16, upstream=NOW), Load(connections=32, upstream=SLOW)
FAST_LOADS, SLOW_LOADS = (ONE, MANY, WAITING), (ONE, FEW, SOME)
"""A gateway that answers a hundred calls a second is at its best with few connections: more of them only wait."""
BASES = {ONE: ONE, FEW: MANY, SOME: WAITING, MANY: MANY, WAITING: WAITING}
"""Load → the load of nginx that its ratios are to: either fills the core."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How long, where, and beside whom."""

    rounds: int = 3
    seconds: int = 5
    cores: str = "0"
    """Where each gateway runs with all its processes; the figures are per core where it is one."""
    load_cores: str = "1"
    """Where the load and the upstreams run."""
    only: tuple[str, ...] = NAMES
    calls: int = 300
    """Streams of each target whose first byte is timed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stand:
    """A target at each upstream, and what it costs to be sure of it."""

    targets: Mapping[str, Target]
    streaming: Target
    loads: tuple[Load, ...] = FAST_LOADS
    platform: Platform | None = None
    call_cost: int = 0
    """Nano-dollars that the platform books for one call."""


def measure(options: Options) -> list[Report]:
    """Starts everything, measures in turn, stops everything.

    Raises:
        Failed: the upstreams or the platform do not start. A rival that does not is left out, and the report says so.
    """
    notes: list[str] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        cores = options.load_cores
        upstreams = {
            NOW: stack.enter_context(upstream.running(folder, DIRECT, deltas=2, delta_ms=1, cores=cores)),
            SLOW: stack.enter_context(upstream.running(folder, f"{DIRECT}, slow", delay_ms=DELAY_MS, cores=cores)),
        }
        stands = {DIRECT: Stand(targets=upstreams, streaming=upstreams[NOW])}
        for name in options.only:
            try:
                stand = stack.enter_context(_stand(name, folder, upstreams, options))
            except Failed as failure:
                if name == OURS:
                    raise
                notes.append(f"without {name}: {failure}")
                continue
            stands[stand.streaming.name] = stand
        if OURS in stands:
            notes.append(_prove(stands[OURS], upstreams[NOW]))
        for name, stand in stands.items():
            _round(name, stand, stand.loads[1], upstreams, options, WARM_UP_SECONDS)
        rounds = [
            _round(name, stand, stand.loads[place], upstreams, options, options.seconds)
            for _ in range(options.rounds)
            for place in range(len(FAST_LOADS))
            for name, stand in stands.items()
        ]
        first = first_byte.measure({name: stand.streaming for name, stand in stands.items()}, options.calls, options.rounds)
    compared = {name: stand for name, stand in stands.items() if name not in (DIRECT, NGINX)}
    bases = {(name, each.name): (NGINX, BASES[each].name) for name, stand in compared.items() for each in stand.loads}
    table = rows(rounds, bases)
    notes += [
        f"each gateway on core {options.cores} with one worker, load and upstream on {options.load_cores}; "
        f"medians of {options.rounds} interleaved rounds of {options.seconds} s.",
        f"LiteLLM {rivals.LITELLM}: one worker, master key, no database, no callbacks.",
        f"Portkey {rivals.PORTKEY}: no console.",
        *(bar.line() for bar in bars(table)),
        *complaints(rounds),
    ]
    calls = Report(title="Chat beside other gateways, on one core", rows=table, notes=notes, rounds=rounds)
    return [calls, first]


@contextmanager
def _stand(name: str, folder: Path, upstreams: Mapping[str, Target], options: Options) -> Iterator[Stand]:
    now, slow = upstreams[NOW], upstreams[SLOW]
    if name == OURS:
        with stage.tandem(folder, dict(upstreams), cores=options.cores, patterns=PATTERNS) as platform:
            targets = {key: stage.named(platform.target, key) for key in upstreams}
            cost = _cost(platform, targets[NOW])
            yield Stand(targets=targets, streaming=targets[NOW], platform=platform, call_cost=cost)
    elif name == NGINX:
        with ExitStack() as stack:
            whole, paced = stack.enter_context(stage.nginx(folder, now, now, 1, cores=options.cores))
            other = folder / "slow"
            other.mkdir()
            waiting, _ = stack.enter_context(stage.nginx(other, slow, slow, 1, cores=options.cores))
            yield Stand(targets={NOW: whole, SLOW: waiting}, streaming=paced)
    elif name == PORTKEY:
        with rivals.portkey(folder, upstreams, cores=options.cores) as found:
            yield Stand(targets=found, streaming=found[NOW], loads=SLOW_LOADS)
    else:
        with rivals.litellm(folder, name, upstreams, cores=options.cores) as found:
            yield Stand(targets=found, streaming=found[NOW], loads=SLOW_LOADS)


def _cost(platform: Platform, target: Target) -> int:
    """What the platform books for one call: all of a run are alike."""
    stage.ask(target, load.CHAT, load.chat(target.model))
    stage.until(lambda: platform.spent()[1] == 1, "Booking the first call")
    return platform.spent()[0]


def _prove(stand: Stand, asked: Target) -> str:
    """That caps, price, trace, content and patterns are on, from one call.

    Raises:
        Failed: one of them is off.
    """
    assert stand.platform is not None
    platform, target = stand.platform, stand.targets[NOW]
    body = json.dumps({"model": target.model, "messages": [{"role": "user", "content": f"Write to {MARK}."}]}).encode()
    headers, _ = stage.ask(target, load.CHAT, body)
    trace_id = headers["x-tandem-trace-id"]
    stage.until(lambda: platform.spent()[1] > 1, "Booking the second call")
    trace = platform.api("GET", f"/traces/{trace_id}?content=1")
    (content,) = trace["content"].values()
    held = [row["scope"] for row in platform.api("GET", "/budgets") if row["settled"] >= trace["cost"] > 0]
    if len(held) != 3 or not content["request"] or MARK in upstream.last_body(asked):
        raise Failed(f"The call was not priced, capped, recorded and masked: {held}, {content}.")
    return (
        f"read back: trace {trace_id}, {trace['cost']} n$ under {', '.join(sorted(held))}, content, {PATTERNS} patterns masked."
    )


def _round(name: str, stand: Stand, each: Load, upstreams: Mapping[str, Target], options: Options, seconds: int) -> Round:
    """One target under one load; of the platform also what it books and records behind the calls."""
    target, asked, platform = stand.targets[each.upstream], upstreams[each.upstream], stand.platform
    upstream.served(asked, anew=True)
    booked = platform.spent() if platform is not None else (0, 0)
    before = target.cpu()
    seen = load.burst(
        target,
        load.CHAT,
        load.chat(target.model),
        connections=each.connections,
        seconds=seconds,
        tail=TAIL_SECONDS if each.connections > 1 else load.TAIL_SECONDS,
        cores=options.load_cores,
    )
    serving, count = target.cpu()[0] - before[0], upstream.served(asked)
    everything, error = serving, None
    if platform is not None:
        stage.until(lambda: platform.spent()[1] - booked[1] >= count, "Booking", SETTLE_SECONDS)
        error = platform.spent()[0] - booked[0] - count * stand.call_cost
        everything = target.cpu()[1] - before[1]
    requests = max(1, seen.requests)
    return Round(
        target=name,
        load=each.name,
        requests=seen.requests,
        per_second=max(0, seen.sent - each.connections) / seconds,
        p50=seen.p50,
        p99=seen.p99,
        cpu=serving / requests * 1e6,
        cpu_all=everything / requests * 1e6,
        error=error,
        refused=seen.refused,
        broken=seen.broken,
        unbilled=seen.requests - count,
    )


def bars(table: Sequence[Row]) -> list[Bar]:
    """What the product is held against, from the medians; nothing where tandem was not measured."""
    found = {(row.target, row.load): row for row in table}
    if (OURS, ONE.name) not in found:
        return []

    def best(names: Sequence[str], loads: Sequence[Load]) -> float | None:
        rates = [found[name, each.name].per_second for name in names for each in loads if (name, each.name) in found]
        return max(rates, default=None)

    made: list[Bar] = []
    for each, theirs in ((MANY, (ONE, FEW)), (WAITING, (SOME,))):
        row, nginx = found[OURS, each.name], found.get((NGINX, each.name))
        lite, portkey = (ratio(row.per_second, best(names, theirs)) for names in (LITELLM, (PORTKEY,)))
        made += [
            Bar(what=f"requests/s at {each.name} ÷ LiteLLM's best", value=lite, bar=125, least=True, unit="x"),
            Bar(what=f"requests/s at {each.name} ÷ Portkey's best", value=portkey, bar=18, least=True, unit="x"),
            Bar(what=f"CPU of the door ÷ nginx's, {each.name}", value=ratio(row.cpu, nginx and nginx.cpu), bar=5, unit="x"),
            Bar(
                what=f"CPU of all processes ÷ nginx's, {each.name}",
                value=ratio(row.cpu_all, nginx and nginx.cpu),
                bar=5,
                unit="x",
            ),
        ]
    ours_one, direct = found[OURS, ONE.name], found[DIRECT, ONE.name]
    made.append(Bar(what="added p50, 1 connection", value=(ours_one.p50 - direct.p50) / 1e3, bar=0.25, unit=" ms"))
    made.append(Bar(what="added p99, 1 connection", value=(ours_one.p99 - direct.p99) / 1e3, bar=1, unit=" ms"))
    return made


def parser() -> argparse.ArgumentParser:
    options = Options()
    found = argparse.ArgumentParser(prog="python -m bench.peers", description="Measures the door beside other gateways.")
    found.add_argument("--rounds", type=int, default=options.rounds)
    found.add_argument("--seconds", type=int, default=options.seconds, help="of each measurement")
    found.add_argument("--cores", default=options.cores, help="of each gateway, as taskset takes them")
    found.add_argument("--load-cores", default=options.load_cores, help="of the load and the upstreams")
    found.add_argument("--only", type=command.among(NAMES), default=options.only, help=f"some of {','.join(NAMES)}")
    found.add_argument("--calls", type=int, default=options.calls, help="streams whose first byte is timed, each round")
    command.add_json(found)
    return found


def main() -> int:
    given = parser().parse_args()
    options = Options(
        rounds=given.rounds,
        seconds=given.seconds,
        cores=given.cores,
        load_cores=given.load_cores,
        only=given.only,
        calls=given.calls,
    )
    return command.run(lambda: measure(options), given.json)


if __name__ == "__main__":
    sys.exit(main())
