"""`tandem.toml` and the environment over it, read."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import msgspec

from tandem.core.endpoint import Target, Timeouts
from tandem.core.errors import Invalid
from tandem.jobs.pieces import Compute
from tandem.settings import check
from tandem.settings.lines import line_of, where
from tandem.settings.options import (
    AlertOptions,
    ApprovalOptions,
    DataOptions,
    DecisionOptions,
    EndpointOptions,
    OidcOptions,
    PipelineOptions,
    PriceOptions,
    ProviderOptions,
    RetentionOptions,
    ServerOptions,
    ServingOptions,
    SignInOptions,
    StoreOptions,
    TraceOptions,
)
from tandem.settings.tree import Settings

PREFIX = "TANDEM_"
LISTS = frozenset({"keys", "trusted_proxies", "on", "to", "scopes", "domains", "trust"})
"""Keys whose values are separated by commas in the environment."""
RESERVED = frozenset(
    {
        "TANDEM_ADMIN_KEY",
        "TANDEM_MASTER_KEY",
        "TANDEM_MASTER_KEY_BEFORE",
        "TANDEM_URL",
        "TANDEM_KEY",
        "TANDEM_HOME",
        "TANDEM_CONFIG",
    }
)
"""Environment names that are not settings."""
SECTIONS = (
    "server",
    "store",
    "sign_in",
    "data",
    "oidc",
    "decisions",
    "pipelines",
    "serving",
    "compute",
    "traces",
    "retention",
    "prices",
    "providers",
    "endpoints",
    "alerts",
    "approvals",
)


class _File(msgspec.Struct, forbid_unknown_fields=True):
    server: ServerOptions = ServerOptions()
    store: StoreOptions = StoreOptions()
    sign_in: SignInOptions = SignInOptions()
    data: DataOptions = DataOptions()
    oidc: dict[str, OidcOptions] = {}
    decisions: DecisionOptions = DecisionOptions()
    pipelines: PipelineOptions = PipelineOptions()
    serving: ServingOptions = ServingOptions()
    compute: Compute = Compute()
    traces: TraceOptions = TraceOptions()
    retention: dict[str, RetentionOptions] = {}
    prices: PriceOptions = PriceOptions()
    providers: dict[str, ProviderOptions] = {}
    endpoints: dict[str, EndpointOptions] = {}
    alerts: dict[str, AlertOptions] = {}
    approvals: dict[str, ApprovalOptions] = {}


def load(home: Path, *, config: Path | None = None, environment: Mapping[str, str] = os.environ) -> Settings:
    """Reads `tandem.toml` in the home (or `config`) and the environment.

    Raises:
        Invalid: the file is missing when named, is no TOML, or holds a key or a value that means nothing.
    """
    path = config or home / "tandem.toml"
    tree: dict[str, Any] = {}
    text = ""
    if config is not None and not path.exists():
        raise Invalid(f"The settings file {path} does not exist.", hint="Leave --config away to use the home's tandem.toml.")
    if path.exists():
        text = path.read_text("utf-8")
        try:
            tree = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise Invalid(f"{path} is not valid TOML: {error}.", hint="https://toml.io describes the format.") from None
    _overlay(tree, environment)
    _check_keys(tree, text, path)
    try:
        file = msgspec.convert(tree, _File, strict=False, dec_hook=_decoded)
    except msgspec.ValidationError as error:
        raise Invalid(f"{path}: {where(str(error), text)}", hint="docs/settings.md lists every key.") from None
    return Settings(
        home=home,
        server=check.server(file.server, path),
        store=check.store(file.store, path),
        sign_in=check.sign_in(file.sign_in, path),
        data=check.data(file.data, path),
        oidc={name: check.oidc(name, options, path) for name, options in file.oidc.items()},
        decisions=file.decisions,
        pipelines=file.pipelines,
        serving=file.serving,
        compute=check.compute(file.compute, path),
        traces=file.traces,
        retention={name: check.retention(name, rule, file.traces, path) for name, rule in file.retention.items()},
        prices=PriceOptions(file=None if file.prices.file is None else path.parent / file.prices.file),
        providers={name: check.provider(name, options, text, path) for name, options in file.providers.items()},
        endpoints={name: check.endpoint(name, options, text, path) for name, options in file.endpoints.items()},
        alerts={name: check.alert(name, options, text, path) for name, options in file.alerts.items()},
        approvals=check.approvals(file.approvals, text, path),
        source=path if text else None,
    )


def _decoded(wanted: type, value: object) -> object:
    """What msgspec does not know itself: paths, of text that can be one, and what may be anything."""
    if wanted is object:
        return value
    if wanted is Path and isinstance(value, str) and value and "\0" not in value:
        return Path(value)
    raise TypeError(f"Expected a path, got {value!r}")


def _overlay(tree: dict[str, Any], environment: Mapping[str, str]) -> None:
    for name, value in environment.items():
        if not name.startswith(PREFIX) or name in RESERVED or "__" not in name:
            continue
        *parents, leaf = name[len(PREFIX) :].lower().split("__")
        place = tree
        for parent in parents:
            place = place.setdefault(parent, {})
        place[leaf] = value.split(",") if leaf in LISTS else value


_TABLES: dict[str, Any] = {
    "server": ServerOptions,
    "store": StoreOptions,
    "sign_in": SignInOptions,
    "data": DataOptions,
    "oidc.*": OidcOptions,
    "decisions": DecisionOptions,
    "pipelines": PipelineOptions,
    "serving": ServingOptions,
    "compute": Compute,
    "traces": TraceOptions,
    "retention.*": RetentionOptions,
    "prices": PriceOptions,
    "providers.*": ProviderOptions,
    "endpoints.*": EndpointOptions,
    "endpoints.*.timeouts": Timeouts,
    "endpoints.*.route": Target,
    "alerts.*": AlertOptions,
    "approvals.*": ApprovalOptions,
}


def _check_keys(tree: Mapping[str, Any], text: str, path: Path) -> None:
    """Names the first unknown key with its line; msgspec checks the values afterwards."""
    for key in tree:
        if key not in SECTIONS:
            raise _unknown(key, "", SECTIONS, text, path)
    for pattern, options in _TABLES.items():
        for place, table in _matches(tree, pattern.split("."), ""):
            known = tuple(option.name for option in fields(options))
            for row in table if isinstance(table, list) else [table]:
                for key in row if isinstance(row, dict) else ():
                    if key not in known:
                        raise _unknown(key, place, known, text, path)


def _matches(tree: Any, parts: list[str], place: str) -> list[tuple[str, Any]]:
    if not parts:
        return [(place, tree)]
    if not isinstance(tree, dict):
        return []
    names = list(tree) if parts[0] == "*" else [parts[0]] if parts[0] in tree else []
    return [found for name in names for found in _matches(tree[name], parts[1:], f"{place}.{name}".lstrip("."))]


def _unknown(key: str, place: str, known: tuple[str, ...], text: str, path: Path) -> Invalid:
    line = line_of(text, place, key)
    where = f"{path}:{line}" if line else "The environment"
    table = f" in [{place}]" if place else ""
    return Invalid(
        f"{where}: '{key}' is not a setting{table}.", hint=f"Known there: {', '.join(known)}.", field=f"{place}.{key}".lstrip(".")
    )
