"""Every command with its options, as Markdown: `python -m tandem.cli.reference > docs/cli.md`. A test keeps both equal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from tandem.cli.main import cli

HEAD = """# The command line

`tandem COMMAND --help` says the same as this page, which is made from the commands themselves.

The commands are clients of a running platform: they talk to `TANDEM_URL` (default `http://127.0.0.1:8400`) with the
key in `TANDEM_KEY`, or with what `tandem login` stored. Every command takes `--json`, which prints stable JSON on
standard output. People get tables; progress and notes go to standard error.

| exit code | means |
|---|---|
| 0 | done |
| 1 | an error; one line on standard error says what happened, a second one (`→`) what to do |
| 2 | wrong usage |
| 3 | `tandem up`: the home is in use already |
| 4 | refused by a gate or a guard |
| 5 | `tandem audit verify`: the audit is broken |
| 130 | interrupted by Ctrl-C |

With `--json` an error is also `{"error": {"code", "message", "hint", "field", "trace"}}` on standard output.

Shell completion: `eval "$(_TANDEM_COMPLETE=bash_source tandem)"` in `~/.bashrc`; `zsh_source` in `~/.zshrc`;
`_TANDEM_COMPLETE=fish_source tandem | source` in `~/.config/fish/config.fish`.
"""


def reference() -> str:
    """The whole page."""
    return HEAD + "".join(_sections())


def _sections() -> Iterator[str]:
    context = click.Context(cli, info_name="tandem", max_content_width=100)
    for title, rows in cli.sections.items():
        yield f"\n## {title}\n"
        for name, row in rows.items():
            command = cli.get_command(context, name) if row.help else None
            if command is not None:
                yield from _command(command, name, context)


def _command(command: click.Command, name: str, parent: click.Context) -> Iterator[str]:
    context = click.Context(command, info_name=name, parent=parent)
    if isinstance(command, click.Group):
        yield f"\n### {context.command_path}\n\n{_prose(command)}\n"
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            if found is not None and not found.hidden:
                yield from _command(found, child, context)
        return
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    yield f"\n#### {context.command_path}\n\n```\n{usage}\n```\n\n{_prose(command)}\n"
    rows = [
        parameter.get_help_record(context) for parameter in command.get_params(context) if isinstance(parameter, click.Option)
    ]
    shown = [row for row in rows if row is not None and "--help" not in row[0] and row[0] != "--json"]
    if shown:
        yield "\n| option | |\n|---|---|\n"
        yield from (f"| `{_cell(names)}` | {_cell(text)} |\n" for names, text in shown)
    if command.epilog:
        yield f"\n```\n{command.epilog.replace(chr(8), '').strip()}\n```\n"


def _prose(command: click.Command) -> str:
    return (command.help or command.short_help or "").replace("\b", "").strip()


def _cell(text: str) -> str:
    home = str(Path.home())  # a default under the home is another one on every machine
    return " ".join(text.replace(home, "~").replace("|", "\\|").split())


if __name__ == "__main__":
    sys.stdout.write(reference())
