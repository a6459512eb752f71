"""Check digits: what is issued passes, what differs in one digit does not."""

from __future__ import annotations

import random

import pytest

from tandem.scorers.guards import checks
from tandem.scorers.guards.detect import find

VALID = {
    "card": (
        "4111111111111111",
        "5555555555554444",
        "2223003122003222",
        "378282246310005",
        "6011111111111117",
        "3530111333300000",
    ),
    "iban": (
        "DE89370400440532013000",
        "GB82WEST12345698765432",
        "FR1420041010050500013M02606",
        "NL91ABNA0417164300",
        "NO9386011117947",
    ),
    "es_id": ("12345678Z", "X1234567L"),
    "it_code": ("RSSMRA85T10A562S", "MRTMTT91D08F205J"),
    "fr_nir": ("255081416802538", "180126955222380"),
    "de_tax": ("86095742719", "47036892816"),
    "uk_nhs": ("9434765919", "4010232137"),
    "br_cpf": ("52998224725", "11144477735"),
    "pl_pesel": ("44051401359", "02070803628"),
    "se_number": ("811228-9874", "670919-9530"),
    "be_number": ("85073003328", "17073003384"),
    "fi_code": ("131052-308T", "290296-7808"),
    "in_aadhaar": ("234567890124",),
    "cn_id": ("11010519491231002X", "440524188001010014"),
}


@pytest.mark.parametrize(("name", "number"), [(name, number) for name, numbers in VALID.items() for number in numbers])
def test_what_is_issued_passes(name: str, number: str) -> None:
    assert getattr(checks, name)(number)


@pytest.mark.parametrize("name", VALID)
def test_a_changed_digit_is_seen_nearly_always(name: str) -> None:
    dice, seen, tried = random.Random(7), 0, 0
    for number in VALID[name]:
        for place, char in enumerate(number):
            if char.isdigit():
                other = dice.choice([digit for digit in "0123456789" if digit != char])
                tried += 1
                seen += not getattr(checks, name)(number[:place] + other + number[place + 1 :])
    assert seen >= 0.9 * tried


@pytest.mark.parametrize(
    "text",
    [
        "Call +49 30 1234567 or 2024-11-22 10:00, order 1234567890123456",
        "version 10.0.19045.3570, pi is 3.14159265358979, 1234-5678-9012-3456",
        "user@localhost, a@b, @handle, 000-00-0000, 666-12-3456, 078-05-1120",
        "sk-short, AKIA, ghp_, eyJ, https://example.org:8080/a@b, ssh://host:22",
        "Please do not ignore the instructions on the label. My new rules of thumb. He forgot all about the prior art.",
        "How do I write a system prompt? What does developer mode in Android do?",
    ],
)
def test_what_only_looks_alike_is_left_alone(text: str) -> None:
    found = find(text, ["card", "iban", "email", "national-id", "credential", "private-key", "injection"])
    assert [(each.rule.name, text[each.start : each.end]) for each in found] == []
