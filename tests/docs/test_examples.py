"""The documentation is true: examples run, settings load, commands exist, links lead somewhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest

from tandem.cli.main import cli
from tandem.settings import load
from tests.docs.pages import PAGES, ROOT, TOP, Block, Line, anchors, blocks, commands, links, named
from tests.journeys.conftest import ADMIN, Platform, platform

OWN_TESTS = {ROOT / "docs" / "mock.md": "tests/mock/test_docs.py", ROOT / "docs" / "cli.md": "tests/cli"}
"""Pages whose examples another test executes."""
OURS = [page for page in PAGES if page not in OWN_TESTS]
WITH_PYTHON = [page for page in OURS if any(block.language == "python" for block in blocks(page))]
every = pytest.mark.parametrize("page", PAGES, ids=named)


def of(language: str) -> list[Any]:
    """Every block of a language, for a test of each."""
    return [
        pytest.param(block, id=f"{named(page)}:{block.line}")
        for page in OURS
        for block in blocks(page)
        if block.language == language
    ]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with platform(tmp_path_factory.mktemp("docs")) as running:
        yield running


@pytest.mark.journey
@pytest.mark.parametrize("page", WITH_PYTHON, ids=named)
def test_its_python_runs(page: Path, house: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TANDEM_URL", house.url)
    monkeypatch.setenv("TANDEM_KEY", ADMIN)
    space: dict[str, Any] = {"__name__": "example"}
    for block in blocks(page):
        if block.language == "python":
            source = "\n" * (block.line - 1) + block.text.replace("http://127.0.0.1:8400", house.url)
            exec(compile(source, named(page), "exec", dont_inherit=True), space)
    assert len(space) > 2
    for value in space.values():  # what an example opens and its reader's process would close
        if not isinstance(value, type | ModuleType) and callable(getattr(value, "close", None)):
            value.close()


@pytest.mark.parametrize("block", of("toml"))
def test_its_settings_load(block: Block, tmp_path: Path) -> None:
    (tmp_path / "tandem.toml").write_text(block.text)
    settings = load(tmp_path, environment={})
    assert settings.source is not None


def lines() -> list[Any]:
    return [
        pytest.param(line, id=f"{named(page)}:{line.line} tandem {' '.join(line.words)}")
        for page in PAGES
        if page.name != "cli.md"
        for line in commands(page)
    ]


@pytest.mark.parametrize("line", lines())
def test_its_command_is_one(line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    parse(line)


def parse(line: Line) -> None:
    """Reads a command line as the product does, without running it; files it names are there."""
    words, command = list(line.words), cli
    context = click.Context(cli, info_name="tandem")
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(context, words[0])
        assert found is not None, f"There is no command 'tandem {' '.join(line.words)}'."
        name, command = words.pop(0), found
        context = click.Context(command, info_name=name, parent=context)
    if not line.whole:
        options = {option for param in command.params for option in (*param.opts, *param.secondary_opts)} | {"--help", "-h"}
        assert {word.partition("=")[0] for word in words if word.startswith("-")} <= options
        return
    assert words or not isinstance(command, click.Group), f"'tandem {' '.join(line.words)}' does nothing."
    for word in words:
        if "." in word and not word.startswith(("-", "/")):
            Path(word).parent.mkdir(parents=True, exist_ok=True)
            Path(word).touch()
    try:
        command.make_context(context.info_name, words, parent=context.parent)
    except click.exceptions.Exit:
        assert {"--help", "-h", "--version"} & set(line.words)


@pytest.mark.parametrize(
    "words",
    [
        "sing",
        "key crate --name x",
        "key create",
        "key create --nam x",
        "promote model/tumor@1",
        "promote a b c",
        "budget set org --cap 1 --window eon",
    ],
)
def test_a_wrong_command_would_be_found(words: str) -> None:
    with pytest.raises((AssertionError, click.UsageError)):
        parse(Line(tuple(words.split()), 0, True))


def test_a_wrong_word_in_a_sentence_would_be_found() -> None:
    with pytest.raises(AssertionError):
        parse(Line(("sing",), 0, False))
    with pytest.raises(AssertionError):
        parse(Line(("up", "--prot"), 0, False))


@every
def test_its_links_lead_somewhere(page: Path) -> None:
    for target in links(page):
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{named(page)} links to {target}, which is not there."
        assert not anchor or anchor in anchors(found), f"{named(page)} links to {target}, which has no such heading."


def test_every_page_is_linked() -> None:
    index = ROOT / "docs" / "index.md"
    linked = {
        (page.parent / target.partition("#")[0]).resolve() for page in (ROOT / "README.md", index) for target in links(page)
    }
    assert [named(page) for page in PAGES if page != TOP[0] and page not in linked] == []


def test_the_pages_whose_examples_run_elsewhere_have_such_a_test() -> None:
    assert all((ROOT / test).exists() for test in OWN_TESTS.values())
