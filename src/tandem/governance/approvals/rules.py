"""Changes of the rules themselves: what weakens a rule needs the people that it names."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from sqlalchemy import Connection

from tandem.core.approval import Action, Approval, Request
from tandem.core.errors import TandemError
from tandem.core.principal import Principal
from tandem.governance.approvals.act import Here, told
from tandem.governance.approvals.approvals import Approvals
from tandem.governance.approvals.requests import Requests, Wish
from tandem.store.sql import Sql

SET, DROP = "approval.set", "approval.drop"


class Changes(Here):
    """The deeds `approval.set` and `approval.drop` of those that weaken a rule."""

    def __init__(self, approvals: Approvals) -> None:
        self._approvals = approvals

    def stale(self, conn: Connection, request: Request) -> str | None:
        action, team, after = _told(request)
        if after is None:
            try:
                self._approvals.must(conn, action, team)
            except TandemError as error:
                return error.message
        return None  # that the rule is as it was, is asked of every request

    def perform(self, conn: Connection, request: Request, prepared: object, by: Principal) -> Mapping[str, object]:
        action, team, after = _told(request)
        if after is None:
            self._approvals.drop_in(conn, action, team, by=by, detail=told(request))
        else:
            self._approvals.put_in(conn, after, by=by, detail=told(request))
        return {"action": action, "team": team}


class Rules:
    """Sets and drops rules, or asks for the people that this needs."""

    def __init__(self, sql: Sql, approvals: Approvals, requests: Requests) -> None:
        self._sql, self._approvals, self._requests = sql, approvals, requests

    def put(self, rule: Approval, *, by: Principal) -> Request | None:
        """Sets a rule at once, or returns the request when it would weaken the one that holds.

        Raises:
            Forbidden: `by` is no admin.
            Invalid: the rule makes no sense.
            Conflict: the file manages it.
        """
        self._approvals.checked(rule, by=by)
        with self._sql.write() as conn:
            held = self._approvals.weakens(conn, rule.action, rule.team, rule)
            if held is None:
                self._approvals.put_in(conn, rule, by=by, detail={})
                return None
        return self._ask(held, SET, rule.action, rule.team, rule, by)

    def drop(self, action: Action, team: str | None, *, by: Principal) -> Request | None:
        """Drops a rule at once, or returns the request when something would need fewer people then.

        Raises:
            Forbidden: `by` is no admin.
            NotFound: there is none.
            Conflict: the file manages it.
        """
        self._approvals.checked(Approval(action=action, team=team), by=by)
        with self._sql.write() as conn:
            self._approvals.must(conn, action, team)
            held = self._approvals.weakens(conn, action, team, None)
            if held is None:
                self._approvals.drop_in(conn, action, team, by=by, detail={})
                return None
        return self._ask(held, DROP, action, team, None, by)

    def _ask(self, held: Approval, does: str, action: Action, team: str | None, after: Approval | None, by: Principal) -> Request:
        which = f"the rule for {action}" + (f" in the team {team}" if team is not None else "")
        becomes = "is dropped" if after is None else f"asks for {after.people} with the role {after.role}"
        wish = Wish(
            action=action,
            does=does,
            subject=f"approval/{action}",
            team=team or by.team,
            deed={"action": action, "team": team, "after": msgspec.to_builtins(after)},
            reason=f"It gets weaker: {which} {becomes}; now it asks for {held.people} with the role {held.role}.",
        )
        return self._requests.ask_under(held, wish, by=by)


def _told(request: Request) -> tuple[Action, str | None, Approval | None]:
    deed = request.deed
    team = deed["team"]
    return (
        msgspec.convert(deed["action"], Action),
        None if team is None else str(team),
        msgspec.convert(deed["after"], Approval | None),
    )
