"""What a story of the demo is told with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tandem.cli.story import Story


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    with httpx2.Client(base_url="http://127.0.0.1:9") as http:
        yield Story(tmp_path, "http://127.0.0.1:9", {}, http)


def test_each_step_says_how_long_it_took(story: Story, capsys: pytest.CaptureFixture[str]) -> None:
    story.end()  # nothing was told yet
    story.title("1. One")
    story.say("something")
    story.title("2. Two")
    story.end()
    story.end()
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["", "1. One", "  something", "  0.0 s", "", "2. Two", "  0.0 s"]
    assert [title for title, _ in story.steps] == ["1. One", "2. Two"]
    assert all(0 <= seconds < 60 for _, seconds in story.steps)


def test_a_story_looks_until_it_sees(story: Story) -> None:
    seen = iter(([], [], ["review"]))
    assert story.until(lambda: next(seen)) == ["review"]
