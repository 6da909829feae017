"""Make the voices beside this file anew: `python tests/transformer/voices/make.py` (needs espeak-ng, flite, festival).

Our own sentences, none of which any training text has, by voices of T1 (seen in training), T2 (espeak voices never
seen) and the held-out speaker ked, of whom festival tells when each word begins. One Opus file, one row an utterance.
"""

import tempfile
from pathlib import Path

import numpy as np

from transformer.augment import encode, read_sound
from transformer.build import festival_truth
from transformer.config import SAMPLE_RATE
from transformer.data import Utterance
from transformer.tools.speak import Line, speak

HERE = Path(__file__).parent
SENTENCES = (
    "the old lighthouse keeper wrote a letter every evening before the storm",
    "we will ship the new version of the server on thursday morning",
    "nobody in the village remembered who had built the stone bridge",
    "please turn left after the second bakery and wait near the fountain",
    "her brother plays the violin in a small orchestra by the river",
    "it took him three hours to find the missing page of the report",
    "the children laughed when the wind carried the umbrella away",
    "a good test tells you what is broken before your users do",
    "they painted the kitchen yellow and moved the table to the window",
    "most of the data is stored twice in case one of the disks fails",
    "the train to the mountains leaves at seven and arrives before noon",
    "my neighbour keeps eleven chickens and a very patient dog",
)
VOICES = {
    "t1": (("flite", "rms"), ("flite", "awb"), ("espeak", "en-us+boris"), ("espeak", "en-gb-scotland+Andy")),
    "t2": (
        ("espeak", "en-us-nyc+f5"),
        ("espeak", "en-us+klatt4"),
        ("espeak", "en-gb-x-gbcwmd+max"),
        ("espeak", "en-us+Annie"),
    ),
    "ked": (("festival", "ked_diphone"),),
}


def main() -> None:
    """Speak, encode, and list."""
    sounds, rows, at = [], ["split\tvoice\tstart_s\tend_s\ttext\tword_starts_s"], 0.0
    with tempfile.TemporaryDirectory() as folder:
        for split, voices in VOICES.items():
            for number, text in enumerate(SENTENCES):
                engine, voice = voices[number % len(voices)]
                line = Line(f"{split}-{number}", engine, voice, 1.0, 50, text)
                speak(line, Path(folder))
                path = f"{folder}/{line.id}.wav"
                sound = read_sound(path)
                truth = festival_truth(Utterance(line.id, engine, voice, split, text, path)) if split == "ked" else []
                end = at + len(sound) / SAMPLE_RATE
                starts = " ".join(f"{start:.3f}" for start, _ in truth)
                rows.append(f"{split}\t{engine} {voice}\t{at:.4f}\t{end:.4f}\t{text}\t{starts}")
                sounds += [sound, np.zeros(SAMPLE_RATE // 4, np.float32)]
                at = end + 0.25
    (HERE / "voices.opus").write_bytes(encode(np.concatenate(sounds), "libopus", "ogg", 24_000))
    (HERE / "voices.tsv").write_text("\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
