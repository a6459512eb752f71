"""Subjects: the people that calls are about. Erasing one, and checking the report of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tandem_sdk.errors import Broken
from tandem_sdk.wire import API, Wire, read_reply, segment


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyCopy:
    """A copy of the subjects' keys beside backups."""

    path: str
    backup: str = ""
    """The newest backup beside it."""
    at: int = 0
    """When that was made, UTC microseconds."""
    fault: str = ""
    """Why the copy still holds the key; empty when it does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """What an erasure did. Keep `report` to check it later."""

    id: str
    """What records call the subject from now on."""
    at: int
    """UTC microseconds."""
    by: str = ""
    contents: int = 0
    """Calls whose prompt and answer became unreadable."""
    traces: int = 0
    journal_bytes: int = 0
    """Bytes of the journal that were overwritten."""
    copies: tuple[KeyCopy, ...] = ()
    searched: int = 0
    """Files that were searched for the name."""
    named_in: tuple[str, ...] = ()
    """Files that hold the name in the clear still."""
    unsearched: tuple[str, ...] = ()
    """Where nobody looked."""
    complete: bool = False
    """Whether no known copy has the key, and no searched file the name."""
    report: Mapping[str, object] = field(default_factory=dict)
    """The whole report with its MAC, as the platform wrote it."""


class Subjects:
    """`client.subjects`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def erase(self, subject: str) -> Erasure:
        """Makes everything that is kept of a person unreadable, backups included. Nothing brings it back.

        Raises:
            NotFound: nothing is kept of this subject.
            Forbidden: the key is no admin's.
        """
        reply = self._wire.send("POST", f"{API}/subjects/{segment(subject)}/erase", patient=True, once=True)
        told = reply.json()
        if not isinstance(told, dict):
            raise Broken("The platform's answer is no report.", hint="Client and platform may differ: `tandem version`.")
        found = read_reply(Erasure, reply)
        return Erasure(**{name: getattr(found, name) for name in Erasure.__slots__ if name != "report"}, report=told)

    def verify(self, report: Mapping[str, object]) -> bool:
        """Whether the platform wrote this report as it stands.

        Raises:
            Invalid: it is no such report.
        """
        told = self._wire.send("POST", f"{API}/erasures/verify", dict(report)).json()
        return isinstance(told, dict) and told.get("ok") is True
