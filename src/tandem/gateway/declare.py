"""Brings providers and endpoints of the settings file into the tables; what the file no longer names is retired."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from tandem.core.endpoint import Endpoint, Provider
from tandem.core.errors import Invalid, TandemError
from tandem.core.principal import LOCAL
from tandem.gateway.compile import seal_keys
from tandem.gateway.pricing.repo import Prices
from tandem.gateway.pricing.rows import read_file
from tandem.gateway.repo import Routes
from tandem.governance.authorise import ALL
from tandem.store.vault import Vault


def declare(table: Routes, vault: Vault, providers: Mapping[str, Provider], endpoints: Mapping[str, Endpoint]) -> None:
    """Makes the tables say what the file says; unchanged rows are left alone."""
    known = {provider.name: provider for provider in table.providers(ALL)}
    for name, provider in providers.items():
        if not _same(known.get(name), provider, vault):
            table.put_provider(seal_keys(provider, vault), by=LOCAL)
    for name, provider in known.items():
        if provider.managed is not None and name not in providers:
            table.delete_provider(name, by=LOCAL, through="file")
    present = {endpoint.name: endpoint for endpoint in table.endpoints(ALL)}
    for name, endpoint in endpoints.items():
        if present.get(name) != endpoint:
            table.put_endpoint(endpoint, by=LOCAL)
    for name, endpoint in present.items():
        if endpoint.managed is not None and name not in endpoints:
            table.delete_endpoint(name, by=LOCAL, through="file")


def declare_prices(table: Prices, file: Path | None) -> str:
    """Makes the rows that come from the settings' price file what that file says; without a file there are none.

    Returns:
        what is wrong with the file, in which case the rows of before go on holding; empty where nothing is.
    """
    try:
        rows = () if file is None else read_file(file.read_text("utf-8"), file.name, "file")
    except (OSError, UnicodeDecodeError) as error:
        return f"The price file {file} cannot be read: {error}."
    except Invalid as error:
        return error.message
    table.load(rows, "file")
    return ""


def _same(known: Provider | None, declared: Provider, vault: Vault) -> bool:
    if known is None or len(known.keys) != len(declared.keys):
        return False
    opened = tuple(_opened(key, known.name, vault) for key in known.keys)
    return replace(known, keys=opened) == declared


def _opened(key: str, provider: str, vault: Vault) -> str:
    """A sealed literal as the file wrote it, so that the same file is seen as no change."""
    if not key.startswith("sealed:"):
        return key
    try:
        return vault.open("provider-key", bytes.fromhex(key.removeprefix("sealed:")), provider.encode()).decode()
    except (ValueError, TandemError):  # damaged, or of another home: the file's own is sealed again
        return ""
