"""Who it is that a provider vouches for: a person who is known, invited, or new. It asks no provider and opens no session."""

from __future__ import annotations

from sqlalchemy import Connection

from tandem.core.clock import Clock
from tandem.core.errors import Invalid, Unauthenticated
from tandem.core.ids import new_id
from tandem.core.principal import Person, Role
from tandem.governance.audit import Audit
from tandem.governance.authorise import ALL
from tandem.governance.people.invitations import name_for
from tandem.governance.people.issuer import Given, decided, given
from tandem.governance.people.oidc import Vouched
from tandem.governance.people.persons import Persons, check_email
from tandem.governance.people.repo import InvitationRows
from tandem.governance.repo import KeyRows
from tandem.store.sql import Sql
from tandem.store.vault import Vault, mac

NAMES = 100
"""How many names are tried for somebody whose own is taken."""


class Newcomers:
    """Finds or makes the person behind a provider's word, and gives the roles that it vouches for."""

    def __init__(self, sql: Sql, vault: Vault, clock: Clock, audit: Audit, persons: Persons) -> None:
        self._sql, self._clock, self._audit, self._persons = sql, clock, audit, persons
        self._pepper = vault.derive("oidc-identity")
        self._links, self._keys = InvitationRows(), KeyRows()

    def welcome(self, vouched: Vouched) -> Person:
        """The person, with what the provider says about their teams.

        Raises:
            Unauthenticated: nobody we know, and nobody who may join.
        """
        by = f"oidc.{vouched.issuer.name}"
        identity = mac(self._pepper, vouched.issuer.issuer.encode(), vouched.subject.encode())
        claimed = given(vouched.issuer, vouched.groups)
        with self._sql.write() as conn:
            person = self._persons.rows.by_identity(conn, identity)
            if person is None:
                person = self._first(conn, vouched, claimed, by)
                self._persons.rows.set_identity(conn, person.id, vouched.issuer.name, identity)
                self._audit.append(
                    conn, actor=by, action="person.vouch", subject=person.owner, team=min(person.teams, default="default"),
                    detail={"provider": vouched.issuer.name},
                )  # fmt: skip
            return self._as_claimed(conn, person, vouched, claimed, by)

    def _first(self, conn: Connection, vouched: Vouched, claimed: Given, by: str) -> Person:
        """Who signs in with this provider for the first time."""
        email = self._email(vouched)
        known = self._persons.rows.by_email(conn, email)
        if known is not None:
            if known.sso is not None:  # the address has changed hands, or is another provider's
                raise _refused()
            return known
        open_links = self._links.list(conn, ALL, self._clock.now())
        link = next((each for each in open_links if each.email == email and each.person is None), None)
        if link is None and not vouched.issuer.join:
            raise _refused()
        role, teams = (claimed.role, dict(claimed.teams)) if link is None else (link.role, dict(link.teams))
        if role is None and not teams:
            raise _refused()
        person = Person(
            id=new_id("per"),
            name=self._free(conn, name_for(vouched.name or email)),
            email=email,
            role=role,
            teams=teams,
            created_at=self._clock.now(),
            created_by=by if link is None else link.created_by,
        )
        more = {"provider": vouched.issuer.name, "invitation": None if link is None else link.id}
        self._persons.insert(conn, person, action="person.join", by=by, more=more)
        if link is not None:
            self._links.remove(conn, link.id)
        return person

    def _as_claimed(self, conn: Connection, person: Person, vouched: Vouched, claimed: Given, by: str) -> Person:
        """The person with the roles that the provider decides about; what it says nothing of stays as it was set by hand."""
        wide, decides = decided(vouched.issuer)
        if wide and person.role != claimed.role:
            person = self._persons.widened(conn, person, claimed.role, by)
        roles: dict[str, Role] = {team: role for team, role in person.teams.items() if team not in decides}
        return self._persons.claimed(conn, person, {**roles, **claimed.teams}, by)

    def _email(self, vouched: Vouched) -> str:
        try:
            email = check_email(vouched.email or "")
        except Invalid:
            raise _refused("The provider does not say that your e-mail is verified.") from None
        domains = vouched.issuer.domains
        if domains and email.rpartition("@")[2] not in domains:
            raise _refused("Your e-mail is of another domain than is let in here.")
        return email

    def _free(self, conn: Connection, name: str) -> str:
        for number in range(1, NAMES):
            tried = name if number == 1 else f"{name[:60].rstrip('._-')}-{number}"
            if not self._persons.rows.find(conn, tried) and not self._keys.active(conn, tried):
                return tried
        raise _refused()


def _refused(why: str = "Nobody here knows you yet.") -> Unauthenticated:
    return Unauthenticated(why, hint="Ask an admin to invite you.")
