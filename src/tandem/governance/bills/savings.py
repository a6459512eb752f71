"""What recorded traffic would have cost if: the same question had been answered from memory, the cheapest target asked,
the beginning of a prompt read from the provider's cache, or long answers cut. Each with an interval and what it assumes.

The interval is that of a block bootstrap over hours (Carlstein, The Annals of Statistics 14(3), 1986), because what
repeats itself does so in bunches. The four overlap: they are not to be added up.
"""

from __future__ import annotations

import random
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Literal

import msgspec

from tandem.core.clock import MICROS, Clock
from tandem.core.money import PICO_PER_NANO
from tandem.core.principal import Principal
from tandem.core.trace import Attempt, Trace
from tandem.governance.authorise import authorise, scope_of
from tandem.governance.bills.reconcile import Known, Pricing
from tandem.observability.content import Subjects
from tandem.observability.explain import Kept
from tandem.observability.traces import Seen, Traces
from tandem.observability.traffic import traffic

Measure = Literal["exact cache", "cheapest target", "prompt cache", "output cap"]
MEASURES: Mapping[Measure, str] = {
    "exact cache": "an answer may be given again to the same question of the same team for a day",
    "cheapest target": "the cheapest target of the route answers with as many tokens, and well enough",
    "prompt cache": (
        "the provider keeps prompts for 5 minutes and reads what begins alike, from 1,024 tokens on in steps of 128;"
        " writing costs what the price list says"
    ),
    "output cap": "answers longer than 19 in 20 of their endpoint are cut there, and are good enough cut",
}
"""Each measure with what it assumes."""
HOUR, DAY = 3_600 * MICROS, 86_400 * MICROS
MOST = 20_000
"""Calls that are looked at, the newest."""
LEAST_CALLS, LEAST_HOURS = 100, 10
"""Fewer calls, or calls in fewer hours, say nothing."""
DRAWS = 1_000
HELD = DAY
WARM = 300 * MICROS
FIRST, STEP = 1_024, 128
"""Tokens of a prompt that a provider caches at least, and in which steps (OpenAI's guide to prompt caching)."""
RECENT, GROUPS, PREFIX_BYTES = 8, 256, 64 * 1024
"""Prompts that are remembered of a target, targets of a team's endpoints, bytes of a prompt."""
LONGEST = 0.95
QUESTIONS = 50_000
"""Questions that are remembered."""
APART = frozenset({"stream", "stream_options", "user", "metadata", "store", "safety_identifier"})
"""Fields that do not make another question."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Saving:
    """What one measure would have saved. Amounts are nano-dollars."""

    measure: Measure
    enough: bool
    """Whether there is enough data; otherwise the figures are nothing."""
    n: int
    """Calls that could be looked at."""
    touched: int = 0
    """Of them, those that would have cost less."""
    amount: int = 0
    low: int = 0
    high: int = 0
    """The interval of 95 %."""
    share: float = 0.0
    """Of what these calls cost."""
    share_low: float = 0.0
    share_high: float = 0.0
    assumed: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Savings:
    """What recorded traffic would have saved; the measures overlap and are not to be added up."""

    since: int
    until: int
    """UTC microseconds, of the first and the last call that was looked at."""
    calls: int
    cost: int
    """Nano-dollars of these calls."""
    hours: int
    """Hours with calls: what the bootstrap draws."""
    unread: int
    """Calls whose content is not kept, or erased."""
    measures: tuple[Saving, ...]


@dataclass(slots=True)
class _Prompt:
    """A prompt that was asked lately."""

    at: int
    text: bytes
    written: bool = False
    """Whether somebody has paid for its writing to the cache."""


@dataclass(slots=True)
class _Sums:
    """What one measure says, by hour."""

    n: int = 0
    touched: int = 0
    saved: dict[int, int] = field(default_factory=dict)
    cost: dict[int, int] = field(default_factory=dict)

    def add(self, hour: int, cost: int, saved: int) -> None:
        self.n += 1
        self.touched += int(saved > 0)
        self.saved[hour] = self.saved.get(hour, 0) + saved
        self.cost[hour] = self.cost.get(hour, 0) + cost


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answered:
    """A call that a language model answered, and whose cost is known."""

    trace: Trace
    attempt: Attempt
    cost: int
    hour: int


class Audits:
    """Looks at recorded traffic for what it would have saved."""

    def __init__(
        self,
        *,
        traces: Traces,
        subjects: Subjects,
        clock: Clock,
        known: Known,
        routes: Callable[[], Mapping[str, Sequence[str]]],
    ) -> None:
        """
        Args:
            routes: gives the targets that each endpoint leads to now.
        """
        self._traces, self._subjects, self._clock = traces, subjects, clock
        self._known, self._routes = known, routes

    def audit(self, days: int, *, by: Principal) -> Savings:
        """What the chats of the last days would have saved, as far as `by` sees them; at most the newest `MOST`.

        Raises:
            Forbidden: `by` may not read.
        """
        authorise(by, "read")
        looking = _Looking(self._known(), self._routes())
        since = self._clock.now() - days * DAY
        for seen in traffic(self._traces, kind="chat", team=scope_of(by).team, since=since, most=MOST):
            looking.look(seen, self._subjects)
        return looking.found()


class _Looking:
    """One audit in the making."""

    def __init__(self, price: Pricing, routes: Mapping[str, Sequence[str]]) -> None:
        self._price, self._routes = price, routes
        self._sums: dict[Measure, _Sums] = {measure: _Sums() for measure in MEASURES}
        self._asked: OrderedDict[tuple[str, str, bytes], int] = OrderedDict()
        self._prompts: OrderedDict[tuple[str, str, str], deque[_Prompt]] = OrderedDict()
        self._said: dict[str, list[tuple[int, int, int, int]]] = {}
        """Endpoint → (hour, cost, output tokens, rate of one) of each call."""
        self._calls, self._cost, self._unread = 0, 0, 0
        self._since, self._until = 0, 0

    def look(self, seen: Seen, subjects: Subjects) -> None:
        """Takes a call into account; those that failed or cost nothing known are passed by."""
        trace = seen.trace
        attempt = next((each for each in reversed(trace.attempts) if each.usage.source == "provider"), None)
        if attempt is None or trace.outcome != "ok" or trace.cost is None:
            return
        call = _Answered(trace=trace, attempt=attempt, cost=trace.cost, hour=trace.start // HOUR)
        self._calls, self._cost = self._calls + 1, self._cost + call.cost
        self._since, self._until = self._since or trace.start, trace.start
        self._cheapest(call)
        self._length(call)
        asked = _asked(seen, subjects)
        if asked is None:
            self._unread += 1
            return
        self._again(call, *asked)

    def _cheapest(self, call: _Answered) -> None:
        trace, attempt = call.trace, call.attempt
        prices = [self._price(target, trace.start, trace.team) for target in self._routes.get(trace.endpoint, ())]
        costs = [price.cost(attempt.usage) for price in prices if price is not None]
        least = min([*costs, attempt.cost or 0])
        self._sums["cheapest target"].add(call.hour, call.cost, (attempt.cost or 0) - least)

    def _length(self, call: _Answered) -> None:
        price = self._price(call.attempt.target, call.trace.start, call.trace.team)
        rate = 0 if price is None else price.output
        row = (call.hour, call.cost, call.attempt.usage.total_output, rate)
        self._said.setdefault(call.trace.endpoint, []).append(row)

    def _again(self, call: _Answered, question: bytes, prompt: bytes, length: int) -> None:
        trace = call.trace
        key = (trace.team, trace.endpoint, question)
        before = self._asked.get(key)
        hit = before is not None and trace.start - before <= HELD
        self._sums["exact cache"].add(call.hour, call.cost, call.cost if hit else 0)
        if not hit:  # what is given again is as old as it was
            self._asked[key] = trace.start
            if len(self._asked) > QUESTIONS:
                self._asked.popitem(last=False)
        self._sums["prompt cache"].add(call.hour, call.cost, self._warm(call, prompt, length))

    def _warm(self, call: _Answered, prompt: bytes, length: int) -> int:
        """Nano-dollars that a prompt cache would have saved on this call."""
        trace, used = call.trace, call.attempt.usage
        price = self._price(call.attempt.target, trace.start, trace.team)
        key = (trace.team, trace.endpoint, call.attempt.target)
        recent = self._prompts.setdefault(key, deque(maxlen=RECENT))
        self._prompts.move_to_end(key)
        if len(self._prompts) > GROUPS:
            self._prompts.popitem(last=False)
        best = max(
            ((_common(each.text, prompt), each) for each in recent if trace.start - each.at <= WARM),
            key=lambda pair: pair[0],
            default=(0, None),
        )
        recent.append(_Prompt(at=trace.start, text=prompt))
        shared, earlier = best
        tokens = used.total_input * shared // max(1, length)
        tokens = tokens - tokens % STEP
        if earlier is None or tokens < FIRST or price is None or price.cache_read is None:
            return 0
        more = tokens - used.cache_read
        if more <= 0:
            return 0
        saved = more * (price.input - price.cache_read)
        if not earlier.written and price.cache_write is not None:
            saved -= more * (price.cache_write - price.input)
        earlier.written = recent[-1].written = True
        return saved // PICO_PER_NANO

    def _cut(self) -> None:
        """Lays the longest answers of each endpoint against the 95th percentile of its own."""
        for rows in self._said.values():
            lengths = sorted(row[2] for row in rows)
            bound = lengths[int(LONGEST * (len(lengths) - 1))]
            for hour, cost, said, rate in rows:
                self._sums["output cap"].add(hour, cost, max(0, said - bound) * rate // PICO_PER_NANO)

    def found(self) -> Savings:
        self._cut()
        hours = {hour for sums in self._sums.values() for hour in sums.cost}
        return Savings(
            since=self._since,
            until=self._until,
            calls=self._calls,
            cost=self._cost,
            hours=len(hours),
            unread=self._unread,
            measures=tuple(_judged(measure, self._sums[measure]) for measure in MEASURES),
        )


def _judged(measure: Measure, sums: _Sums) -> Saving:
    plain = Saving(measure=measure, enough=False, n=sums.n, assumed=MEASURES[measure])
    hours = sorted(sums.cost)
    cost = sum(sums.cost.values())
    if sums.n < LEAST_CALLS or len(hours) < LEAST_HOURS or not cost:
        return plain
    pairs = [(sums.saved[hour], sums.cost[hour]) for hour in hours]
    dice = random.Random(f"{measure} {sums.n} {cost}")  # the same data say the same
    drawn = [dice.choices(pairs, k=len(pairs)) for _ in range(DRAWS)]
    amounts = sorted(sum(saved for saved, _ in draw) for draw in drawn)
    shares = sorted(sum(saved for saved, _ in draw) / max(1, sum(cost for _, cost in draw)) for draw in drawn)
    amount = sum(sums.saved.values())
    low, high = int(0.025 * DRAWS), int(0.975 * DRAWS) - 1
    return replace(
        plain,
        enough=True,
        touched=sums.touched,
        amount=amount,
        low=amounts[low],
        high=amounts[high],
        share=amount / cost,
        share_low=shares[low],
        share_high=shares[high],
    )


def _asked(seen: Seen, subjects: Subjects) -> tuple[bytes, bytes, int] | None:
    """What makes the question the same; the beginning of the prompt as a provider reads it, and its length.

    None where it cannot be read.
    """
    plain = None if seen.kept is None or not seen.kept[1] else subjects.open(*seen.kept)
    if plain is None:
        return None
    kept = msgspec.msgpack.decode(plain, type=Kept)
    try:
        body = msgspec.json.decode(kept.request)
    except msgspec.DecodeError:  # cut, because it was longer than what is kept
        return None
    if not isinstance(body, dict):
        return None
    question = {name: value for name, value in body.items() if name not in APART}
    encode = msgspec.json.Encoder(order="deterministic").encode
    prompt = encode([body.get("tools"), body.get("system"), body.get("instructions"), body.get("messages", body.get("input"))])
    return blake2b(encode(question), digest_size=16).digest(), prompt[:PREFIX_BYTES], len(prompt)


def _common(a: bytes, b: bytes) -> int:
    """Bytes that both begin with.

    >>> _common(b"abcd", b"abxd"), _common(b"", b"a")
    (2, 0)
    """
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
