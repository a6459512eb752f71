"""Usage: who used which endpoint, asset and document, and when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO

from tandem_sdk.wire import API, Wire, read_replies


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """One call, by what it used."""

    at: int
    """When it began, UTC microseconds."""
    call: str
    trace: str = ""
    principal: str = ""
    team: str = ""
    endpoint: str = ""
    kind: str = ""
    outcome: str = ""
    assets: tuple[str, ...] = ()
    """Versions that took part, as `kind/name@version`."""
    targets: tuple[str, ...] = ()
    """What was asked: `provider/model` or a version."""
    documents: tuple[str, ...] = ()
    """Documents that were shown to whoever wrote the answer, as `doc_…`, which `tandem docs list --json` shows too."""
    subject: str | None = None
    """The end user, as `sub_…`, where the call named one."""
    cost: int | None = None
    """Nano-dollars; None when no price is known."""
    cost_usd: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Using:
    """Which calls are meant; what is None sets no bound."""

    principal: str | None = None
    endpoint: str | None = None
    asset: str | None = None
    """`kind/name`, `kind/name@version` or `provider/model`."""
    document: str | None = None
    """Its name, or `doc_…`."""
    since: int | None = None
    """UTC microseconds, like `until`."""
    until: int | None = None


class Usages:
    """`client.usage`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def list(self, using: Using | None = None, *, limit: int = 100, after: Use | None = None) -> tuple[Use, ...]:
        """Calls that fit, newest first; `after` (the last one of an earlier list) continues behind it."""
        query = {**_query(using), "limit": limit}
        if after is not None:
            query |= {"before": after.at, "call": after.call}
        return read_replies(Use, self._wire.get(f"{API}/usage", query))

    def export(self, into: IO[bytes], using: Using | None = None, *, format: str = "jsonl") -> int:
        """Writes all calls that fit as `jsonl` or `csv`; returns the bytes. The audit says who took them."""
        count = 0
        with self._wire.download(f"{API}/usage/export", {**_query(using), "format": format}) as pieces:
            for piece in pieces:
                count += into.write(piece)
        return count


def _query(using: Using | None) -> dict[str, str | int | None]:
    if using is None:
        return {}
    names = ("principal", "endpoint", "asset", "document", "since", "until")
    return {name: getattr(using, name) for name in names}
