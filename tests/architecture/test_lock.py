"""The lock holds a version of everything that is asked for, and one that is allowed."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
APART = {"torch", "ray"}
"""What `make torch` and `make ray` install: they are too large for those who do not need them."""
ASKED = [
    *PROJECT["project"]["dependencies"],
    *(text for texts in PROJECT["project"]["optional-dependencies"].values() for text in texts),
    *(text for texts in PROJECT["dependency-groups"].values() for text in texts),
]


CLIENTS = ROOT / "tests" / "clients"


def locked(lock: Path = ROOT / "requirements.lock") -> dict[str, list[Requirement]]:
    """Name → its rows; a package has one for each kind of place where another version is needed."""
    rows: dict[str, list[Requirement]] = {}
    for line in lock.read_text().splitlines():
        if re.match(r"[A-Za-z0-9]", line):
            row = Requirement(line.partition(" \\")[0])
            rows.setdefault(canonicalize_name(row.name), []).append(row)
    return rows


@pytest.mark.parametrize("text", [text for text in ASKED if Requirement(text).name not in APART])
def test_what_is_asked_for_is_locked(text: str) -> None:
    asked = Requirement(text)
    rows = locked().get(canonicalize_name(asked.name), [])
    assert rows, f"{asked.name} is not in requirements.lock"
    for row in rows:
        (pin,) = row.specifier
        assert pin.operator == "=="
        assert asked.specifier.contains(pin.version, prereleases=True), f"{row} is not {asked.specifier}"


@pytest.mark.parametrize("lock", [ROOT / "requirements.lock", CLIENTS / "requirements.lock"], ids=["suite", "clients"])
def test_every_row_is_one_version(lock: Path) -> None:
    assert all([pin.operator for pin in row.specifier] == ["=="] for rows in locked(lock).values() for row in rows)


def test_the_clients_that_are_asked_for_are_locked() -> None:
    asked = [line for line in (CLIENTS / "requirements.in").read_text().splitlines() if not line.startswith("#")]
    assert asked
    assert [name for name in asked if canonicalize_name(name) not in locked(CLIENTS / "requirements.lock")] == []
