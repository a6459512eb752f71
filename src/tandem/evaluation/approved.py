"""Moves of aliases that need people: what is asked for, and how it is done in the transaction of the last approval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection

from tandem.core.approval import Action, Request
from tandem.core.asset import Ref, Version
from tandem.core.errors import Broken
from tandem.core.principal import Principal
from tandem.evaluation.promote import Promotions, Proved
from tandem.governance.approvals.act import Here, approvers, told
from tandem.governance.approvals.requests import Requests, Wish
from tandem.governance.authorise import ALL, authorise, scope_of
from tandem.registry.nouns import Alias
from tandem.registry.promote import Grant, check_alias
from tandem.registry.registry import Registry

PROMOTE, ROLLBACK = "alias.promote", "alias.rollback"
PRODUCTION = "production"


class Promoting(Here):
    """The deed `alias.promote`: the gate judges once more, then the alias moves."""

    def __init__(self, registry: Registry, promotions: Promotions) -> None:
        self._registry, self._promotions = registry, promotions

    def stale(self, conn: Connection, request: Request) -> str | None:
        return moved_meanwhile(self._registry, conn, request)

    def prepare(self, request: Request, by: Principal) -> object:
        return self._promotions.prove(Ref.parse(request.subject), request.alias, by=by)

    def perform(self, conn: Connection, request: Request, prepared: object, by: Principal) -> Mapping[str, object]:
        if not isinstance(prepared, Proved):
            raise Broken(f"The request {request.id} was approved without its gate.")
        etag = _etag(request)
        return self._promotions.promote_in(conn, prepared, request.alias, by=by, expected_etag=etag, grant=_grant(request))


class RollingBack(Here):
    """The deed `alias.rollback` of a policy."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def stale(self, conn: Connection, request: Request) -> str | None:
        return moved_meanwhile(self._registry, conn, request)

    def perform(self, conn: Connection, request: Request, prepared: object, by: Principal) -> Mapping[str, object]:
        ref = Ref.parse(request.subject)
        etag = _etag(request)
        return asdict(self._registry.rollback_in(conn, ref, request.alias, by=by, expected_etag=etag, grant=_grant(request)))


class Moves:
    """Asks for people where a move of an alias needs them."""

    def __init__(self, registry: Registry, promotions: Promotions, requests: Requests) -> None:
        self._registry, self._promotions, self.requests = registry, promotions, requests

    def ask_promote(self, ref: Ref, alias: str, *, by: Principal, expected_etag: int | None = None) -> Request | None:
        """A request to promote where a rule asks for people; None where it may be done at once, or changes nothing.

        Raises:
            Forbidden: `by` has no right to approve in the asset's team.
            GateRefused, Blocked: the gate does not let it pass now, so nobody has to be asked.
            NotFound: there is no such version in the scope.
        """
        check_alias(alias)
        version = self._registry.find(ref, scope_of(by))
        authorise(by, "approve", version.team)
        action = action_of(version, alias)
        rule = None if action is None else self.requests.rule(action, version.team)
        now = stands(self._registry, version, alias)
        etag = 0 if now is None else now.etag
        if rule is None or (expected_etag is not None and expected_etag != etag):
            return None  # nobody to ask; or the registry says that it was moved meanwhile
        if now is not None and now.version == version.version:
            return None
        report = self._promotions.prove(ref, alias, by=by).report
        reasons = () if report is None else report["reasons"]
        return self.requests.ask_under(rule, wish(version, alias, now, " ".join(reasons)), by=by)

    def wish(self, ref: Ref, alias: str, reason: str, *, by: Principal, passed: bool) -> Wish:
        """What is asked for when an alias shall move to a version.

        Raises:
            NotFound: there is no such version in the scope.
        """
        version = self._registry.find(ref, scope_of(by))
        return wish(version, alias, stands(self._registry, version, alias), reason, passed=passed)

    def ask_rollback(self, ref: Ref, alias: str, *, by: Principal) -> Request | None:
        """A request to roll a policy back, where a rule asks for people; all else goes back at once, as an emergency asks.

        Raises:
            Forbidden: `by` has no right to approve in the asset's team.
            NotFound: there is no such asset or alias.
        """
        version = self._registry.find(Ref(kind=ref.kind, name=ref.name, alias=alias), scope_of(by))
        if version.kind != "policy":
            return None
        authorise(by, "approve", version.team)
        asked = Wish(
            action="guard.change",
            does=ROLLBACK,
            subject=str(Ref(kind=ref.kind, name=ref.name)),
            team=version.team,
            deed=_deed(alias, None, stands(self._registry, version, alias)),
            reason=f"{version.kind}/{version.name}@{alias} shall go back to where it was before.",
            alias=alias,
        )
        return self.requests.ask(asked, by=by)


def wish(version: Version, alias: str, now: Alias | None, reason: str, *, passed: bool = True) -> Wish:
    """What is asked for when an alias shall move to a version."""
    return Wish(
        action=action_of(version, alias) or "promote",
        does=PROMOTE,
        subject=str(version.ref),
        team=version.team,
        deed=_deed(alias, version.version, now),
        reason=reason or f"{version.ref} shall become {alias}.",
        passed=passed,
        alias=alias,
    )


def action_of(version: Version, alias: str) -> Action | None:
    """Which rule a move falls under: every move of a policy, and of all else the one to production."""
    if version.kind == "policy":
        return "guard.change"
    if alias != PRODUCTION:
        return None
    return "release" if str(version.kind) == "release" else "promote"


def stands(registry: Registry, version: Version, alias: str) -> Alias | None:
    """Where an alias of the version's asset stands now."""
    return next((each for each in registry.aliases(version.kind, version.name, ALL) if each.alias == alias), None)


def moved_meanwhile(registry: Registry, conn: Connection, request: Request) -> str | None:
    """Why a move is about something that has changed: the alias stands elsewhere than when it was asked for."""
    wanted = _etag(request)
    if wanted is None:  # opened before requests said what they had seen
        return None
    ref = Ref.parse(request.subject)
    now = registry.stands(conn, ref, request.alias)
    if (0 if now is None else now.etag) == wanted:
        return None
    return f"{ref.kind}/{ref.name}@{request.alias} was moved meanwhile: it names {'nothing' if now is None else now.ref}."


def _deed(alias: str, version: int | None, now: Alias | None) -> Mapping[str, Any]:
    told: dict[str, Any] = {"alias": alias, "etag": 0 if now is None else now.etag, "from": None if now is None else now.version}
    return told if version is None else {**told, "version": version}


def _etag(request: Request) -> int | None:
    found = request.deed.get("etag")
    return found if isinstance(found, int) else None


def _grant(request: Request) -> Grant:
    return Grant(approvers=approvers(request), told=told(request))
