"""Changes of an endpoint's guards that need people. The endpoint as it shall be is what they approve, word for word."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from sqlalchemy import Connection

from tandem.core.approval import Request
from tandem.core.endpoint import Endpoint
from tandem.core.errors import NotFound
from tandem.core.principal import Principal
from tandem.gateway.repo import Routes
from tandem.governance.approvals.act import Here, told
from tandem.governance.approvals.requests import Requests, Wish
from tandem.governance.authorise import authorise, scope_of

PUT, DELETE = "endpoint.put", "endpoint.delete"


class Guarding(Here):
    """The deeds `endpoint.put` and `endpoint.delete` of those that change which guards look at calls."""

    def __init__(self, table: Routes) -> None:
        self._table = table

    def stale(self, conn: Connection, request: Request) -> str | None:
        name = request.subject.partition("/")[2]
        now = self._table.standing(conn, name)
        return None if (0 if now is None else now[1]) == request.deed["etag"] else f"The endpoint '{name}' was changed meanwhile."

    def perform(self, conn: Connection, request: Request, prepared: object, by: Principal) -> Mapping[str, object]:
        name = request.subject.partition("/")[2]
        if request.does == DELETE:
            self._table.delete_endpoint_in(conn, name, by=by, detail=told(request))
            return {"name": name}
        endpoint = msgspec.convert(request.deed["endpoint"], Endpoint)
        etag = self._table.put_endpoint_in(conn, endpoint, by=by, detail=told(request))
        return {"name": name, "etag": etag}


def ask_guards(requests: Requests, table: Routes, name: str, after: Endpoint | None, *, by: Principal) -> Request | None:
    """A request where a change (None: the removal) of an endpoint moves its guards and a rule asks for people.

    Raises:
        Forbidden: `by` may not change the guards that there are.
    """
    try:
        present, etag = table.endpoint(name, scope_of(by))
    except NotFound:
        return None  # a new one has the guards it is made with; one of another team is refused by the table
    guards = None if after is None else after.guards
    if present.guards is None or present.guards == guards or present.managed is not None:
        return None
    authorise(by, "approve", present.team)
    becomes = "It is removed" if after is None else f"They become {guards or 'none'}"
    wish = Wish(
        action="guard.change",
        does=DELETE if after is None else PUT,
        subject=f"endpoint/{name}",
        team=present.team,
        deed={"etag": etag, "endpoint": None if after is None else msgspec.to_builtins(after)},
        reason=f"The guards of the endpoint '{name}' are {present.guards}. {becomes}.",
    )
    return requests.ask(wish, by=by)
