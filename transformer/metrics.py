"""How wrong a transcript is: edit distance (Levenshtein 1966), and the word accuracy that the tiers are judged by."""

from collections.abc import Hashable, Sequence

import numpy as np


def edit_distance(said: Sequence[Hashable], meant: Sequence[Hashable]) -> int:
    """Return the fewest insertions, deletions and substitutions that turn `said` into `meant`."""
    names = {item: number for number, item in enumerate({*said, *meant})}
    target = np.array([names[item] for item in meant], np.int64)
    row = np.arange(len(target) + 1)
    steps = row.copy()
    for at, item in enumerate(said, 1):
        # Delete or substitute; then an insertion costs one more than the cell to the left: a running minimum.
        best = np.minimum(row[1:] + 1, row[:-1] + (target != names[item]))
        row = np.minimum.accumulate(np.concatenate([[at], best]) - steps) + steps
    return int(row[-1])


def word_accuracy(pairs: Sequence[tuple[str, str]]) -> float:
    """Return 1 - WER over (said, meant) pairs: word edits by words meant; below 0 where more is invented than is said.

    Raises ValueError if nothing was meant.
    """
    words = sum(len(meant.split()) for _, meant in pairs)
    if not words:
        raise ValueError("word accuracy needs at least one word that was meant")
    return 1 - sum(edit_distance(said.split(), meant.split()) for said, meant in pairs) / words
