"""Everything that is set, in one frozen tree."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tandem.core.approval import Approval
from tandem.core.endpoint import Endpoint, Provider
from tandem.core.errors import Invalid
from tandem.core.policy import Alert
from tandem.core.secret import Secret
from tandem.governance.people.issuer import Issuer
from tandem.jobs.pieces import Compute
from tandem.settings.options import (
    DataOptions,
    DecisionOptions,
    PipelineOptions,
    PriceOptions,
    RetentionOptions,
    ServerOptions,
    ServingOptions,
    SignInOptions,
    StoreOptions,
    TraceOptions,
)

DATABASES, REDISES = ("postgresql://", "postgres://"), ("redis://", "rediss://", "unix://")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that is set, and nothing that is computed."""

    home: Path
    server: ServerOptions = field(default_factory=ServerOptions)
    store: StoreOptions = field(default_factory=StoreOptions)
    sign_in: SignInOptions = field(default_factory=SignInOptions)
    data: DataOptions = field(default_factory=DataOptions)
    oidc: Mapping[str, Issuer] = field(default_factory=dict)
    decisions: DecisionOptions = field(default_factory=DecisionOptions)
    pipelines: PipelineOptions = field(default_factory=PipelineOptions)
    serving: ServingOptions = field(default_factory=ServingOptions)
    compute: Compute = field(default_factory=Compute)
    traces: TraceOptions = field(default_factory=TraceOptions)
    retention: Mapping[str, RetentionOptions] = field(default_factory=dict)
    prices: PriceOptions = field(default_factory=PriceOptions)
    providers: Mapping[str, Provider] = field(default_factory=dict)
    endpoints: Mapping[str, Endpoint] = field(default_factory=dict)
    alerts: Mapping[str, Alert] = field(default_factory=dict)
    approvals: Mapping[str, Approval] = field(default_factory=dict)
    source: Path | None = None
    """The file that was read."""

    @property
    def shared(self) -> Path:
        """What every machine sees; of one machine its home."""
        return self.home if self.store.folder is None else self.store.folder

    def database(self) -> Secret | None:
        """The address of the PostgreSQL server; None where everything is in files.

        Raises:
            Invalid: what `store.url` names is not there, or is no such address.
        """
        return _named(self.store.url, "store.url", DATABASES)

    def redis(self) -> Secret | None:
        """The address of the Redis server that counts limits and holds a copy of the features; None where there is none.

        Raises:
            Invalid: what `store.redis` names is not there, or is no such address.
        """
        return _named(self.store.redis, "store.redis", REDISES)


def _named(reference: str, field: str, schemes: tuple[str, ...]) -> Secret | None:
    """The address that `env:NAME` or `file:PATH` means, or that stands there itself."""
    scheme, _, rest = reference.partition(":")
    try:
        found = os.environ[rest] if scheme == "env" else Path(rest).read_text("utf-8") if scheme == "file" else reference
    except (KeyError, OSError, ValueError):
        raise Invalid(
            f"{field} names {reference}, which is not there.", hint="Set it where the platform runs.", field=field
        ) from None
    if not found.strip():
        return None
    if not found.strip().startswith(schemes):
        raise Invalid(f"{field} is no address that can be used.", hint=f"It begins with {schemes[0]}.", field=field)
    return Secret(found.strip())
