"""Alerts: who is told outside of what the audit writes down, by webhook, Slack or e-mail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tandem_sdk.providers import Check
from tandem_sdk.wire import API, Wire, read_replies, read_reply, segment


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """How the delivery to an alert goes."""

    cursor: int = 0
    """The last row of the audit that it is done with."""
    failures: int = 0
    """Tries in a row that failed."""
    failing_since: int | None = None
    """UTC microseconds, like all times here."""
    tried_at: int | None = None
    delivered_at: int | None = None
    error: str = ""
    """Of the last try."""
    undelivered: int = 0
    """Messages that were given up after a day, ever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """A destination outside, and which deeds of the audit it is told of."""

    name: str
    kind: str = "webhook"
    """`webhook`, `slack` or `email`."""
    url: str = ""
    """A reference, or the address up to its host; never the rest, which may be a secret."""
    on: tuple[str, ...] = ()
    """Actions of the audit, and patterns of them."""
    team: str | None = None
    """Whose deeds; None: every team's."""
    secret: str = ""
    """A reference, or `sealed:…` where there is one; never the secret itself."""
    user: str = ""
    sender: str = ""
    to: tuple[str, ...] = ()
    managed: str | None = None
    """Where `tandem.toml` declares it; then it is read-only here."""
    pending: int = 0
    """Messages that it is still to be sent."""
    delivery: Delivery = field(default_factory=Delivery)
    signing_secret: str | None = field(default=None, repr=False)
    """What a webhook's receiver verifies with, where it was made just now; it is not shown again."""


class Alerts:
    """`client.alerts`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def add(
        self,
        name: str,
        *,
        url: str,
        kind: str = "webhook",
        on: Sequence[str] | None = None,
        team: str | None = None,
        secret: str = "",
        user: str = "",
        sender: str = "",
        to: Sequence[str] = (),
    ) -> Alert:
        """Makes an alert, which is told of what happens from now on, or replaces the one of its name.

        Args:
            name: the alert's name.
            url: `env:NAME`, `file:PATH`, or the address itself, which is encrypted when it is stored: `https://…` for a
                webhook or Slack, `smtp://HOST` (STARTTLS), `smtps://HOST` (TLS) or `smtp+plain://HOST` for e-mail.
            kind: `webhook`, `slack` or `email`.
            on: actions of the audit, such as `monitor.alarm`; `budget.*` and `*` are patterns. None: alarms, retrainings and
                requests.
            team: whose deeds; None: every team's.
            secret: of a webhook, `whsec_…`; without one, one is made and is in the answer's `signing_secret`. Of e-mail, the
                password. `env:NAME`, `file:PATH` or a literal.
            user: who signs in at the mail server.
            sender: the address that mail comes from.
            to: the addresses that mail goes to.

        Raises:
            Forbidden: the key is no admin's.
            Invalid: the address, a secret or a pattern is none; the hint lists the actions.
            Conflict: `tandem.toml` declares it.
        """
        body = {
            "url": url, "kind": kind, "team": team, "secret": secret, "user": user, "sender": sender, "to": list(to),
            **({} if on is None else {"on": list(on)}),
        }  # fmt: skip
        # Once: a second time would find the secret made, and not tell it again.
        return read_reply(Alert, self._wire.send("PUT", f"{API}/alerts/{segment(name)}", body, once=True))

    def list(self) -> tuple[Alert, ...]:
        """Every alert, and how its delivery goes."""
        return read_replies(Alert, self._wire.get(f"{API}/alerts"))

    def show(self, name: str) -> Alert:
        """One alert, and how its delivery goes.

        Raises:
            NotFound: there is none.
        """
        return read_reply(Alert, self._wire.get(f"{API}/alerts/{segment(name)}"))

    def test(self, name: str) -> Check:
        """Sends a test, and tells whether it arrived.

        Raises:
            NotFound: there is none.
        """
        reply = self._wire.send("POST", f"{API}/alerts/{segment(name)}/test", patient=True, once=True)
        trial = read_reply(_Trial, reply)
        return Check(check=f"alert {name}", ok=trial.ok, detail=trial.detail)

    def remove(self, name: str) -> None:
        """Removes an alert: it is told of nothing any more.

        Raises:
            NotFound, Conflict: there is none, or `tandem.toml` declares it.
        """
        self._wire.send("DELETE", f"{API}/alerts/{segment(name)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trial:
    ok: bool
    detail: str = ""
