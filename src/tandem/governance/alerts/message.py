"""A row of the audit as a message: what happened to what, what is known, where to look. It takes no detail as a whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tandem.core.money import dollars
from tandem.governance.alerts.base import Message
from tandem.governance.alerts.deeds import DEEDS
from tandem.governance.repo import Entry

Tell = Callable[[Entry], Sequence[str]]
"""What else is known of a row: lines, or none."""
LINES = 12
WIDTH = 300
"""Characters of a line."""


def compose(entry: Entry, alert: str, address: str, tell: Tell) -> Message:
    """The message of one row for one alert.

    Args:
        address: of the console, without a slash at its end.
        tell: knows more of some rows, such as what a monitor's report found.
    """
    deed = DEEDS[entry.action]
    name = entry.subject.partition("/")[2] or entry.subject
    words = {
        "subject": entry.subject,
        "name": name,
        "actor": entry.actor,
        "path": entry.subject.replace("@", "/"),
    }
    facts = [line(fact) for fact in (*known(entry), *tell(entry))]
    if len(facts) > LINES:
        facts = [*facts[: LINES - 1], f"… and {len(facts) - LINES + 1} more"]
    return Message(
        id=f"dlv_{hashlib.sha256(f'{entry.mac}/{alert}'.encode()).hexdigest()[:26]}",
        at=entry.at,
        action=entry.action,
        subject=entry.subject,
        actor=entry.actor,
        team=entry.team,
        title=line(deed.says.format_map(words)),
        facts=tuple(facts),
        link=address + deed.page.format_map(words),
        command=deed.command.format_map(words),
    )


def line(text: str) -> str:
    """One line of bounded length, without what could steer a terminal or a header."""
    plain = "".join(letter if letter.isprintable() else " " for letter in text)
    return plain if len(plain) <= WIDTH else f"{plain[: WIDTH - 1]}…"


def estimate(found: Mapping[str, Any]) -> str:
    """A number with its interval and n.

    >>> estimate({"value": 0.31, "low": 0.18, "high": 0.44, "n": 240})
    '0.31 [0.18, 0.44], n 240'
    """
    return f"{found['value']:.4g} [{found['low']:.4g}, {found['high']:.4g}], n {found['n']}"


def known(entry: Entry) -> Sequence[str]:
    """What the row itself says, of those actions whose detail is fit to be told."""
    try:
        return _known(entry.action, json.loads(entry.detail))
    except (AttributeError, KeyError, TypeError, ValueError):  # another version wrote it otherwise: the title is enough
        return ()


def _known(action: str, detail: Mapping[str, Any]) -> Sequence[str]:
    match action:
        case "alias.promote" | "alias.rollback":
            return (f"Alias {detail['alias']}, before: {_version(detail.get('from'))}", *_verdict(detail))
        case "budget.set":
            return (f"{dollars(detail['cap_nano_usd'])} USD, window {detail['window']}",)
        case "request.open":
            gate = "its gate passes" if detail["passed"] else "its gate does not pass"
            return (f"{detail['subject']} to {detail['alias']}, {gate}",)
        case "request.approve" | "request.decline":
            return (f"{detail['subject']} to {detail['alias']}",)
        case "monitor.retrain":
            return (f"Run {detail['run']}",)
        case "alert.undelivered":
            return (
                f"{detail['count']} messages were given up: {', '.join(detail['actions'])}",
                f"The last error: {detail['error']}",
            )
        case _:
            return ()


def _version(number: object) -> str:
    return "nothing" if number is None else f"version {number}"


def _verdict(detail: Mapping[str, Any]) -> Sequence[str]:
    report = detail.get("report") or {}
    verdict = report.get("verdict")
    if not verdict:
        return ("Without a gate",) if detail.get("ungated") else ()
    said = [f"Verdict {verdict['outcome']} in {verdict['metric']}"]
    if verdict.get("difference"):
        said.append(f"Difference {estimate(verdict['difference'])}; a loss of {verdict['margin']:g} is tolerated")
    elif report.get("candidate"):
        said.append(f"Candidate {estimate(report['candidate'])}")
    return said
