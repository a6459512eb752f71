"""What every route shares: who calls, how answers and errors are written."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any

import msgspec
from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from tandem.core.errors import Broken, Forbidden, Invalid, NotFound, TandemError, Unauthenticated
from tandem.core.money import dollars
from tandem.core.principal import Principal
from tandem.gateway.wires import openai
from tandem.governance.projects.projects import Projects
from tandem.governance.sessions import COOKIE, Sessions, own_page
from tandem.store.room import is_full, no_room

OPENAI = "/v1/"
APPLY = "x-tandem-apply"
"""The header that names the apply of a project which a request is a part of."""
_CODES = {405: "method_not_allowed", 413: "body_too_large"}


class Told(BaseModel):
    """What is told of an error."""

    code: str
    message: str
    hint: str | None
    field: str | None


class Fault(BaseModel):
    """An error as every route of ours writes it."""

    error: Told


class ToldOpenAI(BaseModel):
    """What is told of an error to OpenAI's clients."""

    message: str
    type: str
    param: str | None
    code: str | None


class FaultOpenAI(BaseModel):
    """An error as the routes write it that OpenAI's clients ask."""

    error: ToldOpenAI


def identify(request: Request) -> Principal:
    """Who calls, by bearer key or by the console's session cookie.

    Raises:
        Unauthenticated: no key, or one nobody knows.
        Forbidden: a changing request by cookie that does not come from our own pages, or a key that is bound to other networks.
    """
    sessions: Sessions = request.app.state.sessions
    given = bearer(request)
    if given is not None:
        principal = sessions.by_key(given, address_of(request))
    else:
        cookie = request.cookies.get(COOKIE)
        principal = None if cookie is None else sessions.by_cookie(cookie, address_of(request))
        if principal is not None:
            own_site(request)
    if principal is None:
        raise Unauthenticated("This needs a key that is known here.", hint="Send 'Authorization: Bearer KEY', or sign in at /.")
    return principal


def because(request: Request) -> Mapping[str, object]:
    """What the audit says of this request's deeds on top: the apply of a project that it is a part of, by its header.

    Raises:
        Forbidden, NotFound, Conflict: there is no such apply, or it is over.
    """
    id = request.headers.get(APPLY)
    if id is None:
        return {}
    projects: Projects = request.app.state.projects
    return {"project": projects.under_way(id, caller(request)).because}


def own_site(request: Request) -> None:
    """Lets a changing request pass only when it comes from our own pages, or from a program.

    Raises:
        Forbidden: it comes from another site.
    """
    told = request.headers
    if not own_page(request.method, told.get("sec-fetch-site"), told.get("origin"), told.get("host")):
        raise Forbidden("This request comes from another site.", hint="Use the console's own pages.")


def address_of(request: Request) -> str:
    """Where the caller is, as the door says, which alone can reach this process."""
    return request.headers.get("x-forwarded-for", "").strip()


def set_session(request: Request, answer: Response, cookie: str, seconds: int) -> None:
    """Gives a browser the cookie of its session: for this host alone, out of reach of scripts and of other sites."""
    answer.set_cookie(COOKIE, cookie, max_age=seconds, path="/", secure=https(request), httponly=True, samesite="strict")


def drop_session(request: Request, answer: Response) -> None:
    """Takes the cookie away."""
    answer.delete_cookie(COOKIE, path="/", secure=https(request), httponly=True, samesite="strict")


def https(request: Request) -> bool:
    """Whether the caller speaks TLS to us; the door says so."""
    return request.headers.get("x-forwarded-proto", request.url.scheme) == "https"


def caller(request: Request) -> Principal:
    """FastAPI dependency: who calls, as the threshold found out."""
    by: Principal = request.state.by
    return by


def bearer(request: Request) -> str | None:
    """The caller's key, from `Authorization: Bearer` or `x-api-key`."""
    token = request.headers.get("authorization", "")
    return token[7:].strip() if token[:7].lower() == "bearer " else request.headers.get("x-api-key")


Caller = Annotated[Principal, Depends(caller)]


def answer(value: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Any noun as JSON; dataclasses by their fields."""
    return Response(msgspec.json.encode(value, enc_hook=str), status, headers, "application/json")


def written(value: object, where: str = "") -> None:
    """Looks through JSON for texts that cannot be written down: half of a surrogate pair, as `\\ud800` alone is.

    Raises:
        Invalid: there is one; `field` says where.
    """
    match value:
        case str():
            if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
                raise Invalid("A text holds half of a surrogate pair, which no character is.", field=where or None)
        case dict():
            for name, each in value.items():
                written(name, where)
                written(each, f"{where}.{name}".lstrip("."))
        case list():
            for place, each in enumerate(value):
                written(each, f"{where}[{place}]")


def usd(cost: int | None) -> str | None:
    """Nano-dollars as decimal dollars; unknown stays unknown."""
    return None if cost is None else dollars(cost)


def fault(error: TandemError, path: str) -> Response:
    """An error as every route writes it; below `/v1/`, as OpenAI's clients read it."""
    if path.startswith(OPENAI):
        status, fields, told = openai.refusal(error)
        return Response(told, status, {name.decode(): value.decode() for name, value in fields})
    body: dict[str, Any] = {"code": error.code, "message": error.said, "hint": error.hint, "field": error.field}
    report = getattr(error, "report", None)
    if report is not None:
        body["report"] = report
    headers = {} if error.retry_after is None else {"retry-after": str(max(0, round(error.retry_after + 0.5)))}
    return answer({"error": body}, error.status, headers)


def install_faults(app: FastAPI, log: Callable[[BaseException], None]) -> None:
    """Turns every error into one shape; what nobody foresaw is logged once and told as our fault."""

    async def ours(request: Request, error: Exception) -> Response:
        assert isinstance(error, TandemError)
        return fault(error, request.url.path)

    async def malformed(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            why = f"The body is not JSON: {first['ctx']['error']} at character {first['loc'][-1]}."
            return fault(Invalid(why, hint="GET /api/docs describes every route."), request.url.path)
        place = ".".join(str(part) for part in first["loc"] if part not in ("body", "query", "path"))
        return fault(
            Invalid(
                f"{place or 'The request'}: {first['msg']}.", field=place or None, hint="GET /api/docs describes every route."
            ),
            request.url.path,
        )

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code == 404:
            return fault(
                NotFound(f"{request.method} {request.url.path} is nothing here.", hint="GET /api/docs lists the routes."),
                request.url.path,
            )
        refused = Invalid(str(error.detail), status=error.status_code, code=_CODES.get(error.status_code, "invalid"))
        return fault(refused, request.url.path)

    async def unforeseen(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        try:
            return await call_next(request)
        except Exception as error:  # noqa: BLE001  # the edge of the control process
            if is_full(error):
                return fault(no_room("What this makes", error), request.url.path)
            log(error)
            broken = Broken("Something went wrong on our side.", hint="The control process's log tells what.")
            return fault(broken, request.url.path)

    app.add_exception_handler(TandemError, ours)
    app.add_exception_handler(RequestValidationError, malformed)
    app.add_exception_handler(HTTPException, http)
    app.middleware("http")(unforeseen)
