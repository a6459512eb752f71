"""The canon: every code that is raised has a row, every row can be read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tandem.core import errors
from tandem.core.canon import CANON, OTHER, classed, fault_of
from tandem.core.errors import Conflict, NotFound, Rejected, TandemError

SOURCE = Path(errors.__file__).parent.parent
DOORS = ("gateway", "governance")
PROVIDERS = re.compile(r'return \(?"([a-z_0-9]+)"')
BASES = {"error", "refused", "rejected", "conflict", "not_found"}


def raised() -> set[str]:
    """Every code that the door's code names, and every class's own."""
    codes = {cls.code for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, TandemError)}
    for folder in DOORS:
        for file in (SOURCE / folder).rglob("*.py"):
            codes |= set(re.findall(r'\bcode="([a-z_0-9]+)"', file.read_text()))
    return codes - BASES


def test_every_code_the_door_raises_has_a_row() -> None:
    assert raised() - set(CANON) == set()


@pytest.mark.parametrize("code", sorted(CANON))
def test_a_row_can_be_read(code: str) -> None:
    row = CANON[code]
    assert row.told
    assert row.label == f"{row.side}.{code}"
    assert len(set(row.steps)) == len(row.steps)


def test_what_we_do_not_find_is_the_callers_and_what_the_provider_does_not_find_is_its_own() -> None:
    assert classed(NotFound("x")).label == "caller.not_found"
    assert classed(Rejected("x", code="not_found")).label == "provider.not_found"
    assert classed(Conflict("x")).label == "caller.conflict"


def test_what_nobody_listed_ends_the_call() -> None:
    assert fault_of("no_such_code") is OTHER
    assert OTHER.steps == ()
