"""Check digits: whether a run of characters is a number that somebody could have issued.

Sources: ISO/IEC 7812-1 (Luhn), ISO 13616 (IBAN, mod 97-10 of ISO 7064), and the issuers' published rules named below.
All take plain characters; separators are ignored.
"""

from __future__ import annotations

import base64
import datetime
import json

_COUNTRIES = {
    15: "NO",
    16: "BE BI",
    18: "DK FI FK FO GL NL SD",
    19: "MK SI",
    20: "AT BA EE KZ LT LU MN XK",
    21: "CH CR HR LI LV",
    22: "BG BH DE GB GE IE ME RS VA",
    23: "AE GI IL IQ OM SO TL",
    24: "AD CZ ES MD PK RO SA SE SK TN VG",
    25: "LY PT ST",
    26: "IS TR",
    27: "BJ DJ FR GR IT MC MR SM",
    28: "AL AZ BF BY CI CM CY DO DZ GT HN HU LB MA NI PL SN SV",
    29: "BR EG PS QA UA",
    30: "JO KW MU YE",
    31: "MT SC",
    32: "LC",
    33: "RU",
}
IBAN_LENGTHS = {country: length for length, countries in _COUNTRIES.items() for country in countries.split()}
"""SWIFT's registry of IBAN formats, release 99."""
_DIHEDRAL = "0123456789 1234067895 2340178956 3401289567 4012395678 5987604321 6598710432 7659821043 8765932104 9876543210"
_PERMUTED = "0123456789 1576283094 5803796142 8916043527 9453126870 4286573901 2793806415 7046913258"
_D, _P = (tuple(tuple(map(int, row)) for row in table.split()) for table in (_DIHEDRAL, _PERMUTED))
"""Verhoeff's tables: the dihedral group of order ten, and the powers of his permutation."""


def _digits(text: str) -> list[int]:
    return [ord(char) - 48 for char in text if "0" <= char <= "9"]


def _weighted(digits: list[int], weights: tuple[int, ...]) -> int:
    return sum(digit * weight for digit, weight in zip(digits, weights, strict=False))


def _date(year: int, month: int, day: int) -> bool:
    try:
        datetime.date(year, month, day)
    except ValueError:
        return False
    return True


def luhn(text: str) -> bool:
    """ISO/IEC 7812-1, annex B."""
    total = 0
    for place, digit in enumerate(reversed(_digits(text))):
        doubled = digit * 2 if place % 2 else digit
        total += doubled - 9 if doubled > 9 else doubled
    return total % 10 == 0


def card(text: str) -> bool:
    """A payment card: an issuer's range and length, Luhn, and not one digit repeated."""
    digits = "".join(map(str, _digits(text)))
    size = len(digits)
    head2, head4 = int(digits[:2]), int(digits[:4])
    known = (
        (digits[0] == "4" and size in (13, 16, 19))
        or (51 <= head2 <= 55 and size == 16)
        or (2221 <= head4 <= 2720 and size == 16)
        or (head2 in (34, 37) and size == 15)
        or ((head4 == 6011 or head2 in (64, 65)) and 16 <= size <= 19)
        or (3528 <= head4 <= 3589 and 16 <= size <= 19)
        or ((300 <= int(digits[:3]) <= 305 or head2 in (36, 38, 39)) and 14 <= size <= 19)
        or (head2 == 62 and 16 <= size <= 19)
        or (head2 in (50, 56, 57, 58, 63, 67) and 13 <= size <= 19)
    )
    return known and len(set(digits)) > 1 and luhn(digits)


def iban(text: str) -> bool:
    """ISO 13616: the country's length, and mod 97 is 1."""
    plain = "".join(char for char in text.upper() if char.isalnum())
    if IBAN_LENGTHS.get(plain[:2]) != len(plain):
        return False
    return int("".join(str(int(char, 36)) for char in plain[4:] + plain[:4])) % 97 == 1


def us_ssn(text: str) -> bool:
    """No check digit exists; the areas, groups and serials that are never issued are left out (SSA, since 2011)."""
    area, group, serial = (int(part) for part in text.replace(" ", "-").split("-"))
    return area not in (0, 666) and area < 900 and group != 0 and serial != 0 and text[:11] != "078-05-1120"


def es_id(text: str) -> bool:
    """Spanish DNI and NIE: the letter is the number mod 23."""
    plain = text.upper().replace("-", "").replace(" ", "")
    number = plain[:-1].replace("X", "0").replace("Y", "1").replace("Z", "2")
    return "TRWAGMYFPDXBNJZSQVHLCKE"[int(number) % 23] == plain[-1]


_FIRST = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21)
_ODD = dict(
    zip(
        "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        [*_FIRST, *_FIRST, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23],
        strict=True,
    )
)


def it_code(text: str) -> bool:
    """Italian codice fiscale (D.M. 23 December 1976)."""
    code = text.upper()
    even = sum(int(char) if char.isdigit() else ord(char) - 65 for char in code[1:15:2])
    return chr(65 + (even + sum(_ODD[char] for char in code[0:15:2])) % 26) == code[15]


def fr_nir(text: str) -> bool:
    """French numéro de sécurité sociale: key = 97 - number mod 97, Corsica as 19 and 18."""
    plain = "".join(char for char in text.upper() if char.isalnum()).replace("2A", "19").replace("2B", "18")
    if not plain.isdigit() or len(plain) != 15:
        return False
    return 97 - int(plain[:13]) % 97 == int(plain[13:])


def de_tax(text: str) -> bool:
    """German Steuer-IdNr.: ISO 7064 mod 11,10; of the first ten digits one stands two or three times, the others at most once."""
    digits = _digits(text)
    if len(digits) != 11 or digits[0] == 0:
        return False
    repeats = sorted(digits[:10].count(digit) for digit in set(digits[:10]))
    if repeats[-1] not in (2, 3) or (len(repeats) > 1 and repeats[-2] != 1):
        return False
    product = 10
    for digit in digits[:10]:
        total = (digit + product) % 10 or 10
        product = total * 2 % 11
    return (11 - product) % 10 == digits[10]


def uk_nhs(text: str) -> bool:
    """NHS number: mod 11, weights 10 to 2."""
    digits = _digits(text)
    check = 11 - _weighted(digits, (10, 9, 8, 7, 6, 5, 4, 3, 2)) % 11
    return len(set(digits)) > 1 and check % 11 == digits[9] and check != 10


def br_cpf(text: str) -> bool:
    """Brazilian CPF: two check digits mod 11."""
    digits = _digits(text)
    first = _weighted(digits, (10, 9, 8, 7, 6, 5, 4, 3, 2)) * 10 % 11 % 10
    second = _weighted(digits, (11, 10, 9, 8, 7, 6, 5, 4, 3, 2)) * 10 % 11 % 10
    return len(set(digits)) > 1 and digits[9:] == [first, second]


def pl_pesel(text: str) -> bool:
    """Polish PESEL: a date with the century in the month, and a weighted check digit."""
    digits = _digits(text)
    month, century = digits[2] * 10 + digits[3], {0: 1900, 1: 2000, 2: 2100, 3: 2200, 4: 1800}
    year = century[month // 20] + digits[0] * 10 + digits[1]
    check = (10 - _weighted(digits, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3)) % 10) % 10
    return _date(year, month % 20, digits[4] * 10 + digits[5]) and check == digits[10]


def se_number(text: str) -> bool:
    """Swedish personnummer, ten digits: a date (or one with 60 added to the day) and Luhn."""
    digits = _digits(text)[-10:]
    day = digits[4] * 10 + digits[5]
    return _date(2000 + digits[0] * 10 + digits[1], digits[2] * 10 + digits[3], day - 60 if day > 60 else day) and luhn(
        "".join(map(str, digits))
    )


def be_number(text: str) -> bool:
    """Belgian rijksregisternummer: 97 - number mod 97, with a 2 put before it for those born since 2000."""
    plain = "".join(map(str, _digits(text)))
    number, check = int(plain[:9]), int(plain[9:])
    return (
        check in (97 - number % 97, 97 - int(f"2{plain[:9]}") % 97) and 1 <= int(plain[2:4]) <= 12 and 1 <= int(plain[4:6]) <= 31
    )


def fi_code(text: str) -> bool:
    """Finnish henkilötunnus: the mark is the date and serial mod 31."""
    code = text.upper()
    number = int(code[:6] + code[7:10])
    valid = _date(2000 + int(code[4:6]), int(code[2:4]), int(code[:2])) or (code[:4] == "2902")
    return valid and "0123456789ABCDEFHJKLMNPRSTUVWXY"[number % 31] == code[10]


def in_aadhaar(text: str) -> bool:
    """Indian Aadhaar: Verhoeff's check digit; never begins with 0 or 1."""
    digits = _digits(text)
    state = 0
    for place, digit in enumerate(reversed(digits)):
        state = _D[state][_P[place % 8][digit]]
    return digits[0] > 1 and state == 0


def cn_id(text: str) -> bool:
    """Chinese resident identity number, GB 11643: ISO 7064 mod 11-2 and a date."""
    code = text.upper()
    digits = [int(char) for char in code[:17]]
    total = _weighted(digits, (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2))
    return _date(int(code[6:10]), int(code[10:12]), int(code[12:14])) and "10X98765432"[total % 11] == code[17]


def jwt(text: str) -> bool:
    """RFC 7519: the first part is a JSON object in base64url."""
    head = text.partition(".")[0]
    try:
        return isinstance(json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4))), dict)
    except ValueError:
        return False
