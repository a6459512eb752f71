"""Where the stores lie: in files of a home, or in a new database of a server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
from tests.postgres import Server

from tandem.core.secret import Secret

NUMBERS = count()


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What `Traces` and `Subjects` are opened with."""

    traces: Path | Secret
    subjects: Path | Secret


def on_server(server: Server) -> Place:
    """A database of its own."""
    url = Secret(server.database(f"observed{next(NUMBERS)}"))
    return Place(traces=url, subjects=url)


@pytest.fixture(params=["files", "server"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Each kind of place in turn."""
    if request.param == "server":
        yield on_server(request.getfixturevalue("postgres"))
    else:
        yield Place(traces=tmp_path / "traces", subjects=tmp_path / "subjects.db")
