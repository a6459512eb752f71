"""docs/words.md names everything that users meet: nouns, commands, tags, sections, and the closed vocabularies."""

from __future__ import annotations

import ast
import re
from typing import get_args

import pytest

from tandem.api.hot import PATHS
from tandem.cli.main import SECTIONS
from tandem.console.desk import NAVIGATION
from tandem.core.asset import KINDS
from tandem.core.endpoint import EndpointKind
from tandem.core.policy import Window
from tandem.core.principal import RIGHTS
from tandem.core.score import Outcome
from tests.docs.pages import ROOT

PAGE = (ROOT / "docs" / "words.md").read_text()
NOUNS = ("Principal", "Endpoint", "Asset", "Policy", "Trace", "Run", "Score", "Monitor")
ROWS = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in PAGE.splitlines() if line.startswith("| ")][1:]
"""word, noun, here; without the heading."""


def tags() -> set[str]:
    """Every tag that a router of the API, or the description of the hot routes, bears."""
    sources = [path.read_text() for path in (ROOT / "src" / "tandem" / "api").glob("*.py")]
    found = {
        str(ast.literal_eval(tag))
        for source in sources
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.keyword) and node.arg == "tags" and isinstance(node.value, ast.List)
        for tag in node.value.elts
        if isinstance(tag, ast.Constant)
    }
    return found | {tag for path in PATHS.values() for operation in path.values() for tag in operation["tags"]}


def test_the_nouns_stand_in_the_order_of_the_sentence() -> None:
    sentence = re.sub(r"\s+", " ", PAGE.split("> ")[1].split("\n")[0])
    order = list(dict.fromkeys(re.findall(r"\*\*(\w+)\*\*", sentence)))
    assert [word.removesuffix("s") for word in order] == list(NOUNS)
    assert [row[0].strip("*") for row in ROWS if row[0].startswith("**")] == list(NOUNS)


def test_every_word_belongs_to_a_noun_or_to_the_platform() -> None:
    assert {row[1] for row in ROWS} <= {*NOUNS, ""}
    assert all(row[2] for row in ROWS)


def test_every_word_of_others_names_ours() -> None:
    """A row in italics says which word to use, and that word has a row."""
    ours = {
        word.strip("*` ") for row in ROWS if not row[0].startswith("*") or row[0].startswith("**") for word in row[0].split(",")
    }
    ours = {re.sub(r" \(.*\)", "", word).lower() for word in ours}
    for row in ROWS:
        said = re.match(r"Say ([a-z ]+?)(?:[,:.]| or )", row[2])
        if row[0].startswith("*") and not row[0].startswith("**") and said is not None:
            assert said[1] in ours, row


@pytest.mark.parametrize("name", [name for rows in SECTIONS.values() for name, row in rows.items() if row.help])
def test_every_command_is_named(name: str) -> None:
    assert f"`tandem {name}`" in PAGE


@pytest.mark.parametrize("tag", sorted(tags()))
def test_every_tag_is_named(tag: str) -> None:
    assert re.search(rf"API [^.]*`{tag}`|`{tag}`[;.]", PAGE)


@pytest.mark.parametrize("section", [name for _, name, _ in NAVIGATION])
def test_every_section_of_the_console_is_named(section: str) -> None:
    assert f"**{section}**" in PAGE


@pytest.mark.parametrize(
    "word", [*KINDS, *get_args(EndpointKind), *get_args(Window), *RIGHTS, *get_args(Outcome)], ids=lambda word: str(word)
)
def test_every_closed_vocabulary_is_named(word: str) -> None:
    assert re.search(rf"(?<![a-z-]){word}(?![a-z-])", PAGE)


def test_it_speaks_of_nothing_that_is_not_there() -> None:
    known = {name for rows in SECTIONS.values() for name in rows}
    assert set(re.findall(r"`tandem (\w+)", PAGE)) <= known
