"""Requests: a deed that needs people waits here, and is done once, in the transaction of the last approval.

Its author cannot approve it, and a person counts once whatever key they use. What it is about may change
meanwhile (the alias moved, the cap was changed, the rule is another): then it is stale and says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from sqlalchemy import Connection

from tandem.core.approval import Action, Approval, Request, Voice
from tandem.core.clock import MICROS, Clock
from tandem.core.errors import Broken, Conflict, Forbidden, NotFound
from tandem.core.ids import new_id
from tandem.core.principal import LOCAL, Principal
from tandem.governance.approvals.act import Act, digest_of
from tandem.governance.approvals.approvals import Approvals, same
from tandem.governance.approvals.repo import RequestRows
from tandem.governance.audit import Audit
from tandem.governance.authorise import ALL, Scope, authorise, scope_of
from tandem.store.sql import Sql

HOUR = 3600 * MICROS


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What somebody wants done that may need people."""

    action: Action
    does: str
    subject: str
    team: str
    deed: Mapping[str, object]
    reason: str = ""
    passed: bool = True
    alias: str = ""


class Requests:
    """What waits for people, and how it ends."""

    def __init__(self, sql: Sql, audit: Audit, clock: Clock, approvals: Approvals, acts: Mapping[str, Act]) -> None:
        """
        Args:
            acts: how each deed is done, by the name that the audit gives it.
        """
        self._sql, self._audit, self._clock, self.approvals, self._acts = sql, audit, clock, approvals, acts
        self._rows = RequestRows()

    # --- asking

    def rule(self, action: Action, team: str) -> Approval | None:
        """The rule for a deed on a team's thing; None where nobody has to be asked."""
        with self._sql.read() as conn:
            return self.approvals.which(conn, action, team)

    def ask(self, wish: Wish, *, by: Principal) -> Request | None:
        """Stores a request where a rule asks for people; None where none does, and the deed may be done at once.

        The same author asking for the same thing again gets the request that is open already.
        """
        rule = self.rule(wish.action, wish.team)  # most deeds need nobody, and then nothing is written
        return None if rule is None else self.ask_under(rule, wish, by=by)

    def ask_under(self, rule: Approval, wish: Wish, *, by: Principal) -> Request:
        """Stores a request under a rule."""
        return self.open(self.made(wish, rule, by=by))

    def made(self, wish: Wish, rule: Approval | None, *, by: Principal) -> Request:
        """A request that is not stored yet; without a rule one person is asked, for as long as it takes."""
        return Request(
            id=new_id("req"),
            team=wish.team,
            subject=wish.subject,
            reason=wish.reason,
            action=wish.action,
            does=wish.does,
            deed=wish.deed,
            author=by.name,
            person=person_of(by),
            people=1 if rule is None else rule.people,
            role="approver" if rule is None else rule.role,
            rule=rule,
            expires_at=None if rule is None else self._clock.now() + rule.hours * HOUR,
            alias=wish.alias,
            passed=wish.passed,
        )

    def open(self, request: Request) -> Request:
        """Keeps a request; one of the same id is there already and returned as it is, so that a step may repeat."""
        author = request.author or f"monitor/{request.monitor}"
        request = replace(
            request, author=author, person=request.person or author, created_at=self._clock.now(), digest=digest_of(request)
        )
        with self._sql.write() as conn:
            known = self._rows.one(conn, request.id, ALL) or self._same(conn, request)
            if known is not None:
                return known
            self._rows.add(conn, request)
            detail = {"subject": request.subject, "does": request.does, "digest": request.digest, "people": request.people}
            if request.alias:
                detail |= {"alias": request.alias, "passed": request.passed}
            if request.run:
                detail |= {"run": request.run}
            self._note(conn, request.author, "request.open", request, detail)
        return request

    def _same(self, conn: Connection, request: Request) -> Request | None:
        """The open request of the same author for the same thing, where a rule asked for it."""
        if request.rule is None:
            return None
        for known in self._rows.waiting(conn, Scope(request.team)):
            wanted = (known.digest, known.person, known.state) == (request.digest, request.person, "open")
            if wanted and same(known.rule, request.rule) and self._over(conn, known) is None:
                return known
        return None

    # --- looking

    def list(self, scope: Scope, *, state: str | None = None, limit: int = 100) -> tuple[Request, ...]:
        """Requests of the scope, newest first."""
        self.sweep()
        with self._sql.read() as conn:
            return self._rows.list(conn, scope, state=state, limit=limit)

    def find(self, id: str, scope: Scope) -> Request:
        """One request.

        Raises:
            NotFound: there is none in the scope.
        """
        with self._sql.read() as conn:
            return self._must(conn, id, scope)

    # --- deciding

    def approve(self, id: str, *, by: Principal, note: str = "") -> tuple[Request, Mapping[str, object]]:
        """Adds a person's approval; the last one that is needed does the deed in the same transaction, or nothing happens.

        Returns:
            The request, and what the deed came to; nothing while it waits for more people.

        Raises:
            Forbidden: `by` asked for it, is a service, or has not the role.
            Conflict: it ended otherwise, is stale or expired, or this person has approved it.
            TandemError: the deed cannot be done now; the request stays open and the approval does not count.
        """
        while True:
            seen = self._look(id, by)
            act = self._acts[seen.does]
            last = len(seen.approvals) + 1 >= seen.people
            prepared = act.prepare(seen, by) if last else None
            request, done, why = self._voice(seen, act, prepared, by=by, note=note, last=last)
            if why is not None:
                raise _ended(replace(request, state=why[0], note=why[1]))
            if request is not seen:
                break
        if request.state == "performing":
            request = self._finish(request)
        return request, done

    def _voice(
        self, seen: Request, act: Act, prepared: object, *, by: Principal, note: str, last: bool
    ) -> tuple[Request, Mapping[str, object], tuple[Literal["expired", "stale"], str] | None]:
        """One try to approve; `seen` itself comes back when somebody else was faster, and it must be looked at again."""
        with self._sql.write() as conn:
            request = self._must(conn, seen.id, scope_of(by))
            if request != seen:
                return seen, {}, None
            over = self._over(conn, request)
            if over is not None:
                self._end(conn, request, *over)
                return request, {}, over
            voice = Voice(person=person_of(by), by=by.name, at=self._clock.now(), note=note)
            request = replace(request, approvals=(*request.approvals, voice))
            done: Mapping[str, object] = {}
            if last:
                state: Literal["performing", "approved"] = "performing" if act.elsewhere else "approved"
                request = replace(request, state=state, decided_at=voice.at, decided_by=by.name, note=note)
                done = act.perform(conn, request, prepared, by)
            self._rows.keep(conn, request)
            detail = {**_what(request), "approvals": len(request.approvals), "people": request.people, "person": voice.person}
            self._note(conn, by.name, "request.approve", request, detail)
        return request, done, None

    def decline(self, id: str, *, by: Principal, note: str = "") -> Request:
        """Ends a request; nothing is done. Its author may withdraw it so.

        Raises:
            Forbidden: `by` has not the role that approves it.
            Conflict: it ended already.
        """
        authorise(by, "approve")
        with self._sql.write() as conn:
            request = self._must(conn, id, scope_of(by))
            _may_decide(request, by)
            if request.state != "open":
                raise _ended(request)
            request = replace(request, state="declined", decided_at=self._clock.now(), decided_by=by.name, note=note)
            self._rows.keep(conn, request)
            self._note(conn, by.name, "request.decline", request, _what(request))
        return request

    def _look(self, id: str, by: Principal) -> Request:
        """The request, if this person may approve it now; what is over by now is ended first."""
        over = None
        authorise(by, "approve")
        with self._sql.read() as conn:
            request = self._must(conn, id, scope_of(by))
            _may_decide(request, by)
            if request.state == "open":
                over = self._over(conn, request)
        if over is not None:
            self.sweep()
            request = self.find(id, scope_of(by))
        if request.state != "open":
            raise _ended(request)
        if request.digest and digest_of(request) != request.digest:
            raise Broken(f"The request {id} was altered since it was opened.", hint="`tandem audit verify`, then decline it.")
        _may_approve(request, by)
        return request

    # --- ending by itself

    def sweep(self) -> None:
        """Ends what has expired or is stale, and tells other stores what is still to be told."""
        with self._sql.read() as conn:
            waiting = self._rows.waiting(conn, ALL)
            over = [request.id for request in waiting if request.state == "open" and self._over(conn, request) is not None]
        for id in over:
            with self._sql.write() as conn:
                request = self._must(conn, id, ALL)
                why = self._over(conn, request) if request.state == "open" else None
                if why is not None:
                    self._end(conn, request, *why)
        for request in waiting:
            if request.state == "performing":
                self._finish(request)

    def _finish(self, request: Request) -> Request:
        why = self._acts[request.does].finish(request)
        with self._sql.write() as conn:
            now = self._must(conn, request.id, ALL)
            if now.state != "performing":
                return now
            if why is None:
                done = replace(now, state="approved")
                self._rows.keep(conn, done)
                return done
            return self._end(conn, now, "stale", why)

    def _over(self, conn: Connection, request: Request) -> tuple[Literal["expired", "stale"], str] | None:
        if request.expires_at is not None and request.expires_at <= self._clock.now():
            return "expired", f"Only {len(request.approvals)} of {request.people} people approved it in time."
        if not same(self.approvals.which(conn, request.action, request.team), request.rule):
            return "stale", "The rule for it was changed since it was asked for."
        why = self._acts[request.does].stale(conn, request)
        return None if why is None else ("stale", why)

    def _end(self, conn: Connection, request: Request, state: Literal["expired", "stale"], why: str) -> Request:
        ended = replace(request, state=state, decided_at=self._clock.now(), note=why)
        self._rows.keep(conn, ended)
        detail = {**_what(ended), "why": why}
        self._note(conn, LOCAL.name, "request.expire" if state == "expired" else "request.stale", ended, detail)
        return ended

    def _must(self, conn: Connection, id: str, scope: Scope) -> Request:
        request = self._rows.one(conn, id, scope)
        if request is None:
            raise NotFound("There is no such request.", hint="`tandem request list` shows the ones you may see.")
        return request

    def _note(self, conn: Connection, actor: str, action: str, request: Request, detail: Mapping[str, object]) -> None:
        self._audit.append(conn, actor=actor, action=action, subject=f"request/{request.id}", team=request.team, detail=detail)


def person_of(by: Principal) -> str:
    """Who is behind a principal: a person counts once, whatever key they use.

    >>> person_of(Principal(id="key_1", name="ci", team="risk"))
    'key/ci'
    """
    if by.kind == "person":
        return f"person/{by.name}"
    return by.owner if by.owner.startswith("person/") else f"key/{by.name}"


def may_approve(request: Request) -> str:
    """Who may still approve, in words."""
    left = request.people - len(request.approvals)
    who = "an admin" if request.role == "admin" else f"an approver of the team {request.team}, or an admin"
    many = "one more person" if request.approvals and left == 1 else "one person" if left == 1 else f"{left} people"
    return f"{many}, each {who}; {request.author} is none of them"


def _may_decide(request: Request, by: Principal) -> None:
    if request.role == "admin":
        authorise(by, "admin", request.team)
    else:
        authorise(by, "approve", request.team)


def _may_approve(request: Request, by: Principal) -> None:
    person = person_of(by)
    if by.kind == "service" or by.owner.startswith("service/"):
        raise Forbidden(f"'{by.name}' is a service; people approve.", hint="Sign in as a person, or use a person's key.")
    if request.person == person or request.author == by.name:
        raise Forbidden(f"{by.name} asked for {request.id} and cannot approve it.", hint=f"It waits for {may_approve(request)}.")
    if any(voice.person == person for voice in request.approvals):
        raise Conflict(f"{person} has approved {request.id} already.", hint=f"It waits for {may_approve(request)}.")


def _what(request: Request) -> dict[str, object]:
    told: dict[str, object] = {"subject": request.subject, "does": request.does, "digest": request.digest}
    return {**told, "alias": request.alias} if request.alias else told


def _ended(request: Request) -> Conflict:
    match request.state:
        case "stale" | "expired":
            said = f"The request {request.id} {'is stale' if request.state == 'stale' else 'expired'}. {request.note}"
            hint = "Ask again; the request that comes then is about what is now."
        case _:
            said = f"The request {request.id} was {'approved' if request.state == 'performing' else request.state} by "
            said += f"{request.decided_by}."
            hint = "`tandem request show` tells more; ask again for another one."
    return Conflict(said, hint=hint)
