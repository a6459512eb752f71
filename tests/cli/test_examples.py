"""Examples in docstrings are executed."""

from __future__ import annotations

import doctest

import pytest

from tandem.cli import options, show, waterfall


@pytest.mark.parametrize("module", [options, show, waterfall])
def test_examples(module: object) -> None:
    result = doctest.testmod(module)  # type: ignore[arg-type]
    assert result.attempted > 0
    assert result.failed == 0
