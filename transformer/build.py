"""From speech and text to the folder that is served: `python -m transformer.build SPEECH WORK`.

Steps: manifests of what the engines shall say, their sound, the lexicon, features, training; each is left out where its
result is there already. Then, always: export, the language model, timing, the weights of the search. Where each source
of SPEECH is found, and how a subset is made: `docs/guides/train-the-captioner.md`.
"""

import argparse
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator
from itertools import chain, pairwise
from pathlib import Path

import numpy as np

from transformer import synth
from transformer.data import HEARD, Utterance, prepare, read_people, read_samples, read_spoken
from transformer.export import describe, export_model, load_run
from transformer.graph import save_entries
from transformer.language_model import UNKNOWN, LanguageModel, train_language_model
from transformer.lexicon import count_words, pronounce, read_lexicon, write_lexicon
from transformer.normalise import normalise_text
from transformer.phones import PHONE_IDS
from transformer.runtime import WEIGHTS, Transcriber, Word
from transformer.synth import TIERS

VOCABULARY = 65_000  # words, those seen at least twice
BIGRAMS, TRIGRAMS = 700_000, 800_000  # what 3.6 MB hold


def write_manifests(speech: Path, work: Path) -> None:
    """Decide what the engines say."""
    synth.main(str(speech / "text"), str(work / "manifests"))


def speak_manifests(work: Path, splits: Iterable[str] = ("train", *TIERS)) -> None:
    """Let the engines say it, as processes of their own; what is said already stays."""
    for split in splits:
        manifest, folder = work / "manifests" / f"{split}.tsv", work / "speech" / split
        subprocess.run([sys.executable, "-m", "transformer.tools.speak", manifest, folder], check=True)


def write_corpus(speech: Path, work: Path) -> None:
    """Write the texts as the language model takes them: normalised, without the sentences that are for tests alone."""
    with (work / "corpus.part").open("w") as file:
        for _, sentence in synth.read_texts(speech / "text"):
            words = normalise_text(sentence)
            if words and not synth.is_held_out(words):
                file.write(words + "\n")
    (work / "corpus.part").rename(work / "corpus.txt")


def read_corpus(work: Path) -> Iterator[str]:
    """Yield the sentences of the language model's texts."""
    with (work / "corpus.txt").open() as file:
        yield from (line.rstrip("\n") for line in file)


def choose_vocabulary(counts: Counter[str]) -> list[str]:
    """Return the most frequent words, ties by spelling; a word seen once is as likely a slip as a word."""
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [word for word, count in ranked if count > 1][:VOCABULARY]


def write_pronunciations(speech: Path, work: Path) -> None:
    """Write how every word of the vocabulary and of the transcripts is said."""
    spoken = chain.from_iterable(read_spoken(work, split) for split in HEARD)
    transcripts = (utterance.text for utterance in chain(read_people(speech), spoken))
    words = [*choose_vocabulary(count_words(read_corpus(work))), *count_words(transcripts)]
    write_lexicon(work / "lexicon.tsv", pronounce(words))


def language_models(work: Path, lexicon: Container[str], sizes: Iterable[tuple[int, int]]) -> Iterator[LanguageModel]:
    """Yield a language model of each size (bigrams, trigrams) over the vocabulary's words in `lexicon`."""
    words = [word for word in choose_vocabulary(count_words(read_corpus(work))) if word in lexicon]
    for bigrams, trigrams in sizes:
        yield train_language_model(read_corpus(work), words, n_bigrams=bigrams, n_trigrams=trigrams)


def write_language(work: Path, folder: Path) -> None:
    """Write language.xz and lexicon.xz into the model's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    lexicon = read_lexicon(work / "lexicon.tsv")
    (model,) = language_models(work, lexicon, [(BIGRAMS, TRIGRAMS)])
    model.save(folder / "language.xz")
    entries = [
        (number, [PHONE_IDS[phone] for phone in phones])
        for number, word in enumerate(model.words)
        if number > UNKNOWN
        for phones in lexicon[word]
    ]
    save_entries(folder / "lexicon.xz", entries)


def festival_truth(utterance: Utterance) -> list[tuple[float, float]]:
    """Return when festival said each word: starts and ends in seconds, pauses left out."""
    base = Path(utterance.path).with_suffix(".part.wav")
    segments, ends = (_labels(Path(f"{base}.{kind}")) for kind in ("segs", "words"))
    # A word begins where the segment before it ends, unless that is a pause: then where the pause ends.
    pauses = {round(before, 3): end for (before, _), (end, name) in pairwise([(0.0, ""), *segments]) if name == "pau"}
    times: list[tuple[float, float]] = []
    start = 0.0
    for end, _ in ends:
        start = pauses.get(round(start, 3), start)
        times.append((start, end))
        start = end
    return times


def _labels(path: Path) -> list[tuple[float, str]]:
    """Return (end, name) of each line of a label file of festival; its heading ends with a line of '#'."""
    lines = path.read_text().split("#\n", 1)[1].splitlines()
    return [(float(line.split()[0]), line.split()[2]) for line in lines]


def timing_errors(model: Transcriber, utterances: Iterable[Utterance]) -> Iterator[tuple[Word, float, float]]:
    """Yield each aligned word with the start and the end that the engine knows."""
    for utterance, samples in read_samples(list(utterances)):
        truth = festival_truth(utterance)
        try:
            words = model.align(samples, utterance.text)
        except ValueError:
            continue
        if len(words) == len(truth):
            yield from ((word, start, end) for word, (start, end) in zip(words, truth, strict=True))


def measure_timing(work: Path, folder: Path) -> None:
    """Find how late the network writes a sound, on the training's festival voice, and note it in the description."""
    describe(folder, {"timing": {"start_offset_s": 0.0, "end_offset_s": 0.0}})
    spoken = [utterance for utterance in read_spoken(work, "train") if utterance.source == "festival"]
    rows = list(timing_errors(Transcriber(folder), spoken))
    offsets = {
        "start_offset_s": round(float(np.median([start - word.start_s for word, start, _ in rows])), 3),
        "end_offset_s": round(float(np.median([end - word.end_s for word, _, end in rows])), 3),
    }
    describe(folder, {"timing": offsets})


def main() -> None:
    """Do every step whose result is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("speech", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--model", type=Path, default=WEIGHTS, help="the folder to fill")
    options = parser.parse_args()
    speech, work, model = options.speech, options.work, options.model
    steps: list[tuple[Path, Callable[[], object]]] = [
        (work / "manifests" / "t3dev.tsv", lambda: write_manifests(speech, work)),
        (work / "corpus.txt", lambda: write_corpus(speech, work)),
        (work / "lexicon.tsv", lambda: write_pronunciations(speech, work)),
    ]
    work.mkdir(parents=True, exist_ok=True)
    for result, step in steps:
        if not result.exists():
            print(f"making {result}", flush=True)
            step()
    speak_manifests(work)
    prepare(speech, work)
    subprocess.run([sys.executable, "-m", "transformer.train", str(work)], check=True)
    made = work / "model"
    shutil.rmtree(made, ignore_errors=True)
    export_model(load_run(work / "runs" / "captioner"), made)
    write_language(work, made)
    measure_timing(work, made)
    subprocess.run([sys.executable, "-m", "transformer.tune", str(speech), "--model", str(made)], check=True)
    shutil.copytree(made, model, dirs_exist_ok=True)


if __name__ == "__main__":
    main()
