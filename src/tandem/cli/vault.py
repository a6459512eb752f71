"""`tandem vault`: the master key by its fingerprint, and its replacement."""

from __future__ import annotations

import click

from tandem.cli.options import as_json, platform
from tandem.cli.show import emit, pairs
from tandem_sdk import MasterKey


@click.group()
def vault() -> None:
    """The master key, under which secrets and content are sealed."""


@vault.command()
@as_json
def show(as_json: bool) -> None:
    """Show the fingerprint of the master key, and what is still sealed under an earlier one."""
    with platform() as tandem:
        found = tandem.vault.show()
    _said(found, as_json=as_json)


@vault.command()
@as_json
def rotate(as_json: bool) -> None:
    """Replace the master key while everything runs. Make a backup afterwards: earlier ones need the earlier key."""
    with platform() as tandem:
        found = tandem.vault.rotate()
    _said(found, as_json=as_json)


def _said(found: MasterKey, *, as_json: bool) -> None:
    if as_json:
        emit(found)
        return
    left = ", ".join(f"{count} {name}" for name, count in found.left.items())
    pairs(
        [
            ("master key", found.fingerprint),
            ("comes from", "the environment" if found.outside else "the home"),
            ("before", found.before),
            ("left", left if found.before else None),
        ]
    )
