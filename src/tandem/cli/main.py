"""The command `tandem`: a table of commands, and the border where every error becomes a line and an exit code.

It imports nothing but Click and the table; a command's module is imported when the command is used.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from tandem import __version__
from tandem.cli.lazy import LazyGroup, Row

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells expect it."""

SECTIONS = {
    "Platform": {
        "init": Row("tandem.cli.init:init", "Make a project: five questions, then a folder that is ready to run."),
        "up": Row("tandem.cli.up:up", "Start the platform: everything from one command."),
        "serve": Row("tandem.cli.up:serve", "Start one of several machines that answer."),
        "work": Row("tandem.cli.up:work", "Do the Runs of machines that answer."),
        "demo": Row("tandem.cli.demo:demo", "Run the whole story on real data."),
        "mock": Row("tandem.mock.command:mock", "Serve a mock upstream with exact counts and scripted faults."),
        "doctor": Row("tandem.cli.doctor:doctor", "Tell what is wrong and how to mend it."),
        "backup": Row("tandem.cli.backup:backup", "Copy a home to one file, while it runs or not."),
        "restore": Row("tandem.cli.backup:restore", "Put a home in place from a backup."),
        "login": Row("tandem.cli.login:login", "Check a key and keep it for later commands."),
        "whoami": Row("tandem.cli.login:whoami", "Tell whom the platform takes you for."),
        "version": Row("tandem.cli.version:version", "Print the version."),
        "door": Row("tandem.cli.up:door"),
        "control": Row("tandem.cli.up:control"),
    },
    "Make": {
        "data": Row("tandem.cli.data:data", "Datasets: add, show, contract."),
        "docs": Row("tandem.cli.docs:docs", "Documents: add, list, search, delete."),
        "features": Row("tandem.cli.features:features", "Features: define, load, push, read, join, list, show."),
        "import": Row("tandem.cli.imports:bring", "Import a folder of models of other frameworks."),
        "train": Row("tandem.cli.train:train", "Train a model on a dataset."),
        "policy": Row("tandem.cli.policy:policy", "Policies: add guards, try them, list detectors."),
        "prompt": Row("tandem.cli.prompt:prompt", "Prompts: add, show."),
        "suite": Row("tandem.cli.suite:suite", "Suites: add, show. What prompts are evaluated with."),
        "eval": Row("tandem.cli.evaluate:evaluate", "Ask a prompt the questions of a suite."),
        "decision": Row("tandem.cli.decision:decision", "Decisions: add."),
        "pipeline": Row("tandem.cli.pipeline:pipeline", "Pipelines: add, run, show; triggers."),
        "run": Row("tandem.cli.run:run", "Runs: list, show, wait, cancel."),
        "asset": Row("tandem.cli.asset:asset", "Assets: list, show, lineage."),
        "route": Row("tandem.cli.route:route", "Learned routes: train on recorded outcomes, score."),
    },
    "Release": {
        "plan": Row("tandem.cli.plan:plan", "Show what a repository's folder would change."),
        "apply": Row("tandem.cli.plan:apply", "Do what the plan shows, and nothing else."),
        "project": Row("tandem.cli.projects:project", "Projects: what repositories declare. List, show, ci."),
        "release": Row("tandem.cli.release:release", "Releases: what is promoted together. Add, show."),
        "promote": Row("tandem.cli.promote:promote", "Move an alias to a version, if its gate lets it."),
        "rollback": Row("tandem.cli.promote:rollback", "Move an alias back to where it was."),
        "gate": Row("tandem.cli.gate:gate", "Gates: what a version must prove. Set, list, drop, check, evidence."),
        "endpoint": Row("tandem.cli.endpoint:endpoint", "Endpoints: list, set, drop, canaries, learning online."),
        "provider": Row("tandem.cli.provider:provider", "Providers of language models: list, set, drop, test."),
    },
    "Call": {
        "predict": Row("tandem.cli.call:predict", "Ask a model about rows."),
        "decide": Row("tandem.cli.call:decide", "Ask a decision."),
        "chat": Row("tandem.cli.call:chat", "Ask a language model."),
        "batch": Row("tandem.cli.batch:batch", "Batches of requests: create, list, show, cancel, output."),
    },
    "Govern": {
        "person": Row("tandem.cli.person:person", "Persons and services: invite, add, list, set, remove, password."),
        "team": Row("tandem.cli.team:team", "Teams: add, list, member."),
        "key": Row("tandem.cli.key:key", "Keys: create, list, rotate, revoke."),
        "budget": Row("tandem.cli.budget:budget", "Budgets: caps in dollars. Set, credit, list, drop."),
        "limit": Row("tandem.cli.limit:limit", "Limits: caps in tokens and calls. Set, list, drop."),
        "cost": Row("tandem.cli.cost:cost", "Costs: spend, prices, bills beside the books, forecasts."),
        "trace": Row("tandem.cli.trace:trace", "Traces: explain one call, list the newest."),
        "monitor": Row("tandem.cli.monitor:monitor", "Monitors: drift, scores, performance. Add, list, show, check, remove."),
        "outcome": Row("tandem.cli.outcome:outcome", "Labels that come late. Add."),
        "approval": Row("tandem.cli.approval:approval", "Approvals: deeds that need people. Set, list, drop."),
        "request": Row("tandem.cli.approval:request", "Requests: deeds that wait for people. List, show, approve, decline."),
        "review": Row("tandem.cli.review:review", "Reviews: calls that wait for a person. List, next, decide, export."),
        "alert": Row("tandem.cli.alert:alert", "Alerts to the outside: webhook, Slack, e-mail. Add, list, show, test, remove."),
        "audit": Row("tandem.cli.audit:audit", "The audit: list, verify, export, check, key, usage."),
        "vault": Row("tandem.cli.vault:vault", "The master key: show, rotate."),
        "erase": Row("tandem.cli.erase:erase", "Erase a person: nothing kept of them can be read again."),
    },
}
"""Heading → command → where it is; a row without help is hidden."""

HELP = """One control plane for predictive and generative AI.

The commands talk to the platform at TANDEM_URL (default http://127.0.0.1:8400) with the key in
TANDEM_KEY, or with what `tandem login` stored. All of them take --json and -h.
"""


def _print_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        click.echo(f"tandem {__version__}")
        ctx.exit()


cli = LazyGroup(
    name="tandem",
    help=HELP,
    sections=SECTIONS,
    params=[
        click.Option(
            ["--version"], is_flag=True, expose_value=False, is_eager=True, callback=_print_version, help="Print the version."
        )
    ],
)
cli.context_settings = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command line.

    Returns:
        0 well, 1 an error, 2 wrong usage, 3 already running, 4 refused by a gate, 5 the audit is broken, 6 people must
        approve, 130 interrupted.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = cli.main(given, prog_name="tandem", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001  # the border of the command line
        from tandem.cli.fail import report

        return report(error, as_json="--json" in given)
    return code if isinstance(code, int) else 0


if __name__ == "__main__":
    sys.exit(main())
