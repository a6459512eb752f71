"""Persons and services, the links that invite them, and teams: who is who, and what they are where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tandem_sdk.wire import API, Wire, read_replies, read_reply, segment


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A person, or a service: in teams with a role in each, and the owner of keys."""

    name: str
    id: str = ""
    kind: str = "person"
    """`person`, or `service`: a program that owns keys and never signs in."""
    email: str | None = None
    """Shown to admins and auditors, and to the person."""
    role: str | None = None
    """In the whole organisation: `admin` or `auditor`."""
    teams: Mapping[str, str] = field(default_factory=dict)
    """Team → role there."""
    disabled_at: int | None = None
    """UTC microseconds, like all times here."""
    has_password: bool = False
    sso: str | None = None
    """The provider that vouches for the person at sign-in."""
    created_at: int = 0
    created_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    """A link that can still be used; the link itself is kept nowhere."""

    id: str
    email: str = ""
    person: str | None = None
    """Whose new password it is for; None: somebody joins."""
    role: str | None = None
    teams: Mapping[str, str] = field(default_factory=dict)
    created_at: int = 0
    created_by: str = ""
    expires_at: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Link:
    """A link that was just made. Printing it shows no secret."""

    link: str
    """Good once; it is not shown again."""
    invitation: Invitation

    def __repr__(self) -> str:
        return f"Link(link='***', invitation={self.invitation!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Team:
    """A team and who is in it."""

    name: str
    members: Mapping[str, str] = field(default_factory=dict)
    """Person or service → role."""


class Persons:
    """`client.persons`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def list(self) -> tuple[Person, ...]:
        """Every person and service the key may see."""
        return read_replies(Person, self._wire.get(f"{API}/persons"))

    def add(
        self,
        name: str,
        *,
        teams: Mapping[str, str] | None = None,
        role: str | None = None,
        email: str | None = None,
        kind: str = "person",
    ) -> Person:
        """Makes a person or a service.

        Args:
            teams: team → role there.
            role: in the whole organisation: `admin` or `auditor`.
            kind: `person` or `service`.

        Raises:
            Conflict: the name or the e-mail is taken.
            Forbidden: the caller is no admin of all that.
        """
        body = {"name": name, "kind": kind, "email": email, "role": role, "teams": dict(teams or {})}
        return read_reply(Person, self._wire.send("POST", f"{API}/persons", body, once=True))

    def set(
        self, name: str, *, email: str | None = None, role: str | None = None, disabled: bool | None = None
    ) -> Person:  # fmt: skip
        """Changes what is given; whoever is disabled is signed out at once, and their keys end for good.

        Args:
            role: in the whole organisation; `none` takes it away.

        Raises:
            NotFound: there is no such person.
        """
        told = {"email": email, "role": role, "disabled": disabled}
        body = {field: value for field, value in told.items() if value is not None}
        return read_reply(Person, self._wire.send("PUT", _path(name), body))

    def remove(self, name: str) -> None:
        """Removes a person or a service with their sessions and keys.

        Raises:
            NotFound: there is no such person.
        """
        self._wire.send("DELETE", _path(name))

    def set_password(self, name: str, password: str) -> None:
        """Gives a person a password and ends their sessions.

        Raises:
            Invalid: it is too short, or easily guessed.
            NotFound: there is no such person.
        """
        self._wire.send("PUT", f"{_path(name)}/password", {"password": password})

    def link(self, name: str, *, seconds: int | None = None) -> Link:
        """Makes a link, good once, by which a person chooses a new password.

        Args:
            seconds: for which it is good; None means three days.
        """
        body = {} if seconds is None else {"seconds": seconds}
        return read_reply(Link, self._wire.send("POST", f"{_path(name)}/link", body, once=True))

    def sign_out(self, name: str) -> None:
        """Ends every session of a person.

        Raises:
            NotFound: there is no such person.
        """
        self._wire.send("POST", f"{_path(name)}/sign-out", {})

    def invite(
        self, email: str, *, teams: Mapping[str, str] | None = None, role: str | None = None, seconds: int | None = None
    ) -> Link:
        """Makes a link, good once, by which somebody joins and chooses a password.

        Args:
            teams: team → role there.
            role: in the whole organisation: `admin` or `auditor`.
            seconds: for which it is good; None means three days.

        Raises:
            Conflict: a person has this e-mail already.
            Forbidden: the caller is no admin of all that.
        """
        told = {"email": email, "role": role, "teams": dict(teams or {}), "seconds": seconds}
        body = {field: value for field, value in told.items() if value is not None}
        return read_reply(Link, self._wire.send("POST", f"{API}/invitations", body, once=True))

    def invited(self) -> tuple[Invitation, ...]:
        """The links that can still be used; never the links themselves."""
        return read_replies(Invitation, self._wire.get(f"{API}/invitations"))

    def withdraw(self, id: str) -> None:
        """Takes a link back.

        Raises:
            NotFound: it was used, is over, or never was.
        """
        self._wire.send("DELETE", f"{API}/invitations/{segment(id)}")


class Teams:
    """`client.teams`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def list(self) -> tuple[Team, ...]:
        """Every team the key may see, with who is in it."""
        return read_replies(Team, self._wire.get(f"{API}/teams"))

    def add(self, name: str) -> Team:
        """Makes a team.

        Raises:
            Conflict: there is one of this name.
        """
        return read_reply(Team, self._wire.send("POST", f"{API}/teams", {"name": name}, once=True))

    def set_member(self, team: str, name: str, role: str) -> Person:
        """Puts somebody into a team, or gives them another role there.

        Raises:
            NotFound: there is no such team, or no such person.
        """
        return read_reply(Person, self._wire.send("PUT", _member(team, name), {"role": role}))

    def remove_member(self, team: str, name: str) -> Person:
        """Takes somebody out of a team; their keys of the team end.

        Raises:
            NotFound: they are not in it.
        """
        return read_reply(Person, self._wire.send("DELETE", _member(team, name)))


def _path(name: str) -> str:
    return f"{API}/persons/{segment(name)}"


def _member(team: str, name: str) -> str:
    return f"{API}/teams/{segment(team)}/members/{segment(name)}"
