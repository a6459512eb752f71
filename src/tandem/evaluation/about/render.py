"""A model card as Markdown and as a page of HTML that needs nothing else. Pure; the same card gives the same text."""

from __future__ import annotations

from base64 import b64encode
from html import escape

from tandem.core.score import Estimate
from tandem.evaluation.about.card import Card, Fact, Section, Value

STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.25rem .5rem;border-bottom:1px solid #ddd;"
    "vertical-align:top;overflow-wrap:anywhere}code{font-size:85%}img{max-width:24rem}"
)


def shown(value: Value) -> str:
    """A value as people read it.

    >>> shown(Estimate(value=0.5, low=0.25, high=0.75, n=8))
    '0.5 [0.25, 0.75], n = 8'
    """
    if isinstance(value, Estimate):
        level = "" if value.level == 0.95 else f" at {value.level:.2%}"
        return f"{value.value:.4g} [{value.low:.4g}, {value.high:.4g}]{level}, n = {value.n}"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def markdown(card: Card) -> str:
    """The card for a repository or a review."""
    parts = [f"# {card.ref}", f"Card `{card.digest}`. Intervals hold at 95 %, unless said otherwise."]
    for section in card.sections:
        rows = [f"| {_cell(fact.name)} | {_cell(shown(fact.value))} | `{fact.source}` |" for fact in section.facts]
        parts += [f"## {section.title}", "\n".join(["| what | value | source |", "|---|---|---|", *rows])]
        parts += [f"![{section.picture}]({_member(card, section.picture)})"] if section.picture else []
    parts += ["## Not evaluated, or not recorded", "\n".join(f"- {sentence}" for sentence in card.missing)]
    return "\n\n".join(parts) + "\n"


def html(card: Card, pictures: dict[str, bytes]) -> str:
    """The card as a page.

    Args:
        pictures: the members that sections show, as PNG.
    """
    sections = "".join(_section(section, pictures) for section in card.sections)
    missing = "".join(f"<li>{escape(sentence)}</li>" for sentence in card.missing)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(card.ref)}</title><style>{STYLE}</style>'
        f"<h1>{escape(card.ref)}</h1><p>Card <code>{card.digest}</code>. Intervals hold at 95 %, unless said otherwise.</p>"
        f"{sections}<h2>Not evaluated, or not recorded</h2><ul>{missing}</ul></html>\n"
    )


def _section(section: Section, pictures: dict[str, bytes]) -> str:
    rows = "".join(map(_row, section.facts))
    picture = pictures.get(section.picture or "")
    drawn = (
        "" if picture is None else f'<p><img alt="{section.picture}" src="data:image/png;base64,{b64encode(picture).decode()}">'
    )
    return f"<h2>{escape(section.title)}</h2><table><tr><th>what<th>value<th>source</tr>{rows}</table>{drawn}"


def _row(fact: Fact) -> str:
    source = escape(fact.source, quote=True)
    return f'<tr><td>{escape(fact.name)}<td>{escape(shown(fact.value))}<td><a href="{source}"><code>{source}</code></a></tr>'


def _cell(text: str) -> str:
    """Text that cannot leave its cell of a table, nor become markup."""
    plain = escape(text, quote=False).replace("\\", "\\\\").replace("|", "\\|").replace("](", "]\\(")
    return " ".join(plain.split())


def _member(card: Card, member: str) -> str:
    return f"/api/v1/assets/{card.ref.replace('@', '/')}/members/{member}"
