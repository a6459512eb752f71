"""The table of deeds is what the code writes into the audit; each is told with a page and a command that exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.journeys.routes import RAW

import tandem
from tandem.cli.main import cli
from tandem.core.errors import Invalid
from tandem.governance.alerts.deeds import DEEDS, DEFAULT, UNDELIVERED, actions, check_patterns
from tandem.governance.alerts.message import LINES, WIDTH, compose, line
from tandem.governance.repo import Entry
from tandem.store.canonical import canonical

SOURCE = Path(tandem.__file__).parent
ACTION = re.compile(r"[a-z]+\.[a-z]+")
WRITERS = {"append", "_note", "_add", "insert"}
"""Methods that take an action."""
FORMATTED = {
    "{noun}.{verb}": {f"{noun}.{verb}" for noun in ("provider", "endpoint") for verb in ("put", "delete")},
    "canary.{deed}": {"canary.started", "canary.rolled-back", "canary.stopped", "canary.ended"},
    "online.{deed}": {
        f"online.{deed}" for deed in ["started", "asked", "failed", "promoted", "thrown-away", "rolled-back", "stopped"]
    },
    "alias.{move.action}": {"alias.promote", "alias.rollback"},
}
"""Actions that the code puts together, as it writes them."""
DETAIL: dict[str, dict[str, object]] = {
    "alias.promote": {"alias": "production", "from": 1, "ungated": True, "report": None},
    "alias.rollback": {"alias": "production", "from": 2, "ungated": False},
    "budget.set": {"cap_nano_usd": 1, "window": "day"},
    "monitor.retrain": {"report": "rpt_1", "run": "run_1"},
    "monitor.alarm": {"report": "rpt_1", "n": 240, "subjects": ["x"]},
    "request.open": {"subject": "model/m@2", "alias": "production", "run": "run_1", "passed": True},
    "request.approve": {"subject": "model/m@2", "alias": "production"},
    "request.decline": {"subject": "model/m@2", "alias": "production"},
    UNDELIVERED: {"count": 2, "actions": ["budget.set"], "error": "The receiver answered 500."},
}
SUBJECT = {"alias": "model/m@2", "asset": "model/m@2", "contract": "dataset/d", "gate": "model/m@production", "budget": "key/k"}


def entry(action: str, subject: str = "", detail: dict[str, object] | None = None, mac: str = "m") -> Entry:
    noun = action.partition(".")[0]
    found = DETAIL.get(action, {}) if detail is None else detail
    return Entry(
        seq=1, at=0, actor="ada", team="risk", action=action, subject=subject or SUBJECT.get(noun, f"{noun}/thing"),
        detail=canonical(found), mac=mac,
    )  # fmt: skip


def written() -> Iterator[str]:
    """Every action that stands in the code as a text, and every pattern that puts one together."""
    for path in sorted(SOURCE.rglob("*.py")):
        text = path.read_text()
        if "audit" not in text:  # a list that something is appended to
            continue
        tree = ast.parse(text)
        for node in ast.walk(tree):
            given: list[ast.expr] = []
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in WRITERS:
                given = [*node.args, *(keyword.value for keyword in node.keywords if keyword.arg == "action")]
            elif isinstance(node, ast.Assign) and any(isinstance(to, ast.Name) and to.id == "action" for to in node.targets):
                given = [node.value]
            for value in given:
                if isinstance(value, ast.JoinedStr):
                    yield ast.unparse(value)[2:-1]
                for each in [value.body, value.orelse] if isinstance(value, ast.IfExp) else [value]:
                    if isinstance(each, ast.Constant) and isinstance(each.value, str) and ACTION.fullmatch(each.value):
                        yield each.value


def test_the_table_holds_what_the_code_writes_and_nothing_else() -> None:
    found = set(written())
    assert found >= set(FORMATTED)
    told = {action for action in found if ACTION.fullmatch(action)}.union(*FORMATTED.values(), {UNDELIVERED})
    assert told == set(DEEDS)


@pytest.mark.parametrize("action", DEEDS)
def test_a_deed_is_told_with_a_command_that_is_one(action: str) -> None:
    message = compose(entry(action), "ops", "https://console", lambda row: ())
    assert "{" not in f"{message.title}{message.link}{message.command}"
    words, command = message.command.split()[1:], cli
    context = click.Context(cli, info_name="tandem")
    while isinstance(command, click.Group):
        found = command.get_command(context, words[0])
        assert found is not None, message.command
        name, command = words.pop(0), found
        context = click.Context(command, info_name=name, parent=context)
    command.make_context(context.info_name, words, parent=context.parent)


@pytest.mark.parametrize("action", DEEDS)
def test_a_deed_is_told_with_a_page_of_the_console(action: str) -> None:
    link = compose(entry(action), "ops", "", lambda row: ()).link
    pages = [re.sub(r"\{[a-z]+\}", "[^/]+", path) for method, path in RAW if method == "GET"]
    assert any(re.fullmatch(page, link) for page in pages if page not in ("/[^/]+",)), link


def test_the_defaults_are_deeds() -> None:
    check_patterns(DEFAULT)
    assert actions(DEFAULT) == DEFAULT
    assert actions(["*"]) == tuple(DEEDS)


@given(st.text(max_size=20))
def test_a_pattern_means_something_or_is_refused(text: str) -> None:
    if not actions([text]):
        with pytest.raises(Invalid, match="no deed that the audit holds"):
            check_patterns([text])


@pytest.mark.parametrize("pattern", ["*", "budget.*", *DEEDS])
def test_an_action_a_noun_and_all_are_patterns(pattern: str) -> None:
    check_patterns([pattern])
    assert actions([pattern])


def test_a_promotion_is_told_with_verdict_effect_interval_and_n() -> None:
    difference = {"value": -0.0012, "low": -0.011, "high": 0.0086, "n": 569}
    report = {"verdict": {"outcome": "non-inferior", "metric": "roc_auc", "difference": difference, "margin": 0.02}}
    found = compose(entry("alias.promote", detail={**DETAIL["alias.promote"], "report": report}), "ops", "", lambda row: ())
    assert found.facts == (
        "Alias production, before: version 1",
        "Verdict non-inferior in roc_auc",
        "Difference -0.0012 [-0.011, 0.0086], n 569; a loss of 0.02 is tolerated",
    )
    assert found.link == "/assets/model/m/2"
    first = {"verdict": {"outcome": "improved", "metric": "roc_auc", "difference": None, "margin": 0.02}, "candidate": difference}
    found = compose(entry("alias.promote", detail={**DETAIL["alias.promote"], "report": first}), "ops", "", lambda row: ())
    assert found.facts[-1] == "Candidate -0.0012 [-0.011, 0.0086], n 569"
    assert compose(entry("alias.promote"), "ops", "", lambda row: ()).facts[-1] == "Without a gate"


def test_a_row_of_another_version_is_told_by_its_title() -> None:
    for action in DEEDS:
        for odd in ({}, {"report": {"verdict": {"outcome": 1}}, "alias": "x"}, {"cap_nano_usd": "x", "actions": 5}):
            assert compose(entry(action, detail=odd), "ops", "", lambda row: ()).title


def test_no_detail_is_told_as_a_whole() -> None:
    secret = {"body": {"keys": ["sealed:sentinel"], "base_url": "https://sentinel"}, "sentinel": "sentinel"}
    for action in DEEDS:
        told = compose(entry(action, detail={**DETAIL.get(action, {}), **secret}), "ops", "", lambda row: ())
        assert "sentinel" not in repr(told), action


def test_facts_are_bounded_and_in_one_line_each() -> None:
    found = compose(entry("monitor.alarm"), "ops", "", lambda row: [f"line {n}\r\nBcc: x\x1b[31m" + "y" * 999 for n in range(99)])
    assert len(found.facts) == LINES
    assert found.facts[-1] == f"… and {99 - LINES + 1} more"
    assert all(len(fact) <= WIDTH and fact.isprintable() for fact in found.facts)


@given(st.text())
def test_a_line_is_a_line(text: str) -> None:
    assert len(line(text).splitlines()) <= 1
    assert len(line(text)) <= WIDTH
