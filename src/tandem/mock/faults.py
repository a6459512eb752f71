"""Faults on demand: the grammar of a fault, and the script that decides which request it hits. It does no I/O.

    SPEC    = KIND [=VALUE] [*TIMES] [@CHANCE] {;OPTION=VALUE}

    429*3;retry-after=2         the next three requests are refused with 429 and `retry-after: 2`
    500@0.1                     each request fails with 500 with chance 0.1, from the seeded generator
    cut-after=5;model=gpt-4o    replies of gpt-4o end without a terminal frame after five deltas
    503*1;skip=2                only the third request

The script is read from the top for every request. The first fault that ends the request wins; the ones
that only shape a reply (`drip`, `slow-headers`, `usage`) add up.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Literal

from tandem.core.errors import Invalid

Wants = Literal["nothing", "deltas", "ms", "word"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What a word of the grammar does, and the value it takes."""

    meaning: str
    wants: Wants = "nothing"
    default: float | None = None
    """The value where none is written; None where one must be."""
    words: tuple[str, ...] = ()
    """The words that may stand as value."""
    shapes: bool = False
    """True where it shapes a reply instead of ending the request."""


KINDS: Mapping[str, Kind] = {
    "400 … 599": Kind(meaning="refuses the request with that status, in the protocol's error shape; options retry-after"),
    "context": Kind(meaning="refuses with 400: context_length_exceeded, or prompt is too long"),
    "refuse": Kind(
        meaning="empty answer that ends with content_filter or refusal; refuse=400 refuses with 400, content filter",
        wants="word",
        words=("", "400"),
    ),
    "stall": Kind(meaning="sends the headers, then nothing, until the client leaves"),
    "stall-after": Kind(meaning="sends that many deltas, then nothing", wants="deltas"),
    "cut": Kind(meaning="closes the connection after one delta, without the end of the stream"),
    "cut-after": Kind(meaning="closes the connection after that many deltas", wants="deltas"),
    "error-after": Kind(
        meaning="sends an error event (overloaded) after that many deltas; 503 or 529 where nothing is streamed",
        wants="deltas",
    ),
    "malformed": Kind(meaning="breaks the second delta's frame in the middle, then goes on"),
    "malformed-after": Kind(meaning="breaks the frame that follows that many deltas", wants="deltas"),
    "reset": Kind(meaning="resets the TCP connection on accept"),
    "drip": Kind(meaning="sends the body byte by byte, that many milliseconds apart", wants="ms", default=50, shapes=True),
    "slow-headers": Kind(
        meaning="sends status line and headers byte by byte, that many milliseconds apart",
        wants="ms",
        default=50,
        shapes=True,
    ),
    "usage": Kind(
        meaning="usage=missing leaves usage out, usage=wrong adds 1000 to both counts, usage=double sends it twice",
        wants="word",
        words=("missing", "wrong", "double"),
        shapes=True,
    ),
}
"""The grammar's words, in the order the documentation lists them."""

OPTIONS: Mapping[str, str] = {
    "retry-after": "seconds for the header retry-after; only with a status",
    "model": "only requests for this model",
    "key": "only requests that bear this key",
    "skip": "lets that many matching requests pass first",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One parsed SPEC."""

    spec: str
    kind: str
    """A word of `KINDS`, or `status`."""
    status: int = 0
    value: float = 0.0
    """Deltas, or milliseconds."""
    word: str = ""
    times: int | None = None
    """How many requests it hits; None for all."""
    chance: float = 1.0
    retry_after: str | None = None
    model: str | None = None
    key: str | None = None
    skip: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is going to go wrong with one request."""

    ending: Fault | None = None
    drip: float = 0.0
    """Milliseconds per byte of the body."""
    slow_headers: float = 0.0
    """Milliseconds per byte of the head."""
    usage: Literal["", "missing", "wrong", "double"] = ""
    specs: str = ""
    """The faults at work, as written, joined by a space."""


NOTHING = Plan()

_FORM = re.compile(
    r"(?P<kind>[A-Za-z0-9-]+)(?:=(?P<value>[^*@;]*))?(?:\*(?P<times>[^*@;]*))?(?:@(?P<chance>[^*@;]*))?(?P<options>(?:;[^;]*)*)"
)


def parse(spec: str) -> Fault:
    """Reads one SPEC.

    Raises:
        Invalid: with the part that is wrong and what may stand there.

    >>> parse("429*3;retry-after=2").times
    3
    """
    form = _FORM.fullmatch(spec.strip())
    if form is None:
        raise _wrong(spec, "it does not read as KIND[=VALUE][*TIMES][@CHANCE][;OPTION=VALUE]", "An example: 429*3;retry-after=2.")
    kind, value = form["kind"], form["value"]
    times = None if form["times"] is None else _whole(spec, "the count after *", form["times"], least=1)
    chance = 1.0 if form["chance"] is None else _fraction(spec, form["chance"])
    options = _options(spec, form["options"])
    skip = _whole(spec, "skip", options.get("skip", "0"), least=0)
    status, number, word = _what(spec, kind, value)
    if "retry-after" in options:
        if not status:
            raise _wrong(spec, "retry-after goes with a status only", "An example: 429;retry-after=2.")
        _number(spec, "retry-after", options["retry-after"], "seconds")
    if kind == "reset" and ("model" in options or "key" in options):
        raise _wrong(spec, "reset acts before a request is read, so it knows neither model nor key", "Leave the option out.")
    return Fault(
        spec=spec.strip(),
        kind="status" if status else kind,
        status=status,
        value=number,
        word=word,
        times=times,
        chance=chance,
        retry_after=options.get("retry-after"),
        model=options.get("model"),
        key=options.get("key"),
        skip=skip,
    )


def _what(spec: str, kind: str, value: str | None) -> tuple[int, float, str]:
    """Status, number and word of KIND[=VALUE]."""
    if kind.isdigit():
        if value is not None:
            raise _wrong(spec, "a status takes no value", f"Write {kind}, or {kind}*3 for three requests.")
        if not 400 <= int(kind) <= 599:
            raise _wrong(spec, f"{kind} is not an error status", "Use 400 to 599.")
        return int(kind), 0.0, ""
    known = KINDS.get(kind)
    if known is None:
        raise _wrong(spec, f"there is no fault '{kind}'", f"Use one of: {', '.join(KINDS)}.")
    if known.wants == "word":
        word = value or ""
        if word not in known.words:
            raise _wrong(
                spec, f"{kind} cannot be '{word}'", f"Use {' or '.join(f'{kind}={w}' if w else kind for w in known.words)}."
            )
        return 0, 0.0, word
    if known.wants == "nothing":
        if value is not None:
            raise _wrong(spec, f"{kind} takes no value", f"Write {kind}, or {kind}-after=N where it has one.")
        return 0, 1.0 if kind in ("cut", "malformed") else 0.0, ""
    if value is None:
        if known.default is None:
            raise _wrong(spec, f"{kind} needs a number of {known.wants}", f"An example: {kind}=5.")
        return 0, known.default, ""
    if known.wants == "deltas":
        return 0, float(_whole(spec, kind, value, least=0)), ""
    return 0, _number(spec, kind, value, "milliseconds"), ""


def _options(spec: str, text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in text.split(";")[1:]:
        name, equals, value = part.strip().partition("=")
        if name not in OPTIONS:
            raise _wrong(spec, f"there is no option '{name}'", f"Use one of: {', '.join(OPTIONS)}.")
        if not equals or not value:
            raise _wrong(spec, f"the option {name} needs a value", f"An example: ;{name}=2.")
        if name in found:
            raise _wrong(spec, f"the option {name} stands twice", "Keep one.")
        found[name] = value
    return found


def _whole(spec: str, what: str, text: str, *, least: int) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) < least:
        raise _wrong(spec, f"{what} is '{text}', not a whole number from {least}", "An example: 429*3.")
    return int(text)


def _number(spec: str, what: str, text: str, unit: str) -> float:
    if not re.fullmatch(r"\d{1,7}(\.\d{1,6})?", text):
        raise _wrong(spec, f"{what} is '{text}', not a number of {unit}", f"An example: {what}=2.")
    return float(text)


def _fraction(spec: str, text: str) -> float:
    if not re.fullmatch(r"[01](\.\d+)?|\.\d+", text) or not 0 < float(text) <= 1:
        raise _wrong(spec, f"the chance after @ is '{text}'", "Give more than 0 and at most 1, such as 500@0.1.")
    return float(text)


def _wrong(spec: str, why: str, hint: str) -> Invalid:
    return Invalid(f"The fault '{spec}' cannot be read: {why}.", hint=hint, field="fault")


@dataclass(slots=True)
class Line:
    """A fault in the script and how often it was met."""

    fault: Fault
    seen: int = 0
    fired: int = 0

    def fires(self, random: Random) -> bool:
        """Counts one matching request and says whether the fault hits it."""
        self.seen += 1
        fault = self.fault
        if self.seen <= fault.skip or (fault.times is not None and self.fired >= fault.times):
            return False
        if fault.chance < 1 and random.random() >= fault.chance:
            return False
        self.fired += 1
        return True


@dataclass(slots=True)
class Script:
    """The faults in force, and the seeded generator of their chances."""

    specs: Sequence[str] = ()
    seed: int = 0
    lines: list[Line] = field(init=False)
    _random: Random = field(init=False)

    def __post_init__(self) -> None:
        self.replace(self.specs)

    def replace(self, specs: Sequence[str]) -> None:
        """Puts another list in force and starts its counts and its generator afresh.

        Raises:
            Invalid: where one cannot be read; then the old list stays.
        """
        self.lines = [Line(parse(spec)) for spec in specs]
        self._random = Random(self.seed)

    def resets(self) -> bool:
        """Says, once per accepted connection, whether to reset it."""
        return any(line.fires(self._random) for line in self.lines if line.fault.kind == "reset")

    def take(self, model: str, key: str) -> Plan:
        """What happens to one request for `model` that bears `key`."""
        hits: list[Fault] = []
        ended = False
        for line in self.lines:
            fault = line.fault
            if fault.kind == "reset" or fault.model not in (None, model) or fault.key not in (None, key):
                continue
            ends = not _shapes(fault)
            if (ends and ended) or not line.fires(self._random):
                continue
            ended = ended or ends
            hits.append(fault)
        return plan(hits)


def plan(faults: Sequence[Fault]) -> Plan:
    """Adds faults up: the first that ends the request, and all that shape the reply."""
    if not faults:
        return NOTHING
    usage: Literal["", "missing", "wrong", "double"] = ""
    for fault in faults:
        match fault.word:
            case "missing":
                usage = "missing"
            case "wrong":
                usage = "wrong"
            case "double":
                usage = "double"
    return Plan(
        ending=next((fault for fault in faults if not _shapes(fault)), None),
        drip=sum(fault.value for fault in faults if fault.kind == "drip"),
        slow_headers=sum(fault.value for fault in faults if fault.kind == "slow-headers"),
        usage=usage,
        specs=" ".join(fault.spec for fault in faults),
    )


def directed(text: str) -> Fault:
    """Reads a SPEC that came with one request.

    Raises:
        Invalid: where it cannot be read, or counts requests, which one request cannot.
    """
    fault = parse(text)
    if fault.times is not None or fault.skip:
        raise _wrong(
            text, "a fault that comes with a request holds for that request alone", "Use POST /faults for *TIMES and skip."
        )
    return fault


def _shapes(fault: Fault) -> bool:
    return fault.kind != "status" and KINDS[fault.kind].shapes
