"""Gates: what a version must prove before an alias moves to it."""

from __future__ import annotations

from dataclasses import dataclass

from tandem_sdk.assets import split
from tandem_sdk.wire import API, Wire, read_replies, read_reply, segment


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

        Raises:
            Invalid: the metric is not known, or a bound makes no sense.
        """
        kind, name, _ = split(asset)
        told = {"alias": alias, "metric": metric, "minimum": minimum, "margin": margin, "require": require, "suite": suite}
        body = {field: value for field, value in told.items() if value is not None}
        return read_reply(Gate, self._wire.send("PUT", f"{API}/gates/{segment(kind)}/{segment(name)}", body))
