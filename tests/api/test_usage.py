"""What a spreadsheet is given: cells that it cannot take for a formula."""

from __future__ import annotations

import csv
import io

import pytest

from tandem.api.usage import _csv
from tandem.observability.usage import Use


def use(endpoint: str) -> Use:
    return Use(
        at=1, call="cal_1", trace="trc_1", principal="app", team="risk", endpoint=endpoint, kind="chat", outcome="ok",
        assets=("model/a@1", "policy/b@2"), targets=(), documents=('a "b".md',), subject=None, cost=None,
    )  # fmt: skip


@pytest.mark.parametrize("word", ["=1+1", "+x", "-x", "@x", "\tx", "\rx"])
def test_a_formula_is_a_text(word: str) -> None:
    (heading, row) = csv.reader(io.StringIO(b"".join(_csv(iter([use(word)]))).decode(), newline=""))
    told = dict(zip(heading, row, strict=True))
    assert told["endpoint"] == f"'{word}"
    assert (told["assets"], told["documents"], told["subject"], told["cost"]) == ("model/a@1 policy/b@2", 'a "b".md', "", "")
