"""What the audit's rows about monitors and requests do not say themselves: verdicts with n, effect and interval."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from tandem.core.errors import NotFound
from tandem.core.monitor import Finding, Report
from tandem.core.score import Estimate
from tandem.governance.approvals.requests import Requests
from tandem.governance.authorise import Scope
from tandem.governance.repo import Entry
from tandem.monitoring.repo import Monitors


def teller(monitors: Monitors, requests: Requests) -> Callable[[Entry], Sequence[str]]:
    """What tells more of a row; nothing where the monitor, its report or the request is gone."""

    def tell(entry: Entry) -> Sequence[str]:
        scope = Scope(entry.team)
        try:
            if entry.action in ("monitor.alarm", "monitor.retrain"):
                return of_report(monitors.report(str(json.loads(entry.detail)["report"]), scope))
            if entry.action == "request.open":
                return (requests.find(entry.subject.partition("/")[2], scope).reason,)
        except NotFound:
            return ()
        return ()

    return tell


def of_report(report: Report) -> Sequence[str]:
    """The verdict of a report, and each finding that led to it."""
    drifted = [finding for finding in report.findings if finding.verdict == "drifted"]
    against = f", compared with {report.reference}" if report.reference else ""
    return (f"{report.verdict}: n {report.n}{against}", *(of_finding(finding) for finding in drifted))


def of_finding(finding: Finding) -> str:
    """One finding as a line."""
    effect = "no effect" if finding.effect is None else f"{finding.measure} {_interval(finding.effect)}"
    against = f" against {finding.reference_n}" if finding.reference_n else ""
    return f"{finding.subject} ({finding.what}): {effect}, n {finding.n}{against}; matters from {finding.threshold:g}"


def _interval(found: Estimate) -> str:
    return f"{found.value:.3g} [{found.low:.3g}, {found.high:.3g}]"
