"""`tandem release`: versions that are promoted and rolled back together."""

from __future__ import annotations

import click

from tandem.cli.options import as_json, bare, platform
from tandem.cli.show import emit, moment, pairs, table


@click.group()
def release() -> None:
    """Releases: versions that are promoted and rolled back together."""


@release.command()
@click.argument("name")
@click.argument("refs", nargs=-1, required=True, metavar="REF…")
@as_json
def add(name: str, refs: tuple[str, ...], as_json: bool) -> None:
    """Store the next version of release NAME, which pins each REF.

    A REF is an asset such as model/fraud@3 or prompt/triage@production; pinned is the version it means now.
    `tandem promote release/NAME production` then moves all of them, or none.
    """
    with platform() as tandem:
        version = tandem.releases.add(bare(name, "release"), refs)
    if as_json:
        emit(version)
        return
    click.echo(version.ref)
    for pin in version.parents:
        click.echo(f"  {pin}")


@release.command()
@click.argument("name")
@click.option("--alias", default="production", show_default=True, help="What the pins are compared with.")
@as_json
def show(name: str, alias: str, as_json: bool) -> None:
    """Show what a version of release NAME pins (NAME@VERSION, NAME@ALIAS; else the newest), and what its assets stand at."""
    with platform() as tandem:
        version = tandem.assets.version(f"release/{bare(name, 'release')}")
        standings = tandem.releases.standings(version, alias)
    if as_json:
        emit({"version": version, "alias": alias, "pins": standings})
        return
    click.echo(version.ref)
    pairs(
        [
            ("digest", version.digest),
            ("made", f"{moment(version.created_at)} by {version.created_by}"),
            ("aliases", version.aliases),
        ]
    )
    click.echo()
    rows = [(pin.ref, f"@{pin.version}" if pin.version else "nothing", "yes" if pin.there else "no") for pin in standings]
    table(("pinned", f"{alias} is", "the same"), rows)
