"""Keys: how callers prove who they are. A key is shown once, when it is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from tandem_sdk.errors import ApprovalNeeded
from tandem_sdk.shape import read
from tandem_sdk.waiting import Request
from tandem_sdk.wire import API, Wire, read_replies, read_reply, segment


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who calls: a person, a service or a key, in a team."""

    name: str
    id: str = ""
    team: str = ""
    org: str = "default"
    kind: str = "key"
    role: str = ""
    """`viewer`, `editor`, `approver`, `admin` or `auditor`."""
    endpoints: tuple[str, ...] = ()
    """Endpoints it may call; empty means all."""
    scopes: tuple[str, ...] = ()
    """Extra rights, such as `any-version`."""
    expires_at: int | None = None
    """UTC microseconds after which it is refused."""
    owner: str = ""
    """`person/NAME` or `service/NAME`; empty: nobody's."""
    reach: str = "organisation"
    """How far the rights of an admin or auditor go: `organisation` or `team`."""
    rights: tuple[str, ...] = ()
    """The only rights of its role that it has; empty means all."""
    kinds: tuple[str, ...] = ()
    """The only kinds of calls it may make; empty means all."""
    models: tuple[str, ...] = ()
    """Globs of `provider/model` that may answer it; empty means all."""
    networks: tuple[str, ...] = ()
    """IP ranges it may be used from; empty means anywhere."""
    content: bool = True
    """Whether its prompts and answers may be kept."""
    budget_scopes: tuple[str, ...] = ()
    """The scopes whose budgets its calls count against, widest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What binds a key beyond its role. Left as they are, they bind nothing."""

    owner: str = ""
    """`person/NAME` or `service/NAME`: whose key it is; its owner's rights bound it, and it ends with its owner."""
    reach: str = "organisation"
    rights: Sequence[str] = ()
    kinds: Sequence[str] = ()
    models: Sequence[str] = ()
    networks: Sequence[str] = ()
    content: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Key(Principal):
    """A key in a list; the secret itself is nowhere."""

    created_at: int = 0
    created_by: str = ""
    revoked_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class NewKey:
    """A key that was just made. Printing it shows no secret."""

    key: str
    """The secret, `tdm_…`; it is not shown again."""
    principal: Principal
    request: Request | None = None
    """What waits for people; until they approved, the key is refused."""

    def __repr__(self) -> str:
        return f"NewKey(key='***', principal={self.principal!r})"


class Keys:
    """`client.keys`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def create(
        self,
        name: str,
        *,
        team: str | None = None,
        role: str | None = None,
        endpoints: Sequence[str] = (),
        scopes: Sequence[str] = (),
        expires_at: int | None = None,
        terms: Terms | None = None,
    ) -> NewKey:
        """Makes a key; where a rule asks for people, one that is refused until they approved (`request` is set then).

        Args:
            name: what it is called in budgets, traces and the audit.
            team: None means the team `default`.
            role: None means `viewer`.
            endpoints: those it may call; empty means all.
            scopes: extra rights, such as `any-version`.
            expires_at: UTC microseconds; None never expires.
            terms: whose it is, and what else binds it.

        Raises:
            Conflict: the name is taken.
            Forbidden: the caller may not make keys, or not such ones.
        """
        told = {
            "name": name, "team": team, "role": role, "endpoints": list(endpoints), "scopes": list(scopes),
            "expires_at": expires_at, **({} if terms is None else asdict(terms)),
        }  # fmt: skip
        body = {field: value for field, value in told.items() if value is not None}
        try:
            return read_reply(NewKey, self._wire.send("POST", f"{API}/keys", body, once=True))
        except ApprovalNeeded as needed:
            if needed.key is None:
                raise
            who = read(Principal, needed.request.deed.get("principal", {"name": name}))
            return NewKey(key=needed.key, principal=who, request=needed.request)

    def list(self) -> tuple[Key, ...]:
        """Every key the caller may see, without secrets."""
        return read_replies(Key, self._wire.get(f"{API}/keys"))

    def rotate(self, name: str, *, overlap: int = 0) -> NewKey:
        """Gives a key a new token; it stays the same key.

        Args:
            overlap: seconds for which the token before is good beside it, at most a week.

        Raises:
            NotFound: there is none of that name.
        """
        return read_reply(NewKey, self._wire.send("POST", f"{API}/keys/{segment(name)}/rotate", {"overlap": overlap}, once=True))

    def revoke(self, name: str) -> None:
        """Ends a key; the doors refuse it within a moment.

        Raises:
            NotFound: there is none of that name.
        """
        self._wire.send("DELETE", f"{API}/keys/{segment(name)}")
