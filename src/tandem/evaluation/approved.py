"""Moves of aliases that need people: what is asked for, and how it is done in the transaction of the last approval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from tandem.core.approval import Action, Approval, Request
from tandem.core.asset import Ref, Version
from tandem.core.errors import Blocked, Broken
from tandem.core.principal import Principal
from tandem.evaluation.promote import Promotions, Proved
from tandem.governance.approvals.act import Here, approvers, told
from tandem.governance.approvals.check import RANK
from tandem.governance.approvals.requests import Requests, Wish
from tandem.governance.authorise import ALL, authorise, scope_of
from tandem.registry.kinds.release import pins
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
    """The deed `alias.rollback` of a policy, or of a release that takes one along."""

    def __init__(self, registry: Registry, promotions: Promotions) -> None:
        self._registry, self._promotions = registry, promotions

    def stale(self, conn: Connection, request: Request) -> str | None:
        return moved_meanwhile(self._registry, conn, request)

    def perform(self, conn: Connection, request: Request, prepared: object, by: Principal) -> Mapping[str, object]:
        ref = Ref.parse(request.subject)
        etag = _etag(request)
        return self._promotions.rollback_in(conn, ref, request.alias, by=by, expected_etag=etag, grant=_grant(request))


class Moves:
    """Asks for people where a move of an alias needs them."""

    def __init__(self, registry: Registry, promotions: Promotions, requests: Requests) -> None:
        self._registry, self._promotions, self.requests = registry, promotions, requests

    def ask_promote(self, ref: Ref, alias: str, *, by: Principal, expected_etag: int | None = None) -> Request | None:
        """A request to promote where a rule asks for people; None where it may be done at once, or changes nothing.

        Raises:
            Forbidden: `by` has no right to approve in the asset's team.
            GateRefused, Blocked: the gate does not let it pass now, so nobody has to be asked; or a release pins an asset of
                another team that has a rule of its own.
            NotFound: there is no such version in the scope.
        """
        check_alias(alias)
        version = self._registry.find(ref, scope_of(by))
        authorise(by, "approve", version.team)
        moving = self._moving(version, alias)
        self._check_teams(version, alias, moving)
        rules = self._rules(version, alias, moving)
        now = stands(self._registry, version, alias)
        etag = 0 if now is None else now.etag
        if not rules or (expected_etag is not None and expected_etag != etag):
            return None  # nobody to ask; or the registry says that it was moved meanwhile
        if now is not None and now.version == version.version and not moving:
            return None
        proved = self._promotions.prove(ref, alias, by=by)
        asked = wish(version, alias, now, _reason(proved))
        if version.kind == "release":
            asked = replace(asked, deed={**asked.deed, "pins": self._etags(version, alias)})
        return self._ask(rules, asked, by)

    def wish(self, ref: Ref, alias: str, reason: str, *, by: Principal, passed: bool) -> Wish:
        """What is asked for when an alias shall move to a version.

        Raises:
            NotFound: there is no such version in the scope.
        """
        version = self._registry.find(ref, scope_of(by))
        return wish(version, alias, stands(self._registry, version, alias), reason, passed=passed)

    def ask_rollback(self, ref: Ref, alias: str, *, by: Principal) -> Request | None:
        """A request to roll a policy back, where a rule asks for people; all else goes back at once, as an emergency asks.

        A release that takes a policy back with it waits as the policy would.

        Raises:
            Forbidden: `by` has no right to approve in the asset's team.
            NotFound: there is no such asset or alias.
        """
        version = self._registry.find(Ref(kind=ref.kind, name=ref.name, alias=alias), scope_of(by))
        deed = _deed(alias, None, stands(self._registry, version, alias))
        if version.kind == "release":
            found = self._registry.would_return(ref, alias, scope_of(by))
            back = [self._registry.find(pin.alias.ref, ALL) for pin in found if pin.moved and pin.alias.kind == "policy"]
            self._check_teams(version, alias, back)
            deed = {**deed, "pins": self._etags(version, alias)}
        else:
            back = [version]
        rule = self._guarding(version, back)
        if rule is None:
            return None
        authorise(by, "approve", version.team)
        asked = Wish(
            action="guard.change",
            does=ROLLBACK,
            subject=str(Ref(kind=ref.kind, name=ref.name)),
            team=version.team,
            deed=deed,
            reason=f"{version.kind}/{version.name}@{alias} shall go back to where it was before.",
            alias=alias,
        )
        return self.requests.ask_under(rule, asked, by=by)

    def _moving(self, version: Version, alias: str) -> list[Version]:
        """The pins of a release that its promotion would move; nothing where it is none."""
        if version.kind != "release":
            return []
        found = [self._registry.find(pin, ALL) for pin in pins(version.meta)]
        return [pin for pin in found if (now := stands(self._registry, pin, alias)) is None or now.version != pin.version]

    def _rules(self, version: Version, alias: str, moving: Sequence[Version]) -> list[Approval]:
        """Every rule that a promotion falls under, that of the version itself first."""
        action = action_of(version, alias)
        if action == "release" and self.requests.rule("release", version.team) is None:
            action = "promote"  # nobody gets past that rule by pinning
        own = None if action is None else self.requests.rule(action, version.team)
        return [rule for rule in (own, self._guarding(version, moving)) if rule is not None]

    def _guarding(self, version: Version, moving: Sequence[Version]) -> Approval | None:
        """The rule for guards, where a policy is among what a release moves."""
        policies = any(each.kind == "policy" for each in moving)
        return self.requests.rule("guard.change", version.team) if policies else None

    def _check_teams(self, release: Version, alias: str, moving: Sequence[Version]) -> None:
        """A release is approved by the people of its own team, so it moves nothing that another team's people must approve."""
        for pin in moving:
            action = action_of(pin, alias)
            if pin.team != release.team and action is not None and self.requests.rule(action, pin.team) is not None:
                raise Blocked(
                    f"{release.ref} cannot move {pin.ref}: the team {pin.team} has a rule of its own for {action}.",
                    hint=f"Move {pin.kind}/{pin.name}@{alias} by itself; the release then leaves it alone.",
                )

    def _etags(self, release: Version, alias: str) -> dict[str, int]:
        """How often the alias of each pin has moved; whoever approves approves what is there now."""
        found = {}
        for pin in pins(release.meta):
            now = stands(self._registry, self._registry.find(pin, ALL), alias)
            found[str(pin)] = 0 if now is None else now.etag
        return found

    def _ask(self, rules: Sequence[Approval], asked: Wish, by: Principal) -> Request:
        """A request under the first rule, with as many people and as high a role as the strictest of all."""
        first = rules[0]
        request = self.requests.made(replace(asked, action=first.action), first, by=by)
        people = max(rule.people for rule in rules)
        role = max((rule.role for rule in rules), key=lambda role: RANK[role])
        return self.requests.open(replace(request, people=people, role=role))


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


def _reason(proved: Proved) -> str:
    """What the gate said; of a release, what each gate said of what it guards."""
    own = () if proved.report is None else proved.report["reasons"]
    return " ".join([*own, *(f"{pin.version.ref}: {said}" for pin in proved.pins if (said := _reason(pin)))])


def action_of(version: Version, alias: str) -> Action | None:
    """Which rule a move falls under: every move of a policy, and of all else the one to production."""
    if version.kind == "policy":
        return "guard.change"
    if alias != PRODUCTION:
        return None
    return "release" if version.kind == "release" else "promote"


def stands(registry: Registry, version: Version, alias: str) -> Alias | None:
    """Where an alias of the version's asset stands now."""
    return next((each for each in registry.aliases(version.kind, version.name, ALL) if each.alias == alias), None)


def moved_meanwhile(registry: Registry, conn: Connection, request: Request) -> str | None:
    """Why a move is about something that has changed: the alias stands elsewhere than when it was asked for."""
    wanted = _etag(request)
    if wanted is None:  # opened before requests said what they had seen
        return None
    pinned = request.deed.get("pins")
    etags = {str(pin): etag for pin, etag in pinned.items()} if isinstance(pinned, Mapping) else {}
    for name, etag in {request.subject: wanted, **etags}.items():
        ref = Ref.parse(name)
        now = registry.stands(conn, ref, request.alias)
        if (0 if now is None else now.etag) != etag:
            names = "nothing" if now is None else now.ref
            return f"{ref.kind}/{ref.name}@{request.alias} was moved meanwhile: it names {names}."
    return None


def _deed(alias: str, version: int | None, now: Alias | None) -> Mapping[str, Any]:
    told: dict[str, Any] = {"alias": alias, "etag": 0 if now is None else now.etag, "from": None if now is None else now.version}
    return told if version is None else {**told, "version": version}


def _etag(request: Request) -> int | None:
    found = request.deed.get("etag")
    return found if isinstance(found, int) else None


def _grant(request: Request) -> Grant:
    return Grant(approvers=approvers(request), told=told(request))
