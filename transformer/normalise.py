"""Written English to the words one says.

What the engines read aloud, the labels of the training and the texts of the language model are all made by it: where
two of them differ, the captioner learns to write what nobody said.
"""

import re
import unicodedata

_ONES = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
_TENS = ["-", "-", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_SCALES = ((1_000_000_000, "billion"), (1_000_000, "million"), (1000, "thousand"), (100, "hundred"))
_ORDINALS = {
    "one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth",
    "twelve": "twelfth",
}  # fmt: skip
_ABBREVIATIONS = {
    "mr.": "mister", "mrs.": "missus", "ms.": "miz", "dr.": "doctor", "st.": "saint", "prof.": "professor",
    "vs.": "versus", "etc.": "et cetera", "e.g.": "for example", "i.e.": "that is", "approx.":
    "approximately", "jr.": "junior", "sr.": "senior",
}  # fmt: skip
_ABBREVIATION = re.compile(r"(?<![\w.])(?:" + "|".join(map(re.escape, _ABBREVIATIONS)) + ")")
_SIGNS = {
    "&": " and ",
    "%": " percent ",
    "+": " plus ",
    "=": " equals ",
    "@": " at ",
    "#": " number ",
    "°": " degrees ",
}
_CURRENCY = {"$": "dollar", "£": "pound", "€": "euro"}
_NOT_SPOKEN = re.compile(r"[^a-z' ]+")


def spell_number(number: int) -> str:
    """Return a whole number below 10^12 in words, 'minus' before a negative one. Raises ValueError for a larger one."""
    if abs(number) >= 10**12:
        raise ValueError(f"{number} has no name here")
    if number < 0:
        return f"minus {spell_number(-number)}"
    if number < 20:
        return _ONES[number]
    if number < 100:
        return _TENS[number // 10] + (f" {_ONES[number % 10]}" if number % 10 else "")
    size, name = next(scale for scale in _SCALES if number >= scale[0])
    rest = f" {spell_number(number % size)}" if number % size else ""
    return f"{spell_number(number // size)} {name}{rest}"


def spell_ordinal(number: int) -> str:
    """Return 'twenty first' for 21."""
    *head, last = spell_number(number).split()
    regular = last[:-1] + "ieth" if last.endswith("y") else last + "th"
    return " ".join([*head, _ORDINALS.get(last, regular)])


def _spell_year(year: int) -> str:
    if year % 1000 < 10:  # 2007: two thousand seven
        return spell_number(year)
    rest = year % 100
    tail = "hundred" if not rest else f"oh {_ONES[rest]}" if rest < 10 else spell_number(rest)
    return f"{spell_number(year // 100)} {tail}"


def _spell_digits(digits: str) -> str:
    return " ".join(_ONES[int(digit)] for digit in digits)


def _spell_decimal(text: str) -> str:
    whole, _, fraction = text.replace(",", "").partition(".")
    if len(whole) > 12:
        return _spell_digits(whole + fraction)
    return spell_number(int(whole or 0)) + (f" point {_spell_digits(fraction)}" if fraction else "")


def _money(match: re.Match[str]) -> str:
    unit = _CURRENCY[match[1]] + ("" if match[2] == "1" and not match[3] else "s")
    scale = f" {match[3]}" if match[3] else ""
    return f" {_spell_decimal(match[2])}{scale} {unit} "


def _clock(match: re.Match[str]) -> str:
    hour, minute = int(match[1]), int(match[2])
    tail = "o'clock" if not minute else f"oh {_ONES[minute]}" if minute < 10 else spell_number(minute)
    return f" {spell_number(hour)} {tail} "


def _number(match: re.Match[str]) -> str:
    return f" {_spell_decimal(match[0])} "


def _year_or_number(match: re.Match[str]) -> str:
    year = int(match[0])
    return f" {_spell_year(year) if 1100 <= year < 2100 else spell_number(year)} "


def _decade(match: re.Match[str]) -> str:
    century = f"{spell_number(int(match[1]))} " if match[1] else ""
    if match[2] == "0":
        return f" {'two thousand' if match[1] == '20' else century + 'hundred'}s "
    return f" {century}{'tens' if match[2] == '1' else _TENS[int(match[2])].removesuffix('y') + 'ies'} "


def _fraction(match: re.Match[str]) -> str:
    name = {"2": "half", "3": "third", "4": "quarter"}[match[2]]
    return f" {_ONES[int(match[1])]} {name}{'' if match[1] == '1' else 's'} "


_NUMBERS = (
    (re.compile(r"\bno\.\s*(?=\d)"), lambda _: " number "),
    (re.compile(r"(?<![\w.,])-(?=[$£€]?\.?\d)"), lambda _: " minus "),
    (re.compile(r"([$£€])\s?(\d+(?:,\d{3})*(?:\.\d+)?)(?:\s(thousand|million|billion))?"), _money),
    (re.compile(r"\b([01]?\d|2[0-3]):([0-5]\d)\b"), _clock),
    (
        re.compile(r"\b(\d{1,3}(?:,\d{3})+|\d{1,9})(?:st|nd|rd|th)\b"),
        lambda match: f" {spell_ordinal(int(match[1].replace(',', '')))} ",
    ),
    (re.compile(r"(?<![\d.,])(1[1-9]|20)(\d)0s\b"), _decade),
    (re.compile(r"(?<![\d.,])'?()([2-9])0s\b"), _decade),
    (re.compile(r"(?<![\d.,/])([1-3])/([2-4])(?![\d/])"), _fraction),  # what else has a slash may be a date
    (re.compile(r"(?<![\d.,])\d{4}(?![\d.,]*\d)"), _year_or_number),
    (re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?(?!\d)|\d+(?:\.\d+)?|\.\d+"), _number),
)


def normalise_text(text: str) -> str:
    """Return `text` as spoken words: a-z and apostrophes, one space between words.

    Numbers, money, times, ordinals, signs and common abbreviations are spelt out; an acronym without a vowel is spelt
    letter by letter ("HTML" is "h t m l"); accents are dropped; what can't be said is a space.
    """
    text = text.replace("’", "'").replace("‘", "'")
    text = re.sub(r"\b[B-DF-HJ-NP-TV-XZ]{2,6}\b", lambda match: " ".join(match[0]), text)
    text = "".join(char for char in unicodedata.normalize("NFKD", text) if not unicodedata.combining(char)).lower()
    text = text.replace("'n'", " and ")
    text = _ABBREVIATION.sub(lambda match: f" {_ABBREVIATIONS[match[0]]} ", text)
    for pattern, spell in _NUMBERS:
        text = pattern.sub(spell, text)
    for sign, name in _SIGNS.items():
        text = text.replace(sign, name)
    words = _NOT_SPOKEN.sub(" ", text).split()
    # An apostrophe at the end stays with a plural's possessive, not with a word that stands in quotation marks.
    words = [word.lstrip("'") if word.endswith("s'") and word[0] != "'" else word.strip("'") for word in words]
    return " ".join(word for word in words if word)
