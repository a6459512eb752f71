"""A home with an audit, alerts to a fake channel, a courier that works in this thread, and a clock that stands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.migrated import migrated

from tandem.core.clock import FixedClock
from tandem.core.policy import Alert
from tandem.core.principal import Principal, Role
from tandem.core.secret import Secret
from tandem.governance.alerts.alerts import Alerts
from tandem.governance.alerts.fake import Fake
from tandem.governance.alerts.send import Courier
from tandem.governance.audit import Audit
from tandem.governance.authorise import ALL
from tandem.governance.repo import Entry
from tandem.store.sql import Sql
from tandem.store.vault import Vault

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
URL = "https://hooks.example.org/services/sentinel-token"


def person(role: Role = "admin", team: str = "risk") -> Principal:
    return Principal(id=f"key_{role}", name=f"{team}-{role}", team=team, role=role)


@dataclass
class Place:
    home: Path
    fake: Fake = field(default_factory=Fake)
    clock: FixedClock = field(default_factory=FixedClock)
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        url = f"sqlite:///{self.home / 'control.db'}"
        migrated(url)
        self.sql, self.vault = Sql(url), Vault(bytes(range(32)))
        self.audit = Audit(self.sql, self.vault, self.clock, self.home / "audit.head")
        self.alerts = self.made()
        self.courier = self.fresh()

    def made(self) -> Alerts:
        return Alerts(
            self.sql,
            self.audit,
            self.vault,
            self.clock,
            address="https://console.example.org",
            channel=lambda kind: self.fake,
            environment=self.environment,
        )

    def fresh(self, alerts: Alerts | None = None) -> Courier:
        """The courier of a process that has just begun."""

        def here(work: Callable[[], None]) -> None:
            work()

        return Courier(alerts or self.alerts, self.clock, draw=lambda: 1.0, start=here)

    def put(self, name: str = "ops", **more: object) -> Secret | None:
        made = {"name": name, "kind": "slack", "url": URL, "on": ("budget.*",), **more}
        return self.alerts.put(Alert(**made), by=person())  # type: ignore[arg-type]

    def deed(self, action: str = "budget.set", team: str = "risk", subject: str = "team/risk") -> Entry:
        detail = {"cap_nano_usd": 5_000_000_000, "window": "day"} if action == "budget.set" else {}
        with self.sql.write() as conn:
            return self.audit.append(conn, actor="ada", action=action, subject=subject, team=team, detail=detail)

    def told(self) -> list[str]:
        return [message.title for message, _ in self.fake.told]

    def audited(self) -> list[Entry]:
        return list(self.audit.list(ALL, limit=1000))
