"""The master key: which one there is, and its replacement. The key itself never leaves the platform."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tandem_sdk.wire import API, Wire, read_reply


@dataclass(frozen=True, slots=True, kw_only=True)
class MasterKey:
    """The master key by its fingerprint."""

    fingerprint: str
    before: tuple[str, ...] = ()
    """Earlier keys that still open something; none when nothing is being replaced."""
    left: Mapping[str, int] = field(default_factory=dict)
    """What is still sealed under them, by store."""
    outside: bool = False
    """Whether it comes from the environment, and is replaced there."""


class Vault:
    """`client.vault`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def show(self) -> MasterKey:
        """Which key there is, and how far its replacement is.

        Raises:
            Forbidden: the key may not audit.
        """
        return read_reply(MasterKey, self._wire.get(f"{API}/vault"))

    def rotate(self) -> MasterKey:
        """Makes a new master key; what is sealed under the old one is sealed anew in the background.

        Raises:
            Forbidden: the key is no admin's.
            Conflict: it comes from the environment, or the last replacement is not over.
        """
        return read_reply(MasterKey, self._wire.send("POST", f"{API}/vault/rotate", once=True))
