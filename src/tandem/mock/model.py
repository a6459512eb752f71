"""What the mock's model says: deterministic by model, messages and seed. It knows no wire, no price and no fault.

The answer to a prompt restates the prompt's facts, quotes the sentence nearest to the question, and owns
to being a mock. Orders in the last user message, or in headers, say otherwise (`Orders`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from zlib import crc32

import msgspec

from tandem.core.errors import Invalid
from tandem.mock import tokens
from tandem.mock.facts import facts, nearest
from tandem.mock.schema import Known, Schema, instance, normal

MOST_TOKENS = 200_000
"""The most that `x-mock-tokens` can ask for."""
_ORDER = re.compile(r"^[ \t]*x-mock-(\w+)[ \t]*:[ \t]*(.*?)[ \t]*$", re.MULTILINE | re.IGNORECASE)
_FILLER = " One word follows another until the count that was asked for is reached."
_OPENERS = ("From what you sent: {}.", "The request gives these values: {}.", "Going by the details given, {}.", "In short: {}.")
_CLOSERS = (
    "This is a mock model: it restates the request and adds no knowledge of its own.",
    "A mock model wrote this; it repeats what it was given and knows nothing else.",
    "Take it as a mock model's answer, made only of what the request holds.",
)
_TELLING = ("score", "risk", "probability", "prediction", "total", "amount", "price", "cost")


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One message: who speaks, and the text of all its parts."""

    role: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A function the model may call, with the JSON schema of its arguments."""

    name: str
    parameters: Schema


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What a test tells the model to do, from `x-mock-…` headers or lines of the last user message."""

    reply: str | None = None
    tokens: int | None = None
    """Exactly so many output tokens; the limit of the request still holds."""
    tools: tuple[str, ...] | None = None
    cached: int = 0
    """Prompt tokens that count as read from the cache."""
    fault: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A request to the model, in no provider's words."""

    model: str
    turns: Sequence[Turn]
    prompt_tokens: int
    tools: Sequence[Tool] = ()
    choice: str = "auto"
    """`auto`, `none`, `required`, or `=NAME` of the tool that must be called."""
    parallel: bool = True
    schema: Schema | None = None
    """The answer must be an instance of it; an empty one wants any JSON object."""
    stop: Sequence[str] = ()
    limit: int | None = None
    """Most output tokens of each answer."""
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    name: str
    pieces: Sequence[str]
    """The tokens of the arguments, a JSON text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer, as tokens."""

    pieces: Sequence[str] = ()
    calls: Sequence[ToolCall] = ()
    finish: str = "stop"
    """`stop`, `length`, `tool_calls` or `content_filter`."""
    sequence: str = ""
    """The stop sequence that ended it."""
    tokens: int = 0
    """Output tokens: those of the text; for each call one, and those of its arguments."""


EMPTY = Answer(finish="content_filter")
"""What a refusal by content filter leaves."""


def orders(text: str, headers: Mapping[str, str]) -> Orders:
    """Reads the orders of a request; a header goes before a line of the last user message.

    Raises:
        Invalid: where one is unknown or its value cannot be read.
    """
    given: dict[str, list[str]] = {}
    if "x-mock-" in text.lower():
        for name, value in _ORDER.findall(text):
            given.setdefault(name.lower(), []).append(value)
    for name, value in headers.items():
        given[name] = [value]
    if not given:
        return _NO_ORDERS
    for name in given:
        if name not in ("reply", "tokens", "tools", "cached", "fault"):
            raise Invalid(f"There is no order 'x-mock-{name}'.", hint="Use x-mock-reply, -tokens, -tools, -cached or -fault.")
    reply = given["reply"][0] if "reply" in given else None
    if reply is not None and reply.startswith('"'):
        try:
            reply = msgspec.json.decode(reply, type=str)
        except msgspec.MsgspecError:
            raise Invalid("x-mock-reply begins like a JSON string but is none.", hint='Close it: "…".') from None
    called = tuple(name.strip() for name in given["tools"][0].split(",") if name.strip()) if "tools" in given else None
    return Orders(
        reply=reply,
        tokens=_amount("tokens", given) if "tokens" in given else None,
        tools=called,
        cached=_amount("cached", given) if "cached" in given else 0,
        fault=tuple(spec.strip() for value in given.get("fault", ()) for spec in value.split(",") if spec.strip()),
    )


_NO_ORDERS = Orders()


def _amount(name: str, given: Mapping[str, Sequence[str]]) -> int:
    text = given[name][0]
    if not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) > MOST_TOKENS:
        raise Invalid(f"x-mock-{name} is '{text}'.", hint=f"Give a whole number from 0 to {MOST_TOKENS}.")
    return int(text)


def last_user(turns: Sequence[Turn]) -> int:
    """Index of the last user message, -1 where there is none."""
    return next((at for at in range(len(turns) - 1, -1, -1) if turns[at].role == "user"), -1)


def answer(ask: Ask, told: Orders, index: int) -> Answer:
    """The answer number `index` to a request.

    Raises:
        Invalid: where a schema cannot be satisfied.
    """
    if told.reply is None:
        named = _called(ask, told)
        if named:
            return _calls(ask, named)
    text = told.reply if told.reply is not None else _written(ask, index)
    pieces = tokens.split(text)
    if told.tokens is not None:
        pieces = _exactly(pieces, text, told.tokens)
        text = "".join(pieces)
    sequence = ""
    if ask.stop:
        found = [(at, word) for at, word in ((text.find(word), word) for word in ask.stop) if at >= 0]
        if found:
            at, sequence = min(found)
            pieces = tokens.split(text[:at])
    if ask.limit is not None and len(pieces) > ask.limit:
        return Answer(pieces=pieces[: ask.limit], finish="length", tokens=ask.limit)
    return Answer(pieces=pieces, sequence=sequence, tokens=len(pieces))


def _exactly(pieces: list[str], text: str, wanted: int) -> list[str]:
    """The first `wanted` tokens of the text, or of the text and as much filler as it takes."""
    if len(pieces) >= wanted:
        return pieces[:wanted]
    lines = (wanted - len(pieces)) // tokens.count(_FILLER) + 2
    return tokens.split(text + _FILLER * lines)[:wanted]


def _called(ask: Ask, told: Orders) -> list[str]:
    """The tools to call: those ordered or demanded, else those the last user message names, until a tool has answered."""
    if ask.choice.startswith("="):
        return [ask.choice[1:]]
    at = last_user(ask.turns)
    said = ask.turns[at].text if at >= 0 else ""
    named = [tool.name for tool in ask.tools if re.search(rf"(?<!\w){re.escape(tool.name)}(?!\w)", said)]
    if ask.choice == "required":
        names = list(told.tools or named or [tool.name for tool in ask.tools[:1]])
    elif ask.choice == "none" or any(turn.role == "tool" for turn in ask.turns[at + 1 :]):
        return []
    else:
        names = list(named if told.tools is None else told.tools)
    return names if ask.parallel else names[:1]


def _calls(ask: Ask, names: Sequence[str]) -> Answer:
    """Calls tools with arguments that satisfy their schemas; one that was not offered gets `{}`."""
    known = Known(facts={normal(name): value for name, value in _known(ask).items()})
    offered = {tool.name: tool for tool in ask.tools}
    calls: list[ToolCall] = []
    left = ask.limit
    total = 0
    finish = "tool_calls"
    for name in names:
        if left is not None and left < tokens.PER_TOOL_CALL:
            finish = "length"
            break
        made = instance(offered[name].parameters, known) if name in offered else {}
        pieces = tokens.split(msgspec.json.encode(made).decode())
        if left is not None:
            left -= tokens.PER_TOOL_CALL
            if len(pieces) > left:
                pieces, finish = pieces[:left], "length"
            left -= len(pieces)
        calls.append(ToolCall(name=name, pieces=pieces))
        total += tokens.PER_TOOL_CALL + len(pieces)
        if finish == "length":
            break
    return Answer(calls=calls, finish=finish, tokens=total)


def _known(ask: Ask) -> dict[str, str]:
    """Facts of all messages; the last message's go first."""
    found: dict[str, str] = {}
    for turn in reversed(ask.turns):
        if turn.role != "assistant":
            for name, value in facts(turn.text).items():
                found.setdefault(name, value)
    return found


def _written(ask: Ask, index: int) -> str:
    """The paragraph, or the instance of the schema as JSON text."""
    known = _known(ask)
    text = _paragraph(ask, known, index)
    if ask.schema is None:
        return text
    if not ask.schema:
        return msgspec.json.encode({"answer": text, **known}).decode()
    facts_by_name = {normal(name): value for name, value in known.items()}
    return msgspec.json.encode(instance(ask.schema, Known(facts=facts_by_name, prose=text))).decode()


def _paragraph(ask: Ask, known: Mapping[str, str], index: int) -> str:
    question, context = _question(ask.turns)
    pick = crc32(f"{ask.model}\0{ask.seed}\0{index}\0{question}".encode())
    sentences: list[str] = []
    if known:
        shown = list(known.items())[:5]
        listed = [f"{name.replace('_', ' ')} is {value}" for name, value in shown]
        joined = listed[0] if len(listed) == 1 else f"{', '.join(listed[:-1])} and {listed[-1]}"
        sentences.append(_OPENERS[pick % len(_OPENERS)].format(joined))
        telling = next((name for word in _TELLING for name in known if word in name.lower()), "")
        if telling and len(known) > 1:
            sentences.append(f"The figure to look at first is {telling.replace('_', ' ')} ({known[telling]}).")
    quoted = nearest(question, context)
    if quoted:
        sentences.append(f'The text that fits the question best says: "{quoted}"')
    if not sentences:
        sentences.append(f'You asked: "{_short(question)}"' if question else "The request holds no question.")
    sentences.append(_CLOSERS[(pick >> 8) % len(_CLOSERS)])
    return " ".join(sentences)


def _question(turns: Sequence[Turn]) -> tuple[str, str]:
    """The last user message, or its last paragraph; and all other text but what the model said itself."""
    at = last_user(turns)
    said = _ORDER.sub("", turns[at].text).strip() if at >= 0 else ""
    before, _, last = said.rpartition("\n\n")
    others = [turn.text for number, turn in enumerate(turns) if number != at and turn.role != "assistant"]
    return last.strip(), "\n".join([*others, before])


def _short(text: str) -> str:
    line = " ".join(text[:400].split())
    return line if len(line) <= 120 else f"{line[:119]}…"
