"""Gates: what a version must prove before an alias moves to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from tandem_sdk.assets import split
from tandem_sdk.errors import Invalid
from tandem_sdk.verdicts import GateReport
from tandem_sdk.wire import API, Wire, read_replies, read_reply, segment


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """A part of the rows: one value of a column, or a range of it."""

    column: str
    value: str | None = None
    """As text: `true`, `3` also for 3.0."""
    low: float | None = None
    """At or above it."""
    high: float | None = None
    """Below it."""
    metric: str | None = None
    """None: the gate's."""
    minimum: float | None = None
    """What the worse bound of the interval must reach in the slice."""
    margin: float | None = None
    """The loss that the slice tolerates; the gate's where neither this nor a minimum is named."""
    allow_small: bool = False
    """Whether too few rows for a verdict pass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fair:
    """How far apart the groups of a column may be in one measure."""

    measure: str
    """`demographic_parity`, `demographic_parity_ratio`, `equal_opportunity`, `equalised_odds`, `accuracy`, or `error`."""
    by: str
    """The column whose values are the groups."""
    bound: float
    """The most that two groups may differ; of the ratio, the least that it may be."""
    allow_small: bool = False
    """Whether groups with too few rows are left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the gate of a model asks beside its metric."""

    minimums: Mapping[str, float] = field(default_factory=dict)
    """Metric → what the worse bound of its interval must reach; a maximum where less is better."""
    slices: Sequence[Slice] = ()
    fairness: Sequence[Fair] = ()
    cost_false_positive: float | None = None
    """What the metric `cost` counts for a row that is wrongly taken for positive."""
    cost_false_negative: float | None = None
    """The same for a positive row that is missed."""
    latency_ms: float | None = None
    """The most that 95 of 100 predictions of one row may take."""
    size_bytes: int | None = None
    """The most bytes that the files may have together."""
    looks: int | None = None
    """How many looks at growing evidence are planned; None: unplanned."""
    rows: int | None = None
    """The rows at the last planned look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What a version must prove."""

    asset: str
    """`model/tumor`, or `model/*` for the default of a kind."""
    alias: str = "production"
    metric: str = ""
    minimum: float | None = None
    """The lower bound of the candidate's interval must reach this."""
    margin: float | None = None
    """The loss against the champion that non-inferiority tolerates."""
    require: str = "non-inferior"
    """`improved` or `non-inferior`."""
    suite: str | None = None
    """For prompts: the suite they are evaluated with."""
    minimums: Mapping[str, float] = field(default_factory=dict)
    slices: tuple[Slice, ...] = ()
    fairness: tuple[Fair, ...] = ()
    cost_false_positive: float | None = None
    cost_false_negative: float | None = None
    latency_ms: float | None = None
    size_bytes: int | None = None
    looks: int | None = None
    rows: int | None = None
    """These nine as in `Asked`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Predictions of rows that a model was not trained on."""

    id: str
    model: str
    dataset: str
    rows: int = 0
    given: bool = False
    """Whether the predictions came from outside; else the server made them."""
    digest: str = ""
    latency: Mapping[str, object] | None = None
    """Milliseconds of one row and the machine, where the server predicted."""
    created_at: int = 0
    created_by: str = ""


class Gates:
    """`client.gates`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def list(self) -> tuple[Gate, ...]:
        """Every gate."""
        return read_replies(Gate, self._wire.get(f"{API}/gates"))

    def set(
        self,
        asset: str,
        *,
        metric: str | None = None,
        alias: str = "production",
        minimum: float | None = None,
        margin: float | None = None,
        require: str = "non-inferior",
        suite: str | None = None,
        asked: Asked | None = None,
    ) -> Gate:
        """Sets what must be proven before `alias` of `asset` moves.

        Args:
            asset: `model/NAME`, `prompt/NAME`, or `KIND/*` for the default of a kind.
            metric: what is judged; None takes `roc_auc`, or the suite's own metric.
            alias: the alias that is guarded.
            minimum: what the worse bound of the candidate's interval must reach.
            margin: the tolerated loss; None takes 0.02, or 0.05 with a suite.
            require: `non-inferior` or `improved`.
            suite: for a prompt: the suite it is evaluated with, `suite/NAME` or `suite/NAME@VERSION`.
            asked: for a model: further minimums, slices, fairness, speed, size, and planned looks.

        Raises:
            Invalid: the metric is not known, or a bound makes no sense.
        """
        told: dict[str, object] = {
            "alias": alias,
            "metric": metric,
            "minimum": minimum,
            "margin": margin,
            "require": require,
            "suite": suite,
        }
        told |= {} if asked is None else asdict(asked)
        return self.put(asset, {name: value for name, value in told.items() if value is not None})

    def put(self, asset: str, gate: Mapping[str, object]) -> Gate:
        """Sets a gate that is written as the API takes it.

        Raises:
            Invalid: as `set`.
        """
        kind, name, _ = split(asset)
        return read_reply(Gate, self._wire.send("PUT", f"{API}/gates/{segment(kind)}/{segment(name)}", dict(gate)))

    def drop(self, asset: str, alias: str = "production") -> None:
        """Drops a gate; that of the whole kind then guards the alias, or none.

        Raises:
            NotFound: none was set.
        """
        kind, name, _ = split(asset)
        self._wire.send("DELETE", f"{API}/gates/{segment(kind)}/{segment(name)}", query={"alias": alias})

    def check(self, ref: str, alias: str = "production") -> GateReport | None:
        """What the gate of an alias says to a version; nothing moves. None where no gate guards the alias.

        At evidence that may grow this is a look, which spends of the error that all looks share.

        Args:
            ref: the version, `model/tumor@2`.
            alias: whose gate judges.

        Raises:
            Blocked: there is no evidence that it could judge.
        """
        reply = self._wire.send("POST", f"{_version(ref)}/check", {"alias": alias}, patient=True)
        return read_reply(_Checked, reply).report

    def evidence(
        self, ref: str, dataset: str, probabilities: Sequence[float] | None = None, fairness: Sequence[str] = ()
    ) -> Evidence:
        """Evidence of a model on every row of a dataset, none of which it was trained on.

        Args:
            ref: the version, `model/tumor@2`.
            dataset: `dataset/NAME` or `dataset/NAME@VERSION`.
            probabilities: of the positive class, in the dataset's order; of more classes, of each class, row by row; of a
                regression, the numbers. None lets the server predict.
            fairness: columns of the dataset whose groups are judged too.

        `client.assets.about` then tells of a version that was imported by these rows.

        Raises:
            Blocked: the version was trained on some of these rows.
        """
        given = None if probabilities is None else list(probabilities)
        body = {"dataset": dataset, "probabilities": given, "fairness": list(fairness)}
        return read_reply(Evidence, self._wire.send("POST", f"{_version(ref)}/evidence", body, patient=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Checked:
    report: GateReport | None = None


def _version(ref: str) -> str:
    kind, name, tail = split(ref)
    if tail is None:
        raise Invalid(f"{ref} names no version.", hint="Write KIND/NAME@VERSION, such as model/tumor@2.")
    return f"{API}/assets/{segment(kind)}/{segment(name)}/{segment(tail)}"
