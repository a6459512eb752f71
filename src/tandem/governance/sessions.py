"""Who is behind a request to the control plane: a key, or the cookie of somebody who signed in with a key or a password.

A session is a row: it ends when its person is disabled or its key revoked, after a time without use, and after a time at all.
The cookie holds 256 random bits, and is another one after every sign-in. It knows no web framework.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from sqlalchemy import Connection

from tandem.core.clock import MICROS, Clock
from tandem.core.errors import Forbidden, NotFound, TandemError, Unauthenticated
from tandem.core.principal import Person, Principal
from tandem.governance.audit import Audit
from tandem.governance.digest import digest, new_token
from tandem.governance.keys import Keys
from tandem.governance.lend import PREFIX, PURPOSE, lent
from tandem.governance.people.attempts import Slowing
from tandem.governance.people.lasting import LASTING, Lasting
from tandem.governance.people.passwords import Passwords
from tandem.governance.people.repo import PersonRows, Session, SessionRows
from tandem.governance.terms import check_address
from tandem.store.sql import Sql
from tandem.store.vault import Vault

COOKIE = "tandem_session"
SEEN_SECONDS = 60
"""How exactly it is known when a session was last used: a row is not written at every request."""
UNKNOWN = "person/unknown"
"""The subject of a sign-in under a name that nobody has; what strangers write is not kept."""
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
OUR_SITES = frozenset({"same-origin", "none"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A session that was just opened."""

    principal: Principal
    cookie: str


class Sessions:
    """Finds principals by key and by cookie; signs in and out."""

    def __init__(
        self, sql: Sql, keys: Keys, vault: Vault, clock: Clock, audit: Audit, passwords: Passwords, lasting: Lasting = LASTING
    ) -> None:
        self._sql, self._keys, self._clock, self._audit, self._passwords = sql, keys, clock, audit, passwords
        self.lasting = lasting
        self._pepper = vault.derive("console-session")
        self._lending = vault.derive(PURPOSE)
        self._slowing = Slowing(vault)
        self._rows, self._persons = SessionRows(), PersonRows()

    # --- who asks

    def by_key(self, token: str, address: str = "") -> Principal | None:
        """Whose key this is; None when nobody knows it.

        Args:
            address: where the caller is, for keys that are bound to networks.

        Raises:
            Forbidden: the key may not be used from there.
        """
        if token.startswith(PREFIX):
            return self._lent(token)
        found = self._keys.find_digest(self._keys.digest(token))
        if found is not None:
            check_address(found, address)
        return found

    def _lent(self, token: str) -> Principal | None:
        """Whom a key names that the platform lent to a Run's own code, while the key or person behind it still stands."""
        found = lent(self._lending, token, self._clock.now())
        return found if found is not None and found.run and self._keys.holds(found) else None

    def by_cookie(self, value: str, address: str = "") -> Principal | None:
        """Whose session this is; None when it is over, or never was.

        Raises:
            Forbidden: it was opened with a key that may not be used from there.
        """
        now, mark = self._clock.now(), digest(self._pepper, value)
        with self._sql.read() as conn:
            session = self._rows.find(conn, mark)
            if session is None or self._over(session, now):
                return None
            person = self._persons.by_id(conn, session.principal)
        found = self._keys.by_id(session.principal) if person is None else _acting(person, session.team)
        if found is None:
            return None
        check_address(found, address)
        if now - session.seen_at >= SEEN_SECONDS * MICROS:
            with suppress(TandemError), self._sql.write() as conn:  # a full disk signs nobody out
                self._rows.seen(conn, mark, now)
        return found

    def of(self, principal: Principal) -> tuple[Session, ...]:
        """The sessions of whoever is signed in, newest first."""
        now = self._clock.now()
        with self._sql.read() as conn:
            return tuple(each for each in self._rows.of(conn, principal.id) if not self._over(each, now))

    def hats(self, principal: Principal) -> tuple[tuple[str, str], ...]:
        """In which teams the person who is signed in can act, each with the role there; empty is the whole organisation."""
        if principal.kind != "person":
            return ()
        with self._sql.read() as conn:
            person = self._persons.by_id(conn, principal.id)
        if person is None:
            return ()
        return tuple((team, person.teams.get(team, person.role or "")) for team in person.hats)

    def peopled(self) -> bool:
        """Whether there is anybody who could sign in otherwise than with a key."""
        with self._sql.read() as conn:
            return self._persons.any(conn)

    # --- in and out

    def open(self, token: str, *, address: str = "", before: str | None = None) -> Opened | None:
        """Signs in with a key; None when nobody knows it.

        Args:
            before: the cookie that the browser sent, which is worth nothing from now on.

        Raises:
            Forbidden: the key may not be used from there.
        """
        principal = self.by_key(token, address)
        if principal is None:
            return None
        with self._sql.write() as conn:
            return self._open(conn, principal, principal.id, "", address, before, "key")

    def sign_in(self, name: str, password: str, *, address: str = "", before: str | None = None) -> Opened:
        """Signs a person in by name or e-mail, and password.

        Raises:
            Unauthenticated: no such person, no such password, or disabled: which of them is not told.
            RateLimited: too many sign-ins of this name or from this address failed.
        """
        if not self.lasting.passwords:
            raise Unauthenticated("Nobody signs in with a password here.", hint="Sign in with your provider, or with a key.")
        written = name.strip().lower()[:256]
        with self._sql.read() as conn:
            person = self._persons.find(conn, written) or self._persons.by_email(conn, written)
            self._slowing.look(conn, written if person is None else person.name, address, self._clock.now())
        with self._sql.write() as conn:
            person = self._persons.find(conn, written) or self._persons.by_email(conn, written)
            called = written if person is None else person.name
            slowed = self._slowing.begin(conn, called, address, self._clock.now())
            kept = None if person is None else self._persons.password(conn, person.id)
            if slowed:
                self._note(conn, "session.slow", UNKNOWN if person is None else person.owner, person, {"address": address})
        right = self._passwords.holds(kept, password)
        anew = self._passwords.hash(password) if right and kept is not None and self._passwords.outdated(kept) else None
        opened: Opened | None = None
        with self._sql.write() as conn:
            now = None if person is None else self._persons.by_id(conn, person.id)
            if now is not None and right and now.disabled_at is None and now.hats:
                self._slowing.well(conn, called, address)
                if anew is not None:
                    self._persons.set_password(conn, now.id, anew)
                opened = self._enter(conn, now, address, before, "password")
            else:  # of nobody too, without the name: else the time that the row takes would tell who exists
                self._note(conn, "session.refuse", UNKNOWN if now is None else now.owner, now, {"address": address})
        if opened is None:
            raise Unauthenticated(
                "The name or the password is not right.",
                hint="Write them again; an admin can give you a link for a new password.",
            )
        return opened

    def enter(self, person: Person, *, address: str = "", before: str | None = None, how: str) -> Opened:
        """Signs in a person who proved who they are in another way.

        Raises:
            Unauthenticated: the person is disabled or gone, or is in no team.
        """
        with self._sql.write() as conn:
            now = self._persons.by_id(conn, person.id)
            if now is None or now.disabled_at is not None or not now.hats:
                raise Unauthenticated("There is no way in for you here.", hint="Ask an admin to put you into a team.")
            return self._enter(conn, now, address, before, how)

    def act_in(self, value: str, team: str) -> Principal:
        """Goes on in another team of the person's, or with an empty `team` for the whole organisation.

        Raises:
            Unauthenticated: the session is over, or is a key's.
            NotFound: the person is not in this team.
        """
        mark = digest(self._pepper, value)
        with self._sql.write() as conn:
            session = self._rows.find(conn, mark)
            person = None if session is None else self._persons.by_id(conn, session.principal)
            if session is None or person is None or self._over(session, self._clock.now()):
                raise Unauthenticated("This is no session of a person.", hint="Sign in with your name and password.")
            found = person.acting(team)
            if found is None:
                raise NotFound(f"You are not in the team '{team}'.", hint="GET /api/v1/session lists yours.", field="team")
            self._rows.act_in(conn, mark, team)
        return found

    def end(self, value: str) -> None:
        """Signs out; a cookie that opens nothing is nothing to end."""
        with self._sql.write() as conn:
            self._rows.end(conn, digest(self._pepper, value))

    def end_all(self, name: str, *, by: Principal) -> int:
        """Signs a person out everywhere: the person themself, or an admin of the organisation; how many sessions there were.

        Raises:
            Forbidden: `by` is neither.
            NotFound: there is no such person.
        """
        with self._sql.write() as conn:
            person = self._persons.find(conn, name)
            if not by.may("admin") and (person is None or by.id != person.id):
                raise Forbidden(f"You may not sign '{name}' out.", hint="Ask an admin of the organisation.")
            if person is None:
                raise NotFound(f"There is no person '{name}'.", hint="`tandem person list` shows them.")
            count = self._rows.end_of(conn, person.id)
            self._note(conn, "session.end", person.owner, person, {"count": count}, by=by.name)
        return count

    def _enter(self, conn: Connection, person: Person, address: str, before: str | None, how: str) -> Opened:
        team = person.hats[0]
        principal = person.acting(team)
        assert principal is not None  # the caller has looked
        return self._open(conn, principal, person.id, team, address, before, how)

    def _open(
        self, conn: Connection, principal: Principal, id: str, team: str, address: str, before: str | None, how: str
    ) -> Opened:
        now, cookie = self._clock.now(), new_token().replace("tdm_", "tds_")
        self._rows.sweep(conn, now, now - self.lasting.idle_seconds * MICROS)
        if before:
            self._rows.end(conn, digest(self._pepper, before))
        session = Session(
            principal=id,
            team=team,
            address=address[:64],
            created_at=now,
            seen_at=now,
            expires_at=now + self.lasting.seconds * MICROS,
        )
        self._rows.add(conn, digest(self._pepper, cookie), session)
        subject = principal.owner if principal.kind == "person" else f"key/{principal.name}"
        self._audit.append(
            conn,
            actor=principal.name,
            action="session.open",
            subject=subject,
            team=principal.team,
            detail={"by": how, "address": session.address},
        )
        return Opened(principal=principal, cookie=cookie)

    def _over(self, session: Session, now: int) -> bool:
        return session.expires_at <= now or session.seen_at + self.lasting.idle_seconds * MICROS <= now

    def _note(
        self, conn: Connection, action: str, subject: str, person: Person | None, detail: dict[str, object], *, by: str = "local"
    ) -> None:
        team = "default" if person is None else min(person.teams, default="default")
        self._audit.append(conn, actor=by, action=action, subject=subject, team=team, detail=detail)


def _acting(person: Person, team: str) -> Principal | None:
    """The person in the team of the session; once it is left, in the first that there is."""
    found = person.acting(team)
    return found if found is not None or not person.hats else person.acting(person.hats[0])


def own_page(method: str, site: str | None, origin: str | None, host: str | None) -> bool:
    """Whether a request by cookie may change something: it comes from our own pages, or from no browser.

    Args:
        site, origin, host: the headers `Sec-Fetch-Site`, `Origin` and `Host`. Every browser sends the first or, with a
            request that changes something, the second; none lets a page write them.

    >>> own_page("POST", "cross-site", None, "a"), own_page("POST", None, "https://b", "a")
    (False, False)
    >>> own_page("POST", None, "http://a", "a")
    True
    """
    if method in SAFE:
        return True
    if site is not None:
        return site in OUR_SITES
    return origin is None or (origin != "null" and urlsplit(origin).netloc.lower() == (host or "").lower())
