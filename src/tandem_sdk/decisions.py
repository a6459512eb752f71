"""Decisions: users' code that combines models, rules and language models."""

from __future__ import annotations

from tandem_sdk.assets import Version
from tandem_sdk.wire import API, Wire, read_reply, segment


class Decisions:
    """`client.decisions`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def add(self, name: str, source: str, *, entry: str) -> Version:
        """Stores Python source as the next version of a decision; the platform reads its schema in a worker process.

        Args:
            name: the decision's name, without `decision/`.
            source: the text of the file.
            entry: the function to call.

        Raises:
            Invalid: the source does not load, or has no such function; `field` names where.
        """
        body = {"source": source, "entry": entry}
        return read_reply(Version, self._wire.send("POST", f"{API}/decisions/{segment(name)}", body, patient=True))
