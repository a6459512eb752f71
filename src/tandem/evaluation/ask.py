"""Asks the questions of a suite and grades what comes back. It keeps nothing and knows no Run."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec

from tandem.core.errors import Broken, Invalid, TandemError, Unreachable
from tandem.core.principal import Principal
from tandem.evaluation.repo import Answer, Answered
from tandem.evaluation.rows import Question
from tandem.gateway.inside import Calls, Said
from tandem.registry.kinds.prompt import Message, render
from tandem.registry.kinds.suite import Suite
from tandem.scorers.text.base import JUDGE, Case, Grade, TextScorer, load
from tandem.scorers.text.judge import Judge, compared, judge

CHAT = "/v1/chat/completions"
TRIES = 5
"""How often a question is asked while the door says that it cannot answer now."""
WAITS = (429, 503)
"""Statuses that say nothing about the prompt: the question is asked again, and graded never."""
STOPS = frozenset(
    {"over_budget", "unauthenticated", "forbidden", "not_found", "model_not_found", "provider_auth", "unpriced_under_cap"}
)
"""Codes that every further question would get as well: they end the Run."""
LONGEST_WAIT = 10.0

Opponent = Callable[[int], Sequence[str | None]]
"""Place of a row → the champion's answers to it, one for each repeat; None stands for an error."""


class Kept(msgspec.Struct, frozen=True):
    """The content of an answered row, as it is sealed."""

    texts: tuple[str | None, ...]
    """One for each repeat; None for an error."""
    details: tuple[dict[str, object], ...]
    """Metric → why it was graded so, one for each repeat."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """All that one evaluation's questions have in common."""

    suite: Suite
    template: Mapping[str, object]
    """The meta of the prompt version."""
    repeats: int
    by: Principal
    calls: Calls
    opponent: Opponent | None
    """The champion's answers, where a judge compares."""
    wait: Callable[[float], None]
    """Waits so many seconds, or raises when the Run is to end."""

    def scorers(self) -> tuple[tuple[str, TextScorer], ...]:
        """Metric and scorer, all but the judge."""
        return tuple(
            (scoring.metric, load(scoring.scorer, scoring.options)) for scoring in self.suite.scorers if scoring.scorer != JUDGE
        )


def columns(suite: Suite, template: Mapping[str, object]) -> tuple[str, ...]:
    """The dataset's columns that a suite needs for a prompt."""
    named = [suite.variables.get(variable, variable) for variable in _variables(template)]
    wanted = [*named, *suite.sources, *([suite.expected] if suite.expected else [])]
    return tuple(dict.fromkeys(wanted))


def ask(asking: Asking, place: int, question: Question) -> Answered:
    """Asks one question, once for each repeat, one after the other, and grades the answers.

    Raises:
        Invalid: the row does not fit the prompt's variables.
        TandemError: the door refused in a way that every question would meet, or could not answer for too long.
    """
    messages = render(asking.template, _values(asking, question))
    scorers = asking.scorers()
    rivals = None if asking.opponent is None else asking.opponent(place)
    answers, texts, details = [], list[str | None](), []
    for repeat in range(asking.repeats):
        said = _said(asking, asking.suite.endpoint, messages, asking.suite.max_tokens, asking.suite.seed + repeat)
        rival = None if rivals is None else (rivals[min(repeat, len(rivals) - 1)],)
        answer, text, why = _graded(asking, said, messages, question, scorers, rival)
        answers.append(answer)
        texts.append(text)
        details.append(why)
    sealed = msgspec.json.encode(Kept(tuple(texts), tuple(details)))
    return Answered(place=place, row=question.id, answers=tuple(answers), distinct=len(set(texts)), sealed=sealed)


def regrade(suite: Suite, row: Answered, costs: Mapping[str, int | None]) -> Answered:
    """The row with the costs that the books know now, and the grades that depend on them."""
    priced = [scoring for scoring in suite.scorers if scoring.scorer == "cost"]
    answers = []
    for answer in row.answers:
        grades, labels, cost = dict(answer.grades), dict(answer.labels), costs.get(answer.trace)
        case = Case(seconds=answer.seconds, cost=cost)
        for scoring in priced if not answer.error else ():
            grade = load(scoring.scorer, scoring.options).grade(case, "")
            grades[scoring.metric] = grade.value
            labels[scoring.metric] = grade.label
        answers.append(replace(answer, cost=cost, grades=grades, labels={name: word for name, word in labels.items() if word}))
    return replace(row, answers=tuple(answers))


def _graded(
    asking: Asking,
    said: Said,
    messages: Sequence[Message],
    question: Question,
    scorers: Sequence[tuple[str, TextScorer]],
    rival: tuple[str | None] | None,
) -> tuple[Answer, str | None, dict[str, object]]:
    """One answer with its grades, its text, and why it was graded so."""
    values = question.values
    grades: dict[str, Grade] = {}
    text = None if said.status >= 400 else _text(said)
    if text is None:
        code = _code(said) if said.status >= 400 else "no_text"
        answer = Answer(trace=said.trace, error=code, seconds=said.seconds)
    else:
        expected = None if asking.suite.expected is None else str(values[asking.suite.expected] or "")
        sources = [str(values[column]) for column in asking.suite.sources if values[column] is not None]
        case = Case(expected=expected, sources=sources, seconds=said.seconds)
        grades = {metric: scorer.grade(case, text) for metric, scorer in scorers}
        answer = Answer(
            trace=said.trace,
            seconds=said.seconds,
            model=str(said.body.get("model", "")),
            grades={metric: grade.value for metric, grade in grades.items()},
            labels={metric: grade.label for metric, grade in grades.items() if grade.label},
        )
    details: dict[str, object] = {metric: dict(grade.detail) for metric, grade in grades.items() if grade.detail}
    if rival is not None:
        answer = _judged(asking, answer, messages, text, rival[0])
    return answer, text, details


def _judged(asking: Asking, answer: Answer, messages: Sequence[Message], text: str | None, rival: str | None) -> Answer:
    """The answer with the judge's grade against the champion's; who gave none has lost to who did."""
    scoring = asking.suite.judging
    assert scoring is not None
    if text is None or rival is None:
        value = 0.5 if text is None and rival is None else float(rival is None)
        return replace(answer, grades={**answer.grades, scoring.metric: value})
    wanted = judge(scoring.options)
    asked = json.dumps([dict(message) for message in messages], ensure_ascii=False)
    found = compared(wanted, asked, text, rival, lambda turns: _verdict(asking, wanted, turns))
    return replace(answer, grades={**answer.grades, scoring.metric: found.value}, orders=tuple(found.orders), longer=found.longer)


def _verdict(asking: Asking, wanted: Judge, turns: list[dict[str, str]]) -> str:
    messages = [Message(role=turn["role"], content=turn["content"]) for turn in turns]
    said = _said(asking, wanted.endpoint, messages, wanted.max_tokens, asking.suite.seed)
    return "" if said.status >= 400 else _text(said) or ""


def _said(asking: Asking, endpoint: str, messages: Sequence[Message], limit: int, seed: int) -> Said:
    """What the door says at last.

    Raises:
        TandemError: every other question would meet the same, or it cannot answer for too long.
    """
    body = {
        "model": endpoint,
        "messages": [*messages],
        "max_tokens": limit,
        "temperature": asking.suite.temperature,
        "seed": seed,
    }
    for tried in range(TRIES):
        try:
            said = asking.calls.post(CHAT, body, asking.by)
        except Unreachable:
            if tried == TRIES - 1:
                raise
            asking.wait(min(LONGEST_WAIT, 0.5 * 2**tried))
            continue
        if said.status >= 400 and (_code(said) in STOPS or (said.status in WAITS and tried == TRIES - 1)):
            said.raise_for_status()
        if said.status not in WAITS:
            return said
        asking.wait(min(LONGEST_WAIT, 0.5 * 2**tried))
    raise Broken("A question was asked and never answered.")  # the last try returns or raises


def _code(said: Said) -> str:
    error = said.body.get("error") if isinstance(said.body, dict) else None
    return str(error.get("code") or said.status) if isinstance(error, dict) else str(said.status)


def _text(said: Said) -> str | None:
    """The answer's text; None where it has none, as one that calls a tool."""
    try:
        text = said.body["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError):
        return None
    return text if isinstance(text, str) else None


def _variables(template: Mapping[str, object]) -> Mapping[str, str]:
    found = template.get("variables", {})
    return found if isinstance(found, Mapping) else {}


def _values(asking: Asking, question: Question) -> dict[str, object]:
    """The prompt's variables for a row, each of its type."""
    return {
        name: _typed(question.values[asking.suite.variables.get(name, name)], kind, name, question.id)
        for name, kind in _variables(asking.template).items()
    }


def _typed(value: object, kind: str, name: str, row: str) -> object:
    if kind == "string":
        return "" if value is None else value if isinstance(value, str) else json.dumps(value)
    try:
        if kind == "json" and isinstance(value, str):
            return json.loads(value)
        if kind in ("number", "integer") and isinstance(value, str):
            return int(value) if kind == "integer" else float(value)
    except ValueError:
        what = f"Row {row} has no {kind} for the variable '{name}'."
        raise Invalid(what, hint="Name another column with --var.", field=name) from None
    if kind == "integer" and isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def wait_unless(halted: Callable[[], bool], error: TandemError) -> Callable[[float], None]:
    """A wait that ends at once, with the error, when the Run is to end."""

    def wait(seconds: float) -> None:
        pause = threading.Event()
        for _ in range(max(1, round(seconds / 0.1))):
            if halted():
                raise error
            pause.wait(0.1)

    return wait


__all__ = ["CHAT", "Asking", "Kept", "Opponent", "ask", "columns", "regrade", "wait_unless"]
