"""Endpoints: addresses that answer, and how they are routed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tandem_sdk.shape import plain
from tandem_sdk.wire import API, Wire, read_replies, read_reply, segment


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One place an endpoint can send a call to."""

    target: str
    """`provider/model`, `model/tumor@2` or `decision/second-opinion@1` or `index/policies@3`."""
    weight: float = 1.0
    """Share of the traffic among targets of the same priority; 0 means only as a fallback."""
    priority: int = 0
    """Lower is asked first; the next priority is the fallback."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds a call may wait, stage by stage."""

    connect: float = 5.0
    first_byte: float = 60.0
    idle: float = 30.0
    total: float = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An address that answers, and how it is routed and bounded."""

    name: str
    kind: str
    """`chat`, `embed`, `predict` or `decide`."""
    route: tuple[Target, ...] = ()
    team: str = "default"
    strategy: str = "weighted"
    """`weighted`, `cheapest` or `fastest`: which target of the same priority is asked first."""
    retries: int = 1
    max_output_tokens: int = 4096
    timeouts: Timeouts = Timeouts()
    record_content: bool = True
    guards: str | None = None
    """The policy that looks at what comes in and goes out, as `policy/NAME@ALIAS`."""
    model: str = ""
    """Of a route into an index: who writes the answers; empty: the built-in `extractive` model."""
    managed: str | None = None
    """Where `tandem.toml` declares it; then it is read-only here."""


class Endpoints:
    """`client.endpoints`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def list(self) -> tuple[Endpoint, ...]:
        """Every endpoint the key may call."""
        return read_replies(Endpoint, self._wire.get(f"{API}/endpoints"))

    def set(
        self,
        name: str,
        *,
        kind: str,
        route: Sequence[Target],
        team: str | None = None,
        strategy: str | None = None,
        retries: int | None = None,
        max_output_tokens: int | None = None,
        timeouts: Timeouts | None = None,
        record_content: bool | None = None,
        guards: str | None = None,
        model: str | None = None,
    ) -> Endpoint:
        """Makes or replaces an endpoint; what is None takes the platform's default.

        Raises:
            Conflict: `tandem.toml` declares it.
            Invalid: a target does not exist.
        """
        told = {
            "kind": kind, "route": [plain(target) for target in route], "team": team,
            "strategy": strategy, "retries": retries,
            "max_output_tokens": max_output_tokens, "timeouts": plain(timeouts), "record_content": record_content,
            "guards": guards,
            "model": model,
        }  # fmt: skip
        body = {field: value for field, value in told.items() if value is not None}
        return read_reply(Endpoint, self._wire.send("PUT", f"{API}/endpoints/{segment(name)}", body))

    def drop(self, name: str) -> None:
        """Removes an endpoint; calls to it are refused from then on.

        Raises:
            NotFound, Conflict: there is none, or `tandem.toml` declares it.
        """
        self._wire.send("DELETE", f"{API}/endpoints/{segment(name)}")
