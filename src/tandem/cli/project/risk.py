"""What low, medium and high change, in one place. docs/init.md tells the same with the reasons; a test keeps both equal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Level = Literal["low", "medium", "high"]
Audience = Literal["colleagues", "customers"]
LEVELS: tuple[Level, ...] = get_args(Level)
AUDIENCES: tuple[Audience, ...] = get_args(Audience)

ENOUGH = 30
"""Rows below which no gate of a prompt gives a verdict (`evaluation.compare.MINIMUM_ROWS`, whose import would cost a second)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Risk:
    """Every number that follows from one answer."""

    guards: tuple[str, ...]
    """What happens to what detectors find, as `tandem policy add --guard` takes it; without injections."""
    injection: str
    """What happens to injections that colleagues send; those of customers are blocked at every risk."""
    model_margin: float
    """The loss of `roc_auc` against the champion that a model's gate tolerates."""
    model_minimum: float | None
    """What the worse bound of `roc_auc` must reach."""
    prompt_margin: float
    """The same for the share of questions that are answered with the wanted words."""
    prompt_minimum: float | None
    first_waits: bool
    """Whether the first version, too, waits for enough questions."""
    every: str
    """How often the monitor looks."""
    on_drift: str
    """What an alarm of a model's monitor does."""
    review: int
    """Calls of each window, drawn at random, that the monitor puts before a person."""
    threshold: float
    """The change of a rate of a chat endpoint that matters."""
    retention_days: int
    max_output_tokens: int
    cap: str
    """Dollars a day, of the application's key and again of the project's own."""
    expires: str
    """When the application's key ends."""


RISKS: dict[Level, Risk] = {
    "low": Risk(
        guards=(
            "card=mask", "iban=observe", "email=observe", "national-id=observe", "credential=mask", "private-key=mask",
        ),
        injection="observe:in",
        model_margin=0.05, model_minimum=None,
        prompt_margin=0.1, prompt_minimum=None, first_waits=False,
        every="1d", on_drift="alarm", review=0, threshold=0.1,
        retention_days=30, max_output_tokens=2048, cap="5", expires="365d",
    ),
    "medium": Risk(
        guards=("card=mask", "iban=mask", "email=mask", "national-id=mask", "credential=block", "private-key=block"),
        injection="observe:in",
        model_margin=0.02, model_minimum=0.6,
        prompt_margin=0.05, prompt_minimum=0.6, first_waits=False,
        every="6h", on_drift="retrain", review=5, threshold=0.05,
        retention_days=90, max_output_tokens=1024, cap="20", expires="180d",
    ),
    "high": Risk(
        guards=("card=block", "iban=mask", "email=mask", "national-id=block", "credential=block", "private-key=block"),
        injection="block:in",
        model_margin=0.01, model_minimum=0.7,
        prompt_margin=0.05, prompt_minimum=0.8, first_waits=True,
        every="1h", on_drift="retrain", review=20, threshold=0.03,
        retention_days=365, max_output_tokens=512, cap="50", expires="90d",
    ),
}  # fmt: skip
"""Risk → its row."""


def guards_of(risk: Risk, audience: Audience) -> tuple[str, ...]:
    """The guards of a project: those of its risk, and what happens to injections from its callers.

    >>> guards_of(RISKS["low"], "customers")[-1]
    'injection=block:in'
    """
    return (*risk.guards, f"injection={'block:in' if audience == 'customers' else risk.injection}")
