"""The comparison with other gateways: its arithmetic, its upstream and its listeners; no gateway is started."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from bench.bars import Bar
from bench.figures import Row
from bench.stage import Failed, Target

from bench import beside_predict, command, first_byte, keys, load, memory, peers, rivals, stage, streams, upstream


@asynccontextmanager
async def canned(**more: float) -> AsyncIterator[tuple[Target, upstream.Canned]]:
    """The upstream in this process."""
    what = upstream.Canned(
        deltas=int(more.get("deltas", 3)), delta_delay=more.get("delta_delay", 0.0), delay=more.get("delay", 0)
    )
    server = await asyncio.get_running_loop().create_server(lambda: upstream.Connection(what), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield Target(name="upstream alone", url=f"http://127.0.0.1:{port}", model="m", key="k", pid=os.getpid()), what
    finally:
        server.close()
        await server.wait_closed()


def row(target: str, load: peers.Load, per_second: float, cpu: float = 1.0, p50: float = 100.0, p99: float = 200.0) -> Row:
    return Row(target=target, load=load.name, per_second=per_second, p50=p50, p99=p99, cpu=cpu, cpu_all=2 * cpu, error=None)


def test_bars_are_told_from_the_fastest_rival() -> None:
    table = [
        row(peers.OURS, peers.MANY, 2000, cpu=4.0),
        row(peers.NGINX, peers.MANY, 9000),
        row("litellm, uvicorn", peers.ONE, 10),
        row("litellm, granian", peers.ONE, 20),
        row("litellm, granian", peers.FEW, 15),
        row(peers.PORTKEY, peers.FEW, 100),
        row(peers.OURS, peers.WAITING, 1000),
        row(peers.OURS, peers.ONE, 500, p50=400, p99=1500),
        row(peers.DIRECT, peers.ONE, 900, p50=100, p99=200),
    ]
    lite, portkey, cpu, cpu_all, *_, p50, p99 = peers.bars(table)
    assert (lite.value, lite.held) == (100, False)
    assert (portkey.value, portkey.held) == (20, True)
    assert (cpu.value, cpu.held, cpu_all.value, cpu_all.held) == (4, True, 8, False)
    assert (p50.value, p50.held) == (pytest.approx(0.3), False)
    assert p99.value == pytest.approx(1.3)
    missing = peers.bars(table)[4]
    assert (missing.value, missing.held) == (None, False)
    assert "not measured" in missing.line()
    assert peers.bars([one for one in table if one.target != peers.OURS]) == []


def test_a_bar_says_on_which_side_a_figure_is() -> None:
    assert Bar(what="x", value=5.0, bar=5, unit=" ms").line() == "x: 5.00 ms, bar ≤ 5 ms: held."
    assert Bar(what="x", value=124.0, bar=125, least=True, unit="x").line() == "x: 124x, bar ≥ 125x: missed."


def test_every_load_is_compared_with_one_of_nginx() -> None:
    assert set(peers.BASES) == {*peers.FAST_LOADS, *peers.SLOW_LOADS}
    assert set(peers.BASES.values()) == set(peers.FAST_LOADS)
    assert all(each.upstream == base.upstream for each, base in peers.BASES.items())


def test_only_who_is_known_is_measured() -> None:
    assert command.among(peers.NAMES)("tandem,granian") == ("tandem", "granian")
    with pytest.raises(ValueError):
        command.among(peers.NAMES)("tandem,somebody")
    assert set(peers.parser().parse_args([]).only) == set(peers.NAMES)


def test_every_command_takes_its_arguments() -> None:
    assert streams.parser().parse_args(["--counts", "8,16"]).counts == (8, 16)
    assert memory.parser().parse_args(["--calls", "10"]).calls == 10
    assert keys.parser().parse_args(["--keys", "10"]).keys == 10
    assert beside_predict.parser().parse_args(["--connections", "4"]).connections == 4


def test_growth_is_the_slope_of_the_second_half() -> None:
    samples = [
        memory.Sample(calls=100_000 * at, worker=50 + 10 * min(at, 4) + 0.5 * max(0, at - 4), others=100) for at in range(10)
    ]
    assert "growth of a worker per 100,000 calls: 0.50 MB, bar ≤ 1 MB: held." in memory.told(samples)
    leaking = [replace(one, worker=50 + 3 * one.calls / 1e5) for one in samples]
    assert "3.00 MB, bar ≤ 1 MB: missed" in memory.told(leaking)
    assert memory.slope([(0, 5), (10, 5)]) == 0
    with pytest.raises(ValueError):
        memory.slope([(1, 1)])
    assert memory.resident(os.getpid()) > 10
    assert memory.resident(2**22 + 1) == 0


def test_tokens_are_of_the_form_of_keys() -> None:
    assert len(keys.token(7)) == len(keys.token(999_999)) == len("tdm_") + 43
    found = keys.Figures(keys=9, rest=40.0, busy=160.0, visible=[0.1, 1.5], swaps=[0.2, 3.0], looks=[0.01])
    told = keys.told(found)
    assert told.count("missed") == 3
    assert keys.told(replace(found, busy=90.0, visible=[0.1], swaps=[0.2])).count("held") == 3


async def test_the_upstream_answers_whole_streamed_and_late() -> None:
    async with canned(deltas=3, delay=0.03) as (target, what):
        caller = await asyncio.to_thread(load.Caller, target, load.CHAT, load.chat("m"))
        begun = asyncio.get_running_loop().time()
        body = await asyncio.to_thread(caller.call)
        assert asyncio.get_running_loop().time() - begun >= 0.03
        assert b'"completion_tokens":24' in body
        other = load.request(replace(target, key="another"), load.CHAT, load.chat("other"))
        assert b"Bearer another" in other
        await asyncio.to_thread(caller.call, other)
        caller.close()
        listener = first_byte.Listener(target)
        assert await asyncio.to_thread(listener.first) >= 30_000
        assert await asyncio.to_thread(listener.first) >= 30_000
        listener._socket.shutdown(2)  # as a server does that has been idle for long
        assert await asyncio.to_thread(listener.first) >= 30_000
        listener.close()
        assert what.served == 5
        assert await asyncio.to_thread(upstream.served, target) == 5
        assert '"stream": true' in await asyncio.to_thread(upstream.last_body, target)
        assert await asyncio.to_thread(upstream.served, target, anew=True) == 0


async def test_a_gateway_that_cannot_stream_is_left_out_and_ours_is_not() -> None:
    async with canned(deltas=2) as (target, _):
        broken = replace(target, name="x", url="http://127.0.0.1:1")
        report = await asyncio.to_thread(first_byte.measure, {"upstream alone": target, "tandem": target}, 2, 1)
        assert [row.target for row in report.rows] == ["upstream alone", "tandem"]
        assert any("added p99" in note for note in report.notes)
        targets = {"upstream alone": target, "portkey": broken}
        report = await asyncio.to_thread(first_byte.measure, targets, 2, 1)
        assert [row.target for row in report.rows] == ["upstream alone"]
        assert "without portkey" in report.notes[0]
        with pytest.raises(Failed):
            await asyncio.to_thread(first_byte.measure, {**targets, "tandem": broken}, 2, 1)


async def test_streams_are_clean_in_time_and_not_when_a_delta_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "DELTAS", 4)
    monkeypatch.setattr(streams, "LATE_MS", 60_000.0)
    async with canned(deltas=4, delta_delay=0.02) as (target, _):
        heard = await streams.listen(target, 3, 0.05)
    assert (heard.unclean, heard.broken) == (0, 0)
    assert heard.clean >= 3
    monkeypatch.setattr(streams, "LATE_MS", 1.0)
    async with canned(deltas=4, delta_delay=0.08) as (target, _):  # delta 3 comes 180 ms after it is due
        heard = await streams.listen(target, 2, 0.05)
    assert (heard.clean, heard.unclean) == (0, 2)
    monkeypatch.setattr(streams, "LATE_MS", 60_000.0)
    async with canned(deltas=3, delta_delay=0.0) as (target, _):  # one is missing
        assert (await streams.listen(target, 1, 0.01)).clean == 0


async def test_deltas_are_counted_wherever_a_piece_is_cut() -> None:
    text = b"".join(upstream.chunk(upstream._DELTA) for _ in range(5)) + upstream.chunk(upstream._END) + b"0\r\n\r\n"
    for size in (1, 3, 7, 64, 1000):
        heard = streams.Heard()
        stream = streams.Stream(b"", heard, until=0)
        for at in range(0, len(text), size):
            stream.data_received(text[at : at + size])
        assert stream._seen == 5, size
        assert stream.done.done()


def test_a_program_is_kept_on_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage.shutil, "which", lambda name: None)
    assert stage.pinned(["x"], "") == ["x"]
    with pytest.raises(Failed, match="taskset is not installed"):
        stage.pinned(["x"], "0")
    monkeypatch.setattr(stage.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert stage.pinned(["x", "y"], "0-1") == ["taskset", "--cpu-list", "0-1", "x", "y"]


def test_rivals_lie_outside_of_the_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert rivals.cache() == tmp_path / "tandem-bench"
    monkeypatch.setattr(rivals, "INSTALL_SECONDS", 5)
    with pytest.raises(Failed, match="LiteLLM cannot be installed"):
        rivals._install("LiteLLM", ["false"])
    with pytest.raises(Failed, match="cannot be installed"):
        rivals._install("node", [str(tmp_path / "nothing")])
