"""Draws trace.svg from trace.json, an answer of `GET /api/v1/traces/ID` as a demo gave it. Adds no number of its own.

python docs/img/draw.py
"""

from __future__ import annotations

import json
from decimal import Decimal
from html import escape
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
WIDTH, MARGIN = 1000, 32
LEFT, RIGHT = 300, 100
"""Room for names and for milliseconds beside the bars."""
ROW = 30
WORLDS = {"decide": "both", "predict": "predictive", "chat": "generative"}
LIGHT = (
    "--paper: #fdfdfc; --ink: #1d2327; --soft: #66707a; --line: #dfe3e6; "
    "--both: #7b858e; --predictive: #0f7b72; --generative: #7a3fb0"
)
DARK = (
    "--paper: #14181b; --ink: #e8ebed; --soft: #9aa4ad; --line: #30373d; "
    "--both: #87919a; --predictive: #35b5a8; --generative: #b98ae6"
)
STYLE = f"""
:root {{ {LIGHT} }}
@media (prefers-color-scheme: dark) {{ :root {{ {DARK} }} }}
text {{ font: 15px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: var(--ink) }}
.code {{ font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; font-size: 13px }}
.soft {{ fill: var(--soft) }} .small {{ font-size: 13px }} .head {{ font-size: 17px; font-weight: 600 }}
.end {{ text-anchor: end }} .strong {{ font-weight: 600 }} .line {{ stroke: var(--line); stroke-width: 1 }}
.predictive {{ fill: var(--predictive) }} .generative {{ fill: var(--generative) }} .both {{ fill: var(--both) }}
"""


class Page:
    """Elements, from top to bottom."""

    def __init__(self) -> None:
        self.elements: list[str] = []
        self.y = float(MARGIN)

    def text(self, x: float, y: float, words: str, classes: str = "") -> None:
        self.elements.append(f'<text x="{x:g}" y="{y:g}" class="{classes}">{escape(words)}</text>')

    def bar(self, x: float, y: float, width: float, kind: str) -> None:
        self.elements.append(f'<rect x="{x:.2f}" y="{y:g}" width="{max(2.0, width):.2f}" height="16" rx="3" class="{kind}"/>')

    def rule(self, x: float, y: float, x2: float, y2: float) -> None:
        self.elements.append(f'<line x1="{x:g}" y1="{y:g}" x2="{x2:g}" y2="{y2:g}" class="line"/>')

    def svg(self, title: str, told: str) -> str:
        height = round(self.y)
        body = "\n".join(self.elements)
        size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">\n'
            f"<title>{escape(title)}</title>\n<desc>{escape(told)}</desc>\n<style>{STYLE}</style>\n"
            f'<rect width="{WIDTH}" height="{height}" rx="10" fill="var(--paper)"/>\n{body}\n</svg>\n'
        )


def dollars(nano: int) -> str:
    """Exact, without trailing zeros."""
    return f"${(Decimal(nano) / 10**9).normalize():f}"


def draw(trace: dict[str, Any]) -> str:
    """The whole picture."""
    page = Page()
    top = trace["calls"][0]
    _head(page, trace, top)
    _waterfall(page, trace["calls"], top)
    page.rule(MARGIN, page.y, WIDTH - MARGIN, page.y)
    page.y += 30
    _answers(page, trace)
    page.y += 8
    told = (
        "A waterfall of one traced call: a decision asks a model, then a language model. "
        "Beneath it: why this answer, what it cost, who allowed it."
    )
    return page.svg(f"One trace through both worlds: {trace['id']}", told)


def _head(page: Page, trace: dict[str, Any], top: dict[str, Any]) -> None:
    page.text(MARGIN, page.y + 14, trace["id"], "code strong")
    ended = f"{top['outcome']} ({top['status']}) · {_ms(top)} ms · {dollars(trace['cost'])}"
    who = f"{ended} · key {top['principal']}, team {top['team']}"
    page.text(WIDTH - MARGIN, page.y + 14, who, "small soft end")
    page.y += 38


def _ms(span: dict[str, Any]) -> str:
    return f"{(span['end'] - span['start']) / 1000:.2f}"


def _waterfall(page: Page, calls: list[dict[str, Any]], top: dict[str, Any]) -> None:
    scale = (WIDTH - 2 * MARGIN - LEFT - RIGHT) / (top["end"] - top["start"])
    for call in calls:
        world = WORLDS[call["kind"]]
        depth = 0 if call["parent"] is None else 1
        rows = [(f"{call['kind']} {call['endpoint']}", call, depth)]
        rows += [(span["name"], span, depth + 1) for span in call["spans"] if span["end"] - span["start"] >= 10]
        if depth:
            tag = "predictive" if world == "predictive" else "generative"
            page.text(WIDTH - MARGIN, page.y + 13, tag, f"small strong end {world}")
        for name, span, indent in rows:
            page.text(MARGIN + 22 * indent, page.y + 13, name, "code" if indent - depth else "code strong")
            x = MARGIN + LEFT + (span["start"] - top["start"]) * scale
            page.bar(x, page.y, (span["end"] - span["start"]) * scale, world)
            page.text(MARGIN + LEFT - 14, page.y + 13, f"{_ms(span)} ms", "small soft end")
            page.y += ROW
    page.y += 6


def _answers(page: Page, trace: dict[str, Any]) -> None:
    decide, predict, chat = trace["calls"]
    width = (WIDTH - 2 * MARGIN) / 3
    start, lowest, lines = page.y, page.y, []
    columns = (_why(decide, predict, chat, trace["content"]), _cost(trace, chat), _allowed(decide, predict))
    for number, (question, rows) in enumerate(columns):
        x, y = MARGIN + number * width + (18 if number else 0), start
        lines += [x - 18] if number else []
        page.text(x, y + 6, question, "head")
        y += 36
        for words, classes in rows:
            page.text(x, y, words, classes)
            y += 22
        lowest = max(lowest, y)
    for x in lines:
        page.rule(x, start - 8, x, lowest - 14)
    page.y = lowest


Rows = list[tuple[str, str]]


def _why(decide: dict[str, Any], predict: dict[str, Any], chat: dict[str, Any], kept: dict[str, Any]) -> tuple[str, Rows]:
    [(model, facts)] = predict["attributes"]["versions"].items()
    used = decide["attributes"]["versions"]
    prompt = chat["attributes"]["prompt"]
    rows = [
        (f"{model} said {kept[predict['call']]['notes']['probability']:.3f}", "code predictive strong"),
        (f"  {_short(facts['digest'])}", "code soft"),
        (f"made from {', '.join(facts['made_from'])}", "code predictive"),
        (f"  {_short(facts['data_digest'])}", "code soft"),
        (f"explained by {prompt}", "code generative strong"),
        (f"  {_short(used[prompt]['digest'])}", "code soft"),
        (f"review: {kept[decide['call']]['notes']['review'][0].rstrip('.')}", "small"),
    ]
    return "Why this answer?", rows


def _cost(trace: dict[str, Any], chat: dict[str, Any]) -> tuple[str, Rows]:
    [attempt] = chat["attempts"]
    usage = attempt["usage"]
    rows = [
        (attempt["target"], "code generative strong"),
        (f"{usage['input']} tokens in, {usage['output']} out", "small"),
        (f"counted by the {usage['source']}", "small soft"),
        (f"held before it was sent: {dollars(attempt['reserved'])}", "small"),
        (f"booked: {dollars(attempt['cost'])}", "small strong"),
        (f"the whole trace: {dollars(trace['cost'])}", "small"),
    ]
    return "What did it cost?", rows


def _allowed(decide: dict[str, Any], predict: dict[str, Any]) -> tuple[str, Rows]:
    [(model, facts)] = predict["attributes"]["versions"].items()
    gate = facts["gate"]
    estimate, gap = gate["candidate"], gate["difference"]
    [own] = [(name, about) for name, about in decide["attributes"]["versions"].items() if name.startswith("decision/")]
    rows = [
        (f"{model}: {gate['outcome']}", "code predictive strong"),
        (f"{gate['metric']} {_estimate(estimate)}", "small"),
        (f"{gap['value']:+.4f} [{gap['low']:+.4f}, {gap['high']:+.4f}] to the champion", "small"),
        (f"on the same {gap['n']} rows; approved by {facts['approved_by']}", "small"),
        (own[0], "code strong"),
        (f"{'no gate applied' if own[1]['ungated'] else 'gated'}; approved by {own[1]['approved_by']}", "small"),
        (f"policy: snapshot {decide['attributes']['snapshot']}", "small soft"),
    ]
    return "Who allowed it?", rows


def _estimate(estimate: dict[str, Any]) -> str:
    return f"{estimate['value']:.4f} [{estimate['low']:.4f}, {estimate['high']:.4f}]"


def _short(digest: str) -> str:
    return digest[:19] + "…"


if __name__ == "__main__":
    (HERE / "trace.svg").write_text(draw(json.loads((HERE / "trace.json").read_text())), encoding="utf-8")
