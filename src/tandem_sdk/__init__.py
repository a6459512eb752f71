"""The Python client of Tandem. It stands on httpx2 and the standard library, and imports nothing of the platform.

    from tandem_sdk import Client

    with Client() as tandem:                       # TANDEM_URL and TANDEM_KEY, or what `tandem login` stored
        tandem.datasets.add("biopsies", "biopsies.csv", id_column="id")
        run = tandem.runs.train("tumor", data="dataset/biopsies", target="diagnosis")
        model = tandem.runs.wait(run.id).asset     # model/tumor@1
        tandem.assets.promote(model, "production")
        print(tandem.predict("tumor", [{"radius": 14.2, "texture": 20.1}]).outputs)

One resource per noun, methods are verbs, results are frozen dataclasses, and everything that goes
wrong is a `TandemError` with code, status, hint, field and trace id.
"""

from tandem_sdk.about import About, Card, Fairness, Importance, Slices
from tandem_sdk.alerts import Alert, Delivery
from tandem_sdk.assets import Alias, AliasState, Asset, AssetSummary, Lineage, Move, Node, Version, VersionDetail
from tandem_sdk.audit import AuditKey, AuditReport, AuditRow
from tandem_sdk.batches import Batch, Counts, Problem, Problems
from tandem_sdk.budgets import Budget, Limit, Spend
from tandem_sdk.calls import Chat, Citation, Decision, Message, Piece, Prediction
from tandem_sdk.client import Client, __version__
from tandem_sdk.costs import (
    Anew,
    BillLine,
    Cause,
    Day,
    Forecast,
    Keyed,
    Reconciliation,
    Repriced,
    Saving,
    Savings,
    Spending,
    SpentOn,
)
from tandem_sdk.datasets import Change, Diff, FromPandera, Moved, RowCounts, Rows, Select
from tandem_sdk.endpoints import Choosing, Endpoint, Resting, Shadow, Target, Timeouts
from tandem_sdk.errors import (
    ApprovalNeeded,
    Blocked,
    Broken,
    Conflict,
    Forbidden,
    GateRefused,
    Invalid,
    NotFound,
    OverBudget,
    RateLimited,
    Refused,
    RunFailed,
    TandemError,
    TimedOut,
    Unauthenticated,
    Unavailable,
    Unreachable,
    Upstream,
)
from tandem_sdk.gates import Asked, Evidence, Fair, Gate, Slice
from tandem_sdk.indexes import Document, Documents, Found, Hit
from tandem_sdk.keys import Key, NewKey, Principal, Terms
from tandem_sdk.learning import Learning, LearningPlan, LearningStep
from tandem_sdk.monitors import Histogram, Monitor, Report
from tandem_sdk.persons import Invitation, Link, Person, Team
from tandem_sdk.pipelines import PipelineDetail, PipelineRun, StepDone, Trigger
from tandem_sdk.policies import Detector, Finding, Guard, Trial
from tandem_sdk.prices import Imported, Price
from tandem_sdk.projects import Apply, Declared, Did, Project
from tandem_sdk.providers import Check, KnownHost, Model, Provider
from tandem_sdk.releases import Standing
from tandem_sdk.reviews import Exported, Review, Said, Tally
from tandem_sdk.runs import GradedAnswer, GradedRow, GradedRows, Run
from tandem_sdk.subjects import Erasure, KeyCopy
from tandem_sdk.suites import Asking, Scoring
from tandem_sdk.traces import Attempt, Call, Content, Corrected, Routed, Span, Trace, TraceRow, Usage, Weighed
from tandem_sdk.usage import Use, Using
from tandem_sdk.vault import MasterKey
from tandem_sdk.verdicts import Condition, Estimate, GateReport, Pin, Promotion, Score, Verdict
from tandem_sdk.waiting import Approval, Request, Voice

__all__ = [
    "About",
    "Alert",
    "Alias",
    "AliasState",
    "Anew",
    "Apply",
    "Approval",
    "ApprovalNeeded",
    "Asked",
    "Asking",
    "Asset",
    "AssetSummary",
    "Attempt",
    "AuditKey",
    "AuditReport",
    "AuditRow",
    "Batch",
    "BillLine",
    "Blocked",
    "Broken",
    "Budget",
    "Call",
    "Card",
    "Cause",
    "Change",
    "Chat",
    "Check",
    "Choosing",
    "Citation",
    "Client",
    "Condition",
    "Conflict",
    "Content",
    "Corrected",
    "Counts",
    "Day",
    "Decision",
    "Declared",
    "Delivery",
    "Detector",
    "Did",
    "Diff",
    "Document",
    "Documents",
    "Endpoint",
    "Erasure",
    "Estimate",
    "Evidence",
    "Exported",
    "Fair",
    "Fairness",
    "Finding",
    "Forbidden",
    "Forecast",
    "Found",
    "FromPandera",
    "Gate",
    "GateRefused",
    "GateReport",
    "GradedAnswer",
    "GradedRow",
    "GradedRows",
    "Guard",
    "Histogram",
    "Hit",
    "Importance",
    "Imported",
    "Invalid",
    "Invitation",
    "Key",
    "KeyCopy",
    "Keyed",
    "KnownHost",
    "Learning",
    "LearningPlan",
    "LearningStep",
    "Limit",
    "Lineage",
    "Link",
    "MasterKey",
    "Message",
    "Model",
    "Monitor",
    "Move",
    "Moved",
    "NewKey",
    "Node",
    "NotFound",
    "OverBudget",
    "Person",
    "Piece",
    "Pin",
    "PipelineDetail",
    "PipelineRun",
    "Prediction",
    "Price",
    "Principal",
    "Problem",
    "Problems",
    "Project",
    "Promotion",
    "Provider",
    "RateLimited",
    "Reconciliation",
    "Refused",
    "Report",
    "Repriced",
    "Request",
    "Resting",
    "Review",
    "Routed",
    "RowCounts",
    "Rows",
    "Run",
    "RunFailed",
    "Said",
    "Saving",
    "Savings",
    "Score",
    "Scoring",
    "Select",
    "Shadow",
    "Slice",
    "Slices",
    "Span",
    "Spend",
    "Spending",
    "SpentOn",
    "Standing",
    "StepDone",
    "Tally",
    "TandemError",
    "Target",
    "Team",
    "Terms",
    "TimedOut",
    "Timeouts",
    "Trace",
    "TraceRow",
    "Trial",
    "Trigger",
    "Unauthenticated",
    "Unavailable",
    "Unreachable",
    "Upstream",
    "Usage",
    "Use",
    "Using",
    "Verdict",
    "Version",
    "VersionDetail",
    "Voice",
    "Weighed",
    "__version__",
]
