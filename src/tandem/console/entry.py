"""The way in and out: by password, by key, by a provider of sign-ins, by a link; and from one team to another."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response

from tandem.console.desk import Desk, address_of, https, local, own_site
from tandem.core.errors import NotFound, RateLimited, TandemError, Unauthenticated, Unavailable
from tandem.governance.people.invitations import Invitations
from tandem.governance.people.oidc import FLOW_SECONDS, Oidc
from tandem.governance.people.vouched import Newcomers
from tandem.governance.sessions import COOKIE, Opened

Text = Annotated[str, Form(max_length=8192)]
TICKET, SSO = "tandem_sso", "/console/sso"
"""The cookie that a browser keeps while it is at a provider, and the only addresses that it is sent to."""
UNKNOWN_KEY = "This key is not known here. It may be mistyped, revoked or expired."


def routes(desk: Desk, invitations: Invitations, oidc: Oidc, newcomers: Newcomers) -> APIRouter:
    """The routes of signing in and out."""
    router = desk.router()

    @router.post("/console/sign-in")
    def sign_in(request: Request, name: Text = "", password: Text = "", key: Text = "", after: Text = "/") -> Response:
        own_site(request)
        where, before = address_of(request), request.cookies.get(COOKIE)
        try:
            if key.strip() or not name.strip():
                opened = desk.sessions.open(key.strip(), address=where, before=before)
                if opened is None:
                    return desk.sign_in(request, status=401, after=after, fault=UNKNOWN_KEY, by_key=True)
            else:
                opened = desk.sessions.sign_in(name, password, address=where, before=before)
        except (Unauthenticated, RateLimited) as error:
            return desk.sign_in(request, status=error.status, after=after, fault=str(error), name=name)
        return entered(desk, request, opened, after)

    @router.post("/console/sign-out")
    def sign_out(request: Request) -> Response:
        own_site(request)
        desk.sessions.end(request.cookies.get(COOKIE, ""))
        answer = RedirectResponse("/", 303, {"cache-control": "no-store"})
        answer.delete_cookie(COOKIE, path="/", secure=https(request), httponly=True, samesite="strict")
        return answer

    @router.post("/console/team")
    def act_in(request: Request, team: Text = "") -> Response:
        desk.enter(request)
        desk.sessions.act_in(request.cookies.get(COOKIE, ""), team)
        return RedirectResponse("/", 303, {"cache-control": "no-store"})

    @router.get("/join/{token}")
    def joining(request: Request, token: str) -> Response:
        return _join(desk, invitations, request, token)

    @router.post("/join/{token}")
    def join(request: Request, token: str, name: Text = "", password: Text = "", again: Text = "") -> Response:
        own_site(request)
        if password != again:
            return _join(desk, invitations, request, token, name=name, fault="The two passwords differ.", status=400)
        try:
            person = invitations.redeem(token, name=name.strip(), password=password)
        except NotFound:
            return _join(desk, invitations, request, token)
        except TandemError as error:
            return _join(desk, invitations, request, token, name=name, fault=str(error), status=error.status)
        opened = desk.sessions.enter(person, address=address_of(request), before=request.cookies.get(COOKIE), how="link")
        return entered(desk, request, opened, "/")

    @router.post("/console/sso/{provider}")
    def begin(request: Request, provider: str, after: Text = "/") -> Response:
        own_site(request)
        try:
            begun = oidc.begin(provider, local(after))
        except Unavailable as error:
            return desk.sign_in(request, status=error.status, after=after, fault=str(error))
        answer = desk.page(request, "away.html", "Sign in", {"url": begun.url, "provider": provider}, by=None)
        answer.set_cookie(
            TICKET, begun.ticket, max_age=FLOW_SECONDS, path=SSO, secure=https(request), httponly=True, samesite="lax"
        )
        return answer

    @router.get("/console/sso/{provider}/callback")
    def finish(request: Request, provider: str) -> Response:
        told = {name: value for name, value in request.query_params.items() if len(value) < 8192}
        try:
            vouched, after = oidc.finish(provider, told, request.cookies.get(TICKET, ""))
            person = newcomers.welcome(vouched)
            before = request.cookies.get(COOKIE)
            opened = desk.sessions.enter(person, address=address_of(request), before=before, how=f"oidc {provider}")
        except (Unauthenticated, Unavailable) as error:
            return desk.sign_in(request, status=error.status, after="/", fault=str(error))
        answer = entered(desk, request, opened, after)
        answer.delete_cookie(TICKET, path=SSO, secure=https(request), httponly=True, samesite="lax")
        return answer

    return router


def entered(desk: Desk, request: Request, opened: Opened, after: str) -> Response:
    """Leads on to the page that was asked for, with the cookie of the new session."""
    answer = RedirectResponse(local(after), 303, {"cache-control": "no-store"})
    answer.set_cookie(
        COOKIE,
        opened.cookie,
        max_age=desk.sessions.lasting.seconds,
        path="/",
        secure=https(request),
        httponly=True,
        samesite="strict",
    )
    return answer


def _join(
    desk: Desk, invitations: Invitations, request: Request, token: str, *, name: str = "", fault: str = "", status: int = 200
) -> Response:
    """The page of a link; looking at it does not use it up, so that a mail scanner's look does no harm."""
    try:
        found, suggested = invitations.open(token)
    except NotFound as error:
        return desk.page(request, "error.html", "Link", {"error": error}, by=None, status=404)
    values = {"invitation": found, "name": name or suggested, "fault": fault, "token": token}
    title = "Join" if found.person is None else "New password"
    return desk.page(request, "join.html", title, values, by=None, status=status)
