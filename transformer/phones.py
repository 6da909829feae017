"""The sounds of English as ARPAbet writes them, and the way from espeak's IPA to them.

CMUdict (BSD licence) spells 126,000 words in these 39 phones; stress is dropped. What it lacks is spoken by espeak-ng
and translated here.
"""

import re

PHONES = [
    "AA",
    "AE",
    "AH",
    "AO",
    "AW",
    "AY",
    "B",
    "CH",
    "D",
    "DH",
    "EH",
    "ER",
    "EY",
    "F",
    "G",
    "HH",
    "IH",
    "IY",
    "JH",
    "K",
    "L",
    "M",
    "N",
    "NG",
    "OW",
    "OY",
    "P",
    "R",
    "S",
    "SH",
    "T",
    "TH",
    "UH",
    "UW",
    "V",
    "W",
    "Y",
    "Z",
    "ZH",
]
PHONE_IDS = {phone: number for number, phone in enumerate(PHONES, 1)}  # 0 is the blank

# Longest first: "aɪ" is read before "a".
_IPA = {
    "tʃ": "CH", "dʒ": "JH", "aɪ": "AY", "aʊ": "AW", "eɪ": "EY", "ɔɪ": "OY", "oʊ": "OW", "əʊ": "OW", "oː": "AO",
    "ɔː": "AO", "ɑː": "AA", "iː": "IY", "uː": "UW", "ɜː": "ER", "əl": "AH L", "n̩": "AH N", "l̩": "AH L", "m̩": "AH M",
    "p": "P", "b": "B", "t": "T", "d": "D", "k": "K", "ɡ": "G", "g": "G", "f": "F", "v": "V", "θ": "TH", "ð": "DH",
    "s": "S", "z": "Z", "ʃ": "SH", "ʒ": "ZH", "h": "HH", "m": "M", "n": "N", "ŋ": "NG", "l": "L", "ɹ": "R", "r": "R",
    "w": "W", "j": "Y", "ɾ": "T", "ʔ": "T", "x": "K", "ç": "HH", "ɬ": "L", "ɑ": "AA", "a": "AA", "æ": "AE", "ʌ": "AH",
    "ə": "AH", "ɐ": "AH", "ɔ": "AO", "ɒ": "AA", "ɛ": "EH", "e": "EH", "ɚ": "ER", "ɜ": "ER", "ɝ": "ER", "ɪ": "IH",
    "ᵻ": "IH", "i": "IY", "o": "OW", "ʊ": "UH", "u": "UW", "y": "UW", "ɨ": "IH",
}  # fmt: skip
_TOKEN = re.compile("|".join(sorted(map(re.escape, _IPA), key=len, reverse=True)))


def from_ipa(ipa: str) -> list[str]:
    """Return the ARPAbet phones of one word in espeak's IPA; marks of stress and length are skipped."""
    phones = " ".join(_IPA[token] for token in _TOKEN.findall(ipa)).split()
    # "ɜːɹ" and "ɚɹ" are one sound in ARPAbet.
    return [phone for at, phone in enumerate(phones) if not (phone == "R" and at and phones[at - 1] == "ER")]
