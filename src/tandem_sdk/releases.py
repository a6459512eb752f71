"""Releases: versions of several assets that are promoted and rolled back together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tandem_sdk.assets import Assets, Version
from tandem_sdk.errors import NotFound
from tandem_sdk.wire import API, Wire, read_reply, segment


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One pin of a release, beside where the alias of its asset stands."""

    ref: str
    """The pinned version, `model/fraud@3`."""
    version: int | None
    """The version that the alias names now; None where it names none, or where the key may not see the asset."""
    there: bool
    """Whether that is the pinned one."""


class Releases:
    """`client.releases`. `client.assets` promotes them and rolls them back."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._assets = Assets(wire)

    def add(self, name: str, pins: Sequence[str]) -> Version:
        """Stores the next version of a release; the same pins again are the same version.

        Args:
            name: the release's name, without `release/`.
            pins: `kind/name[@version-or-alias]`, one of each asset; pinned is the version it means now.

        Raises:
            Invalid: an asset is named twice, or is one that no release pins.
            NotFound: there is no such version.
        """
        return read_reply(Version, self._wire.send("POST", f"{API}/releases/{segment(name)}", {"pins": list(pins)}))

    def standings(self, release: Version, alias: str = "production") -> tuple[Standing, ...]:
        """Where an alias of each pinned asset stands, in the order of the pins."""
        found = []
        for pin in release.parents:
            named, _, pinned = pin.partition("@")
            now = self._now(named, alias)
            found.append(Standing(ref=pin, version=now, there=str(now) == pinned))
        return tuple(found)

    def _now(self, named: str, alias: str) -> int | None:
        try:
            state = self._assets.show(named).aliases.get(alias)
        except NotFound:  # another team's, whose release an admin made
            return None
        return None if state is None else state.version
