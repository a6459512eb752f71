"""What a message tells to run can be run: the commands in it are commands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.docs.pages import Line
from tests.docs.test_examples import parse

import tandem

SOURCE = Path(tandem.__file__).parent
TOLD = sorted(
    {
        (str(path.relative_to(SOURCE)), found[1].strip())
        for path in SOURCE.rglob("*.py")
        for found in re.finditer(r"`tandem ([a-z][^`\n\"{…]*)", path.read_text())
    }
)


@pytest.mark.parametrize(("place", "words"), TOLD)
def test_a_command_in_a_message_is_one(place: str, words: str) -> None:
    parse(Line(tuple(words.split()), 0, False))


def test_there_are_such_messages() -> None:
    assert len(TOLD) > 20
