"""How many tokens own machines do in a second while they are busy.

By vLLM's own counters; else, on this machine, by the tokens of traces over the time that NVML saw a GPU busy; else by traces.

Only providers that are paid by the hour and declare no figure are looked at. A figure is kept for an hour before
the next one takes its place, so that a price does not change from call to call.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

import httpx2

from tandem.core.clock import MICROS, Clock
from tandem.core.endpoint import Provider
from tandem.gateway.pricing.gpus import Gpu, gpus
from tandem.gateway.pricing.repo import Throughput, Throughputs
from tandem.gateway.repo import Routes
from tandem.governance.authorise import ALL
from tandem.observability.attempts import Tried, tried
from tandem.observability.traces import Traces

KEEP = 3_600 * MICROS
AGAIN = 600 * MICROS
"""Traces that told too little are read again after so long."""
BACK = 86_400 * MICROS
"""How far back traces are read."""
LEAST_ATTEMPTS, LEAST_BUSY = 50, 60 * MICROS
"""Fewer measure nothing."""
SECONDS, PAGE_BYTES = 2.0, 4 * 1024 * 1024
COUNTED = ("vllm:prompt_tokens_total", "vllm:generation_tokens_total")
RUNNING = "vllm:num_requests_running"
_SAMPLE = re.compile(r"^([A-Za-z_:][\w:]*)(?:\{[^\n]*\})? +([0-9.eE+-]+)(?: +\d+)?$", re.MULTILINE)
VLLM, NVML, TRACES = "vLLM's metrics", "traces and NVML", "traces"
LONGEST = 120 * MICROS
"""A look after a longer pause tells nothing of the time between."""
HERE = ("localhost", "127.", "::1")
"""What the hosts of this machine begin with."""
Fetch = Callable[[str], str | None]
"""The text at an address; None where there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """What a server's metrics say at one moment."""

    tokens: int
    running: float
    """Requests under way."""
    at: int
    """UTC microseconds."""


def counters(text: str, at: int) -> Counters | None:
    """vLLM's counters out of a Prometheus page (https://docs.vllm.ai, Production Metrics); None where it has none."""
    sums: dict[str, float] = {}
    for name, value in _SAMPLE.findall(text):
        if name in (*COUNTED, RUNNING):
            try:
                sums[name] = sums.get(name, 0.0) + float(value)
            except ValueError:
                return None
    if not set(COUNTED) <= set(sums):
        return None
    return Counters(tokens=int(sum(sums[name] for name in COUNTED)), running=sums.get(RUNNING, 0.0), at=at)


def measured(provider: str, attempts: Iterable[Tried], at: int) -> Throughput | None:
    """What the attempts of a provider say: their tokens over the time in which at least one was under way."""
    spans: list[tuple[int, int]] = []
    tokens = 0
    for each in attempts:
        attempt = each.attempt
        if attempt.target.partition("/")[0] == provider and attempt.usage.source == "provider":
            tokens += attempt.usage.total_input + attempt.usage.total_output
            spans.append((attempt.start, attempt.end))
    busy, end = 0, 0
    for start, stop in sorted(spans):
        busy += max(0, stop - max(start, end))
        end = max(end, stop)
    if len(spans) < LEAST_ATTEMPTS or busy < LEAST_BUSY or not tokens:
        return None
    return Throughput(provider=provider, tokens=tokens, micros=busy, source=TRACES, at=at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Driven:
    """How long a GPU was seen busy."""

    since: int
    """UTC microseconds of the first look."""
    at: int
    """Of the last one."""
    micros: int = 0
    """Microseconds of it busy."""

    def later(self, now: int, busy: float) -> Driven:
        """After another look, which saw it busy for this share of the time."""
        if now - self.at > LONGEST:
            return replace(self, at=now)
        return replace(self, at=now, micros=self.micros + round(busy * (now - self.at)))


def driven(provider: str, attempts: Iterable[Tried], seen: Driven) -> Throughput | None:
    """What a provider on this machine did while its GPU was busy: tokens of the attempts since the first look."""
    found = [each.attempt for each in attempts if each.attempt.target.partition("/")[0] == provider]
    counted = [attempt.usage for attempt in found if attempt.usage.source == "provider" and attempt.end <= seen.at]
    tokens = sum(usage.total_input + usage.total_output for usage in counted)
    if len(counted) < LEAST_ATTEMPTS or seen.micros < LEAST_BUSY or not tokens:
        return None
    return Throughput(provider=provider, tokens=tokens, micros=seen.micros, source=NVML, at=seen.at)


def fetch(url: str) -> str | None:
    """A page of metrics; None where the server has none, or is away."""
    try:
        with httpx2.stream("GET", url, timeout=SECONDS) as reply:
            if reply.status_code != 200:
                return None
            body = bytearray()
            for piece in reply.iter_bytes():
                body += piece
                if len(body) > PAGE_BYTES:
                    return None
            return body.decode(errors="replace")
    except (httpx2.HTTPError, httpx2.InvalidURL):
        return None


class Meters:
    """Looks at the machines that are paid by the hour; one per control process."""

    def __init__(
        self,
        table: Routes,
        kept: Throughputs,
        traces: Traces,
        clock: Clock,
        fetch: Fetch = fetch,
        gpus: Callable[[], Sequence[Gpu]] = gpus,
    ) -> None:
        self._table, self._kept, self._traces, self._clock, self._fetch, self._gpus = table, kept, traces, clock, fetch, gpus
        self._before: dict[str, Counters] = {}
        self._seen: dict[str, tuple[int, int]] = {}
        """Provider → tokens and microseconds of it busy, since its figure was kept."""
        self._driven: dict[str, Driven] = {}
        self._read: dict[str, int] = {}
        """Provider → when its traces were read last."""

    def step(self) -> None:
        """One look at every machine."""
        now = self._clock.now()
        known = {each.provider: each for each in self._kept.list(ALL)}
        for provider in self._table.providers(ALL):
            if not provider.hour_price or provider.tokens_per_second:
                continue
            self._look(provider, now)
            before = known.get(provider.name)
            if before is None or now - before.at >= KEEP:
                fresh = self._figure(provider.name, now)
                if fresh is not None:
                    self._kept.put(fresh)

    def _look(self, provider: Provider, now: int) -> None:
        """Adds what the server did since the last look, if it was busy at both ends."""
        host = urlsplit(provider.base_url)
        text = self._fetch(f"{host.scheme}://{host.netloc}/metrics")
        found = None if text is None else counters(text, now)
        before = self._before.pop(provider.name, None)
        if found is None:
            self._look_at_gpus(provider, now)
            return
        self._before[provider.name] = found
        if before is not None and before.running and found.running and found.tokens > before.tokens:
            tokens, micros = self._seen.get(provider.name, (0, 0))
            self._seen[provider.name] = (tokens + found.tokens - before.tokens, micros + found.at - before.at)

    def _look_at_gpus(self, provider: Provider, now: int) -> None:
        """Adds how long a GPU of this machine was busy, if the provider is on it."""
        if not (urlsplit(provider.base_url).hostname or "").startswith(HERE):
            return
        busy = max([each.busy for each in self._gpus()], default=None)
        if busy is not None:
            seen = self._driven.get(provider.name)
            fresh = seen is None or now - seen.since > BACK
            self._driven[provider.name] = Driven(since=now, at=now) if seen is None or fresh else seen.later(now, busy)

    def _figure(self, provider: str, now: int) -> Throughput | None:
        tokens, micros = self._seen.get(provider, (0, 0))
        if micros >= LEAST_BUSY:
            self._seen.pop(provider)
            return Throughput(provider=provider, tokens=tokens, micros=micros, source=VLLM, at=now)
        if now - self._read.get(provider, 0) < AGAIN:
            return None
        self._read[provider] = now
        seen = self._driven.get(provider)
        if seen is not None and (found := driven(provider, tried(self._traces, seen.since, now + 1), seen)) is not None:
            self._driven.pop(provider)
            return found
        return measured(provider, tried(self._traces, now - BACK, now + 1), now)
