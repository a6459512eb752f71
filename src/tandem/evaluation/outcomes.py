"""Recorded outcomes: how several models answered the same questions, and at what cost. Imports no numpy, knows no router.

A line of JSON per question, in one of two forms:

    {"question": …, "models": {"NAME": {"score": 0.8, "cost": 1200}, …}, "group": …}                        ours
    {"question": …, "models": {"NAME": {"score": 0.8, "input_tokens": 310, "output_tokens": 42}, …}}        ours, with prices
    {"question": …, "scores": {"NAME": 0.8, …}, "task": …, "cluster_id": …, "leaked_from_train": 0}         of LLMRouter

Scores are between 0 and 1, `cost` is whole nano-dollars. Of a `group` (a document, a conversation) rows are not independent.
Only the question is ever shown to a router: `task` and `cluster_id` are not read, for nobody knows them of a live prompt.
A row with `leaked_from_train` was seen in training and is left out.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import msgspec

from tandem.core.errors import Invalid
from tandem.store.canonical import canonical

BYTES_A_TOKEN = 4
GUESSED_OUTPUT = 256
"""Tokens of a question by its bytes, and of an answer, where nothing was counted: as the door guesses."""
NANO_PER_MILLION = 1_000
"""Nano-dollars that a token costs at one dollar per million tokens."""
MOST_BYTES = 512 << 20
MOST_LINE = 4 << 20
MOST_MODELS = 64
FINGERPRINT, MOST_FINGERPRINTS = 4, 100_000
Costing = Literal["recorded", "priced", "guessed"]
"""Costs stand in the rows; are counted tokens times prices; or guessed tokens times prices."""


class _Answered(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    score: float
    cost: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None


class _Line(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    question: str
    models: dict[str, _Answered] | None = None
    scores: dict[str, float] | None = None
    group: str | None = None
    task: str | None = None
    cluster_id: int | str | None = None
    leaked_from_train: bool | int = 0


class _Priced(msgspec.Struct, frozen=True, kw_only=True):
    """One row of a file of prices; other fields describe the model to people."""

    input_price: float
    output_price: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Dollars per million tokens."""

    input: float
    output: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One question and what became of it, model by model in the order of `Outcomes.models`."""

    question: str
    scores: tuple[float, ...]
    """Between 0 and 1."""
    costs: tuple[int, ...]
    """Nano-dollars; empty where none are known."""
    group: str
    """Rows of one group are drawn together; a question that is asked twice is a group."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """Questions that all the models were asked."""

    models: tuple[str, ...]
    """In the order of the alphabet."""
    rows: tuple[Asked, ...]
    leaked: int
    """Rows that were left out because the file, or the training outcomes, say that a router may have seen them."""
    costing: Costing | None
    """Where the costs are from; None: there are none."""

    @property
    def digest(self) -> str:
        """`sha256:` over models, questions and scores, whatever the order of the rows; costs are not part of it."""
        lines = sorted(canonical([row.question, list(row.scores)]) for row in self.rows)
        state = hashlib.sha256(f"tandem-outcomes-1\n{canonical(list(self.models))}\n".encode())
        for line in lines:
            state.update(f"{line}\n".encode())
        return f"sha256:{state.hexdigest()}"

    def means(self) -> dict[str, float]:
        """Model → its mean score."""
        return {
            model: math.fsum(row.scores[place] for row in self.rows) / len(self.rows) for place, model in enumerate(self.models)
        }

    def fingerprints(self) -> frozenset[bytes]:
        """Four bytes for each question: enough to know again all but one in a million of those that were not seen."""
        return frozenset(fingerprint(row.question) for row in self.rows)

    def unseen(self, seen: Set[bytes]) -> Outcomes:
        """Without the rows whose question has one of these fingerprints.

        Raises:
            Invalid: none are left.
        """
        kept = tuple(row for row in self.rows if fingerprint(row.question) not in seen)
        if not kept:
            raise Invalid("Every question of these outcomes is also in the training's.", field="outcomes", hint=_OTHERS)
        return replace(self, rows=kept, leaked=self.leaked + len(self.rows) - len(kept))


_OTHERS = "Score a router on questions that it has not seen."


def alike(question: str) -> str:
    """A question with case and blanks made alike, by which a repeated one is known."""
    return " ".join(question.casefold().split())


def fingerprint(question: str) -> bytes:
    """The first four bytes of the SHA-256 of a question, case and blanks made alike."""
    return hashlib.sha256(alike(question).encode("utf-8", "replace")).digest()[:FINGERPRINT]


def packed(fingerprints: Set[bytes]) -> str:
    """Fingerprints as a router's file holds them; none when there are too many for it."""
    return base64.b64encode(b"".join(sorted(fingerprints))).decode() if len(fingerprints) <= MOST_FINGERPRINTS else ""


def unpacked(text: str) -> frozenset[bytes]:
    """The fingerprints of `packed`.

    Raises:
        Invalid: they are damaged.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Invalid(f"The fingerprints of the questions are damaged: {error}.", field="seen") from None
    if len(data) % FINGERPRINT:
        raise Invalid("The fingerprints of the questions are cut off.", field="seen")
    return frozenset(data[start : start + FINGERPRINT] for start in range(0, len(data), FINGERPRINT))


def read(path: Path, prices: Mapping[str, Rates] | None = None) -> Outcomes:
    """The outcomes of a file.

    Args:
        prices: by model, where the rows have no costs of their own.

    Raises:
        Invalid: a line cannot be read, with its number; models differ between lines; a model has no price; no rows are left.
    """
    models: tuple[str, ...] = ()
    rows: list[Asked] = []
    leaked = 0
    ways: set[Costing | None] = set()
    for number, data in _lines(path):
        line = _decoded(data, number)
        answers = _answers(line, number)
        names = tuple(sorted(answers))
        if models and names != models:
            odd = ", ".join(sorted(set(names) ^ set(models)))
            raise _wrong(number, f"not every row has the same models; they differ in {odd}")
        models = names
        if line.leaked_from_train:
            leaked += 1
            continue
        way, costs = _costs(line.question, answers, prices, number)
        ways.add(way)
        scores = tuple(answers[model].score for model in models)
        rows.append(Asked(question=line.question, scores=scores, costs=costs, group=line.group or alike(line.question)))
    if not rows:
        what = f"All {leaked} rows of '{path.name}' are marked as leaked." if leaked else f"'{path.name}' has no rows."
        raise Invalid(what, field="outcomes", hint=_OTHERS)
    if len(ways) > 1:
        told = ", ".join(sorted(way or "no cost" for way in ways))
        raise Invalid(f"Costs in '{path.name}' have several sources: {told}.", field="outcomes", hint="Give all rows the same.")
    return Outcomes(models=models, rows=tuple(rows), leaked=leaked, costing=ways.pop())


def read_prices(path: Path) -> dict[str, Rates]:
    """Model → rates, of a JSON file `{"MODEL": {"input_price": 0.2, "output_price": 0.2}}` in dollars per million tokens.

    Raises:
        Invalid: it cannot be read, or a price is below zero.
    """
    try:
        told = msgspec.json.decode(_bytes(path), type=dict[str, _Priced])
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise Invalid(f"The prices in '{path.name}' cannot be read: {error}.", field="prices", hint=_PRICES) from None
    for model, row in told.items():
        if not (0 <= row.input_price < 1e6 and 0 <= row.output_price < 1e6):
            raise Invalid(f"The price of {model} is not between 0 and a million dollars.", field=f"prices.{model}", hint=_PRICES)
    return {model: Rates(input=row.input_price, output=row.output_price) for model, row in told.items()}


_PRICES = 'Write {"MODEL": {"input_price": 0.2, "output_price": 0.6}}: dollars per million tokens.'


def _bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise Invalid(f"'{path.name}' is larger than {MOST_BYTES >> 20} MiB.", field=path.name, hint="Draw a sample of it.")
        return path.read_bytes()
    except OSError as error:
        raise Invalid(f"'{path}' cannot be read: {error.strerror}.", field=path.name) from None


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Numbered lines, from 1; blank ones are passed over."""
    for number, line in enumerate(_bytes(path).splitlines(), 1):
        if len(line) > MOST_LINE:
            raise _wrong(number, f"it is longer than {MOST_LINE >> 20} MiB")
        if line.strip():
            yield number, line


def _decoded(data: bytes, number: int) -> _Line:
    try:
        line = msgspec.json.decode(data, type=_Line)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise _wrong(number, str(error)) from None
    if not line.question.strip():
        raise _wrong(number, "the question is empty")
    return line


def _answers(line: _Line, number: int) -> Mapping[str, _Answered]:
    """What each model did, of either form."""
    if (line.models is None) == (line.scores is None):
        raise _wrong(number, "it needs either `models` or `scores`")
    answers = line.models or {model: _Answered(score=score) for model, score in (line.scores or {}).items()}
    if not 2 <= len(answers) <= MOST_MODELS:
        raise _wrong(number, f"it has {len(answers)} models; a choice is among 2 to {MOST_MODELS}")
    for model, answer in answers.items():
        if not model:
            raise _wrong(number, "a model has no name")
        if not 0 <= answer.score <= 1:
            raise _wrong(number, f"the score of {model} is {answer.score}, which is not between 0 and 1")
        if any(
            count is not None and not 0 <= count < 1 << 50 for count in (answer.cost, answer.input_tokens, answer.output_tokens)
        ):
            raise _wrong(number, f"a cost or a count of {model} is below zero or beyond all bounds")
        if (answer.input_tokens is None) != (answer.output_tokens is None):
            raise _wrong(number, f"of {model} only one of `input_tokens` and `output_tokens` is known")
    return answers


def _costs(
    question: str, answers: Mapping[str, _Answered], prices: Mapping[str, Rates] | None, number: int
) -> tuple[Costing | None, tuple[int, ...]]:
    """Where the costs of a row are from, and the costs in the order of the models."""
    told = [answers[model] for model in sorted(answers)]
    recorded = [each.cost for each in told if each.cost is not None]
    if len(recorded) == len(told):
        return "recorded", tuple(recorded)
    if recorded:
        raise _wrong(number, "only some of its models have a `cost`")
    if prices is None:
        return None, ()
    lacking = [model for model in sorted(answers) if model not in prices]
    if lacking:
        raise _wrong(number, f"there is no price of {', '.join(lacking)}")
    counted = [each.input_tokens is not None for each in told]
    if any(counted) and not all(counted):
        raise _wrong(number, "only some of its models have counted tokens")
    asked = -(-len(question.encode("utf-8", "replace")) // BYTES_A_TOKEN)
    costs = []
    for model, each in zip(sorted(answers), told, strict=True):
        tokens = (each.input_tokens or 0, each.output_tokens or 0) if all(counted) else (asked, GUESSED_OUTPUT)
        rates = prices[model]
        costs.append(math.ceil(round((tokens[0] * rates.input + tokens[1] * rates.output) * NANO_PER_MILLION, 3)))
    return "priced" if all(counted) else "guessed", tuple(costs)


def _wrong(number: int, what: str) -> Invalid:
    hint = 'A line is {"question": …, "models": {"NAME": {"score": 0.8, "cost": 1200}}}; docs/learned.md has the forms.'
    return Invalid(f"Line {number} of the outcomes cannot be used: {what}.", field=f"line {number}", hint=hint)


def best_of(means: Mapping[str, float], models: Sequence[str]) -> str:
    """The model with the highest mean; of equals the first in the alphabet.

    >>> best_of({"b": 0.5, "a": 0.5, "c": 0.4}, ("a", "b", "c"))
    'a'
    """
    return min(models, key=lambda model: (-means[model], model))
