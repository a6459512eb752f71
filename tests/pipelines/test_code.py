"""What a step's code is: what it uses counts, and nothing else."""

from __future__ import annotations

import pytest

from tandem.core.errors import Invalid
from tandem.pipelines.code import Code

SOURCE = '''
"""A file."""
import math
from tandem_sdk.pipeline import step
FLOOR = 3
OTHER = 4
def helper(x):
    return deeper(x)
def deeper(x):
    return math.sqrt(x) + FLOOR
class Kept:
    size = OTHER
@step(retries=2)
def clean(rows):
    # a comment
    return helper(rows)
@step
def count(rows):
    return Kept.size
'''


def digest(source: str, name: str = "clean") -> str:
    return Code(source).digest(name)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# a comment", "# another"),
        ("@step(retries=2)", "@step(retries=5, timeout='1m')"),
        ("OTHER = 4", "OTHER = 5"),
        ("import step", "import Context, step"),
        ("import math", "import math, os"),
        ("return Kept.size", "return Kept.size + 1"),
        ('"""A file."""', '"""Another."""\npass'),
        ("return helper(rows)", "return (helper(\n        rows))"),
    ],
)
def test_what_a_step_does_not_use_changes_nothing(old: str, new: str) -> None:
    assert old in SOURCE
    assert digest(SOURCE.replace(old, new)) == digest(SOURCE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("FLOOR = 3", "FLOOR = 5"),
        ("math.sqrt(x)", "math.cbrt(x)"),
        ("import math", "import cmath as math"),
        ("return deeper(x)", "return deeper(x + 1)"),
        ("def clean(rows):", "def clean(rows, more=1):"),
        ("FLOOR = 3", "FLOOR = 3\nFLOOR += 1"),
        ("FLOOR = 3", "FLOOR = 3\nmath.tau = 1"),
        ("FLOOR = 3", "FLOOR = 3\nprint(OTHER)"),
        ("FLOOR = 3", "FLOOR = 3\nfrom math import *"),
        ("FLOOR = 3", "if math:\n    FLOOR = 3\nelse:\n    FLOOR = 4"),
    ],
)
def test_what_a_step_uses_changes_it_however_far_away(old: str, new: str) -> None:
    assert digest(SOURCE.replace(old, new)) != digest(SOURCE)


def test_whoever_looks_names_up_by_itself_depends_on_the_whole_file() -> None:
    blind = SOURCE.replace("return helper(rows)", "return globals()['helper'](rows)")
    assert digest(blind) != digest(blind.replace("OTHER = 4", "OTHER = 5"))
    assert digest(blind, "count") == digest(SOURCE, "count")


def test_what_an_import_time_statement_uses_counts_too() -> None:
    told = SOURCE + "\nprint(OTHER)\n"
    assert digest(told) != digest(told.replace("OTHER = 4", "OTHER = 5"))


def test_two_steps_alike_but_for_their_names_are_two() -> None:
    code = Code("def a():\n    return 1\ndef b():\n    return 1\n")
    assert code.digest("a") != code.digest("b")


@pytest.mark.parametrize("source", ["def a(:", "\0", "(" * 500 + ")" * 500])
def test_what_is_no_python_is_said_with_its_line(source: str) -> None:
    with pytest.raises(Invalid, match="no Python"):
        Code(source)
