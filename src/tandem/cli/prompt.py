"""`tandem prompt`: templates with declared variables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from tandem.cli.options import as_json, bare, decoded, file_text, platform, wrong
from tandem.cli.show import clean, emit, moment, pairs
from tandem_sdk import Message
from tandem_sdk.shape import Mismatch, read_list


@click.group()
def prompt() -> None:
    """Prompts: templates, versioned like everything else."""


@prompt.command()
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--var", "variables", multiple=True, metavar="NAME:TYPE", help="A variable: string, number, integer, boolean or json."
)
@click.option("--model", help="The endpoint or provider/model it is written for.")
@as_json
def add(name: str, file: Path, variables: tuple[str, ...], model: str | None, as_json: bool) -> None:
    """Store FILE as the next version of prompt NAME.

    A .json file holds messages, [{"role": …, "content": …}]; any other file is the template of one user
    message. Templates are Jinja: {{ variable }}.
    """
    text = file_text(file)
    template = _messages(text, file) if file.suffix.lower() == ".json" else text
    with platform() as tandem:
        version = tandem.prompts.add(bare(name, "prompt"), template, variables=_types(variables), model=model)
    if as_json:
        emit(version)
        return
    click.echo(version.ref)


@prompt.command()
@click.argument("name")
@as_json
def show(name: str, as_json: bool) -> None:
    """Show a version of prompt NAME (NAME@VERSION, NAME@ALIAS; else the newest)."""
    with platform() as tandem:
        version = tandem.assets.version(f"prompt/{bare(name, 'prompt')}")
    if as_json:
        emit(version)
        return
    click.echo(version.ref)
    variables = version.meta.get("variables")
    pairs(
        [
            ("digest", version.digest),
            ("made", f"{moment(version.created_at)} by {version.created_by}"),
            ("aliases", version.aliases),
            ("model", version.meta.get("model")),
            (
                "variables",
                ", ".join(f"{key}:{value}" for key, value in variables.items()) if isinstance(variables, dict) else None,
            ),
        ]
    )
    messages = version.meta.get("messages")
    parts = messages if isinstance(messages, list) else [{"role": "user", "content": version.meta.get("template")}]
    for part in parts:
        click.echo(f"\n{clean(str(part.get('role')))}:\n{clean(str(part.get('content')))}")


def _messages(text: str, file: Path) -> Sequence[Message]:
    try:
        return read_list(Message, decoded(text, str(file)), "the file")
    except Mismatch as error:
        raise wrong(f"{file} holds no messages: {error}.") from None


def _types(words: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in words:
        name, colon, kind = word.partition(":")
        if not name or (colon and not kind):
            raise wrong(f"'{word}' declares no variable; write it like NAME:string.")
        found[name] = kind or "string"
    return found
