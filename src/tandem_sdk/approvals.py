"""Approvals: which deeds need people, and the requests that wait for them."""

from __future__ import annotations

from tandem_sdk.waiting import Approval, Request
from tandem_sdk.wire import API, Wire, read_replies, read_reply, segment


class Approvals:
    """`client.approvals`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def list(self) -> tuple[Approval, ...]:
        """The rules, by deed and team."""
        return read_replies(Approval, self._wire.get(f"{API}/approvals"))

    def set(self, action: str, *, people: int = 1, role: str = "approver", team: str | None = None, hours: int = 72) -> Approval:
        """Has a deed need people.

        Args:
            action: `promote`, `release`, `budget.raise`, `guard.change` or `key.broad`.
            people: how many; the author is none of them.
            role: what each must be, `approver` or `admin`.
            team: whose things; None means every team's that has no rule of its own.
            hours: how long a request waits for them.

        Raises:
            ApprovalNeeded: it would weaken the rule that holds, so that rule's people must approve first.
            Forbidden: the key is no admin's.
            Conflict: `tandem.toml` manages it.
        """
        body = {"people": people, "role": role, "team": team, "hours": hours}
        return read_reply(Approval, self._wire.send("PUT", f"{API}/approvals/{segment(action)}", body))

    def drop(self, action: str, team: str | None = None) -> None:
        """Drops a rule.

        Raises:
            ApprovalNeeded: the people that the rule names must approve first.
            NotFound: there is none.
        """
        self._wire.send("DELETE", f"{API}/approvals/{segment(action)}", query={"team": team})


class Requests:
    """`client.requests`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def list(self, state: str | None = None, limit: int = 50) -> tuple[Request, ...]:
        """Requests, newest first: `open`, `approved`, `declined`, `expired`, `stale` or all of them."""
        return read_replies(Request, self._wire.get(f"{API}/requests", {"state": state, "limit": limit}))

    def show(self, id: str) -> Request:
        """One request.

        Raises:
            NotFound: there is none.
        """
        return read_reply(Request, self._wire.get(f"{API}/requests/{segment(id)}"))

    def approve(self, id: str, note: str = "") -> Request:
        """Approves; the last approval that is needed does the deed.

        Raises:
            GateRefused: the gate does not let the promotion pass; the request stays open.
            Forbidden: the key may not approve, or its person asked for it.
            Conflict: it was decided already, is stale or expired, or this person has approved it.
        """
        return read_reply(
            Request, self._wire.send("POST", f"{API}/requests/{segment(id)}/approve", {"note": note}, patient=True, once=True)
        )

    def decline(self, id: str, note: str = "") -> Request:
        """Ends a request; nothing is done.

        Raises:
            Forbidden: the key may not approve.
            Conflict: it was decided already.
        """
        return read_reply(Request, self._wire.send("POST", f"{API}/requests/{segment(id)}/decline", {"note": note}, once=True))
