"""The law of persons on a database of its own, with a clock that moves when told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.migrated import migrated

from tandem.core.clock import FixedClock
from tandem.core.principal import LOCAL, Person, Principal, Role
from tandem.governance.audit import Audit
from tandem.governance.authorise import ALL
from tandem.governance.keys import Keys
from tandem.governance.people.invitations import Invitations
from tandem.governance.people.lasting import LASTING, Lasting
from tandem.governance.people.passwords import Passwords
from tandem.governance.people.persons import NewPerson, Persons
from tandem.governance.sessions import Sessions
from tandem.store.sql import Sql
from tandem.store.vault import Vault

GOOD = "a long sentence indeed"
"""A password."""


@dataclass
class People:
    """Everything that knows who somebody is."""

    home: Path
    sql: Sql
    clock: FixedClock
    audit: Audit
    keys: Keys
    persons: Persons
    invitations: Invitations
    sessions: Sessions

    def person(self, name: str, *, role: Role | None = None, password: str | None = GOOD, **teams: Role) -> Person:
        made = self.persons.add(NewPerson(name=name, email=f"{name}@example.org", role=role, teams=teams), by=LOCAL)
        if password is not None:
            self.invitations.set_password(name, password, by=LOCAL)
        return made

    def signed_in(self, name: str) -> Principal:
        return self.sessions.sign_in(name, GOOD, address="192.0.2.7").principal

    def seen(self, name: str, by: Principal) -> Person:
        """The person as somebody sees them."""
        (found,) = (person for person in self.persons.list(by) if person.name == name)
        return found

    def deeds(self) -> list[str]:
        """What was done, oldest first."""
        return [f"{entry.action} {entry.subject} by {entry.actor}" for entry in reversed(self.audit.list(ALL, limit=1000))]


def people(home: Path, lasting: Lasting = LASTING, url: str | None = None) -> People:
    url = url or f"sqlite:///{home / 'control.db'}"
    migrated(url)
    sql, vault, clock = Sql(url), Vault(bytes(32)), FixedClock()
    audit = Audit(sql, vault, clock, home / "audit.head")
    keys, passwords = Keys(sql, vault, clock, audit), Passwords()
    persons = Persons(sql, clock, audit, keys.trim)
    return People(
        home=home,
        sql=sql,
        clock=clock,
        audit=audit,
        keys=keys,
        persons=persons,
        invitations=Invitations(sql, vault, clock, audit, persons, passwords),
        sessions=Sessions(sql, keys, vault, clock, audit, passwords, lasting),
    )
