"""The style itself: every pair of text and ground keeps WCAG's AA contrast in both schemes, and nothing comes from elsewhere."""

from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path

import pytest

import tandem.console
from tandem.core.asset import KINDS

HERE = Path(tandem.console.__file__).parent
CSS = (HERE / "static" / "console.css").read_text()
HTMX = "d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717"
"""SHA-256 of dist/htmx.min.js in the package htmx.org 2.0.11."""
GROUNDS = ("panel", "ground", "raised")
PAIRS = [
    *((text, ground) for text in ("ink", "soft") for ground in GROUNDS),
    *(("accent", ground) for ground in (*GROUNDS, "accent-ground")),
    *((kind, f"{kind}-ground") for kind in ("good", "bad", "mild", "busy")),
    *((kind, "panel") for kind in ("chat", "embed", "predict", "decide", "law", *KINDS)),
    *((kind, "ground") for kind in ("chat", "embed", "predict", "decide", *KINDS)),
    ("panel", "accent"),
    ("mild", "panel"),
    ("ink", "accent-ground"),
]


def schemes() -> dict[str, dict[str, str]]:
    light, dark = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
    read = [dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", text)) for text in (light, dark)]
    return {"light": read[0], "dark": {**read[0], **read[1]}}


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2)."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("text", "ground"), PAIRS)
def test_text_keeps_its_contrast(scheme: str, text: str, ground: str) -> None:
    colours = schemes()[scheme]
    lighter, darker = sorted((luminance(colours[text]), luminance(colours[ground])), reverse=True)
    assert (lighter + 0.05) / (darker + 0.05) >= 4.5


def test_nothing_is_fetched_from_another_host() -> None:
    for path in [*HERE.glob("templates/*.html"), HERE / "static" / "console.css", HERE / "static" / "tandem.svg"]:
        text = path.read_text().replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert not re.search(r"https?://|@import|url\((?!#)", text), path.name


def test_no_template_switches_escaping_off_or_brings_script_and_style_along() -> None:
    for path in HERE.glob("templates/*.html"):
        text = path.read_text()
        assert not re.search(r"\|\s*safe|autoescape|<style|\sstyle=|\son[a-z]+=|javascript:", text), path.name
        assert not re.search(r"<script(?! src=\"/console/static/)", text), path.name


def test_the_vendored_script_is_the_published_one() -> None:
    assert sha256((HERE / "static" / "htmx.min.js").read_bytes()).hexdigest() == HTMX
    assert (HERE / "static" / "htmx.LICENSE").read_text().startswith("Zero-Clause BSD")
