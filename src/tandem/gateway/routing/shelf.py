"""The learned routers that a worker has read, by their digest. Reading one takes some milliseconds, so it is done beside."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tandem.core.errors import Invalid
from tandem.gateway.routing.learned import LearnedRouter, load
from tandem.gateway.snapshot import Served, Snapshot

FILE = "router.json"


class Shelf:
    """What one worker has read."""

    def __init__(self) -> None:
        self._read: dict[str, LearnedRouter | str] = {}
        """Digest of a version → the router, or why it cannot be used."""

    def find(self, served: Served | None) -> LearnedRouter | str:
        """The router of a version, or why there is none."""
        if served is None:
            return "the router is not there"
        return self._read.get(served.digest, "the router is not read yet")

    async def refresh(self, snapshot: Snapshot) -> None:
        """Reads the routers that endpoints name and that are not read yet, and forgets the others."""
        named = {endpoint.router for endpoint in snapshot.endpoints.values() if endpoint.router}
        wanted = {served.digest: served for name in named if (served := snapshot.routers.get(name)) is not None}
        for digest in self._read.keys() - wanted.keys():
            del self._read[digest]
        for digest in wanted.keys() - self._read.keys():
            self._read[digest] = await asyncio.to_thread(_read, Path(wanted[digest].members) / FILE)


def _read(file: Path) -> LearnedRouter | str:
    try:
        return load(file.read_bytes())
    except OSError as error:
        return f"the router cannot be read ({error.strerror})"
    except Invalid:
        return "the router is damaged"
