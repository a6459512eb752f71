"""`tandem init`: five questions, and a project's folder that is ready to run. It calls no platform and starts nothing."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import click

from tandem.cli.options import as_json, wrong
from tandem.cli.project import hosts, look, write
from tandem.cli.project.risk import AUDIENCES, LEVELS, Audience, Level
from tandem.cli.project.write import WHATS, What
from tandem.cli.show import clean, emit
from tandem.core.asset import NAME, check_name
from tandem.core.errors import Invalid

T = TypeVar("T")
EXAMPLE = "example"
LONGEST = 50
"""Characters of a project's name: names of its parts are made from it."""
TAKEN = ("mock",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """Where answers come from: options first, then the terminal, or defaults where they were asked for."""

    terminal: bool
    yes: bool

    def ask(
        self, option: str, given: str | None, read: Callable[[str], T], *, title: str, why: str, default: str | None = None
    ) -> T:
        """An answer, read and checked. At a terminal a wrong one is asked for again.

        Args:
            option: the option that answers without a terminal.
            given: what it said.
            read: turns the answer's words into what they mean; raises Invalid.
            title: the question.
            why: what the answer changes, in one line.
            default: what Enter and `--yes` mean; None: there is none.

        Raises:
            click.UsageError: nobody can be asked.
            Invalid: an option's answer is wrong.
        """
        if given is not None:
            return read(given)
        if self.yes and default is not None:
            return read(default)
        if not self.terminal or self.yes:
            raise wrong(f"There is nobody to ask: give {option}" + (", or --yes for every default." if default else "."))
        click.echo(err=True)
        click.secho(title, bold=True, err=True)
        click.echo(f"  {why}", err=True)
        while True:
            said = str(click.prompt("  ", default=default, prompt_suffix="> ", err=True)).strip()
            try:
                return read(said)
            except Invalid as error:
                click.echo(f"  {clean(error.message)}" + (f" {clean(error.hint)}" if error.hint else ""), err=True)

    def detail(self, given: str | None, read: Callable[[str], T], *, title: str, default: str) -> T:
        """What belongs to an answer and has a default that nobody has to confirm."""
        if given is not None or not self.terminal or self.yes:
            return read(default if given is None else given)
        while True:
            said = str(click.prompt(f"  {title}", default=default, show_default=bool(default), err=True)).strip()
            try:
                return read(said)
            except Invalid as error:
                click.echo(f"  {clean(error.message)}" + (f" {clean(error.hint)}" if error.hint else ""), err=True)


@click.command()
@click.argument("folder", metavar="[DIR]", default=".", type=click.Path(path_type=Path))
@click.option("--what", type=click.Choice(WHATS), help="What answers: a model, documents, or a prompt.")
@click.option("--from", "source", metavar="PATH", help="The data file, or the folder of documents; 'example' makes some.")
@click.option("--target", metavar="COL", help="predict: the column to predict; it has two values.")
@click.option("--positive", metavar="LABEL", help="predict: the value that counts as positive.")
@click.option("--purpose", metavar="TEXT", help="generate: what the prompt is for.")
@click.option("--questions", metavar="FILE", help="A CSV with the columns question (generate: text) and wanted; else a starter.")
@click.option("--model", metavar="MODEL", help="none, mock, or PROVIDER/MODEL, such as openai/gpt-4o-mini.")
@click.option("--url", help="Address of a provider that is not known, up to and with /v1.")
@click.option("--key-env", metavar="NAME", help="The environment variable that holds the provider's key.")
@click.option("--for", "audience", type=click.Choice(AUDIENCES), help="Who calls.")
@click.option("--team", help="Whose it is.  [default: default]")
@click.option("--risk", type=click.Choice(LEVELS), help="What a wrong answer can do.")
@click.option("--name", help="What it is called.  [default: the folder's name]")
@click.option("--port", type=click.IntRange(1024, 65534), default=8400, show_default=True, help="The platform's port.")
@click.option("--yes", is_flag=True, help="Take the default of every question that no option answers.")
@click.option("--existing", is_flag=True, help="Write into a folder that holds files; none of them is overwritten.")
@as_json
def init(
    folder: Path,
    what: What | None,
    source: str | None,
    target: str | None,
    positive: str | None,
    purpose: str | None,
    questions: str | None,
    model: str | None,
    url: str | None,
    key_env: str | None,
    audience: Audience | None,
    team: str | None,
    risk: Level | None,
    name: str | None,
    port: int,
    yes: bool,
    existing: bool,
    as_json: bool,
) -> None:
    """Make a project in DIR: five questions, then endpoint, gate, guards, suite, monitor and cap, ready to run.

    What should answer, from what, by which language model, for whom, at which risk. Without a terminal every question
    needs its option, or --yes. Nothing is started and no platform is called: DIR/run.sh does that.
    """
    asker = Asker(terminal=sys.stdin.isatty() and not as_json, yes=yes)
    write.check_folder(folder.resolve(), existing=existing)
    called = _name(name, folder)
    chosen = asker.ask(
        "--what", what, _one_of(WHATS),
        title="What should answer?  predict · documents · generate",
        why="A model that predicts a column, documents that are quoted, or a language model with your prompt.",
        default="predict",
    )  # fmt: skip
    _check_fitting(chosen, source, target, positive, purpose, questions, model)
    path, data, told = _from_what(asker, chosen, source, target, positive, purpose)
    asked = None
    if chosen != "predict":
        words = f"A CSV of questions, with the columns {write.ASKED[chosen]} and wanted (Enter: a starter)"
        asked = asker.detail(questions, lambda said: _questions(said, chosen), title=words, default="")
    by = None if chosen == "predict" else _model(asker, chosen, model, port=port, url=url, variable=key_env)
    who = asker.ask(
        "--for", audience, _one_of(AUDIENCES),
        title="For whom?  colleagues · customers",
        why="Customers: what tries to overrule the instructions is blocked, and documents are open to every key.",
        default="colleagues",
    )  # fmt: skip
    owner = asker.detail(team, check_name, title="Team", default="default")
    level = asker.ask(
        "--risk", risk, _one_of(LEVELS),
        title="At which risk?  low · medium · high",
        why="What a wrong answer can do. It sets guards, gate, monitor, retention, the longest answer and the cap.",
        default="medium",
    )  # fmt: skip
    project = write.write(
        write.Answers(
            name=called, folder=folder, what=chosen, source=path, data=data, purpose=told, questions=asked, model=by,
            team=owner, audience=who, risk=level, port=port,
        ),
        existing=existing,
    )  # fmt: skip
    if as_json:
        emit(project)
        return
    _tell(project, by, folder)


def _tell(project: write.Project, model: hosts.Model | None, folder: Path) -> None:
    click.echo(f"{project.name} is in {clean(str(folder))}: {', '.join(name for name in project.files if '/' not in name)}.")
    if project.starter:
        click.echo("questions.csv is a starter, too few for a verdict: README.md says what to add.")
    if model is not None and model.mock:
        click.echo("The language model is a mock: it repeats what it is asked.")
    elif model is not None and not model.priced:
        click.echo(f"No price is known of {clean(model.target)}, so there is no cap: a cap would refuse every call.")
    if model is not None and model.variable is not None:
        click.echo(f"Next: export {model.variable}=…, then {clean(str(folder / 'run.sh'))}")
        return
    click.echo(f"Next: {clean(str(folder / 'run.sh'))}")


def _name(given: str | None, folder: Path) -> str:
    """The project's name: what was given, else what the folder is called, in letters that names have."""
    name = given if given is not None else re.sub(r"[^a-z0-9._-]+", "-", folder.resolve().name.lower()).strip("._-")
    if not NAME.fullmatch(name) or len(name) > LONGEST or name in TAKEN:
        raise Invalid(
            f"'{name}' cannot be the name of a project.",
            hint=f"Give one with --name: 1 to {LONGEST} of a-z 0-9 . - _, and not {' or '.join(TAKEN)}.",
            field="name",
        )
    return name


def _one_of(words: Sequence[T]) -> Callable[[str], T]:
    """Reads one of a few words, also by its beginning."""

    def read(said: str) -> T:
        near = [word for word in words if str(word).startswith(said.lower())] if said else []
        if len(near) != 1:
            raise Invalid(f"'{said}' is none of them.", hint=f"Say {', '.join(map(str, words))}.")
        return near[0]

    return read


def _check_fitting(
    what: What,
    source: str | None,
    target: str | None,
    positive: str | None,
    purpose: str | None,
    questions: str | None,
    model: str | None,
) -> None:
    """An option that would change nothing is a misunderstanding.

    Raises:
        click.UsageError: there is one.
    """
    unfit: dict[str, tuple[object, tuple[What, ...]]] = {
        "--from": (source, ("predict", "documents")),
        "--target": (target, ("predict",)),
        "--positive": (positive, ("predict",)),
        "--purpose": (purpose, ("generate",)),
        "--questions": (questions, ("documents", "generate")),
        "--model": (model, ("documents", "generate")),
    }
    for option, (given, fits) in unfit.items():
        if given is not None and what not in fits:
            raise wrong(f"{option} is for {' and '.join(fits)}, not for {what}.")


def _from_what(
    asker: Asker, what: What, source: str | None, target: str | None, positive: str | None, purpose: str | None
) -> tuple[Path | None, look.Data | None, str]:
    """The second question: a file with a column, a folder, or a purpose."""
    if what == "generate":
        told = asker.ask(
            "--purpose", purpose, _purpose,
            title="What is the prompt for?",
            why="The first words of prompt.txt; edit it later.",
            default="Answer the customer in three sentences, and name the number of the case.",
        )  # fmt: skip
        return None, None, told
    if what == "documents":
        folder = asker.ask(
            "--from", source, _documents,
            title="From which documents?",
            why="A folder of Markdown, text, HTML or PDF; 'example' writes five made-up policies.",
            default=EXAMPLE,
        )  # fmt: skip
        return folder, None, ""
    file, rows = asker.ask(
        "--from", source, _rows,
        title="From which rows?",
        why="A .csv, .jsonl or .parquet file with one column to predict; 'example' makes up 1,200 invoices.",
        default=EXAMPLE,
    )  # fmt: skip
    return file, _column(asker, rows, "late" if file is None else None, target, positive), ""


def _column(asker: Asker, rows: look.Rows, usual: str | None, target: str | None, positive: str | None) -> look.Data:
    """Which column, and which class of it is the one that matters."""
    found = [column.name for column in rows.targets]
    if not found:
        raise Invalid("No column has two values, and a model tells two classes apart.", hint="Give another file.", field="from")
    if usual is None and target is None and len(found) > 1 and not asker.terminal:
        raise wrong(f"Several columns have two values: give --target, one of {', '.join(found)}.")
    if asker.terminal and not asker.yes and target is None:
        click.echo(f"  Columns with two values: {', '.join(map(clean, found))}.", err=True)
    data = asker.detail(
        target, lambda said: look.data_of(rows, said, positive), title="The column to predict", default=usual or found[-1]
    )
    if positive is not None:
        return data
    title = f"The class to call positive, {' or '.join(next(c.values for c in rows.columns if c.name == data.target))}"
    return asker.detail(None, lambda said: look.data_of(rows, data.target, said), title=title, default=data.positive)


def _rows(said: str) -> tuple[Path | None, look.Rows]:
    if said != EXAMPLE:
        return Path(said).expanduser(), look.rows_of(Path(said).expanduser())
    with tempfile.TemporaryDirectory() as folder:
        return None, look.rows_of(write.write_example("predict", Path(folder)))


def _documents(said: str) -> Path | None:
    if said == EXAMPLE:
        return None
    folder = Path(said).expanduser()
    look.check_documents(folder)
    return folder


def _purpose(said: str) -> str:
    text = " ".join(said.split())
    if not text or any(mark in text for mark in ("{{", "{%", "{#")):
        raise Invalid("The purpose is empty, or holds marks of a template.", hint="Say it in a sentence.", field="purpose")
    return text


def _questions(said: str, what: What) -> Path | None:
    if not said:
        return None
    file = Path(said).expanduser()
    look.questions_of(file, write.ASKED[what])
    return file


def _model(
    asker: Asker, what: What, given: str | None, *, port: int, url: str | None, variable: str | None
) -> hosts.Model | None:
    def read(said: str) -> hosts.Model | None:
        found = hosts.model_of(said, port=port, url=url, variable=variable)
        if found is None and what == "generate":
            raise Invalid("Nothing is written without a language model.", hint="Say mock to try it out.", field="model")
        return found

    without = "none: the built-in model quotes the documents. " if what == "documents" else ""
    return asker.ask(
        "--model", given, read,
        title=f"Which language model?  {'none · ' if without else ''}mock · {' · '.join(hosts.OFFERED)}, or PROVIDER/MODEL",
        why=f"{without}mock: it repeats what it is asked, to try out. A provider's key is read from a variable.",
        default="none" if what == "documents" else "mock",
    )  # fmt: skip
