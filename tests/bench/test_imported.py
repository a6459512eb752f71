"""The benchmark of imports; nothing is timed."""

from __future__ import annotations

import pytest
from bench.imported import measure, parser


@pytest.mark.slow
def test_it_imports_eight_models_of_five_frameworks() -> None:
    report = measure()
    assert report.rounds[0].requests == 8
    assert report.notes[0].startswith("8 models of 5 frameworks")


def test_its_arguments() -> None:
    assert parser().parse_args([]).json is None
