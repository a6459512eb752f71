"""A group that knows its commands by a table and imports each only when it is used, so that help costs nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module

import click
from click.shell_completion import CompletionItem


@dataclass(frozen=True, slots=True)
class Row:
    """Where a command is, and what it says of itself."""

    where: str
    """`module:attribute`."""
    help: str = ""
    """One line; a row without is hidden."""


class LazyGroup(click.Group):
    """Commands under headings, imported late."""

    def __init__(self, *, name: str, help: str, sections: Mapping[str, Mapping[str, Row]], params: list[click.Parameter]) -> None:
        super().__init__(name=name, help=help, params=params, no_args_is_help=True)
        self.sections = sections

    def visible(self) -> Iterator[tuple[str, Row]]:
        """The commands that people see, in the order of the table."""
        for rows in self.sections.values():
            yield from ((name, row) for name, row in rows.items() if row.help)

    def row(self, name: str) -> Row | None:
        """Where the command of this name is."""
        return next((rows[name] for rows in self.sections.values() if name in rows), None)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name, _ in self.visible()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        row = self.row(cmd_name)
        if row is None:
            return None
        module, _, attribute = row.where.partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and self.row(args[0]) is None and not ctx.resilient_parsing:
            from difflib import get_close_matches

            near = get_close_matches(args[0], self.list_commands(ctx), 1)
            raise click.UsageError(f"There is no command '{args[0]}'." + (f" Did you mean '{near[0]}'?" if near else ""), ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(len(name) for name, _ in self.visible())
        for title, rows in self.sections.items():
            shown = [(name.ljust(width), row.help) for name, row in rows.items() if row.help]
            if shown:
                with formatter.section(title):
                    formatter.write_dl(shown)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(name, help=row.help) for name, row in self.visible() if name.startswith(incomplete)]
