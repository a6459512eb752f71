"""Datasets: rows under a contract."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from tandem_sdk.assets import Version
from tandem_sdk.errors import Broken, Invalid
from tandem_sdk.wire import API, Wire, read_reply, segment

KINDS = {
    ".csv": ("csv", "text/csv"),
    ".jsonl": ("jsonl", "application/x-ndjson"),
    ".ndjson": ("jsonl", "application/x-ndjson"),
    ".parquet": ("parquet", "application/vnd.apache.parquet"),
}
"""File ending → the platform's word for the format, and its media type."""


class Datasets:
    """`client.datasets`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def add(
        self,
        name: str,
        file: str | Path,
        *,
        id_column: str | None = None,
        time_column: str | None = None,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> Version:
        """Stores a file as the next version of a dataset; it is read and checked before this returns.

        The rows must keep the contract that `set_contract` stored, where there is one.

        Args:
            name: the dataset's name, without `dataset/`.
            file: a `.csv`, `.jsonl`, `.ndjson` or `.parquet` file; it is sent piece by piece.
            id_column: the column that names a row.
            time_column: the column that says when a row became true.
            on_progress: called with (bytes sent, bytes in all).

        Raises:
            Invalid: the file cannot be read, or its rows break the contract; the message names rows and columns.
        """
        source = Path(file)
        known = KINDS.get(source.suffix.lower())
        if known is None:
            raise Invalid(
                f"'{source.name}' has no ending that tells its format.", hint=f"Known are {', '.join(KINDS)}.", field="file"
            )
        query = {"id": id_column, "time": time_column, "format": known[0]}
        path = f"{API}/datasets/{segment(name)}"
        return read_reply(Version, self._wire.upload(path, source, known[1], query=query, on_progress=on_progress))

    def contract(self, name: str, version: int | str) -> Mapping[str, object]:
        """What every column must be, as JSON that can be edited and handed to `set_contract`."""
        return _object(self._wire.get(f"{API}/datasets/{segment(name)}/{segment(version)}/contract").json())

    def set_contract(self, name: str, contract: Mapping[str, object]) -> Mapping[str, object]:
        """Stores the contract that the next rows must keep; returns it as it was understood.

        Raises:
            Invalid: it contradicts itself; `field` names where.
        """
        return _object(self._wire.send("PUT", f"{API}/datasets/{segment(name)}/contract", contract).json())


def _object(data: object) -> Mapping[str, object]:
    if not isinstance(data, dict):
        raise Broken("The platform's contract is no JSON object.", hint="Client and platform may be of different versions.")
    return data
