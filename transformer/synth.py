"""What the engines shall say: manifests of sentences and voices, held out by sentence, by voice and by speaker.

The same seed and the same texts give the same manifest, byte for byte; `tools/speak.py` makes the sound of it.
"""

import lzma
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from transformer.normalise import normalise_text
from transformer.tools.speak import Line, espeak_voices

ACCENTS = (
    "en", "en-us", "en-gb-scotland", "en-gb-x-gbclan", "en-gb-x-rp", "en-gb-x-gbcwmd", "en-029", "en-us-nyc",
)  # fmt: skip
# T2: four espeak voices that no training sees, in no accent.
HELD_OUT_VARIANTS = ("f5", "klatt4", "max", "Annie")
HELD_OUT_VOICES = ("en-us-nyc+f5", "en-us+klatt4", "en-gb-x-gbcwmd+max", "en-us+Annie")
TIERS = ("t1", "t2", "t3", "t3dev")  # what engines speak for tests
EVERY = 40  # one sentence in so many is for tests alone, whoever speaks it


def is_held_out(text: str) -> bool:
    """Tell whether a sentence is for tests alone: by the hash of its words, so before anybody has spoken it."""
    return zlib.crc32(normalise_text(text).encode()) % EVERY == 0


def read_texts(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield (source, sentence) of the spoken and the written English in `folder`."""
    with lzma.open(folder / "spoken.tsv.xz", "rt", encoding="utf-8") as file:
        yield from (("spoken", line.rstrip("\n").split("\t", 1)[1]) for line in file)
    with lzma.open(folder / "books.txt.xz", "rt", encoding="utf-8") as file:
        yield from (("books", line.rstrip("\n")) for line in file)


def espeak_variants() -> tuple[str, ...]:
    """Return espeak-ng's voice variants, without those held out."""
    return tuple(name for name in espeak_voices("variant") if name not in HELD_OUT_VARIANTS)


@dataclass(frozen=True)
class Share:
    """So many sentences by the voices of one engine."""

    engine: str
    voices: tuple[str, ...]
    count: int


def _seen_espeak() -> tuple[str, ...]:
    return tuple(f"{accent}+{variant}" for accent in ACCENTS for variant in espeak_variants())


def shares() -> dict[str, tuple[Share, ...]]:
    """Return who speaks how much in each split; T1 speaks with the training's voices, T2 and T3 with others."""
    return {
        "train": (
            Share("espeak", _seen_espeak(), 3200),
            Share("flite", ("rms", "awb"), 1400),
            Share("flite", ("kal16",), 200),
            Share("festival", ("kal_diphone",), 150),
            Share("joe", ("joe",), 700),
        ),
        "t1": (
            Share("espeak", _seen_espeak(), 120),
            Share("flite", ("rms", "awb", "kal16"), 120),
            Share("joe", ("joe",), 60),
        ),
        "t2": tuple(Share("espeak", (voice,), 80) for voice in HELD_OUT_VOICES),
        "t3dev": (Share("festival", ("ked_diphone",), 300),),
        "t3": (Share("flite", ("slt",), 160), Share("festival", ("cmu_us_slt_arctic_hts",), 160)),
    }


def plan(folder: Path, seed: int = 1) -> dict[str, list[Line]]:
    """Return the manifests: sentences of 3 to 18 words from the texts in `folder`, each said once."""
    random = np.random.default_rng(seed)
    seen: set[str] = set()
    pools: dict[bool, list[str]] = {False: [], True: []}
    for _, sentence in read_texts(folder):
        words = normalise_text(sentence)
        if words not in seen and 3 <= words.count(" ") + 1 <= 18:
            seen.add(words)
            pools[is_held_out(words)].append(words)
    for pool in pools.values():
        random.shuffle(pool)
    return {split: _speak(split, parts, pools[split != "train"], random) for split, parts in shares().items()}


def _speak(split: str, parts: Sequence[Share], pool: list[str], random: np.random.Generator) -> list[Line]:
    lines: list[Line] = []
    for part in parts:
        for _ in range(part.count):
            voice = part.voices[random.integers(len(part.voices))]
            name = f"{split}-{part.engine}-{len(lines):05d}"
            speed, pitch = round(float(random.uniform(0.8, 1.25)), 2), int(random.integers(20, 80))
            lines.append(Line(name, part.engine, voice, speed, pitch, pool.pop()))
    return lines


def write_manifest(path: Path, lines: Sequence[Line]) -> None:
    """Write a manifest as tab-separated text with a heading."""
    rows = [f"{line.id}\t{line.engine}\t{line.voice}\t{line.speed}\t{line.pitch}\t{line.text}" for line in lines]
    path.write_text("\n".join(["id\tengine\tvoice\tspeed\tpitch\ttext", *rows]) + "\n")


def main(texts: str, folder: str) -> None:
    """Write one manifest a split into `folder`."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    for split, lines in plan(Path(texts)).items():
        write_manifest(Path(folder) / f"{split}.tsv", lines)


if __name__ == "__main__":
    import sys

    main(*sys.argv[1:])
