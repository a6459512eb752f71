"""The pages, their code blocks, links and commands, as text. Knows nothing of the product."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
TOP = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")]
PAGES = [*TOP, ROOT / "bench" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PROMPT = re.compile(r"\s*\$ (?:[A-Z_]+=\S+ )*tandem(?: (.*))?")
INLINE = re.compile(r"`tandem((?: [^`\n]+)?)`")
LINK = re.compile(r"(?<!`)\[[^\]\n]*\]\(([^)\s]+)\)")


def named(page: Path) -> str:
    """How a page is called in a test's id."""
    return str(page.relative_to(ROOT))


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its language, its text, and the line its text begins on."""

    language: str
    text: str
    line: int


@dataclass(frozen=True, slots=True)
class Line:
    """A command of ours: the words behind `tandem`, where it stands, and whether it is whole."""

    words: tuple[str, ...]
    line: int
    whole: bool
    """At a prompt, not in a sentence."""


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    language, begun, held = "", 0, list[str]()
    for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
        fence = re.fullmatch(r"```(\w*)", line)
        if fence is None:
            held.append(line)
        elif begun:
            yield Block(language, "\n".join(held) + "\n", begun)
            begun = 0
        else:
            language, begun, held = fence[1], number + 1, []


def prose(page: Path) -> str:
    """A page without its fenced blocks; lines keep their numbers."""
    lines, inside = [], False
    for line in page.read_text("utf-8").splitlines():
        fence = line.startswith("```")
        lines.append("" if inside or fence else line)
        inside ^= fence
    return "\n".join(lines)


def commands(page: Path) -> Iterator[Line]:
    """Every command line of ours on a page: at prompts, and in sentences."""
    for block in blocks(page):
        for offset, text in enumerate(block.text.splitlines()):
            found = PROMPT.fullmatch(text)
            if found is not None:
                yield Line(tuple(shlex.split(found[1] or "", comments=True)), block.line + offset, True)
    for number, text in enumerate(prose(page).splitlines(), 1):
        for words in INLINE.findall(text):
            yield Line(tuple(words.split()), number, False)


def links(page: Path) -> Iterator[str]:
    """Targets of the links and pictures of a page that lie in this repository."""
    for target in LINK.findall(prose(page)):
        if not re.match(r"[a-z]+:", target):
            yield target


def anchors(page: Path) -> set[str]:
    """The names by which headings of a page are reached, as GitHub makes them."""
    heads = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}
