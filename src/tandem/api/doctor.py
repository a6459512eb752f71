"""What is wrong and how to mend it, as the running platform sees itself."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import Response

from tandem.api.wire import Caller, answer
from tandem.core.clock import iso
from tandem.core.endpoint import HOSTED, Endpoint
from tandem.core.principal import LOCAL
from tandem.gateway.compile import Compiler
from tandem.gateway.pricing.gpus import gpus
from tandem.gateway.repo import Routes
from tandem.gateway.snapshot import INDEX, Snapshot
from tandem.governance.alerts.alerts import Alerts
from tandem.governance.audit import Audit
from tandem.governance.authorise import ALL, authorise
from tandem.governance.ledger import Ledger
from tandem.governance.machines import Machines

LOW_BYTES = 512 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    check: str
    ok: bool
    detail: str
    hint: str = ""


def examine(
    home: Path,
    snapshot: Snapshot,
    table: Routes,
    audit: Audit,
    ledger: Ledger,
    damaged: Mapping[str, str],
    alerts: Alerts,
    environment: Mapping[str, str] = os.environ,
) -> list[Finding]:
    """Every check, the healthy ones too."""
    free = shutil.disk_usage(home).free
    report = audit.verify()
    findings = [
        Finding(
            check="disk",
            ok=free > LOW_BYTES,
            detail=f"{free // 2**20} MiB free at the home",
            hint="Free space: calls stop when it is full.",
        ),
        Finding(
            check="audit",
            ok=report.ok,
            detail=f"{report.count} entries" + "".join(f"; {p}" for p in report.problems[:3]),
            hint="Run tandem audit verify.",
        ),
        Finding(check="ledger", ok=True, detail=f"{ledger.running()} attempts under way"),
    ]
    for provider in table.providers(ALL):
        for reference in provider.keys:
            scheme, _, rest = reference.partition(":")
            missing = (scheme == "env" and not environment.get(rest)) or (scheme == "file" and not Path(rest).is_file())
            if missing:
                findings.append(
                    Finding(
                        check=f"provider {provider.name}",
                        ok=False,
                        detail=f"its key {reference} is not there",
                        hint="Set it where `tandem up` runs.",
                    )
                )
    findings += [Finding(check=f"files of {ref}", ok=False, detail=why, hint="Restore the home.") for ref, why in damaged.items()]
    for endpoint in snapshot.endpoints.values():
        findings += _endpoint(endpoint.name, snapshot)
    return findings + _alerts(alerts)


def _endpoint(name: str, snapshot: Snapshot) -> list[Finding]:
    endpoint = snapshot.endpoints[name]
    found = []
    for target in (each.target for each in endpoint.route):
        if endpoint.kind in HOSTED and not target.startswith(INDEX):
            found += _model(name, target, snapshot)
        elif target not in snapshot.served:
            found.append(_bad(name, f"{target} is not in the registry", "tandem asset list"))
    if "/" in endpoint.model:
        found += _model(name, endpoint.model, snapshot)
    elif endpoint.model and endpoint.model not in snapshot.endpoints:
        found.append(_bad(name, f"there is no endpoint {endpoint.model} to write its answers", "tandem endpoint list"))
    if endpoint.guards is not None and endpoint.guards not in snapshot.policies:
        hint = f"Nothing passes until a version is promoted: tandem promote {endpoint.guards.replace('@', '@1 ')}"
        found.append(_bad(name, f"the policy {endpoint.guards} of its guards is not here", hint))
    found += _route(endpoint, snapshot)
    return found or [Finding(check=f"endpoint {name}", ok=True, detail=f"{len(endpoint.route)} target(s)")]


def _route(endpoint: Endpoint, snapshot: Snapshot) -> list[Finding]:
    """What of a route can never be asked."""
    found = []
    if endpoint.router and endpoint.router not in snapshot.routers:
        hint = f"The cheapest is asked until a version is promoted: tandem promote {endpoint.router.replace('@', '@1 ')}"
        found.append(_bad(endpoint.name, f"the router {endpoint.router} is not here", hint))
    if endpoint.regions:
        hosts = [snapshot.hosts.get(target.target.partition("/")[0]) for target in endpoint.route]
        if not any(host is not None and host.region in endpoint.regions for host in hosts):
            where = ", ".join(endpoint.regions)
            hint = "Every call is refused; say where a provider is with `region`, or `tandem provider set NAME --region …`."
            found.append(_bad(endpoint.name, f"no target's provider is in {where}", hint))
    if endpoint.max_cost and not any(target.target in snapshot.prices for target in endpoint.route):
        found.append(_bad(endpoint.name, "it bounds what a call may cost, and no target has a price", "Every call is refused."))
    return found


def _model(name: str, target: str, snapshot: Snapshot) -> list[Finding]:
    """What is wrong with a `provider/model`."""
    provider = target.partition("/")[0]
    if provider not in snapshot.hosts:
        return [_bad(name, f"{target} names a provider that is not set up", f"tandem provider set {provider} --url …")]
    if target not in snapshot.prices:
        hint = f"Calls under a hard cap are refused; set the provider's `prices`, or tandem cost price set {target} …"
        return [_bad(name, f"no price is known for {target}", hint)]
    return []


def _alerts(alerts: Alerts) -> list[Finding]:
    return [
        Finding(
            check=f"alert {each.alert.name}",
            ok=each.standing.failing_since is None,
            detail=f"{each.pending} waiting"
            if each.standing.failing_since is None
            else f"{each.pending} waiting, failing since {iso(each.standing.failing_since)}: {each.standing.error}",
            hint=f"tandem alert test {each.alert.name}",
        )
        for each in alerts.list(by=LOCAL)
    ]


def _bad(name: str, detail: str, hint: str) -> Finding:
    return Finding(check=f"endpoint {name}", ok=False, detail=detail, hint=hint)


def _machines(machines: Machines) -> list[Finding]:
    """Those that share the stores; one that is away and holds nothing is nobody's trouble."""
    found = []
    for each in machines.list():
        away = machines.away(each)
        detail = f"heard of at {iso(each.seen)}, {each.attempts} attempts under way"
        hint = f"Start it again, or if it never comes back: tandem doctor --let-go {each.name}"
        found.append(Finding(check=f"machine {each.name}", ok=not (away and each.holds), detail=detail, hint=hint))
    return found


def routes(
    home: Path,
    compiler: Compiler,
    table: Routes,
    audit: Audit,
    ledger: Ledger,
    alerts: Alerts,
    machines: Machines,
    mispriced: str = "",
) -> APIRouter:
    """The route of the doctor.

    Args:
        mispriced: what is wrong with the settings' price file; empty where nothing is.
    """
    router = APIRouter(tags=["doctor"])

    @router.get("/doctor")
    def doctor(by: Caller) -> Response:
        """Checks settings and stores."""
        authorise(by, "audit")
        found = examine(home, compiler.current(), table, audit, ledger, compiler.damaged, alerts) + _machines(machines)
        found += [Finding(check=f"gpu {each.index}", ok=True, detail=each.told) for each in gpus()]
        if mispriced:
            hint = "The prices of before go on holding. Mend the file and start again."
            found.append(Finding(check="prices", ok=False, detail=mispriced, hint=hint))
        return answer([asdict(finding) for finding in found])

    return router
