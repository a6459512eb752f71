"""What a deed that waits for people must be able to do. Each is beside what it changes; `app` puts them together."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Protocol

from sqlalchemy import Connection

from tandem.core.approval import Request
from tandem.core.principal import Principal
from tandem.store.canonical import canonical


class Act(Protocol):
    """One deed, by the name that the audit gives it."""

    elsewhere: bool
    """Whether another store has to hear of it after the transaction: then `finish` is called until it returned once."""

    def stale(self, conn: Connection, request: Request) -> str | None:
        """Why the request is about something that has changed; None when nothing has."""
        ...

    def prepare(self, request: Request, by: Principal) -> object:
        """What takes long and must not happen in a transaction; `perform` gets what this returns.

        Raises:
            TandemError: the deed cannot be done now; the request stays open.
        """
        ...

    def perform(self, conn: Connection, request: Request, prepared: object, by: Principal) -> Mapping[str, object]:
        """Does the deed, with its audit row, in the transaction that ends the request.

        Args:
            request: with every approval, the last one too; `told` is what the audit row says of it.
            by: who approved last.

        Returns:
            What the caller is told of it; JSON.

        Raises:
            TandemError: it cannot be done; nothing of the transaction stays.
        """
        ...

    def finish(self, request: Request) -> str | None:
        """Tells the other store; the same again changes nothing. Returns why it could not be done any more, if so."""
        ...


class Here:
    """A deed whose only store is the one with the requests, and which needs no preparation."""

    elsewhere = False

    def prepare(self, request: Request, by: Principal) -> object:
        return None

    def finish(self, request: Request) -> str | None:
        return None


def told(request: Request) -> dict[str, object]:
    """What the audit row of a deed says about the request that allowed it."""
    return {"request": request.id, "asked_by": request.author, "approved_by": approvers(request)}


def approvers(request: Request) -> tuple[str, ...]:
    """Who approved, in this order, as the audit names them."""
    return tuple(voice.by for voice in request.approvals)


def digest_of(request: Request) -> str:
    """The SHA-256 of what exactly is asked for."""
    told = [request.team, request.subject, request.action, request.does, request.deed]
    return "sha256:" + sha256(canonical(told).encode()).hexdigest()
