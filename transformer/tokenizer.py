"""Text to numbers and back: letters for CTC, and byte-pair encoding (Sennrich, Haddow and Birch 2016)."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

BLANK = 0
LETTERS = " 'abcdefghijklmnopqrstuvwxyz"
LETTER_IDS = {letter: number for number, letter in enumerate(LETTERS, 1)}


def encode_letters(text: str) -> list[int]:
    """Return one id from 1 to 28 a letter. Raises ValueError for a character that is not in LETTERS."""
    try:
        return [LETTER_IDS[letter] for letter in text]
    except KeyError as unknown:
        raise ValueError(f"{unknown} is no letter of the captioner: normalise the text first") from None


def decode_letters(ids: Iterable[int]) -> str:
    """Return the text of letter ids; blanks are skipped."""
    return "".join(LETTERS[number - 1] for number in ids if number != BLANK)


def merge_pair(tokens: Sequence[str], pair: tuple[str, str]) -> list[str]:
    """Return `tokens` with every occurrence of `pair`, from left to right, made one token."""
    merged: list[str] = []
    at = 0
    while at < len(tokens):
        is_pair = tuple(tokens[at : at + 2]) == pair
        merged.append("".join(pair) if is_pair else tokens[at])
        at += 2 if is_pair else 1
    return merged


class BytePairEncoding:
    """Sub-word tokens learnt from text: the most frequent neighbours become one token, again and again.

    A word starts with "▁", so that joining tokens gives the text back. Ids: 0 padding, 1 start, 2 end, then the tokens.
    """

    PADDING, START, END = 0, 1, 2

    def __init__(self, merges: Sequence[tuple[str, str]]) -> None:
        self.merges = list(merges)
        self.ranks = {pair: rank for rank, pair in enumerate(self.merges)}
        self.tokens = ["<pad>", "<start>", "<end>", "▁", *LETTERS.strip(), *("".join(pair) for pair in self.merges)]
        self.ids = {token: number for number, token in enumerate(self.tokens)}

    def __len__(self) -> int:
        return len(self.tokens)

    @classmethod
    def train(cls, texts: Iterable[str], n_merges: int) -> "BytePairEncoding":
        """Learn up to `n_merges` merges from `texts` (a-z, apostrophe, space); ties go to the pair that sorts first."""
        counts = Counter(word for text in texts for word in text.split())
        words = {word: ["▁", *word] for word in counts}
        merges: list[tuple[str, str]] = []
        while len(merges) < n_merges:
            pairs: Counter[tuple[str, str]] = Counter()
            for word, tokens in words.items():
                for pair in pairwise(tokens):
                    pairs[pair] += counts[word]
            if not pairs:
                break
            best = min(pairs, key=lambda pair: (-pairs[pair], pair))
            merges.append(best)
            words = {word: merge_pair(tokens, best) for word, tokens in words.items()}
        return cls(merges)

    def split(self, word: str) -> list[str]:
        """Return a word's tokens: the merges applied in the order in which they were learnt."""
        tokens = ["▁", *word]
        while len(tokens) > 1:
            best = min(pairwise(tokens), key=lambda pair: self.ranks.get(pair, len(self.ranks)))
            if best not in self.ranks:
                break
            tokens = merge_pair(tokens, best)
        return tokens

    def encode(self, text: str) -> list[int]:
        """Return token ids, without start and end. Raises KeyError for a character that is not in LETTERS."""
        return [self.ids[token] for word in text.split() for token in self.split(word)]

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of token ids; padding, start and end are skipped."""
        return "".join(self.tokens[number] for number in ids if number > self.END).replace("▁", " ").strip()
