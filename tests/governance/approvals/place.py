"""A home with rules, requests, keys and a ledger, and a deed whose world can be changed while it waits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from sqlalchemy import Connection
from tests.migrated import migrated

from tandem.core.approval import Action, Approval, ApproverRole, Request
from tandem.core.clock import FixedClock
from tandem.core.errors import Blocked
from tandem.core.principal import Principal, Role
from tandem.governance.approvals import budgets, rules
from tandem.governance.approvals.act import Act, told
from tandem.governance.approvals.approvals import Approvals
from tandem.governance.approvals.keys import CREATE, Admissions
from tandem.governance.approvals.requests import Requests, Wish
from tandem.governance.audit import Audit
from tandem.governance.authorise import ALL
from tandem.governance.keys import Keys
from tandem.governance.ledger import Ledger
from tandem.store.sql import Sql
from tandem.store.vault import Vault


def person(name: str = "ada", role: Role = "admin", team: str = "risk") -> Principal:
    return Principal(id=f"key_{name}", name=name, team=team, role=role)


@dataclass
class Lever:
    """A deed that counts how often it is done, by whose approval, in the transaction that it is given."""

    audit: Audit
    world: int = 0
    """What it is about: moves when somebody changes it."""
    refuses: bool = False
    breaks: bool = False
    done: list[Request] = field(default_factory=list)
    elsewhere: bool = False

    def stale(self, conn: Connection, request: Request) -> str | None:
        return None if request.deed["world"] == self.world else "The world was changed meanwhile."

    def prepare(self, request: Request, by: Principal) -> object:
        if self.refuses:
            raise Blocked("The gate does not let it pass.")
        return "prepared"

    def perform(self, conn: Connection, request: Request, prepared: object, by: Principal) -> Mapping[str, object]:
        assert prepared == "prepared"
        self.audit.append(
            conn, actor=by.name, action="gate.set", subject=request.subject, team=request.team, detail=told(request)
        )
        if self.breaks:
            raise ZeroDivisionError
        self.done.append(request)
        return {"world": self.world}

    def finish(self, request: Request) -> str | None:
        return None


@dataclass
class Place:
    home: Path
    clock: FixedClock = field(default_factory=FixedClock)

    def __post_init__(self) -> None:
        url = f"sqlite:///{self.home / 'control.db'}"
        migrated(url)
        self.sql, self.vault = Sql(url), Vault(bytes(range(32)))
        self.audit = Audit(self.sql, self.vault, self.clock, self.home / "audit.head")
        self.keys = Keys(self.sql, self.vault, self.clock, self.audit)
        self.ledger = Ledger(self.home / "ledger.db", self.clock)
        self.approvals = Approvals(self.sql, self.audit, self.clock)
        self.lever = Lever(self.audit)
        changes = rules.Changes(self.approvals)
        acts: dict[str, Act] = {
            "lever": self.lever,
            **dict.fromkeys(budgets.DEEDS, budgets.Raising(self.ledger, self.audit)),
            rules.SET: changes,
            rules.DROP: changes,
            CREATE: Admissions(self.keys),
        }
        self.requests = Requests(self.sql, self.audit, self.clock, self.approvals, acts)
        self.rules = rules.Rules(self.sql, self.approvals, self.requests)
        self.raises = budgets.Raises(self.requests, self.ledger, self.keys)

    def close(self) -> None:
        self.ledger.close()
        self.sql.close()

    def rule(
        self,
        action: Action = "promote",
        people: int = 1,
        *,
        role: ApproverRole = "approver",
        team: str | None = None,
        hours: int = 72,
    ) -> Request | None:
        return self.rules.put(Approval(action=action, people=people, role=role, team=team, hours=hours), by=person("ops"))

    def wish(self, **more: object) -> Wish:
        plain = Wish(action="promote", does="lever", subject="gate/x", team="risk", deed={"world": self.lever.world})
        return replace(plain, **more)  # type: ignore[arg-type]

    def ask(self, by: Principal | None = None, **more: object) -> Request:
        asked = self.requests.ask(self.wish(**more), by=by or person("ada"))
        assert asked is not None
        return asked

    def find(self, id: str) -> Request:
        return self.requests.find(id, ALL)

    def audited(self, action: str | None = None) -> list[str]:
        return [entry.action for entry in reversed(self.audit.list(ALL, action=action, limit=1000))]
