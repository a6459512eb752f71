"""Policies: guards on what comes in and goes out, versioned like everything else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tandem_sdk.assets import Version
from tandem_sdk.shape import plain
from tandem_sdk.wire import API, Wire, read_replies, read_reply, segment


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """What happens to what a detector finds."""

    detector: str
    action: str = "block"
    """`allow`, `observe`, `mask` or `block`."""
    on: tuple[str, ...] = ("in", "out")


@dataclass(frozen=True, slots=True, kw_only=True)
class Detector:
    """Something that can be looked for."""

    name: str
    finds: str
    forms: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """How often a guard found something, and what happened to it."""

    detector: str
    on: str
    action: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What a policy made of a text."""

    passes: bool
    text: str
    """With what is masked as the upstream would see it."""
    found: tuple[Finding, ...] = ()


class Policies:
    """`client.policies`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def detectors(self) -> tuple[Detector, ...]:
        """What can be looked for."""
        return read_replies(Detector, self._wire.get(f"{API}/detectors"))

    def add(self, name: str, guards: Sequence[Guard]) -> Version:
        """Stores the next version of a policy.

        Raises:
            Invalid: a guard names no detector, or two look at the same.
        """
        body = {"guards": [plain(guard) for guard in guards]}
        return read_reply(Version, self._wire.send("POST", f"{API}/policies/{segment(name)}", body))

    def attempt(self, name: str, text: str, *, version: str | None = None, out: bool = False) -> Trial:
        """What a policy makes of a text; nothing is sent or kept.

        Args:
            version: a version or an alias; None: the newest version.
            out: as if the text were an answer on its way out.

        Raises:
            NotFound: there is no such policy.
        """
        body = {"text": text, "on": "out" if out else "in", "version": version}
        return read_reply(Trial, self._wire.send("POST", f"{API}/policies/{segment(name)}/try", body))
