"""What a decision may do: predict, chat, ask for a person. Everything goes through the door, in the same trace.

It knows no socket: the worker hands it a function that carries one call.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tandem.core.errors import Invalid, TandemError

Carry = Callable[[str, str, Mapping[str, Any], Mapping[str, Any]], Any]
"""(kind, address, body, attributes) → the decoded JSON answer; raises TandemError."""
CarryAll = Callable[[Sequence[tuple[str, str, Mapping[str, Any], Mapping[str, Any]]]], Sequence[Any]]
"""The same of several calls that are made at the same time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicted:
    """What a model says about one row."""

    probability: float
    """Of the positive class, or of more than two classes of the one answered; NaN where the answer is a number."""
    label: str
    """The class answered; empty where the answer is a number."""
    model: str
    """The version that answered, `model/tumor@2`."""
    contributions: Mapping[str, float] = field(default_factory=dict)
    """Per feature, in log-odds; with `base` they sum to the model's margin. Empty unless asked for."""
    base: float | None = None
    prediction: float | None = None
    """The number, of a model that tells numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chatted:
    """What a language model says."""

    text: str
    model: str
    tokens_in: int
    tokens_out: int


class Calls:
    """The calls a decision may make; each is admitted, priced and traced as a child of the decision."""

    def __init__(
        self,
        carry: Carry,
        render: Callable[[str, Mapping[str, Any]], tuple[str, Sequence[Mapping[str, Any]]]],
        carry_all: CarryAll | None = None,
    ) -> None:
        """
        Args:
            carry_all: without it, calls that could be made together are made in turn.
        """
        self._carry, self._render = carry, render
        self._carry_all = carry_all or (lambda calls: [carry(*call) for call in calls])
        self.review: list[str] = []
        """Reasons why a person should look at this decision."""

    def predict(self, model: str, row: Mapping[str, float | str], *, explain: bool = False) -> Predicted:
        """Asks a predict endpoint about one row (feature name → number or text).

        Raises:
            TandemError: as the door refuses or fails.
        """
        return _predicted(self._carry(*_prediction(model, row, explain)), row)

    def predict_together(self, rows: Mapping[str, Mapping[str, float | str]]) -> dict[str, Predicted]:
        """Asks several predict endpoints (endpoint → row) at the same time.

        Raises:
            TandemError: as the door refuses or fails one of them.
        """
        answers = self._carry_all([_prediction(model, row, False) for model, row in rows.items()])
        return {model: _predicted(answer, row) for (model, row), answer in zip(rows.items(), answers, strict=True)}

    def chat(
        self,
        endpoint: str,
        *,
        prompt: str | None = None,
        variables: Mapping[str, Any] | None = None,
        messages: Sequence[Mapping[str, Any]] | None = None,
        max_tokens: int = 512,
    ) -> Chatted:
        """Asks a chat endpoint, with a registered prompt (`prompt/explain@production`) or plain messages.

        Raises:
            Invalid: neither or both of prompt and messages were given, or a variable is wrong.
            TandemError: as the door refuses or fails.
        """
        if (prompt is None) == (messages is None):
            raise Invalid(
                "A chat needs either a prompt or messages.", hint="Pass prompt='prompt/NAME@production' with its variables."
            )
        attributes: dict[str, Any] = {}
        if prompt is not None:
            ref, messages = self._render(prompt, variables or {})
            attributes["prompt"] = ref
        answer = self._carry("chat", endpoint, {"model": endpoint, "messages": messages, "max_tokens": max_tokens}, attributes)
        usage = answer.get("usage") or {}
        return Chatted(
            text=answer["choices"][0]["message"].get("content") or "",
            model=answer.get("model", endpoint),
            tokens_in=usage.get("prompt_tokens", 0),
            tokens_out=usage.get("completion_tokens", 0),
        )

    def ask_a_person(self, reason: str) -> None:
        """Marks this decision for review; the answer goes out all the same."""
        self.review.append(reason)


def _prediction(
    model: str, row: Mapping[str, float | str], explain: bool
) -> tuple[str, str, Mapping[str, Any], Mapping[str, Any]]:
    """The call that asks a model about a row."""
    numbers = {name: float(value) if isinstance(value, bool) else value for name, value in row.items()}
    inputs = [
        {"name": name, "shape": [1], "datatype": "BYTES" if isinstance(value, str) else "FP64", "data": [value]}
        for name, value in numbers.items()
    ]
    return "predict", model, {"inputs": inputs, "parameters": {"explain": explain}}, {}


def _predicted(answer: Any, row: Mapping[str, float | str]) -> Predicted:
    outputs = {output["name"]: output["data"] for output in answer["outputs"]}
    contributions = outputs.get("contributions")
    named = [output["parameters"]["columns"] for output in answer["outputs"] if "columns" in output.get("parameters", {})]
    names = json.loads(named[0]) if named else list(row)
    return Predicted(
        probability=max(outputs.get("probability", [math.nan])),
        label=str(outputs.get("label", [""])[0]),
        prediction=outputs.get("prediction", [None])[0],
        model=f"model/{answer['model_name']}@{answer['model_version']}",
        contributions=dict(zip(names, contributions, strict=True)) if contributions else {},
        base=outputs["base"][0] if outputs.get("base") else None,
    )


__all__ = ["Calls", "Chatted", "Predicted", "TandemError"]
