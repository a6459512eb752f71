"""`tandem doctor`: is the platform there, is the key good, and what does the platform say of itself?"""

from __future__ import annotations

import click

from tandem.cli.options import as_json, platform
from tandem.cli.show import clean, emit, pairs
from tandem_sdk import Check, Client, Forbidden, TandemError


@click.command()
@click.option("--let-go", metavar="MACHINE", help="Of several: book and free what it held, because it never comes back.")
@as_json
@click.pass_context
def doctor(ctx: click.Context, let_go: str | None, as_json: bool) -> None:
    """Tell what is wrong and how to mend it. Exits with 1 when something is.

    Looks from here (address, key) and asks the running platform about its stores, providers, endpoints and machines.
    """
    with platform() as tandem:
        if let_go is not None:
            gone = tandem.machines.let_go(let_go)
            emit(gone) if as_json else pairs([("machine", gone.machine), ("booked", f"{gone.booked} attempts")])
            return
        checks = examine(tandem)
    if as_json:
        emit(checks)
    else:
        width = max(len(check.check) for check in checks)
        for check in checks:
            click.echo(f"{'ok ' if check.ok else 'BAD'}  {clean(check.check).ljust(width)}  {clean(check.detail)}")
            if not check.ok and check.hint:
                click.echo(f"     {' ' * width}  → {clean(check.hint)}")
    if not all(check.ok for check in checks):
        ctx.exit(1)


def examine(tandem: Client) -> list[Check]:
    """Every check in the order in which one needs the other; stops where the next could tell nothing."""
    try:
        health = tandem.health()
    except TandemError as error:
        return [_bad("platform", error)]
    checks = [Check(check="platform", ok=True, detail=f"{tandem.url} answers: {health.get('status', 'no status')}")]
    try:
        principal = tandem.whoami()
    except TandemError as error:
        hint = error.hint if tandem.has_key else "`tandem login` keeps a key, TANDEM_KEY sets one."
        return [*checks, Check(check="key", ok=False, detail=error.message, hint=hint or "")]
    checks.append(Check(check="key", ok=True, detail=f"'{principal.name}', {principal.role} in team {principal.team}"))
    try:
        return [*checks, *tandem.doctor()]
    except Forbidden:
        return [
            *checks,
            Check(check="stores", ok=True, detail=f"not shown to the role {principal.role}; an auditor or admin sees them"),
        ]
    except TandemError as error:
        return [*checks, _bad("stores", error)]


def _bad(name: str, error: TandemError) -> Check:
    return Check(check=name, ok=False, detail=error.message, hint=error.hint or "")
