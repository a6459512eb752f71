"""A plan as people read it: in a terminal, and as Markdown for a pull request. It compares nothing."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict

from tandem.cli.show import clean
from tandem_sdk import Endpoint, Gate, Monitor
from tandem_sdk.project import Plan, Step
from tandem_sdk.project.standing import same

SIGNS = {
    "create": "+", "new version": "+", "change": "~", "replace": "~", "promote": ">", "adopt": "=", "remove": "-",
    "forget": "-", "gone": "?", "not yet": "?", "elsewhere": "!", "unchanged": " ",
}  # fmt: skip
WORDS = {
    "adopt": "as declared; managed by this project from now on",
    "forget": "no longer declared, and not there",
    "gone": "no longer declared; --prune retires it",
    "elsewhere": "not managed here",
}
"""What an action is called where its own name says too little."""
USUAL: Mapping[str, Mapping[str, object]] = {
    "endpoint": asdict(Endpoint(name="", kind="")), "gate": asdict(Gate(asset="")), "monitor": asdict(Monitor(name="")),
}  # fmt: skip
"""What a new thing of a kind has unless it says otherwise; that is not shown."""
LINES = 40
"""Of the difference of one text; `--json` has all of it."""
SHORT = 100
"""Characters of a value that are shown on a line."""


def told(plan: Plan) -> Iterator[str]:
    """The lines of a plan, those of what is unchanged left out."""
    where = f", stage {plan.stage}" if plan.stage else ""
    yield f"Project {plan.project}{where}" + (f", commit {plan.commit}" if plan.commit else "")
    shown = [step for step in plan.steps if step.action != "unchanged"]
    if shown:
        yield ""
    width = max((len(step.thing) for step in shown), default=0)
    for step in shown:
        yield clean(f"{SIGNS[step.action]} {step.thing.ljust(width)}  {WORDS.get(step.action, step.action)}  ({step.file})")
        for line in (*differences(step), *(f"({note})" for note in step.notes)):
            yield clean(f"      {line}")
    yield ""
    yield summary(plan)


def markdown(plan: Plan) -> Iterator[str]:
    """The lines of a plan as Markdown."""
    yield f"### Plan for `{plan.project}`" + (f", stage `{plan.stage}`" if plan.stage else "")
    yield ""
    shown = [step for step in plan.steps if step.action != "unchanged"]
    if shown:
        yield "| | thing | what | where |"
        yield "|---|---|---|---|"
    for step in shown:
        notes = "".join(f"<br>{_cell(note)}" for note in step.notes)
        yield f"| `{SIGNS[step.action]}` | `{_cell(step.thing)}` | {WORDS.get(step.action, step.action)}{notes} | `{step.file}` |"
    changed = [(step, list(differences(step))) for step in shown]
    for step, lines in changed:
        if lines:
            fence = "~" * max(3, *(len(run) + 1 for line in lines for run in ("", *re.findall("~+", line))))
            yield from ("", f"<details><summary><code>{_cell(step.thing)}</code></summary>", "", f"{fence}diff")
            yield from map(clean, lines)
            yield from (fence, "", "</details>")
    yield ""
    yield summary(plan)


def summary(plan: Plan) -> str:
    """How much there is to do, in a line."""
    counted: dict[str, int] = {}
    for step in plan.steps:
        counted[step.action] = counted.get(step.action, 0) + 1
    parts = [f"{count} {word}" for word in SIGNS if (count := counted.get(word))]
    begin = "Nothing to do" if not plan.changes else "To do"
    return f"{begin}: {', '.join(parts) or 'nothing is declared'}. Plan {plan.digest[:19]}."


def differences(step: Step) -> Iterator[str]:
    """What is another one than before, field by field; of long texts, line by line."""
    before, after = step.before or {}, step.after or {}
    if step.action in ("adopt", "unchanged", "remove"):
        return
    usual = USUAL.get(step.kind, {}) if step.before is None else {}
    for key in dict.fromkeys([*after, *before]):
        if not (key in usual and same(after.get(key), usual[key])):
            yield from _field(key, before.get(key), after.get(key), fresh=step.before is None)


def _field(key: str, before: object, after: object, *, fresh: bool) -> Iterator[str]:
    if same(after, before):
        return
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for inner in dict.fromkeys([*after, *before]):
            yield from _field(f"{key}.{inner}", before.get(inner), after.get(inner), fresh=False)
    elif _long(before) or _long(after):
        lines = list(difflib.unified_diff(_lines(before), _lines(after), "before", "after", lineterm="", n=1))[2:]
        yield f"{key}:"
        yield from lines[:LINES]
        if len(lines) > LINES:
            yield f"… {len(lines) - LINES} more lines"
    elif fresh:
        yield f"{key}: {_value(after)}"
    else:
        yield f"{key}: {_value(before)} → {_value(after)}"


def _long(value: object) -> bool:
    return isinstance(value, str) and ("\n" in value or len(value) > SHORT)


def _lines(value: object) -> list[str]:
    return value.splitlines() if isinstance(value, str) else []


def _value(value: object) -> str:
    text = (
        "nothing" if value in (None, "", [], {}) else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    )
    return text if len(text) <= SHORT else f"{text[: SHORT - 1]}…"


def _cell(text: str) -> str:
    """A text that cannot leave its cell."""
    return clean(text).replace("|", "\\|").replace("<", "&lt;").replace("`", "'").replace("\n", " ")
