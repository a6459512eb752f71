"""What every page shares: who asks, how a page is written, how an error looks. It knows no noun."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.routing import APIRoute
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tandem import __version__
from tandem.console import facts, words
from tandem.core.clock import Clock
from tandem.core.errors import Forbidden, Invalid, NotFound, TandemError, Unauthenticated
from tandem.core.principal import Principal
from tandem.governance.authorise import authorise
from tandem.governance.sessions import COOKIE, SAFE, Sessions, own_page

HERE = Path(__file__).parent
TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
POLICY = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
HEADERS = {
    "content-security-policy": POLICY,
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
}
NAVIGATION = (
    ("/", "Home", "read"),
    ("/endpoints", "Endpoints", "read"),
    ("/assets", "Assets", "read"),
    ("/traces", "Traces", "read"),
    ("/runs", "Runs", "read"),
    ("/monitors", "Monitors", "read"),
    ("/requests", "Requests", "read"),
    ("/reviews", "Reviews", "read"),
    ("/projects", "Projects", "read"),
    ("/people", "People", "read"),
    ("/keys", "Keys", "read"),
    ("/budgets", "Budgets", "read"),
    ("/costs", "Costs", "read"),
    ("/alerts", "Alerts", "audit"),
    ("/audit", "Audit", "audit"),
)
"""Address, name, and the right that a page needs."""
BESIDE = {"pipelines": "/assets"}
"""The first word of addresses that stand under no page of the navigation → the page that leads to them."""
OF_THE_TEAM = frozenset({"/audit"})
"""Pages that show an auditor of a team what is the team's."""


@dataclass(frozen=True, slots=True)
class Desk:
    """Finds the caller and writes the pages."""

    sessions: Sessions
    clock: Clock
    files: Mapping[str, bytes] = field(default_factory=lambda: _static())
    """The static files, by name."""
    providers: tuple[str, ...] = ()
    """Who vouches for people that sign in, by name."""
    _templates: Environment = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_templates", _environment(self.clock, self.files))

    def router(self) -> APIRouter:
        """An empty router whose errors are pages."""
        return APIRouter(route_class=_page_class(self), include_in_schema=False, default_response_class=Response)

    def known(self, request: Request) -> Principal | None:
        """Who is signed in, if anybody."""
        cookie = request.cookies.get(COOKIE)
        return None if cookie is None else self.sessions.by_cookie(cookie, address_of(request))

    def enter(self, request: Request, right: str = "read", *, own: bool = False) -> Principal:
        """Whoever is signed in and has the right.

        Args:
            own: whether it is enough to have it in the own team.

        Raises:
            Unauthenticated: nobody is.
            Forbidden: the right is missing, or a changing request comes from another site.
        """
        own_site(request)
        principal = self.known(request)
        if principal is None:
            raise Unauthenticated("You are not signed in.", hint="Sign in.")
        authorise(principal, right, principal.team if own else None)
        return principal

    def page(
        self,
        request: Request,
        template: str,
        title: str,
        values: Mapping[str, object],
        *,
        by: Principal | None,
        status: int = 200,
    ) -> Response:
        """A whole page.

        Args:
            template: the file that draws it.
            title: what the browser's tab says.
            values: what the template shows.
            by: who is signed in; nobody sees no navigation.
        """
        navigation = [
            (href, name)
            for href, name, right in NAVIGATION
            if by is not None and by.may(right, by.team if href in OF_THE_TEAM else None)
        ]
        hats = () if by is None else self.sessions.hats(by)
        under = BESIDE.get(request.url.path.split("/")[1], request.url.path)
        frame = {"title": title, "by": by, "under": under, "navigation": navigation, "hats": hats}
        text = self._templates.get_template(template).render({**values, **frame})
        return Response(text, status, HEADERS, "text/html; charset=utf-8")

    def fault(self, request: Request, error: TandemError) -> Response:
        """An error as a page; for who is not signed in, the way in."""
        if isinstance(error, Unauthenticated):
            return self.sign_in(request, status=error.status)
        title = {403: "Not allowed", 404: "Nothing here"}.get(error.status, "Something is wrong")
        return self.page(request, "error.html", title, {"error": error}, by=self.known(request), status=error.status)

    def sign_in(
        self,
        request: Request,
        *,
        status: int = 200,
        after: str | None = None,
        fault: str | None = None,
        name: str = "",
        by_key: bool = False,
    ) -> Response:
        """The sign-in page, which leads on to the page that was asked for.

        Args:
            name: what somebody has written already.
            by_key: whether it was a key that was no good.
        """
        wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        # The cookie is not sent along a link from another site; asking once more from our own page sends it.
        again = request.method in SAFE and request.headers.get("sec-fetch-site") == "cross-site" and COOKIE not in request.cookies
        values = {
            "after": local(after or wanted),
            "fault": fault,
            "again": again,
            "name": name,
            "by_key": by_key or not self.sessions.peopled(),  # on the first day there is the admin key alone
            "passwords": self.sessions.lasting.passwords,
            "providers": self.providers,
        }
        return self.page(request, "sign_in.html", "Sign in", values, by=None, status=status)


def own_site(request: Request) -> None:
    """Lets a changing request pass only when it comes from our own pages.

    Raises:
        Forbidden: it comes from another site.
    """
    told = request.headers
    if not own_page(request.method, told.get("sec-fetch-site"), told.get("origin"), told.get("host")):
        raise Forbidden("This request comes from another site.", hint="Use the console's own pages.")


def address_of(request: Request) -> str:
    """Where the browser is, as the door says, which alone can reach this process."""
    return request.headers.get("x-forwarded-for", "").strip()


def https(request: Request) -> bool:
    """Whether the browser speaks TLS to us; the door says so."""
    return request.headers.get("x-forwarded-proto", request.url.scheme) == "https"


def local(address: str) -> str:
    """The address if it is a page of ours, else the first page: nobody is led to another site.

    >>> local("/traces?limit=5"), local("//evil.example"), local("https://evil.example")
    ('/traces?limit=5', '/', '/')
    """
    sound = address.startswith("/") and not address.startswith(("//", "/\\")) and address.isprintable() and "\\" not in address
    return address if sound and not address.startswith("/console/") else "/"


def _page_class(desk: Desk) -> type[APIRoute]:
    class Page(APIRoute):
        """A route whose deliberate errors are pages."""

        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            plain = super().get_route_handler()

            async def shown(request: Request) -> Response:
                try:
                    return await plain(request)
                except TandemError as error:
                    return await run_in_threadpool(desk.fault, request, error)
                except RequestValidationError as error:
                    return await run_in_threadpool(desk.fault, request, _malformed(request, error))

            return shown

    return Page


def _malformed(request: Request, error: RequestValidationError) -> TandemError:
    first = error.errors()[0]
    if first["loc"][0] == "path":
        return NotFound(f"{request.url.path} is nothing here.", hint="The navigation shows what there is.")
    return Invalid(f"{first['loc'][-1]}: {first['msg']}.", field=str(first["loc"][-1]), hint="Go back and try another value.")


def _told(text: str) -> Markup:
    """A message with what stands between backticks as code."""
    pieces = text.split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(piece) if place % 2 and place + 1 < len(pieces) else piece
        for place, piece in enumerate(pieces)
    )


def _static() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (HERE / "static").iterdir() if path.suffix in TYPES}


def _environment(clock: Clock, files: Mapping[str, bytes]) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    stamp = sha256(b"".join(files[name] for name in sorted(files))).hexdigest()[:12]

    def when(micros: int | None) -> Markup:
        if micros is None:
            return Markup("—")
        return Markup('<time datetime="{}" title="{}">{}</time>').format(
            words.moment(micros), words.ago(micros, clock.now()), words.utc(micros)
        )

    environment.globals.update(when=when, stamp=stamp, version=__version__, outcome=facts.outcome)
    for filter in (words.lasted, words.money, words.number, words.short, words.pretty, words.plain, words.shown, words.counted):
        environment.filters[filter.__name__] = filter
    environment.filters["plural"] = lambda kind: {"policy": "policies", "index": "indexes"}.get(kind, f"{kind}s")
    environment.filters["told"] = _told
    environment.tests["line"] = words.is_line
    return environment
