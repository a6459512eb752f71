"""Learning online in memory: the learner and the decisions as a step has them, without a platform."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from sklearn.linear_model import LogisticRegression

from tandem.mock.world import Applicant
from tandem.monitoring.online.learn import learned
from tandem.monitoring.online.step import Outcome, Rule, Standing, decide, discarded, promoted
from tandem.scorers.sample import Floats
from tandem.serving.linear import Linear
from tandem.training.algorithms.linear import standardised


def table(rows: Sequence[Applicant]) -> tuple[Floats, Floats]:
    return np.array([list(row.asked.values()) for row in rows], dtype=np.float64), np.array([float(row.late) for row in rows])


def trained(rows: Sequence[Applicant]) -> Linear:
    features, truths = table(rows)
    means, scales, scaled = standardised(features)
    model = LogisticRegression().fit(scaled, truths)
    return Linear.of(means=means, scales=scales, coefficients=model.coef_[0], intercepts=model.intercept_)


@dataclass
class Stream:
    """One endpoint."""

    champion: Linear
    rule: Rule = field(default_factory=lambda: Rule(confirm=200))
    outcomes: list[Outcome] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.first = self.learner = self.champion
        self.candidate = self.former = self.champion
        self.standing = Standing()

    def step(self, rows: Sequence[Applicant]) -> Outcome:
        features, truths = table(rows)
        models = {"champion": self.champion, "candidate": self.candidate, "former": self.former}
        losses = {name: self.losses(model, rows) for name, model in models.items()}
        _, self.learner = learned(self.learner, features, truths, 0.3)
        outcome, self.standing = decide(self.rule, self.standing, losses)
        if outcome in ("started", "renewed"):
            self.candidate = self.learner
        elif outcome == "promote":
            self.former, self.champion, self.standing = self.champion, self.candidate, promoted()
        elif outcome == "roll-back":
            self.champion, self.standing = self.former, discarded(self.standing)
        if outcome in ("roll-back", "thrown-away"):
            self.learner = self.champion
        self.outcomes.append(outcome)
        return outcome

    def losses(self, model: Linear, rows: Sequence[Applicant]) -> list[float]:
        features, truths = table(rows)
        return [float(wrong) for wrong in (model.predict(features)[:, 0] >= 0.5) != truths]
