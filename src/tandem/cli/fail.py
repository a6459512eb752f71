"""Errors as people and scripts see them: one line, a hint, an exit code."""

from __future__ import annotations

import os
import sys
import traceback

import click

from tandem.cli.show import clean, encode
from tandem.core import errors as core
from tandem_sdk import errors as sdk
from tandem_sdk.shape import plain

ERROR, USAGE = 1, 2
ALREADY, REFUSED, WAITS = 3, 4, 6


def report(error: Exception, *, as_json: bool) -> int:
    """Writes an error and returns the exit code it means."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message(), err=True)
        return USAGE
    told, code = _told(error)
    if code == ERROR and told["code"] == "bug" and os.environ.get("TANDEM_DEBUG") == "1":
        traceback.print_exception(error, file=sys.stderr)
    if as_json:
        click.echo(encode({"error": told}))
    click.echo(f"tandem: {clean(str(told['message']))}", err=True)
    if told["hint"]:
        click.echo(f"  → {clean(str(told['hint']))}", err=True)
    if told.get("trace"):
        click.echo(f"  → `tandem trace show {clean(str(told['trace']))}` explains the call.", err=True)
    return code


def _told(error: Exception) -> tuple[dict[str, object], int]:
    match error:
        case click.UsageError():
            path = error.ctx.command_path if error.ctx is not None else "tandem"
            return _words("usage", error.format_message(), f"`{path} --help` shows how it is used."), USAGE
        case click.ClickException():
            return _words("error", error.format_message(), None), error.exit_code
        case sdk.Unauthenticated():
            return {
                **_words(error.code, error.message, "`tandem login` keeps a key, TANDEM_KEY sets one."),
                "trace": error.trace,
            }, ERROR
        case sdk.TandemError():
            told = {**_words(error.code, error.message, error.hint), "field": error.field, "trace": error.trace}
            if isinstance(error, sdk.GateRefused):
                told["report"] = plain(error.report)
            if isinstance(error, sdk.ApprovalNeeded):
                return {**told, "request": plain(error.request)}, WAITS
            return told, REFUSED if isinstance(error, sdk.Blocked) else ERROR
        case core.TandemError():
            told = {**_words(error.code, error.message, error.hint), "field": error.field}
            return told, ALREADY if error.code == "already_running" else USAGE if isinstance(error, core.Invalid) else ERROR
        case _:
            hint = "This is a fault of Tandem's. TANDEM_DEBUG=1 shows where."
            return _words("bug", f"{type(error).__name__}: {error}", hint), ERROR


def _words(code: str, message: str, hint: str | None) -> dict[str, object]:
    return {"code": code, "message": message, "hint": hint, "field": None, "trace": None}
