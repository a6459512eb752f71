"""The words of `tandem mock`: options in, a start-up line out. It serves nothing itself."""

from __future__ import annotations

import os

import click
import msgspec

from tandem.core.errors import TandemError
from tandem.core.secret import Secret
from tandem.mock import prices, serve
from tandem.mock.faults import KINDS, OPTIONS
from tandem.mock.settings import MockSettings

_WIDTH = max(map(len, KINDS))
_EPILOG = "\n".join(
    [
        "\b",
        "Faults: SPEC = KIND[=VALUE][*TIMES][@CHANCE][;OPTION=VALUE]",
        *(f"  {name:<{_WIDTH}}  {kind.meaning}" for name, kind in KINDS.items()),
        "",
        "\b",
        "Options of a fault:",
        *(f"  {name:<{_WIDTH}}  {meaning}" for name, meaning in OPTIONS.items()),
        "",
        "\b",
        "Examples: 429*3;retry-after=2    500@0.1    cut-after=5;model=gpt-4o",
    ]
)


@click.command(epilog=_EPILOG, context_settings={"max_content_width": 120, "help_option_names": ["-h", "--help"]})
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=9101, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 takes a free one.")
@click.option("--key", help="The one bearer key that is accepted. Without it any key that is not empty.")
@click.option("--latency", default=0.0, metavar="MS", help="Milliseconds to the first byte of a reply.")
@click.option("--per-token", default=0.0, metavar="MS", help="Milliseconds each output token takes.")
@click.option("--jitter", default=0.0, metavar="MS", help="Makes each wait longer by a seeded draw up to this.")
@click.option("--delta-tokens", default=1, show_default=True, help="Output tokens in one delta of a stream.")
@click.option("--fault", "faults", multiple=True, metavar="SPEC", help="A fault, see below. Repeat it for more.")
@click.option("--seed", default=0, show_default=True, help="Seeds jitter and the chances of faults.")
@click.option("--json", "as_json", is_flag=True, help="Print the start-up line as JSON.")
def mock(
    host: str,
    port: int,
    key: str | None,
    latency: float,
    per_token: float,
    jitter: float,
    delta_tokens: int,
    faults: tuple[str, ...],
    seed: int,
    as_json: bool,
) -> None:
    """Serve a mock upstream in OpenAI's and Anthropic's protocols, with exact token counts, scripted faults and a bill."""
    try:
        settings = MockSettings(
            host=host,
            port=port,
            key=None if key is None else Secret(key),
            latency_ms=latency,
            per_token_ms=per_token,
            jitter_ms=jitter,
            delta_tokens=delta_tokens,
            faults=faults,
            seed=seed,
        )
        serve.run(settings, lambda handle: _announce(handle, settings, as_json=as_json))
    except TandemError as error:
        raise click.ClickException(str(error)) from None


def _announce(handle: serve.MockHandle, settings: MockSettings, *, as_json: bool) -> None:
    """The start-up line: the address first, so that a script can read it."""
    if as_json:
        line = {
            "url": handle.url,
            "base_url": f"{handle.url}/v1",
            "anthropic_url": f"{handle.url}/anthropic",
            "host": handle.host,
            "port": handle.port,
            "pid": os.getpid(),
            "models": list(prices.TABLE),
            "faults": settings.faults,
        }
        click.echo(msgspec.json.encode(line).decode())
        return
    accepted = "any key" if settings.key is None else "the key of --key"
    click.echo(f"The mock upstream listens on {handle.url}/v1 and takes {accepted}.")
    click.echo(f"  models  {' '.join(prices.TABLE)}")
    click.echo(f"  faults  {' '.join(settings.faults) or 'none'} (change them: POST {handle.url}/faults)")
    click.echo(f"  bill    {handle.url}/bill")
    click.echo("Ctrl+C stops it.")
