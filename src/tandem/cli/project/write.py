"""Answers become the files of a project, all of them or none. It asks nothing, and starts nothing."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import random
import runpy
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, get_args

from tandem.cli.project.hosts import Model
from tandem.cli.project.look import Data, questions_of, starters
from tandem.cli.project.risk import ENOUGH, RISKS, Audience, Level, guards_of
from tandem.cli.story import example as shipped
from tandem.core.errors import Conflict, Invalid

What = Literal["predict", "documents", "generate"]
WHATS: tuple[What, ...] = get_args(What)
ASKED: dict[What, str] = {"documents": "question", "generate": "text"}
"""What of a row of questions is put into the prompt."""
EXAMPLE = "invoices.csv"
COLUMNS = ("invoice", "issued_at", "amount", "days_to_pay", "earlier_invoices", "earlier_late", "reminders", "late")
ROWS = 1200
START = datetime(2026, 1, 1, tzinfo=UTC)
STARTER = (
    "Order 1042 came with a broken lid, I want my 25 euros back",
    "Where is parcel 88317? It was due on 3 May 2026",
    "Please cancel contract 5510 at the end of June 2026",
    "Invoice 20931 says 140 euros, we agreed on 120 euros",
    "I cannot sign in to account 7719 since 11 April 2026",
    "Order 1043 is complete, thank you for the quick delivery",
    "Claim 6604: the repair costs 2310 euros, may it begin?",
    "Move my appointment 312 from 9:30 to 14:00 please",
    "Ticket 4471 was closed, but the pump still leaks",
    "Can order 1044 be sent to another address in Lyon?",
    "Refund 905 has not reached me since 20 March 2026",
    "Our 40 seats of licence 2288 should become 55 seats",
)
"""What customers of nobody in particular wrote; a right answer names the number of the case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What was answered to the five questions."""

    name: str
    folder: Path
    what: What
    source: Path | None
    """The data file or the folder of documents; None: an example, or nothing to read."""
    data: Data | None = None
    purpose: str = ""
    questions: Path | None = None
    """A file of questions; None: a starter."""
    model: Model | None = None
    team: str = "default"
    audience: Audience = "colleagues"
    risk: Level = "medium"
    port: int = 8400


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """What was written."""

    name: str
    folder: str
    files: tuple[str, ...]
    starter: bool
    """Whether the questions are a starter, too few for a verdict."""


def write_example(what: What, folder: Path) -> Path:
    """Writes the example's data into a folder: invoices that are paid late or not, or documents. Returns where it is."""
    if what == "predict":
        (folder / EXAMPLE).write_bytes(_table(COLUMNS, list(_invoices())))
        return folder / EXAMPLE
    (folder / "documents").mkdir()
    for name, text in _world()["documents"]().items():
        (folder / "documents" / name).write_text(text, "utf-8")
    return folder / "documents"


def _invoices(seed: int = 7) -> Iterator[tuple[object, ...]]:
    """Made-up invoices. Large ones at short terms are paid late, and so are small ones that nobody was reminded of."""
    dice = random.Random(seed)
    for number in range(ROWS):
        amount, days = round(math.exp(dice.gauss(6, 0.8)), 2), dice.choice((7, 14, 30, 45))
        earlier, reminders = min(40, int(dice.expovariate(0.15))), dice.randrange(3)
        before = sum(dice.random() < 0.25 for _ in range(earlier))
        lean = -1.5 + 3.0 * ((amount > 400) == (days < 20)) - 2.0 * (amount < 400) * reminders + 0.3 * (before - 0.25 * earlier)
        late = dice.random() < 1 / (1 + math.exp(-1.6 * lean))
        at = START + timedelta(minutes=round(number * 180 * 1440 / ROWS))
        yield f"I{number:05d}", at.isoformat(), amount, days, earlier, before, reminders, "yes" if late else "no"


def _world() -> dict[str, Any]:
    """The insurer of the demo, whose documents and questions are the other example."""
    return runpy.run_path(str(shipped("insurance", "world.py")))


def write(answers: Answers, *, existing: bool = False) -> Project:
    """Writes the project's folder; nothing that is there is overwritten, and a failure leaves nothing behind.

    Args:
        existing: whether a folder that holds other files is all right.

    Raises:
        Conflict: the folder holds files, or files of the same names.
        Invalid: it cannot be written, or a file of questions makes no sense.
    """
    target = answers.folder.resolve()
    check_folder(target, existing=existing)
    fresh = not target.exists()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staged = Path(tempfile.mkdtemp(prefix=".tandem-init-", dir=target.parent if fresh else target))
    except OSError as error:
        raise _unwritable(target, error) from None
    try:
        project = _fill(answers, staged, target)
        if fresh:
            staged.chmod(0o777 & ~_umask())
            staged.rename(target)
        else:
            _move(staged, target)
        return project
    except OSError as error:
        raise _unwritable(target, error) from None
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def check_folder(target: Path, *, existing: bool) -> None:
    """Sees to it that a project can be written there.

    Raises:
        Conflict: it holds files.
        Invalid: it is no folder.
    """
    if target.exists() and not target.is_dir():
        raise Invalid(f"{target} is no folder.", hint="Give a new folder, or an empty one.")
    if target.is_dir() and not existing and any(target.iterdir()):
        raise Conflict(f"{target} is not empty.", hint="Give a new folder; or --existing, which adds files and overwrites none.")


def _fill(answers: Answers, staged: Path, target: Path) -> Project:
    """All files, in the staged folder; names inside them are as seen from the target."""
    example = answers.source is None and answers.what != "generate"
    if example:
        write_example(answers.what, staged)
    values = _values(answers, staged, target, example=example)
    if answers.what == "predict":
        assert answers.data is not None
        _put(staged / "example.json", json.dumps(answers.data.example, indent=1) + "\n")
        values |= {"starter": False, "count": 0, "identified": False}
    else:
        asked, content = _questions(answers, staged, example=example)
        (staged / "questions.csv").write_bytes(content)
        values |= asked
        _put(staged / "prompt.txt", _text("prompt.txt", values))
        if answers.what == "documents":
            _put(staged / "example.txt", f"{asked['one']}\n")
        else:
            _put(staged / "decision.py", _text("decision.py", values))
            _put(staged / "example.json", json.dumps({"text": asked["one"]}) + "\n")
    for name in ("tandem.toml", "run.sh", "README.md"):
        _put(staged / name, _text(name, values))
    _put(staged / ".gitignore", _text(".gitignore", values))
    (staged / "run.sh").chmod(0o777 & ~_umask())
    files = tuple(sorted(str(path.relative_to(staged)) for path in staged.rglob("*") if path.is_file()))
    return Project(name=answers.name, folder=str(target), files=files, starter=bool(values.get("starter")))


def _values(answers: Answers, staged: Path, target: Path, *, example: bool) -> dict[str, Any]:
    """What the templates are filled with."""
    name, what, model = answers.name, answers.what, answers.model
    source = {"predict": EXAMPLE, "documents": "documents"}.get(what, "") if example else _source(answers, target)
    endpoints = {"predict": [name], "documents": [name, f"{name}-candidate"], "generate": [name, f"{name}-chat"]}[what]
    return {
        "name": name,
        "what": what,
        "model": model,
        "data": answers.data,
        "purpose": answers.purpose,
        "source": source,
        "examples": ROWS,
        "source_told": f"`{source}`" + (", an example" if example else ""),
        "example": example,
        "team": answers.team,
        "audience": answers.audience,
        "risk": answers.risk,
        "row": RISKS[answers.risk],
        "guards": guards_of(RISKS[answers.risk], answers.audience),
        "port": answers.port,
        "endpoints": endpoints,
        "callable": [name, f"{name}-chat"] if what == "generate" else [name],
        "capped": model is None or model.priced,
        "enough": ENOUGH,
        "asked": ASKED.get(what, ""),
        "chat_endpoint": name if what == "documents" else f"{name}-chat",
        "suite_endpoint": f"{name}-candidate" if what == "documents" else f"{name}-chat",
    }


def _source(answers: Answers, target: Path) -> str:
    """The data as the project's folder sees it: by a short way where it lies beside it, else by the whole path."""
    if answers.source is None:
        return ""
    found = answers.source.resolve()
    return os.path.relpath(found, target) if found.is_relative_to(target.parent) else str(found)


def _questions(answers: Answers, staged: Path, *, example: bool) -> tuple[dict[str, Any], bytes]:
    """The questions, and what there is to say of them."""
    asked = ASKED[answers.what]
    if answers.questions is not None:
        content, count, identified = questions_of(answers.questions, asked)
        one = next(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))[asked]
        return {"starter": False, "count": count, "identified": identified, "one": one}, content
    if answers.what == "generate":
        rows = [
            (text, next(word for word in text.replace(":", " ").replace("?", " ").split() if word.isdigit())) for text in STARTER
        ]
    elif example:
        rows = [(clause.question, clause.answer) for clause in _world()["CLAUSES"]]
    else:
        assert answers.source is not None
        rows = starters(answers.source)
    table = _table(("id", asked, "wanted"), [(f"q{number:02d}", *row) for number, row in enumerate(rows, 1)])
    return {"starter": True, "count": len(rows), "identified": True, "one": rows[0][0]}, table


def _table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue().encode()


def _text(name: str, values: Mapping[str, Any]) -> str:
    """A template, filled."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    place = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        # Not Jinja's own brackets: prompts and shells are full of them.
        block_start_string="[%",
        block_end_string="%]",
        variable_start_string="[=",
        variable_end_string="=]",
        comment_start_string="[#!",
        comment_end_string="!#]",
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    place.filters["quote"] = shlex.quote
    return place.get_template(f"{name}.jinja").render(**values)


def _put(file: Path, text: str) -> None:
    file.write_text(text, "utf-8")


def _move(staged: Path, target: Path) -> None:
    """Links every staged file into a folder that is there: a name that is taken is an error, and then all are taken back."""
    taken = sorted(str(path.name) for path in staged.iterdir() if os.path.lexists(target / path.name))
    if taken:
        raise Conflict(f"{target} holds {', '.join(taken)} already.", hint="Nothing was overwritten. Give another folder.")
    made: list[Path] = []
    try:
        for path in sorted(staged.rglob("*")):
            to = target / path.relative_to(staged)
            if path.is_dir():
                to.mkdir()
            else:
                os.link(path, to)
            made.append(to)
    except OSError:
        for path in reversed(made):
            path.rmdir() if path.is_dir() else path.unlink()
        raise


def _umask() -> int:
    now = os.umask(0o077)
    os.umask(now)
    return now


def _unwritable(target: Path, error: OSError) -> Invalid:
    return Invalid(
        f"{target} cannot be written: {error.strerror or error}.", hint="Nothing was left behind. Give another folder."
    )
