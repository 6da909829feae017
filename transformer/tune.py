"""Choose the beam search's weights: `python -m transformer.tune SPEECH`.

Listens to people who are neither trained on nor tested. One weight after another (coordinate descent) over readings
that are made once; what is best goes into captioner.json.
"""

import argparse
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from transformer.audio import Floats
from transformer.data import is_dev, read_people, read_samples
from transformer.decoding import BeamSearch, BeamSettings
from transformer.export import describe
from transformer.metrics import word_accuracy
from transformer.runtime import WEIGHTS, Transcriber

GRID: dict[str, Sequence[float]] = {
    "blank_penalty": (0.0, 1.0, 1.5, 2.5, 3.0, 4.0),
    "language_weight": (0.6, 0.7, 0.9, 1.0, 1.1, 1.2),
    "word_bonus": (-1.5, -1.0, -0.5, 0.5, 1.0),
    "unknown_phone": (-4.0, -2.6),
    "unknown_word": (-6.0, -2.0),
}
DevReading = tuple[list[Floats], str]  # phone log-probabilities of each stretch of an utterance, and what was meant


def read_dev(model: Transcriber, speech: Path, readers: int, learners: int) -> list[DevReading]:
    """Return readings of so many utterances by the reader and the learners kept for this."""
    people = [utterance for utterance in read_people(speech) if is_dev(utterance)]
    chosen = [item for item in people if item.source == "ls"][:readers]
    chosen += [item for item in people if item.source == "so"][:learners]
    return [([part.phones for part in model.read(sound)], item.text) for item, sound in read_samples(chosen)]


def accuracy(search: BeamSearch, settings: BeamSettings, heard: Sequence[DevReading]) -> float:
    """Return the word accuracy of decoding with `settings`."""
    search = replace(search, settings=settings)
    words = search.language.words
    said = [" ".join(words[word.word] for part in parts for word in search.decode(part)) for parts, _ in heard]
    return word_accuracy(list(zip(said, (meant for _, meant in heard), strict=True)))


def tune(model: Transcriber, heard: Sequence[DevReading], rounds: int = 1) -> BeamSettings:
    """Return the best settings found from the model's own."""
    best = model.search.settings
    score = accuracy(model.search, best, heard)
    for _ in range(rounds):
        for name, values in GRID.items():
            for value in values:
                tried = replace(best, **{name: value})  # type: ignore[arg-type]
                found = accuracy(model.search, tried, heard)
                print(f"{name} {value:5.2f}: {100 * found:.2f} %", flush=True)
                if found > score:
                    best, score = tried, found
    return best


def main() -> None:
    """Tune a model in place."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("speech", type=Path)
    parser.add_argument("--model", type=Path, default=WEIGHTS)
    parser.add_argument("--readers", type=int, default=57)
    parser.add_argument("--learners", type=int, default=60)
    options = parser.parse_args()
    model = Transcriber(options.model)
    settings = tune(model, read_dev(model, options.speech, options.readers, options.learners))
    describe(options.model, {"beam": asdict(settings)})


if __name__ == "__main__":
    main()
