"""A small motor insurer that does not exist: claims with narratives, policy documents, and the truth about both.

    python world.py FOLDER [--seed 7] [--claims 3000]

It writes, the same for the same seed:

    claims.csv         the claims of one year, with `fraud` as it turned out
    claims-moved.csv   the claims of the year after: repairs cost more, and fraud looks different
    narratives.jsonl   what claimants wrote, with names, addresses and account numbers (all made up, check digits right)
    questions.csv      questions about the policies, with the document, the clause and the words that answer them
    policies/          the policy documents: Markdown, HTML and plain text
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

COLUMNS = (
    "claim", "filed_at", "amount", "vehicle_age", "policy_days", "prior_claims", "reported_after_days", "injured",
    "police_report", "night", "distance_km", "fraud",
)  # fmt: skip
LARGEST = 12_000.0
"""Euros; larger claims go to another desk."""
START = datetime(2025, 1, 1, tzinfo=UTC)
FIRST = ("Ada", "Ben", "Clara", "Dario", "Edith", "Farid", "Greta", "Hugo", "Ines", "Jonas", "Karim", "Lena", "Mira", "Nils")
LAST = ("Adler", "Bauer", "Costa", "Dietz", "Engel", "Fuchs", "Gomez", "Huber", "Ivanov", "Jansen", "Keller", "Lorenz", "Meyer")
PLACES = ("the ring road", "the market square", "the multi-storey car park", "the motorway exit", "the harbour bridge", "home")
MISHAPS = (
    "a stone broke the windscreen",
    "another car hit me from behind",
    "I slid into a barrier on ice",
    "somebody scratched the door",
    "a deer ran into the car",
    "the car was stolen overnight",
    "hail dented the roof",
    "I reversed into a bollard",
)


@dataclass(frozen=True, slots=True)
class Clause:
    """One clause of a policy document, and a question that it alone answers."""

    document: str
    heading: str
    text: str
    question: str
    answer: str
    """Words of `text` that answer the question."""


CLAUSES = (
    Clause(
        "glass.md", "1.1 Windscreen",
        "Chips and cracks of the windscreen are covered. Repair of a chip is free of any excess. "
        "Replacement of the windscreen carries an excess of 150 euros.",
        "What is the excess for replacing a windscreen?", "an excess of 150 euros",
    ),
    Clause(
        "glass.md", "1.2 Other glass",
        "Side windows, rear windows and mirrors are covered up to 1,200 euros in a policy year. Panoramic roofs are not covered.",
        "Up to which amount are mirrors covered?", "up to 1,200 euros in a policy year",
    ),
    Clause(
        "theft.md", "2.1 Reporting a theft",
        "A theft must be reported to the police within 24 hours and to us within three days. "
        "Without a police report no theft is paid.",
        "How soon must a theft be reported to the police?", "within 24 hours",
    ),
    Clause(
        "theft.md", "2.2 Belongings",
        "Belongings that were visible from outside are not covered. Belongings in a locked boot are covered up to 500 euros.",
        "Are belongings in the boot covered?", "Belongings in a locked boot are covered up to 500 euros",
    ),
    Clause(
        "weather.html", "3.1 Hail and storm",
        "Damage by hail, and by storm of at least wind force 8, is covered after an excess of 300 euros.",
        "From which wind force is storm damage covered?", "at least wind force 8",
    ),
    Clause(
        "weather.html", "3.2 Flood",
        "Flood damage is covered unless the car was left on a closed road. The waiting period for flood is 14 days.",
        "How long is the waiting period for flood?", "The waiting period for flood is 14 days",
    ),
    Clause(
        "animals.txt", "4.1 Collisions with animals",
        "Collisions with animals of any kind are covered. Bites of martens on cables are covered up to 3,000 euros.",
        "Up to which amount are marten bites covered?", "up to 3,000 euros",
    ),
    Clause(
        "animals.txt", "4.2 Avoiding an animal",
        "Damage from avoiding an animal is covered only if the animal was larger than a fox.",
        "When is swerving for an animal covered?", "only if the animal was larger than a fox",
    ),
    Clause(
        "general.md", "5.1 Payment",
        "We pay a settled claim within ten working days to the account that the policyholder has named.",
        "How fast is a settled claim paid?", "within ten working days",
    ),
    Clause(
        "general.md", "5.2 Rental car",
        "While the car is repaired we pay a rental car for up to 14 days, of a class no higher than the insured car.",
        "For how many days is a rental car paid?", "for up to 14 days",
    ),
)  # fmt: skip


def claims(count: int, *, seed: int = 7, moved: bool = False) -> Iterator[dict[str, object]]:
    """Claims by the day they were filed; with `moved`, of the year after, when the world has changed.

    The truth: fraud is likelier for high amounts on young policies without a police report. After the move repairs cost
    more, claims are reported sooner, and late reporting gives fraud away instead of a young policy.
    """
    dice = random.Random(f"{seed}:{moved}")
    start = START.replace(year=START.year + moved)
    for number in range(count):
        filed = start + timedelta(minutes=round(number * 365 * 1440 / count))
        policy_days, prior = min(3650, int(dice.expovariate(1 / 600))), min(5, int(dice.expovariate(1.2)))
        amount = min(LARGEST, math.exp(dice.gauss(7.3 + 0.45 * moved, 0.7)))
        late = min(30, int(dice.expovariate(1 / (3.0 if moved else 6.0))))
        police, night = dice.random() < 0.45, dice.random() < 0.3
        lean = -3.6 + 0.9 * (math.log(amount) - 7.3) - 1.0 * police + 0.6 * night + 0.35 * prior
        lean += 0.25 * (late - 3) if moved else 1.6 * (policy_days < 120)
        yield {
            "claim": f"C{start.year}-{number:05d}",
            "filed_at": filed.isoformat(),
            "amount": round(amount, 2),
            "vehicle_age": dice.randrange(0, 18),
            "policy_days": policy_days,
            "prior_claims": prior,
            "reported_after_days": late,
            "injured": int(dice.random() < 0.08),
            "police_report": int(police),
            "night": int(night),
            "distance_km": round(min(120.0, dice.expovariate(1 / 25)), 1),
            "fraud": "yes" if dice.random() < 1 / (1 + math.exp(-lean)) else "no",
        }


def narratives(rows: Sequence[dict[str, object]], *, seed: int = 7) -> Iterator[dict[str, str]]:
    """What the claimants wrote, with what must not leave the house: a name, an address, an account."""
    dice = random.Random(f"{seed}:narratives")
    for row in rows:
        first, last = dice.choice(FIRST), dice.choice(LAST)
        mail, account = f"{first}.{last}@example.org".lower(), iban(dice)
        text = (
            f"My name is {first} {last}. At {dice.choice(PLACES)} {dice.choice(MISHAPS)}; "
            f"the repair costs {row['amount']} euros. "
            f"Please answer to {mail} and pay to {account}."
        )
        yield {"claim": str(row["claim"]), "narrative": text, "name": f"{first} {last}", "email": mail, "iban": account}


def iban(dice: random.Random) -> str:
    """A German account number with right check digits; the bank code 00000000 belongs to no bank."""
    account = f"00000000{dice.randrange(10**10):010d}"
    check = 98 - int(f"{account}131400") % 97
    digits = f"DE{check:02d}{account}"
    return " ".join(digits[at : at + 4] for at in range(0, len(digits), 4))


def documents() -> dict[str, str]:
    """File name → text, each in its own format."""
    made: dict[str, str] = {}
    for name in dict.fromkeys(clause.document for clause in CLAUSES):
        title = f"Motor policy: {name.partition('.')[0]}"
        inside = [clause for clause in CLAUSES if clause.document == name]
        if name.endswith(".html"):
            body = "".join(f"<h2>{clause.heading}</h2>\n<p>{clause.text}</p>\n" for clause in inside)
            made[name] = f"<!doctype html><html><head><title>{title}</title></head><body><h1>{title}</h1>\n{body}</body></html>\n"
        elif name.endswith(".md"):
            made[name] = f"# {title}\n\n" + "".join(f"## {clause.heading}\n\n{clause.text}\n\n" for clause in inside)
        else:
            made[name] = f"{title}\n\n" + "".join(f"{clause.heading}\n{clause.text}\n\n" for clause in inside)
    return made


def write(folder: Path, *, seed: int = 7, count: int = 3000) -> None:
    """Writes the world into a folder."""
    (folder / "policies").mkdir(parents=True, exist_ok=True)
    for name, text in documents().items():
        (folder / "policies" / name).write_text(text, "utf-8")
    before = list(claims(count, seed=seed))
    _table(folder / "claims.csv", COLUMNS, before)
    _table(folder / "claims-moved.csv", COLUMNS, list(claims(count, seed=seed, moved=True)))
    lines = [json.dumps(line) for line in narratives(before[:200], seed=seed)]
    (folder / "narratives.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    asked = [
        {
            "question": clause.question,
            "document": clause.document,
            "clause": clause.heading,
            "answer": clause.answer,
            "source": clause.text,
        }
        for clause in CLAUSES
    ]
    _table(folder / "questions.csv", ("question", "document", "clause", "answer", "source"), asked)


def _table(path: Path, columns: Sequence[str], rows: Sequence[dict[str, object]] | Sequence[dict[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--claims", type=int, default=3000)
    given = parser.parse_args()
    write(given.folder, seed=given.seed, count=given.claims)
