"""Looks at a rule before it is set. Pure, because settings are read by doors too."""

from __future__ import annotations

from tandem.core.approval import ACTIONS, Approval
from tandem.core.asset import check_name
from tandem.core.errors import Invalid

PEOPLE = 10
"""More than this nobody would find."""
HOURS = 24 * 90
RANK = {"approver": 0, "admin": 1}


def check_approval(rule: Approval) -> None:
    """Looks at a rule.

    Raises:
        Invalid: its deed, team, people, role or hours make no sense.
    """
    if rule.action not in ACTIONS:
        raise Invalid(f"'{rule.action}' is no deed that people approve.", hint=f"Use {', '.join(ACTIONS)}.", field="action")
    if rule.team is not None:
        check_name(rule.team)
    if not 1 <= rule.people <= PEOPLE:
        raise Invalid(f"{rule.people} people cannot be asked.", hint=f"Use 1 to {PEOPLE}.", field="people")
    if rule.role not in RANK:
        raise Invalid(f"'{rule.role}' approves nothing.", hint="Use approver or admin.", field="role")
    if not 1 <= rule.hours <= HOURS:
        raise Invalid(f"A request cannot wait {rule.hours} hours.", hint=f"Use 1 to {HOURS}.", field="hours")
