"""The rules: which deeds need how many people. A rule protects itself: weakening it needs the people it names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace

from sqlalchemy import Connection

from tandem.core.approval import Action, Approval
from tandem.core.clock import Clock
from tandem.core.errors import Conflict, NotFound
from tandem.core.principal import LOCAL, Principal
from tandem.governance.approvals.check import RANK, check_approval
from tandem.governance.approvals.repo import ApprovalRows
from tandem.governance.audit import Audit
from tandem.governance.authorise import ALL, authorise, scope_of
from tandem.store.sql import Sql


class Approvals:
    """The rules of the platform. What the settings file declares is changed by the file alone."""

    def __init__(self, sql: Sql, audit: Audit, clock: Clock) -> None:
        self._sql, self._audit, self._clock = sql, audit, clock
        self._rows = ApprovalRows()

    def which(self, conn: Connection, action: Action, team: str | None) -> Approval | None:
        """The rule for a deed on a team's thing: the team's own, else that of every team."""
        own = None if team is None else self._rows.one(conn, action, team)
        return own or self._rows.one(conn, action, None)

    def list(self, by: Principal) -> tuple[Approval, ...]:
        """The rules that hold for what `by` sees, by deed and team.

        Raises:
            Forbidden: `by` may not read.
        """
        authorise(by, "read")
        with self._sql.read() as conn:
            return self._rows.list(conn, scope_of(by))

    def checked(self, rule: Approval, *, by: Principal) -> Approval:
        """A rule that an admin may set.

        Raises:
            Forbidden: `by` is no admin.
            Invalid: it makes no sense.
        """
        authorise(by, "admin")
        check_approval(rule)
        return rule

    def put_in(self, conn: Connection, rule: Approval, *, by: Principal, detail: Mapping[str, object]) -> None:
        """Sets a rule in a transaction that is under way.

        Raises:
            Conflict: the file manages it.
        """
        present = self._rows.one(conn, rule.action, rule.team)
        if rule.managed is None:
            _check_managed(present)
        if present == rule:
            return
        self._rows.put(conn, rule, self._clock.now(), by.name)
        told = {name: value for name, value in asdict(rule).items() if name != "action"}
        self._note(conn, "approval.set", rule.action, rule.team, by, {**told, **detail})

    def drop_in(self, conn: Connection, action: Action, team: str | None, *, by: Principal, detail: Mapping[str, object]) -> None:
        """Drops a rule in a transaction that is under way.

        Raises:
            NotFound: there is none.
            Conflict: the file manages it.
        """
        self.must(conn, action, team)
        self._rows.remove(conn, action, team)
        self._note(conn, "approval.drop", action, team, by, detail)

    def must(self, conn: Connection, action: Action, team: str | None) -> Approval:
        """The rule of exactly this team that may be dropped here.

        Raises:
            NotFound: there is none.
            Conflict: the file manages it.
        """
        present = self._rows.one(conn, action, team)
        if present is None:
            raise NotFound(f"There is no rule for {_named(action, team)}.", hint="`tandem approval list` shows them.")
        _check_managed(present)
        return present

    def weakens(self, conn: Connection, action: Action, team: str | None, after: Approval | None) -> Approval | None:
        """The rule that a change (None: its removal) would weaken; None when nothing gets weaker."""
        before = self.which(conn, action, team)
        if after is None and team is not None:
            after = self._rows.one(conn, action, None)
        if before is None or (after is not None and after.people >= before.people and RANK[after.role] >= RANK[before.role]):
            return None
        return before

    def declare(self, rules: Mapping[str, Approval]) -> None:
        """Makes the table say what the settings file says; what it no longer names is retired.

        Raises:
            Invalid: one of them makes no sense.
        """
        for rule in rules.values():
            check_approval(rule)
        named = {(rule.action, rule.team) for rule in rules.values()}
        with self._sql.write() as conn:
            for rule in rules.values():
                self.put_in(conn, rule, by=LOCAL, detail={})
            for rule in self._rows.list(conn, ALL):
                if rule.managed is not None and (rule.action, rule.team) not in named:
                    self._rows.remove(conn, rule.action, rule.team)
                    self._note(conn, "approval.drop", rule.action, rule.team, LOCAL, {"through": "file"})

    def _note(
        self, conn: Connection, verb: str, action: Action, team: str | None, by: Principal, detail: Mapping[str, object]
    ) -> None:
        self._audit.append(
            conn, actor=by.name, action=verb, subject=f"approval/{action}", team=team or by.team, detail={"team": team, **detail}
        )


def same(one: Approval | None, other: Approval | None) -> bool:
    """Whether two rules ask for the same, wherever they were written."""
    return one == other or (one is not None and other is not None and replace(one, managed=None) == replace(other, managed=None))


def _named(action: Action, team: str | None) -> str:
    return action if team is None else f"{action} in the team {team}"


def _check_managed(present: Approval | None) -> None:
    if present is not None and present.managed is not None:
        raise Conflict(
            f"The rule for {_named(present.action, present.team)} is managed by {present.managed}.",
            hint="Change it there and start again; it is read-only here.",
        )
