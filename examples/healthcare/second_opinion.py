"""A second opinion on a biopsy: the model scores, a language model explains the uncertain ones, a person sees those.

Not medical advice: an example on the public Wisconsin diagnostic breast cancer data.
"""

from __future__ import annotations

from dataclasses import dataclass

from tandem.decisions import Calls

CERTAIN_BENIGN = 0.10
CERTAIN_MALIGNANT = 0.90


@dataclass(frozen=True, kw_only=True)
class Case:
    """One biopsy: the measurements by name."""

    record: str
    measurements: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Opinion:
    """What is said about it."""

    record: str
    probability: float
    """Of malignancy."""
    finding: str
    """`benign`, `malignant`, or `uncertain`."""
    explanation: str
    for_a_person: bool


def second_opinion(case: Case, calls: Calls) -> Opinion:
    """Answers alone where the model is sure; elsewhere explains, and asks a person to look."""
    scored = calls.predict("tumor", case.measurements, explain=True)
    if scored.probability <= CERTAIN_BENIGN or scored.probability >= CERTAIN_MALIGNANT:
        finding = "benign" if scored.probability <= CERTAIN_BENIGN else "malignant"
        sure = f"The model ({scored.model}) is sure: {scored.probability:.3f}."
        return Opinion(record=case.record, probability=scored.probability, finding=finding, explanation=sure, for_a_person=False)
    strongest = sorted(scored.contributions.items(), key=lambda item: abs(item[1]), reverse=True)[:5]
    evidence = "\n".join(f"{name}: {case.measurements[name]:g} (pushes by {weight:+.2f})" for name, weight in strongest)
    told = calls.chat(
        "assistant",
        prompt="prompt/explain@production",
        variables={"probability": round(scored.probability, 3), "evidence": evidence},
        max_tokens=160,
    )
    calls.ask_a_person(f"The model is uncertain ({scored.probability:.3f}).")
    return Opinion(
        record=case.record, probability=scored.probability, finding="uncertain", explanation=told.text, for_a_person=True
    )
