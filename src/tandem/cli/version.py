"""`tandem version`."""

from __future__ import annotations

import platform

import click

from tandem import __version__
from tandem.cli.options import as_json
from tandem.cli.show import emit


@click.command()
@as_json
def version(as_json: bool) -> None:
    """Print the version."""
    if as_json:
        emit({"version": __version__, "python": platform.python_version()})
        return
    click.echo(f"tandem {__version__} (Python {platform.python_version()})")
