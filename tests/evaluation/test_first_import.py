"""The default gate lets the first version of an imported model pass by its comparison, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tandem.core.asset import Version
from tandem.core.policy import Gate
from tandem.evaluation.promote import _first_import
from tandem.registry.gates import DEFAULTS

PARITY = {"held": True, "reason": "predict with onnx on 50 rows", "rows": 50, "tolerance": 1e-6, "largest": 0.0}


def version(**meta: Any) -> Version:
    return Version(
        kind="model", name="m", version=1, digest="sha256:0", created_at=0, created_by="me", team="default",
        meta={"origin": "imported", "parity": PARITY, **meta}, members={}, parents=(), run="run_1",
    )  # fmt: skip


def test_it_says_what_was_compared_and_that_nobody_knows_more() -> None:
    report = _first_import(DEFAULTS[0], version())
    assert report is not None
    assert report["passed"]
    assert report["candidate"] is None
    assert "predict with onnx on 50 rows" in report["reasons"][0]
    assert "nobody has shown" in report["reasons"][0]


@pytest.mark.parametrize(
    ("gate", "found"),
    [
        (Gate(asset="model/m"), version()),
        (replace(DEFAULTS[0], minimum=0.5), version()),
        (DEFAULTS[0], version(origin="elsewhere")),
        (DEFAULTS[0], version(parity={**PARITY, "held": False})),
        (DEFAULTS[0], version(parity="fine")),
        (DEFAULTS[0], replace(version(), run=None)),
    ],
)
def test_it_vouches_for_nothing_else(gate: Gate, found: Version) -> None:
    assert _first_import(gate, found) is None
