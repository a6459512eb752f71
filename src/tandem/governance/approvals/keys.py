"""Keys that may much, when a rule asks for people: the key is made and shown at once, and nobody knows it until they approved."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from sqlalchemy import Connection

from tandem.core.approval import Request
from tandem.core.principal import Principal
from tandem.governance.approvals.act import Here, told
from tandem.governance.approvals.requests import Requests, Wish
from tandem.governance.keys import Draft, Keys

CREATE = "key.create"
ROLES = ("admin", "approver")


class Admissions(Here):
    """The deed `key.create` of a broad key."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def stale(self, conn: Connection, request: Request) -> str | None:
        name = _principal(request).name
        return f"There is an active key '{name}' by now." if self._keys.taken(conn, name) else None

    def perform(self, conn: Connection, request: Request, prepared: object, by: Principal) -> Mapping[str, object]:
        principal = _principal(request)
        digest = bytes.fromhex(str(request.deed["digest"]))
        self._keys.admit(conn, principal, digest, by=by, detail=told(request))
        return {"principal": request.deed["principal"]}


def ask_key(requests: Requests, draft: Draft, *, by: Principal) -> Request | None:
    """A request where the key is broad and a rule asks for people; None where it may be admitted at once."""
    why = broad(draft.principal)
    if not why:
        return None
    principal = draft.principal
    wish = Wish(
        action="key.broad",
        does=CREATE,
        subject=f"key/{principal.name}",
        team=principal.team,
        deed={"principal": msgspec.to_builtins(principal), "digest": draft.digest.hex()},
        reason=f"The key '{principal.name}' of the team {principal.team} {', and '.join(why)}.",
    )
    return requests.ask(wish, by=by)


def broad(principal: Principal) -> tuple[str, ...]:
    """Why a key may much; empty when it may not."""
    why: list[str] = []
    if principal.role in ROLES:
        why.append(f"has the role {principal.role}")
    if "any-version" in principal.scopes:
        why.append("may name any version and model")
    if principal.may("call") and not principal.endpoints:
        why.append("may call every endpoint")
    return tuple(why)


def _principal(request: Request) -> Principal:
    return msgspec.convert(request.deed["principal"], Principal)
