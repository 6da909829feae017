"""What each idea is worth: `python -m transformer.ablate WORK SPEECH`.

Small networks are trained alike but for one thing, on the same number of equal batches, and judged by the words they
hear: with the shipped lexicon and language model, on the people kept for it, on the same people made harder (rooms,
noise, codecs), and on the held-out festival voice ked. Then the shipped network reads the same people with language
models of several sizes. The figures of the last run stand in LOG.md.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch.multiprocessing.spawn import spawn

from transformer.audio import Floats, normalise
from transformer.build import language_models
from transformer.config import SMALL, ModelConfig
from transformer.data import Example, Utterance, collate, load
from transformer.decoding import BeamSearch, BeamSettings
from transformer.graph import N_PHONES, build_graph
from transformer.language_model import UNKNOWN, LanguageModel
from transformer.lexicon import read_lexicon
from transformer.model import Captioner
from transformer.runtime import Transcriber
from transformer.tokenizer import BLANK, LETTER_IDS, encode_letters
from transformer.train import GROUPS, Team, TrainConfig, error_rates, pin, start_run, train
from transformer.tune import DevReading, accuracy, read_dev

PEOPLE = {"ls", "ka", "lj", "so"}
TINY = replace(SMALL, d_model=128, n_layers=5, n_heads=2, d_ff=384, auxiliary_layer=3)
MEDIUM = replace(SMALL, d_model=192, n_layers=6, n_heads=3, d_ff=576, auxiliary_layer=3)
STANDARD = TrainConfig(epochs=1000, warmup=150, harden=1.0, ramp=0.0)  # as many epochs as the steps take
BLANK_PENALTIES = (0.0, 1.0, 2.0, 3.0)  # each network is read at its own best on the people
LANGUAGE_SIZES = ((0, 0), (100_000, 100_000), (350_000, 400_000), (700_000, 800_000), (1_400_000, 1_600_000))


@dataclass(frozen=True)
class Variant:
    """One model: its shape, how it is trained, whom it hears, and which of its heads is read."""

    name: str
    shape: ModelConfig = TINY
    train: TrainConfig = STANDARD
    hears: Callable[[Utterance], bool] = GROUPS["train"]
    head: str = "phones"


def is_person(utterance: Utterance) -> bool:
    """Tell a person of the training from an engine."""
    return GROUPS["train"](utterance) and utterance.source in PEOPLE


def is_engine(utterance: Utterance) -> bool:
    """Tell an engine's voice of the training from a person."""
    return GROUPS["train"](utterance) and utterance.source not in PEOPLE


LETTERS_ALONE = replace(STANDARD, phone_weight=0.0, auxiliary_weight=0.0, letter_weight=1.0)
VARIANTS = (
    Variant("larger: 192 x 6", MEDIUM),
    Variant("all of it: 128 x 5"),
    Variant("people alone", hears=is_person),
    Variant("engines alone", hears=is_engine),
    Variant("phones alone", train=replace(STANDARD, letter_weight=0.0)),
    Variant("letters alone", replace(TINY, auxiliary_layer=0), LETTERS_ALONE, head="letters"),
    Variant("no auxiliary head", replace(TINY, auxiliary_layer=0)),
    Variant("no augmentation", train=replace(STANDARD, harden=0.0)),
)


@torch.inference_mode()
def listen(model: Captioner, examples: Iterable[Example], head: str) -> list[DevReading]:
    """Return what the model's head says of each example, as the beam search takes it."""
    heard: list[DevReading] = []
    for example in examples:
        batch = collate([example], [normalise(example.features.astype(np.float32))])
        output = model(torch.from_numpy(batch.features), torch.from_numpy(batch.frames))
        log_probs = getattr(output, head)[0, : int(output.lengths[0])].numpy()
        heard.append(([log_probs if head == "phones" else letters_as_phones(log_probs)], example.text))
    return heard


def letters_as_phones(letters: Floats) -> Floats:
    """Return letters (S, 29) as phones (S, 40) of words spelled out; a space between two words counts as silence."""
    wide = np.full((len(letters), N_PHONES), -30.0, np.float32)
    wide[:, : letters.shape[1]] = letters
    space = LETTER_IDS[" "]
    wide[:, BLANK] = np.logaddexp(letters[:, BLANK], letters[:, space])
    wide[:, space] = -30.0
    return wide


def spelling_search(language: LanguageModel, settings: BeamSettings) -> BeamSearch:
    """Return a search in which a word is said as it is spelled."""
    spelled = [(number, encode_letters(word)) for number, word in enumerate(language.words) if number > UNKNOWN]
    return BeamSearch(build_graph(spelled, language.unigram), language, settings)


def judge(search: BeamSearch, heard: dict[str, list[DevReading]]) -> dict[str, float]:
    """Return the word accuracy of each group, at the blank penalty that suits the people best."""
    tried = {penalty: replace(search.settings, blank_penalty=penalty) for penalty in BLANK_PENALTIES}
    best = max(tried.values(), key=lambda settings: accuracy(search, settings, heard["people"]))
    return {name: round(100 * accuracy(search, best, group), 1) for name, group in heard.items()}


def work(rank: int, options: argparse.Namespace) -> None:
    """Train and judge every n-th variant."""
    pin(rank)
    lexicon = read_lexicon(options.work / "lexicon.tsv")
    phones = Transcriber().search
    letters = spelling_search(phones.language, phones.settings)
    for variant in VARIANTS[rank :: options.processes]:
        corpora = load(options.work, lexicon, {**GROUPS, "train": variant.hears})
        noises = [variants[0] for variants in corpora["wordless"].values()]
        tests = {name: [found[0] for found in corpora[name].values()] for name in ("people", "ked")}
        tests["harder"] = [found[-1] for found in corpora["people"].values()]
        with tempfile.TemporaryDirectory() as folder:
            run = start_run(Path(folder), variant.shape, replace(variant.train, steps=options.steps))
            train(run, Team(), corpora["train"], noises, {})
            rates = {f"{name} {variant.head}": error_rates(run.average, tests[name])[variant.head] for name in tests}
            heard = {name: listen(run.average, examples, variant.head) for name, examples in tests.items()}
        words = judge(phones if variant.head == "phones" else letters, heard)
        facts = {"variant": variant.name, "steps": run.step, "epochs": run.epoch, "words": words, "error rates": rates}
        print(json.dumps(facts), flush=True)
        with (options.work / "ablations.jsonl").open("a") as file:
            file.write(json.dumps(facts) + "\n")


def compare_languages(work_folder: Path, speech: Path) -> None:
    """Print the word accuracy of the shipped network with language models of several sizes, on the people."""
    shipped = Transcriber()
    heard = read_dev(shipped, speech, readers=57, learners=60)
    pronounced = [(shipped.search.language.words[word], own) for word, own in shipped.pronunciations.items()]
    languages = language_models(work_folder, read_lexicon(work_folder / "lexicon.tsv"), LANGUAGE_SIZES)
    for (bigrams, trigrams), language in zip(LANGUAGE_SIZES, languages, strict=True):
        numbers = {word: number for number, word in enumerate(language.words)}
        entries = sorted((numbers[word], phones) for word, own in pronounced if word in numbers for phones in own)
        search = BeamSearch(build_graph(entries, language.unigram), language, shipped.search.settings)
        with tempfile.TemporaryDirectory() as folder:
            language.save(path := Path(folder) / "language.xz")
            megabytes = path.stat().st_size / 1e6
        found = accuracy(search, search.settings, heard)
        print(f"{bigrams} bigrams, {trigrams} trigrams, {megabytes:.2f} MB: {100 * found:.1f} %", flush=True)


def main() -> None:
    """Train and judge all variants, as many side by side as there are processes; then the language models."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("speech", type=Path)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", choices=["networks", "languages"])
    options = parser.parse_args()
    if options.only != "languages":
        spawn(work, (options,), nprocs=options.processes)
    if options.only != "networks":
        compare_languages(options.work, options.speech)


if __name__ == "__main__":
    main()
