"""Caps: budgets and limits as people set them, each change with its row in the audit; and who is told when one fills up.

It knows no HTTP and no worker; the ledger keeps what is set here.
"""

from __future__ import annotations

from tandem.core.asset import NAME
from tandem.core.errors import Invalid, NotFound
from tandem.core.money import dollars
from tandem.core.policy import ALERTS, SCOPES, Budget, Mode, Unit, meter_of
from tandem.core.principal import LOCAL, Principal
from tandem.core.window import Window, check_window
from tandem.governance.audit import Audit
from tandem.governance.ledger import Account, Ledger
from tandem.store.sql import Sql


def check_scope(scope: str) -> str:
    """The scope, when it is one that a cap can be set for; runs bring theirs along.

    Raises:
        Invalid: it is none.
    """
    kind, slash, name = scope.partition("/")
    if scope == "org" or (slash and kind in SCOPES and kind not in ("org", "run") and NAME.fullmatch(name)):
        return scope
    kinds = ", ".join(f"{kind}/NAME" for kind in SCOPES if kind not in ("org", "run"))
    raise Invalid(f"'{scope}' has no budgets.", hint=f"Scopes are org, {kinds}.", field="scope")


def may_see(by: Principal, scope: str) -> bool:
    """Whether a principal may see what a scope uses: auditors all, the others their own and their team's runs.

    What an endpoint or a tag uses is told to auditors alone, because other teams may have a part in it.
    """
    return by.may("audit") or scope in by.budget_scopes[1:] or scope.startswith(f"run/{by.team}/")


class Caps:
    """What may be used, as it is set, and looked at once a second."""

    def __init__(self, ledger: Ledger, sql: Sql, audit: Audit) -> None:
        self._ledger, self._sql, self._audit = ledger, sql, audit
        self._looked: int | None = None
        """The version of the caps that were looked at."""
        self._owed: set[str] = set()
        """Scopes that were booked to since a look came to its end."""

    def made(
        self,
        scope: str,
        cap: int,
        *,
        window: Window,
        unit: Unit = "usd",
        mode: Mode = "hard",
        fair: bool = False,
        alerts: tuple[int, ...] = ALERTS,
    ) -> Budget:
        """A cap of nano-dollars, tokens or calls that can be set.

        Raises:
            Invalid: the scope or the window is none, or they do not go together.
        """
        budget = Budget(
            scope=check_scope(scope),
            cap=cap,
            window="total" if unit == "calls" else check_window(window),
            unit=unit,
            mode=mode,
            fair=fair,
            alerts=tuple(sorted(set(alerts))),
        )
        _fits(budget)
        return budget

    def put(self, budget: Budget, *, by: Principal) -> Account:
        """Sets or replaces a cap that `made` has looked at."""
        action = "budget.set" if budget.unit == "usd" else "limit.set"
        self._note(action, budget.scope, by, detail_of(budget))
        self._ledger.set_budget(budget)
        return self._account(budget.scope, budget.unit, budget.window)

    def credit(self, scope: str, amount: int, *, reference: str, by: Principal) -> Account:
        """Pays nano-dollars into a prepaid budget, once per reference.

        Raises:
            Conflict: the reference is known with another amount, or the total cap of the scope is not prepaid.
        """
        check_scope(scope)
        if self._ledger.credit(scope, amount, reference=reference, actor=by.name):
            self._note("budget.credit", scope, by, {"amount_nano_usd": amount, "reference": reference})
        return self._account(scope, "usd", "total")

    def drop(self, scope: str, unit: Unit, window: Window, *, by: Principal) -> None:
        """Removes a cap.

        Raises:
            NotFound: there is none.
        """
        window = "total" if unit == "calls" else window
        self._ledger.drop_budget(check_scope(scope), meter_of(unit, window))
        action = "budget.drop" if unit == "usd" else "limit.drop"
        self._note(action, scope, by, {"unit": unit, "window": window})

    def end_run(self, scope: str, *, by: Principal) -> None:
        """Ends a run: calls that name it are refused from now on.

        Raises:
            NotFound: there is none that goes on.
        """
        self._ledger.end_run(scope)
        self._note("run.end", scope, by, {})

    def look(self) -> int:
        """Notes in the audit which caps have reached which of their percentages; returns how many were new.

        The first look is at all of them, the later ones at those that something was booked to or that were set.
        """
        version, found = self._ledger.caps_version(), 0
        self._owed |= self._ledger.booked_scopes()
        for account in self._ledger.accounts(self._owed if version == self._looked else None):
            for percent in account.alerts:
                if account.unit == "calls" or account.cap <= 0 or account.settled * 100 < account.cap * percent:
                    continue
                if self._ledger.tell(account, percent):
                    found += 1
                    self._note("budget.notice", account.scope, LOCAL, _told(account, percent))
        self._looked, self._owed = version, set()
        return found

    def _account(self, scope: str, unit: Unit, window: Window) -> Account:
        for account in self._ledger.accounts():
            if (account.scope, account.unit, account.window) == (scope, unit, window):
                return account
        raise NotFound(f"The cap of {scope} was dropped meanwhile.", hint="Set it again.")

    def _note(self, action: str, scope: str, by: Principal, detail: dict[str, object]) -> None:
        team = scope.partition("/")[2] if scope.startswith("team/") else by.team
        with self._sql.write() as conn:
            self._audit.append(conn, actor=by.name, action=action, subject=scope, team=team, detail=detail)


def detail_of(budget: Budget) -> dict[str, object]:
    """What the audit says of a cap that is set."""
    detail: dict[str, object] = {"cap_nano_usd" if budget.unit == "usd" else "cap": budget.cap, "window": budget.window}
    detail |= {} if budget.unit == "usd" else {"unit": budget.unit}
    detail |= {} if budget.mode == "hard" else {"mode": budget.mode}
    return detail | ({"fair": True} if budget.fair else {})


def _fits(budget: Budget) -> None:
    if budget.mode == "prepaid" and (budget.unit != "usd" or budget.window != "total"):
        raise Invalid("What is prepaid is counted in dollars and in total.", field="mode", hint="Use --window total.")
    if budget.unit == "calls" and budget.mode == "soft":
        raise Invalid("Calls at once have no soft cap: there is nothing to tell of afterwards.", field="mode")
    if budget.fair and (budget.mode == "soft" or budget.scope.startswith("key/")):
        raise Invalid("Only what refuses several keys can be shared out fairly.", field="fair", hint="Set it for a team or org.")


def _told(account: Account, percent: int) -> dict[str, object]:
    detail: dict[str, object] = {"percent": percent, "window": account.window, "unit": account.unit, "mode": account.mode}
    if account.unit == "usd":
        return detail | {"settled_usd": dollars(account.settled), "cap_usd": dollars(account.cap)}
    return detail | {"settled": account.settled, "cap": account.cap}
