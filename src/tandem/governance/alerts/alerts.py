"""The alerts of the platform: who may set one, how secrets are kept, what waits. It sends by itself nothing but a test."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from sqlalchemy import Connection

from tandem.core.clock import Clock
from tandem.core.errors import Conflict, Invalid, NotFound, TandemError
from tandem.core.policy import Alert
from tandem.core.principal import LOCAL, Principal
from tandem.core.secret import Secret
from tandem.governance.alerts.base import Channel, Destination, kind_of, load
from tandem.governance.alerts.check import HIDDEN, SEALED, WHSEC, check_alert, is_reference, shown_url
from tandem.governance.alerts.deeds import UNDELIVERED, actions
from tandem.governance.alerts.message import Tell, compose
from tandem.governance.audit import Audit
from tandem.governance.authorise import ALL, authorise
from tandem.governance.repo import AlertRows, AuditRows, Entry, KeptAlert, KeyRows, Matching, Standing
from tandem.store.sql import Sql
from tandem.store.vault import Vault

PURPOSE = "alert"
LIMIT = 50
"""Alerts of one platform: each may keep a thread waiting."""
KEY_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """An alert as people may see it: no address behind the host, no secret."""

    alert: Alert
    """Its `url` and `secret` are references, or say where to and that there is one."""
    standing: Standing
    pending: int
    """Rows of the audit that it is still to be told of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What became of a test."""

    ok: bool
    detail: str


class Alerts:
    """Keeps alerts, and knows what each is to be told next.

    What the settings file declares carries `managed` and is changed by the file alone. The same
    content put again changes nothing and leaves no audit row.
    """

    def __init__(
        self,
        sql: Sql,
        audit: Audit,
        vault: Vault,
        clock: Clock,
        *,
        address: str,
        tell: Tell = lambda entry: (),
        channel: Callable[[str], Channel] = load,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        """
        Args:
            address: of the console, for links.
            tell: knows more of some rows of the audit.
            channel: makes a channel by its kind.
        """
        self._sql, self._audit, self._vault, self._clock = sql, audit, vault, clock
        self._address, self._tell, self._make, self._environment = address, tell, channel, environment
        self._channels: dict[str, Channel] = {}
        self._rows, self._deeds, self._teams = AlertRows(), AuditRows(), KeyRows()

    # --- what people do

    def put(self, alert: Alert, *, by: Principal) -> Secret | None:
        """Adds an alert, which is told of what happens from now on, or replaces one, which goes on where it was.

        Returns:
            The signing secret, if none was given and one was made; it is not shown again.

        Raises:
            Forbidden: `by` is no admin: a destination is a way out of the platform.
            Invalid: the kind, the address, a secret, a pattern or the team is none.
            Conflict: the file manages it, or there are too many.
        """
        authorise(by, "admin")
        check_alert(alert)
        with self._sql.write() as conn:
            kept = self._rows.find(conn, alert.name)
            if alert.managed is None:
                _check_managed(kept)
                if alert.team is not None and alert.team not in self._teams.teams(conn, ALL):
                    raise Invalid(f"There is no team '{alert.team}'.", hint="A team comes with its first key.", field="team")
            if kept is None and len(self._rows.list(conn)) >= LIMIT:
                raise Conflict(f"There are {LIMIT} alerts already.", hint="Remove one: `tandem alert remove`.")
            alert, made = self._with_secret(alert, kept)
            if kept is not None and self._opened(kept.alert) == self._opened(alert):
                return None
            entry = self._note(conn, "alert.add", alert, by, {**_told(self.shown(alert)), "replaced": kept is not None})
            standing = self._begun(conn, kept, entry.seq)
            self._rows.put(conn, self._kept(self._sealed(alert), 1 if kept is None else kept.etag + 1, standing, by))
        return made

    def remove(self, name: str, *, by: Principal, through: Literal["api", "file"] = "api") -> None:
        """Removes an alert: nothing is sent to it any more. `through="file"` retires one that the file no longer declares.

        Raises:
            Forbidden: `by` is no admin.
            NotFound: there is none.
            Conflict: the file manages it.
        """
        authorise(by, "admin")
        with self._sql.write() as conn:
            kept = self._must(conn, name)
            if through == "api":
                _check_managed(kept)
            self._note(conn, "alert.remove", kept.alert, by, {"through": through})
            self._rows.remove(conn, name)

    def list(self, *, by: Principal) -> tuple[Shown, ...]:
        """All alerts, by name.

        Raises:
            Forbidden: `by` is neither admin nor auditor.
        """
        authorise(by, "audit")
        with self._sql.read() as conn:
            return tuple(self._look(conn, kept) for kept in self._rows.list(conn))

    def find(self, name: str, *, by: Principal) -> Shown:
        """One alert.

        Raises:
            Forbidden: `by` is neither admin nor auditor.
            NotFound: there is none.
        """
        authorise(by, "audit")
        with self._sql.read() as conn:
            return self._look(conn, self._must(conn, name))

    def test(self, name: str, *, by: Principal) -> Trial:
        """Sends a test, now; if it arrives, what waits is tried at once too.

        Raises:
            Forbidden: `by` is no admin.
            NotFound: there is none.
        """
        authorise(by, "admin")
        with self._sql.write() as conn:
            kept = self._must(conn, name)
            entry = self._note(conn, "alert.test", kept.alert, by, {})
        try:
            note = self.send(kept.alert, entry)
        except TandemError as error:
            return Trial(ok=False, detail=str(error))
        with self._sql.write() as conn:
            now = self._rows.find(conn, name)
            if now is not None and now.standing.failures:
                self._rows.put(conn, replace(now, etag=now.etag + 1, standing=replace(now.standing, failures=0)))
        return Trial(ok=True, detail=note or "delivered")

    def declare(self, alerts: Mapping[str, Alert]) -> None:
        """Makes the table say what the settings file says; what it no longer names is retired.

        Raises:
            Invalid: one of them makes no sense.
        """
        for alert in alerts.values():
            self.put(alert, by=LOCAL)
        with self._sql.read() as conn:
            known = [kept.alert for kept in self._rows.list(conn)]
        for alert in known:
            if alert.managed is not None and alert.name not in alerts:
                self.remove(alert.name, by=LOCAL, through="file")

    # --- what the courier asks

    def every(self) -> tuple[tuple[KeptAlert, ...], int]:
        """All alerts, and the newest row of the audit."""
        with self._sql.read() as conn:
            head = self._deeds.head(conn)
            return self._rows.list(conn), 0 if head is None else head.entries

    def next(self, name: str, etag: int, after: int) -> tuple[KeptAlert, Entry | None] | None:
        """An alert and the row it is to be told of next; None when it was changed or removed meanwhile."""
        with self._sql.read() as conn:
            kept = self._rows.find(conn, name)
            if kept is None or kept.etag != etag:
                return None
            return kept, self._deeds.first(conn, _wanted(kept.alert, after))

    def send(self, alert: Alert, entry: Entry) -> str:
        """Tells an alert of one row of the audit.

        Raises:
            Upstream: it was not delivered.
            Invalid: a secret that it refers to is not there, or makes no sense.
        """
        channel = self._channels.get(alert.kind)
        if channel is None:
            channel = self._channels[alert.kind] = self._make(alert.kind)
        destination = Destination(
            url=self._resolved(alert, "url"),
            secret=self._resolved(alert, "secret"),
            user=alert.user,
            sender=alert.sender,
            to=alert.to,
        )
        return channel.send(compose(entry, alert.name, self._address, self._tell), destination, self._clock.now())

    def keep(self, name: str, etag: int, standing: Standing) -> None:
        """Notes how the delivery goes, unless the alert was changed or removed meanwhile.

        Raises:
            Unavailable: it cannot be written.
        """
        with self._sql.write() as conn:
            self._rows.keep(conn, name, etag, standing)

    def give_up(self, kept: KeptAlert, standing: Standing, before: int) -> Standing:
        """Passes over what was to be told before a time, and writes that into the audit.

        Given up `alert.undelivered` rows leave no such row again: two dead alerts that watch each other would never end.

        Raises:
            Unavailable: it cannot be written.
        """
        with self._sql.write() as conn:
            overdue = self._deeds.overdue(conn, _wanted(kept.alert, standing.cursor), before)
            if not overdue.count:
                return standing
            standing = replace(standing, cursor=overdue.last, undelivered=standing.undelivered + overdue.count)
            if self._rows.keep(conn, kept.alert.name, kept.etag, standing) and set(overdue.actions) != {UNDELIVERED}:
                actor = replace(LOCAL, name=f"alert/{kept.alert.name}", team=kept.alert.team or LOCAL.team)
                detail = {"count": overdue.count, "actions": overdue.actions, "error": standing.error}
                self._note(conn, UNDELIVERED, kept.alert, actor, detail)
        return standing

    # --- secrets

    def stale(self, vault: Vault) -> int:
        """Addresses and secrets that are sealed under another master key than the present one."""
        with self._sql.read() as conn:
            alerts = [kept.alert for kept in self._rows.list(conn)]
        return sum(_is_stale(text, vault) for alert in alerts for text in (alert.url, alert.secret))

    def reseal(self, vault: Vault) -> int:
        """Seals addresses and secrets anew under the present master key; returns how many. What is delivered goes on."""
        with self._sql.write() as conn:
            count = 0
            for kept in self._rows.list(conn):
                url, secret = (self._anew(kept.alert, field, vault) for field in ("url", "secret"))
                changed = (url != kept.alert.url) + (secret != kept.alert.secret)
                if changed:
                    self._rows.put(conn, replace(kept, alert=replace(kept.alert, url=url, secret=secret)))
                    count += changed
        return count

    def _anew(self, alert: Alert, field: str, vault: Vault) -> str:
        text = alert.url if field == "url" else alert.secret
        if not _is_stale(text, vault):
            return text
        try:
            return SEALED + vault.anew(PURPOSE, bytes.fromhex(text.removeprefix(SEALED)), f"{alert.name}/{field}".encode()).hex()
        except TandemError:  # damaged: it fails at its next delivery, and says so
            return text

    def shown(self, alert: Alert) -> Alert:
        """The alert without what may be a secret."""
        secret = alert.secret if alert.secret.startswith(("env:", "file:")) else f"{SEALED}{HIDDEN}" if alert.secret else ""
        opened = self._open(alert, "url", alert.url)
        return replace(alert, url=opened if is_reference(opened) else shown_url(opened), secret=secret)

    def _with_secret(self, alert: Alert, kept: KeptAlert | None) -> tuple[Alert, Secret | None]:
        """A webhook is always signed: with what was given, else as it was, else with a new secret."""
        if not kind_of(alert.kind).signs or alert.secret:
            return alert, None
        if kept is not None and kept.alert.kind == alert.kind:
            return replace(alert, secret=kept.alert.secret), None
        made = WHSEC + base64.b64encode(os.urandom(KEY_BYTES)).decode()
        return replace(alert, secret=made), Secret(made)

    def _sealed(self, alert: Alert) -> Alert:
        return replace(alert, url=self._seal(alert, "url", alert.url), secret=self._seal(alert, "secret", alert.secret))

    def _opened(self, alert: Alert) -> Alert:
        return replace(alert, url=self._open(alert, "url", alert.url), secret=self._open(alert, "secret", alert.secret))

    def _seal(self, alert: Alert, field: str, text: str) -> str:
        if not text or is_reference(text) or text.startswith(SEALED):
            return text
        return SEALED + self._vault.seal(PURPOSE, text.encode(), f"{alert.name}/{field}".encode()).hex()

    def _open(self, alert: Alert, field: str, text: str) -> str:
        if not text.startswith(SEALED):
            return text
        return self._vault.open(PURPOSE, bytes.fromhex(text.removeprefix(SEALED)), f"{alert.name}/{field}".encode()).decode()

    def _resolved(self, alert: Alert, field: Literal["url", "secret"]) -> Secret:
        reference = alert.url if field == "url" else alert.secret
        scheme, _, rest = reference.partition(":")
        found: str | None
        match scheme:
            case "env":
                found = self._environment.get(rest)
            case "file":
                try:
                    found = Path(rest).read_text("utf-8").strip()
                except (OSError, ValueError):  # not there, no text, or no path at all
                    found = None
            case _:
                found = self._open(alert, field, reference)
        if found is None or (field == "url" and not found):
            hint = "Set it where `tandem up` runs."
            raise Invalid(f"The {field} of the alert '{alert.name}' is not there: {reference}.", hint=hint, field=field)
        return Secret(found)

    # --- rows

    def _look(self, conn: Connection, kept: KeptAlert) -> Shown:
        pending = self._deeds.count(conn, _wanted(kept.alert, kept.standing.cursor))
        return Shown(alert=self.shown(kept.alert), standing=kept.standing, pending=pending)

    def _begun(self, conn: Connection, kept: KeptAlert | None, now: int) -> Standing:
        """From where an alert is told after a change: what waited for it waits on, what it did not ask for stays untold."""
        if kept is None:
            return Standing(cursor=now)
        waiting = self._deeds.first(conn, _wanted(kept.alert, kept.standing.cursor))
        return replace(kept.standing, failures=0, cursor=now if waiting is None else waiting.seq - 1)

    def _must(self, conn: Connection, name: str) -> KeptAlert:
        kept = self._rows.find(conn, name)
        if kept is None:
            raise NotFound("There is no such alert.", hint="`tandem alert list` shows them.")
        return kept

    def _kept(self, alert: Alert, etag: int, standing: Standing, by: Principal) -> KeptAlert:
        return KeptAlert(alert=alert, etag=etag, standing=standing, changed_at=self._clock.now(), changed_by=by.name)

    def _note(self, conn: Connection, action: str, alert: Alert, by: Principal, detail: Mapping[str, object]) -> Entry:
        team = alert.team or by.team
        return self._audit.append(conn, actor=by.name, action=action, subject=f"alert/{alert.name}", team=team, detail=detail)


def _is_stale(text: str, vault: Vault) -> bool:
    try:
        return text.startswith(SEALED) and vault.stale(bytes.fromhex(text.removeprefix(SEALED)))
    except ValueError:  # damaged: nobody can seal it anew
        return False


def _wanted(alert: Alert, after: int) -> Matching:
    return Matching(after=after, actions=actions(alert.on), team=alert.team)


def _told(alert: Alert) -> dict[str, object]:
    """What the audit says of an alert, of its shown form only."""
    return {"kind": alert.kind, "url": alert.url, "secret": alert.secret, "on": alert.on, "team": alert.team, "to": alert.to}


def _check_managed(kept: KeptAlert | None) -> None:
    if kept is not None and kept.alert.managed is not None:
        raise Conflict(
            f"The alert '{kept.alert.name}' is managed by {kept.alert.managed}.",
            hint="Change it there and start again; it is read-only here.",
        )
