"""Does the answer say only what its sources say? Numbers, dates, names and quotations of the answer are looked up there.

A deterministic floor, not a judge: a number that stands in the sources may still be said of the wrong thing, and a
paraphrase without number, name, date or quotation is not looked at. What it does find missing costs no token and is
the same every time. Written for English; numbers are read with either decimal mark where that is unambiguous.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from tandem.scorers.text.base import ANSWER_LIMIT, Case, Grade, known, option
from tandem.scorers.text.match import normal

Sort = Literal["number", "date", "name", "quotation"]

_MONTHS = "january february march april may june july august september october november december"
MONTHS = tuple(_MONTHS.split())
MONTH = (
    r"(jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|"
    r"nov(?:ember)?|dec(?:ember)?)\.?"
)
DATES = (
    (re.compile(r"(?<![\d.])(\d{4})-(\d{1,2})-(\d{1,2})(?![\d.]\d)"), "ymd"),
    (re.compile(rf"\b(\d{{1,2}})(?:st|nd|rd|th)?\s+(?:of\s+)?{MONTH},?\s+(\d{{4}})\b", re.IGNORECASE), "dmy"),
    (re.compile(rf"\b{MONTH}\s+(\d{{1,2}})(?:st|nd|rd|th)?,?\s+(\d{{4}})\b", re.IGNORECASE), "mdy"),
    (re.compile(r"(?<![\d./])(\d{1,2})[./](\d{1,2})[./](\d{4})(?![\d/])"), "either"),
)
NUMBER = re.compile(
    r"(?<![\w.,])[-−+]?([$€£]?)\s?"
    r"((?:\d{1,3}(?:[,\u00a0\u202f ]\d{3})+(?:\.\d+)?)|(?:\d{1,3}(?:\.\d{3}){2,}(?:,\d+)?)|\d+(?:[.,]\d+)?)"
    r"(?:\s?(%|‰|percent\b|per cent\b)|\s?(thousand|million|billion|trillion|[kKM]|bn)\b)?"
    r"(?:\s?(mg|µg|mcg|kg|g|ml|dl|l|mmol|mm|cm|km|m|ms|s|min|h|hours?|days?|weeks?|months?|years?|kWh|kW|W|MB|GB|TB|GHz|MHz|Hz|°C|°F)\b)?"
)
SCALES = {"thousand": 3, "k": 3, "million": 6, "m": 6, "billion": 9, "bn": 9, "trillion": 12}
QUOTED = re.compile(r"“([^”\n]{2,600})”|«([^»\n]{2,600})»|\"([^\"\n]{2,600})\"")
NAMED = re.compile(r"[A-Z][\w'’&-]*(?:\.(?=[A-Z]))?(?:\s+(?:(?:of|de|van|von|der|la|the)\s+)?[A-Z][\w'’&-]*)*")
SENTENCE = re.compile(r"(?:^|[.!?:;]\s+|\n\s*(?:[-*•]\s*|\d+[.)]\s*)?)[\"“'(*_]*$")
_COMMON = """
a an the this that these those it its he she they we you i his her their our your my in on at by for from to of as and
or but if when while since because so yes no not there here what which who whom whose why how where both each every
all any some most many few other such than then thus also however therefore with without within after before during
under over between among according based note please answer source sources none mr mrs ms dr prof monday tuesday
wednesday thursday friday saturday sunday is are was were be do does did has have had can could may might must shall
should will would one two three four five six seven eight nine ten first second third i'm it's ok json
"""
COMMON = frozenset(_COMMON.split()) | frozenset(MONTHS)
"""Words that begin with a capital letter for other reasons than being a name."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Something in an answer that can be looked up."""

    sort: Sort
    text: str
    forms: tuple[Any, ...]
    """Any of them in the sources supports it."""


@dataclass(frozen=True, slots=True)
class _Grounded:
    sorts: frozenset[str]
    needed: bool

    def grade(self, case: Case, answer: str) -> Grade:
        found = [claim for claim in claims(answer[:ANSWER_LIMIT]) if claim.sort in self.sorts]
        if not found:
            return Grade(value=0.0 if self.needed else 1.0, detail={"claims": 0}, label="no-claims")
        held = _Sources(case.sources)
        missing = [claim for claim in found if not held.supports(claim)]
        detail: dict[str, object] = {"claims": len(found)}
        if missing:
            detail["unsupported"] = [{"kind": claim.sort, "text": claim.text} for claim in missing]
        return Grade(value=1 - len(missing) / len(found), detail=detail)


def grounded(options: Mapping[str, object]) -> _Grounded:
    """The share of what can be looked up that stands in the sources.

    Options: `numbers`, `dates`, `names`, `quotations` (all true) say what is looked up; `claims_needed` (false): an
    answer without any such claim gets 0 instead of 1. Either way its label is `no-claims`.
    """
    sorts = {"numbers": "number", "dates": "date", "names": "name", "quotations": "quotation"}
    known(options, *sorts, "claims_needed")
    wanted = frozenset(sort for name, sort in sorts.items() if option(options, name, bool, True))
    return _Grounded(wanted, bool(option(options, "claims_needed", bool, False)))


def claims(text: str) -> list[Claim]:
    """What can be looked up, each once, in the order of kinds: quotations, dates, numbers, names.

    >>> [claim.text for claim in claims("On 5 March 2024 Ada Lovelace took 12 mg.")]
    ['5 March 2024', '12 mg', 'Ada Lovelace']
    """
    found: dict[tuple[str, str], Claim] = {}
    rest = text
    for claim, start, end in _walk(text):
        found.setdefault((claim.sort, claim.text), claim)
        if claim.sort in ("quotation", "date"):  # what stands inside is not counted a second time
            rest = rest[:start] + " " * (end - start) + rest[end:]
    for claim in (*_numbers(rest), *_names(rest)):
        found.setdefault((claim.sort, claim.text), claim)
    return list(found.values())


def _walk(text: str) -> Iterator[tuple[Claim, int, int]]:
    blank = text
    for match in QUOTED.finditer(text):
        inner = next(group for group in match.groups() if group is not None)
        if len(inner.split()) >= 2 or len(inner) >= 12:
            yield Claim("quotation", inner, (normal(inner),)), match.start(), match.end()
            blank = blank[: match.start()] + " " * (match.end() - match.start()) + blank[match.end() :]
    for match, forms in _dates(blank):
        yield Claim("date", match[0], forms), match.start(), match.end()


def _dates(text: str) -> Iterator[tuple[re.Match[str], tuple[tuple[int, int, int], ...]]]:
    for pattern, order in DATES:
        for match in pattern.finditer(text):
            one, two, three = match.groups()
            forms: tuple[tuple[int, int, int], ...]
            if order == "ymd":
                forms = ((int(one), int(two), int(three)),)
            elif order == "dmy":
                forms = ((int(three), _month(two), int(one)),)
            elif order == "mdy":
                forms = ((int(three), _month(one), int(two)),)
            else:
                forms = ((int(three), int(two), int(one)), (int(three), int(one), int(two)))
            real = tuple(form for form in forms if 1 <= form[1] <= 12 and 1 <= form[2] <= 31)
            if real:
                yield match, real


def _month(word: str) -> int:
    return next(number for number, name in enumerate(MONTHS, 1) if name.startswith(word.lower()[:3]))


def _numbers(text: str) -> Iterator[Claim]:
    for match in NUMBER.finditer(text):
        money, digits, percent, scale, unit = match.groups()
        # A hyphen before a number is as often a dash as a sign, so the sign is not held against it.
        forms = []
        for value in _values(digits):
            value = value.scaleb(SCALES[scale.lower()]) if scale else value
            kind = "%" if percent and percent != "‰" else percent or money or _unit(unit)
            forms.append((value.normalize(), kind))
        yield Claim("number", match[0].strip(), tuple(forms))


def _values(digits: str) -> list[Decimal]:
    """What a written number may mean: `1,234` is a thousand, `1,5` one and a half, `1.234` either."""
    plain = re.sub(r"[\u00a0\u202f ]", "", digits)
    if plain.count(",") and plain.count("."):
        thousands = "," if plain.index(",") < plain.index(".") else "."
        return [Decimal(plain.replace(thousands, "").replace(",", "."))]
    for mark in ",.":
        if plain.count(mark) > 1:
            return [Decimal(plain.replace(mark, ""))]
    if "," in plain:
        return [Decimal(plain.replace(",", "" if re.fullmatch(r"\d{1,3},\d{3}", plain) else "."))]
    if re.fullmatch(r"[1-9]\d{0,2}\.\d{3}", plain):
        return [Decimal(plain), Decimal(plain.replace(".", ""))]
    return [Decimal(plain)]


def _unit(unit: str | None) -> str:
    if unit is None:
        return ""
    return {"mcg": "µg", "hour": "h", "hours": "h"}.get(unit, unit.removesuffix("s") if len(unit) > 2 else unit)


def _names(text: str) -> Iterator[Claim]:
    for match in NAMED.finditer(text):
        words = match[0].split()
        opening = SENTENCE.search(text, 0, match.start()) is not None if match.start() else True
        while words and _bare(words[0]) in COMMON:
            words = words[1:]
        if not words or (opening and len(words) == 1 and len(words) == len(match[0].split())) or len(words[0]) < 2:
            continue
        name = " ".join(words).rstrip(".'’-")
        parts = tuple(_bare(word) for word in words if _bare(word) not in COMMON)
        # What opens a sentence is written large whatever it is: there the words after it alone may be the name.
        forms = (parts, parts[1:]) if opening and len(parts) > 1 else (parts,)
        yield Claim("name", name, forms)


def _bare(word: str) -> str:
    return re.sub(r"['’]s$", "", word.casefold()).strip(".'’-&")


class _Sources:
    """The sources, ready to be looked into."""

    def __init__(self, texts: Sequence[str]) -> None:
        whole = "\n".join(texts)
        self._text = normal(whole)
        self._words = {_bare(word) for word in re.findall(r"[\w'’&.-]+", whole)} | set(re.findall(r"\w+", whole.casefold()))
        self._dates = {form for _, forms in _dates(whole) for form in forms}
        self._numbers = {form for claim in _numbers(whole) for form in claim.forms}
        self._units = {form[1] for form in self._numbers}

    def supports(self, claim: Claim) -> bool:
        match claim.sort:
            case "quotation":
                return any(str(form) in self._text for form in claim.forms)
            case "date":
                return any(form in self._dates for form in claim.forms)
            case "number":
                return any(self._number(*form) for form in claim.forms)
            case _:
                return any(all(part in self._words for part in form) for form in claim.forms)

    def _number(self, value: Decimal, unit: str) -> bool:
        """The same value with the same unit, or where one side has none; a percentage also as its share."""
        near = {(value, unit), (value, "")} if unit else {(value, other) for other in self._units}
        if unit == "%":
            near = {(value, "%"), ((value / 100).normalize(), "")}
        elif not unit and 0 <= value <= 1:
            near.add(((value * 100).normalize(), "%"))
        return not near.isdisjoint(self._numbers)
