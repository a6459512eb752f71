"""Who may, who must be asked, who is told: approvals, people, caps, alerts, the key that everything is sealed with."""

from __future__ import annotations

from dataclasses import dataclass

from tandem.app import log
from tandem.app.ground import Ground
from tandem.app.judging import Judging
from tandem.app.records import Records
from tandem.evaluation.approved import PROMOTE, ROLLBACK, Moves, Promoting, RollingBack
from tandem.gateway import approved as endpoints
from tandem.governance.alerts.alerts import Alerts
from tandem.governance.alerts.send import Courier
from tandem.governance.approvals import budgets, keys, rules
from tandem.governance.approvals.act import Act
from tandem.governance.approvals.approvals import Approvals
from tandem.governance.approvals.requests import Requests
from tandem.governance.caps import Caps
from tandem.governance.people.invitations import Invitations
from tandem.governance.people.oidc import Oidc
from tandem.governance.people.passwords import Passwords
from tandem.governance.people.persons import Persons
from tandem.governance.people.vouched import Newcomers
from tandem.governance.projects.projects import Projects
from tandem.governance.rotation import Resealing, Rotation, SubjectKeys
from tandem.governance.sessions import Sessions
from tandem.monitoring.repo import Monitors
from tandem.monitoring.tell import teller


@dataclass(frozen=True, slots=True, kw_only=True)
class Law:
    """Approvals, people, alerts."""

    requests: Requests
    rules: rules.Rules
    moves: Moves
    """Promotions that may have to wait for people."""
    raises: budgets.Raises
    """Budgets that may have to wait for them."""
    caps: Caps
    persons: Persons
    invitations: Invitations
    oidc: Oidc
    newcomers: Newcomers
    sessions: Sessions
    projects: Projects
    monitors: Monitors
    alerts: Alerts
    courier: Courier
    rotation: Rotation


def rule(ground: Ground, records: Records, judging: Judging) -> Law:
    """Builds them. What was approved before the last process died is done before anything else is asked."""
    g, settings, passwords = ground, ground.settings, Passwords()
    approvals = Approvals(g.sql, g.audit, g.clock)
    approvals.declare(settings.approvals)
    requests = Requests(g.sql, g.audit, g.clock, approvals, _acts(g, judging, approvals))
    requests.sweep()
    monitors = Monitors(g.sql, g.audit, g.clock)
    alerts = Alerts(g.sql, g.audit, g.vault, g.clock, address=settings.server.console, tell=teller(monitors, requests))
    alerts.declare(settings.alerts)
    sealed = {"providers": Resealing(g.table, g.vault), "alerts": Resealing(alerts, g.vault)}
    persons = Persons(g.sql, g.clock, g.audit, g.keys.trim)
    return Law(
        requests=requests,
        rules=rules.Rules(g.sql, approvals, requests),
        moves=Moves(g.registry, judging.promotions, requests),
        raises=budgets.Raises(requests, g.ledger, g.keys),
        caps=Caps(g.ledger, g.sql, g.audit),
        persons=persons,
        invitations=Invitations(g.sql, g.vault, g.clock, g.audit, persons, passwords),
        oidc=Oidc(settings.oidc, g.vault, g.clock, settings.server.console),
        newcomers=Newcomers(g.sql, g.vault, g.clock, g.audit, persons),
        sessions=Sessions(g.sql, g.keys, g.vault, g.clock, g.audit, passwords, settings.sign_in.lasting),
        projects=Projects(g.sql, g.audit, g.clock),
        monitors=monitors,
        alerts=alerts,
        courier=Courier(alerts, g.clock, fault=log.control),
        rotation=Rotation(g.shared, g.vault, g.sql, g.audit, g.clock, {**sealed, "subjects": SubjectKeys(records.subjects)}),
    )


def _acts(ground: Ground, judging: Judging, approvals: Approvals) -> dict[str, Act]:
    """What may have to wait for people → how it is then done."""
    g = ground
    ruling, guarding = rules.Changes(approvals), endpoints.Guarding(g.table)
    return {
        PROMOTE: Promoting(g.registry, judging.promotions),
        ROLLBACK: RollingBack(g.registry, judging.promotions),
        **dict.fromkeys(budgets.DEEDS, budgets.Raising(g.ledger, g.audit)),
        keys.CREATE: keys.Admissions(g.keys),
        rules.SET: ruling,
        rules.DROP: ruling,
        endpoints.PUT: guarding,
        endpoints.DELETE: guarding,
    }
