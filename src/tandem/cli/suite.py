"""`tandem suite`: what prompts are evaluated with."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import click

from tandem.cli.options import as_json, assignments, bare, decoded, file_text, platform, wrong
from tandem.cli.show import emit, moment, pairs, table
from tandem_sdk import Asking, Scoring

HEADINGS = ("metric", "scorer", "options", "weight")


@click.group()
def suite() -> None:
    """Suites: which questions, asked where, judged how."""


@suite.command()
@click.argument("name")
@click.option("--file", "file", type=click.Path(path_type=Path, dir_okay=False), help="A .toml or .json file with all of it.")
@click.option("--data", metavar="DATASET", help="dataset/NAME, or dataset/NAME@VERSION.")
@click.option("--endpoint", metavar="NAME", help="The chat endpoint, or provider/model, that answers.")
@click.option("--var", "variables", multiple=True, metavar="COL:VARIABLE", help="A column for a variable of another name.")
@click.option("--expect", "expected", metavar="COL", help="The column of the wanted answer.")
@click.option("--source", "sources", multiple=True, metavar="COL", help="A column of text that answers may rest on.")
@click.option(
    "--scorer",
    "scorers",
    multiple=True,
    metavar="NAME[,K=V…]",
    help="exact, contains, regex, schema, grounded, latency, cost or judge, with its options. Repeat it for more.",
)
@click.option("--metric", default="", help="What a gate judges by. [default: the first scorer's]")
@click.option("--rows", type=click.IntRange(1), help="At most so many rows, drawn by the seed.")
@click.option("--repeats", type=click.IntRange(1, 20), default=1, show_default=True, help="How often each question is asked.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=7, show_default=True, help="Seeds the draw and the questions.")
@click.option("--temperature", type=click.FloatRange(0, 2), default=0.0, show_default=True)
@click.option("--max-tokens", type=click.IntRange(1), default=512, show_default=True, help="Of each answer.")
@as_json
def add(
    name: str,
    file: Path | None,
    data: str | None,
    endpoint: str | None,
    variables: tuple[str, ...],
    expected: str | None,
    sources: tuple[str, ...],
    scorers: tuple[str, ...],
    metric: str,
    rows: int | None,
    repeats: int,
    seed: int,
    temperature: float,
    max_tokens: int,
    as_json: bool,
) -> None:
    """Store the next version of suite NAME, pinned to a version of its dataset.

    A column of the dataset that bears a variable's name is that variable. Options of a scorer follow its
    name: --scorer exact,name=right,weight=2 --scorer 'regex,pattern=^(yes|no)$' --scorer latency,seconds=2.
    What does not fit into a line, such as a JSON schema, is written into a file.
    """
    with platform() as tandem:
        if file is not None:
            if data or endpoint or scorers or variables or expected or sources:
                raise wrong("Give the suite as a file or as options, not both.")
            version = tandem.suites.put(bare(name, "suite"), _read(file))
        else:
            if data is None or endpoint is None or not scorers:
                raise wrong("A suite needs --data, --endpoint and at least one --scorer, or a --file.")
            version = tandem.suites.add(
                bare(name, "suite"),
                data=data if "/" in data else f"dataset/{data}",
                endpoint=endpoint,
                scorers=[_scoring(word) for word in scorers],
                variables=_variables(variables),
                expected=expected,
                sources=sources,
                metric=metric,
                asking=Asking(rows=rows, repeats=repeats, seed=seed, temperature=temperature, max_tokens=max_tokens),
            )
    if as_json:
        emit(version)
        return
    click.echo(version.ref)


@suite.command()
@click.argument("name")
@as_json
def show(name: str, as_json: bool) -> None:
    """Show a version of suite NAME (NAME@VERSION; else the newest)."""
    with platform() as tandem:
        version = tandem.assets.version(f"suite/{bare(name, 'suite')}")
    if as_json:
        emit(version)
        return
    click.echo(version.ref)
    meta = version.meta
    told = (
        "data",
        "endpoint",
        "variables",
        "expected",
        "sources",
        "metric",
        "rows",
        "repeats",
        "seed",
        "temperature",
        "max_tokens",
    )
    pairs([("made", f"{moment(version.created_at)} by {version.created_by}"), *[(key, _told(meta.get(key))) for key in told]])
    scorers = meta.get("scorers")
    found = [each for each in scorers if isinstance(each, dict)] if isinstance(scorers, list) else []
    click.echo()
    table(
        HEADINGS,
        [
            (each.get("name") or each.get("scorer"), each.get("scorer"), _told(each.get("options")), each.get("weight"))
            for each in found
        ],
    )


def _told(value: object) -> object:
    if isinstance(value, dict):
        return (
            ", ".join(f"{key}={inner if isinstance(inner, str) else json.dumps(inner)}" for key, inner in value.items()) or None
        )
    return tuple(value) if isinstance(value, list) else value


def _read(file: Path) -> dict[str, object]:
    text = file_text(file)
    if file.suffix.lower() == ".toml":
        try:
            return tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise wrong(f"{file} is not TOML: {error}.") from None
    found = decoded(text, str(file))
    if not isinstance(found, dict):
        raise wrong(f"{file} holds no suite: it must be a JSON object.")
    return found


def _scoring(word: str) -> Scoring:
    """`NAME,K=V,…`; a comma inside a pattern belongs to the option before it."""
    scorer, *rest = word.split(",")
    parts: list[str] = []
    for part in rest:
        if "=" in part or not parts:
            parts.append(part)
        else:
            parts[-1] += f",{part}"
    options: dict[str, object] = dict(assignments(parts))
    name, weight = options.pop("name", ""), options.pop("weight", 1.0)
    if not isinstance(weight, int | float) or isinstance(weight, bool):
        raise wrong(f"'{weight}' is no weight.")
    return Scoring(scorer=scorer, name=str(name), options=options, weight=float(weight))


def _variables(words: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in words:
        column, colon, variable = word.rpartition(":")
        if not colon or not column or not variable:
            raise wrong(f"'{word}' maps no column; write it like COLUMN:VARIABLE.")
        found[variable] = column
    return found
