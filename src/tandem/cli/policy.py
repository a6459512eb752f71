"""`tandem policy`: what may not come in or go out, and what happens to it."""

from __future__ import annotations

import json
import sys

import click

from tandem.cli.options import as_json, bare, platform, wrong
from tandem.cli.show import clean, emit, table
from tandem_sdk import Guard

ACTIONS = ("allow", "observe", "mask", "block")


@click.group()
def policy() -> None:
    """Policies: guards on what comes in and goes out, versioned like everything else."""


@policy.command()
@as_json
def detectors(as_json: bool) -> None:
    """List what can be looked for."""
    with platform() as tandem:
        found = tandem.policies.detectors()
    if as_json:
        emit(found)
        return
    table(("detector", "finds", "forms"), [(each.name, each.finds, len(each.forms)) for each in found])


@policy.command()
@click.argument("name")
@click.option(
    "--guard",
    "guards",
    multiple=True,
    required=True,
    metavar="DETECTOR=ACTION[:SIDE]",
    help="Such as card=mask or injection=block:in; actions are allow, observe, mask and block. Repeat it.",
)
@as_json
def add(name: str, guards: tuple[str, ...], as_json: bool) -> None:
    """Store guards as the next version of policy NAME."""
    told = [_guard(word) for word in guards]
    with platform() as tandem:
        version = tandem.policies.add(bare(name, "policy"), told)
    if as_json:
        emit(version)
        return
    click.echo(version.ref)


@policy.command("try")
@click.argument("name")
@click.argument("text", required=False)
@click.option("--out", is_flag=True, help="As if it were an answer on its way out.")
@as_json
def try_policy(name: str, text: str | None, out: bool, as_json: bool) -> None:
    """Show what policy NAME (NAME@VERSION, NAME@ALIAS; else the newest) makes of TEXT, or of standard input.

    Nothing is sent anywhere, and nothing is kept.
    """
    plain, _, version = bare(name, "policy").partition("@")
    said = sys.stdin.read() if text is None or text == "-" else text
    with platform() as tandem:
        trial = tandem.policies.attempt(plain, said, version=version or None, out=out)
    if as_json:
        emit(trial)
        return
    if trial.found:
        table(("detector", "on", "action", "count"), [(each.detector, each.on, each.action, each.count) for each in trial.found])
    click.echo(clean(trial.text) if trial.passes else "It does not pass.")


def _guard(word: str) -> Guard:
    detector, equals, rest = word.partition("=")
    action, _, side = rest.partition(":")
    if not equals or action not in ACTIONS or side not in ("", "in", "out"):
        raise wrong(f"{json.dumps(word)} is no guard: write DETECTOR=ACTION[:SIDE], such as card=mask or injection=block:in.")
    return Guard(detector=detector, action=action, on=(side,) if side else ("in", "out"))
