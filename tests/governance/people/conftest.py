"""A law of persons for one test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.governance.people.place import People, people


@pytest.fixture
def here(tmp_path: Path) -> Iterator[People]:
    made = people(tmp_path)
    yield made
    made.sql.close()
