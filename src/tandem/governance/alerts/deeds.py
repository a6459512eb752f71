"""Every deed the audit can hold: how a person is told of it, where it is seen, which command shows more. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from tandem.core.errors import Invalid

UNDELIVERED = "alert.undelivered"
DEFAULT = ("canary.rolled-back", "monitor.alarm", "monitor.retrain", "online.failed", "online.rolled-back", "request.open")
PATTERNS = 32
"""Of one alert."""


@dataclass(frozen=True, slots=True)
class Deed:
    """How one action is told. `{subject}` is what it was done to, `{name}` the same without its noun, `{actor}` who did it."""

    says: str
    page: str
    """Of the console."""
    command: str


DEEDS: dict[str, Deed] = {
    "alert.add": Deed("{actor} set the alert {name}", "/alerts", "tandem alert show {name}"),
    "alert.remove": Deed("{actor} removed the alert {name}", "/alerts", "tandem alert list"),
    "alert.test": Deed("{actor} tried the alert {name}", "/alerts", "tandem alert show {name}"),
    UNDELIVERED: Deed("The alert {name} could not be delivered", "/alerts", "tandem alert show {name}"),
    "alias.promote": Deed("{actor} promoted {subject}", "/assets/{path}", "tandem asset show {subject}"),
    "alias.rollback": Deed("{actor} rolled back to {subject}", "/assets/{path}", "tandem asset show {subject}"),
    "approval.drop": Deed("{actor} dropped the rule for {name}", "/requests", "tandem approval list"),
    "approval.set": Deed("{actor} set the rule for {name}", "/requests", "tandem approval list"),
    "evidence.add": Deed("{actor} added evidence of {subject}", "/assets/{path}", "tandem gate check {subject}"),
    "asset.publish": Deed("{actor} published {subject}", "/assets/{path}", "tandem asset show {subject}"),
    "audit.checkpoint": Deed("The audit was signed up to here", "/audit", "tandem audit list"),
    "audit.export": Deed("{actor} exported the audit", "/audit", "tandem audit list"),
    "budget.credit": Deed("{actor} paid into the budget of {subject}", "/budgets", "tandem budget list"),
    "budget.notice": Deed("The cap of {subject} fills up", "/budgets", "tandem budget list"),
    "budget.drop": Deed("{actor} removed a cap of {subject}", "/budgets", "tandem budget list"),
    "budget.forecast": Deed("What {subject} spends rises as it never did", "/costs", "tandem cost forecast"),
    "budget.set": Deed("{actor} set a cap for {subject}", "/budgets", "tandem budget list"),
    "canary.ended": Deed("The canary of {name} came to its end", "/runs", "tandem endpoint canary show {name}"),
    "canary.rolled-back": Deed("The canary of {name} did harm and lost its share", "/runs", "tandem endpoint canary show {name}"),
    "canary.started": Deed("{actor} began at {name}", "/endpoints", "tandem endpoint canary show {name}"),
    "canary.stopped": Deed("The canary of {name} was stopped", "/runs", "tandem endpoint canary show {name}"),
    "contract.set": Deed("{actor} changed the contract of {subject}", "/assets/{path}", "tandem data show {subject}"),
    "cost.reconcile": Deed("{actor} corrected costs by the bill of {name}", "/costs", "tandem cost history"),
    "cost.reprice": Deed("{actor} priced a past period anew", "/costs", "tandem cost show"),
    "dataset.export": Deed("{actor} took rows of {subject}", "/assets/{path}", "tandem data show {subject}"),
    "endpoint.delete": Deed("{actor} removed the endpoint {name}", "/endpoints", "tandem endpoint list"),
    "endpoint.put": Deed("{actor} set the endpoint {name}", "/endpoints", "tandem endpoint list"),
    "gate.drop": Deed("{actor} dropped the gate of {subject}", "/audit", "tandem gate list"),
    "gate.set": Deed("{actor} set the gate of {subject}", "/audit", "tandem gate list"),
    "home.restore": Deed("The home was restored from a backup", "/audit", "tandem audit list"),
    "index.delete": Deed("{actor} deleted a document of {subject}", "/assets/{path}", "tandem docs list {name}"),
    "key.adopt": Deed("{subject} is the operator's own now", "/keys", "tandem key list"),
    "key.create": Deed("{actor} made {subject}", "/keys", "tandem key list"),
    "key.revoke": Deed("{actor} revoked {subject}", "/keys", "tandem key list"),
    "limit.drop": Deed("{actor} removed a limit of {subject}", "/budgets", "tandem limit list"),
    "limit.set": Deed("{actor} set a limit for {subject}", "/budgets", "tandem limit list"),
    "key.rotate": Deed("{actor} gave {subject} a new token", "/keys", "tandem key list"),
    "machine.lost": Deed("{actor} let go of the machine {name}", "/audit", "tandem doctor"),
    "member.remove": Deed("{actor} took {name} out of a team", "/people", "tandem team list"),
    "member.set": Deed("{actor} gave {name} a role in a team", "/people", "tandem team list"),
    "model.import": Deed("{actor} imported models", "/runs", "tandem run show {name}"),
    "monitor.add": Deed("{actor} made the monitor {name}", "/monitors/{name}", "tandem monitor show {name}"),
    "monitor.alarm": Deed("The monitor {name} raised an alarm", "/monitors/{name}", "tandem monitor show {name}"),
    "monitor.remove": Deed("{actor} removed the monitor {name}", "/monitors", "tandem monitor list"),
    "monitor.retrain": Deed("The monitor {name} began a retraining", "/monitors/{name}", "tandem monitor show {name}"),
    "online.asked": Deed("What {name} has learned waits for a person", "/endpoints/{name}/online", "tandem request list"),
    "online.failed": Deed(
        "The learning of {name} ended by an error", "/endpoints/{name}/online", "tandem endpoint online show {name}"
    ),
    "online.promoted": Deed(
        "What {name} has learned was promoted", "/endpoints/{name}/online", "tandem endpoint online show {name}"
    ),
    "online.rolled-back": Deed(
        "What {name} had learned did harm and was rolled back", "/endpoints/{name}/online", "tandem endpoint online show {name}"
    ),
    "online.started": Deed("{actor} lets {name} learn online", "/endpoints/{name}/online", "tandem endpoint online show {name}"),
    "online.stopped": Deed(
        "{actor} ended the learning of {name}", "/endpoints/{name}/online", "tandem endpoint online show {name}"
    ),
    "online.thrown-away": Deed(
        "What {name} had learned was worse and was thrown away", "/endpoints/{name}/online", "tandem endpoint online show {name}"
    ),
    "person.add": Deed("{actor} made the {subject}", "/people", "tandem person list"),
    "person.invite": Deed("{actor} invited somebody", "/people", "tandem person invited"),
    "person.join": Deed("{name} joined", "/people", "tandem person list"),
    "person.link": Deed("{actor} made a link for a new password of {name}", "/people", "tandem person invited"),
    "person.password": Deed("{actor} set the password of {name}", "/people", "tandem person list"),
    "person.remove": Deed("{actor} removed the {subject}", "/people", "tandem person list"),
    "person.set": Deed("{actor} changed the {subject}", "/people", "tandem person list"),
    "person.vouch": Deed("{actor} vouches for {name} from now on", "/people", "tandem person list"),
    "person.withdraw": Deed("{actor} took an invitation back", "/people", "tandem person invited"),
    "pipeline.start": Deed("{actor} started {subject}", "/assets/{path}", "tandem pipeline show {name}"),
    "price.drop": Deed("{actor} took back a price of {name}", "/costs", "tandem cost price list"),
    "price.import": Deed("{actor} changed prices by a file", "/costs", "tandem cost price list"),
    "price.set": Deed("{actor} set a price of {name}", "/costs", "tandem cost price list"),
    "project.applied": Deed("{actor} ended an apply of the project {name}", "/projects/{name}", "tandem project show {name}"),
    "project.apply": Deed("{actor} began to apply the project {name}", "/projects/{name}", "tandem project show {name}"),
    "provider.delete": Deed("{actor} removed the provider {name}", "/endpoints", "tandem provider list"),
    "provider.put": Deed("{actor} set the provider {name}", "/endpoints", "tandem provider list"),
    "request.approve": Deed("{actor} approved a request", "/requests", "tandem request show {name}"),
    "request.decline": Deed("{actor} declined a request", "/requests", "tandem request show {name}"),
    "request.expire": Deed("A request expired before enough people approved", "/requests", "tandem request show {name}"),
    "request.open": Deed("{actor} asks for a person", "/requests", "tandem request show {name}"),
    "request.stale": Deed("A request is stale: what it was about has changed", "/requests", "tandem request show {name}"),
    "review.add": Deed("{actor} asks for a review", "/reviews/{name}", "tandem review show {name}"),
    "review.decide": Deed("{actor} judged a call", "/reviews/{name}", "tandem review show {name}"),
    "run.cost": Deed("{subject} of {actor} was booked", "/runs", "tandem run show {name}"),
    "run.end": Deed("{actor} ended {subject}", "/budgets", "tandem budget list"),
    "session.end": Deed("{actor} signed {name} out everywhere", "/people", "tandem person list"),
    "session.open": Deed("{name} signed in", "/audit", "tandem audit list"),
    "session.refuse": Deed("A sign-in of {name} was refused", "/audit", "tandem audit list"),
    "session.slow": Deed("Sign-ins of {name} fail again and again", "/audit", "tandem audit list"),
    "subject.erase": Deed("{actor} erased a person", "/audit", "tandem audit list"),
    "target.wake": Deed("{actor} had targets asked again: {name}", "/endpoints", "tandem endpoint resting"),
    "team.create": Deed("{actor} made the {subject}", "/people", "tandem team list"),
    "trigger.add": Deed("{actor} made a trigger of {subject}", "/pipelines/{name}", "tandem pipeline trigger list {name}"),
    "trigger.pause": Deed("A trigger of {subject} rests", "/pipelines/{name}", "tandem pipeline trigger list {name}"),
    "trigger.remove": Deed("{actor} removed a trigger of {subject}", "/pipelines/{name}", "tandem pipeline trigger list {name}"),
    "trigger.resume": Deed("A trigger of {subject} goes on", "/pipelines/{name}", "tandem pipeline trigger list {name}"),
    "usage.export": Deed("{actor} exported who used what", "/audit", "tandem audit list"),
    "vault.rotate": Deed("{actor} replaces the master key", "/audit", "tandem vault show"),
    "vault.settle": Deed("Everything is sealed under the new master key", "/audit", "tandem vault show"),
}
"""Action → how it is told. A test compares it with what the code writes into the audit."""


def actions(patterns: Sequence[str]) -> tuple[str, ...]:
    """The actions that the patterns mean.

    >>> actions(["approval.*"])
    ('approval.drop', 'approval.set')
    """
    return tuple(action for action in DEEDS if any(fnmatchcase(action, pattern) for pattern in patterns))


def check_patterns(patterns: Sequence[str]) -> None:
    """Looks at what an alert shall be told of.

    Raises:
        Invalid: there is no pattern, or one that means no action; the hint lists the actions.
    """
    if not patterns or len(patterns) > PATTERNS:
        raise Invalid(f"An alert is told of 1 to {PATTERNS} patterns, not {len(patterns)}.", hint=_hint(), field="on")
    for place, pattern in enumerate(patterns):
        noun, dot, verb = pattern.partition(".")
        whole = pattern == "*" or (dot and verb == "*" and noun.isalpha()) or pattern in DEEDS
        if not whole or not actions([pattern]):
            raise Invalid(f"'{pattern[:100]}' is no deed that the audit holds.", hint=_hint(), field=f"on[{place}]")


def _hint() -> str:
    return f"Write an action, NOUN.* or *. Actions are {', '.join(sorted(DEEDS))}."
