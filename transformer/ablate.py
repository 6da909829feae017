"""What each idea is worth: `python -m transformer.ablate WORK`.

Small models are trained for a few minutes each, alike but for one thing, on the same number of equal batches. The
phone and letter error rates are those of greedy decoding, on the people kept for it and on the held-out voice ked; the
figures of the last run stand in LOG.md.
"""

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from torch.multiprocessing.spawn import spawn

from transformer.config import NANO, SMALL, ModelConfig
from transformer.data import Utterance, load
from transformer.lexicon import read_lexicon
from transformer.train import GROUPS, Team, TrainConfig, pin, start_run, train

PEOPLE = {"ls", "ka", "lj", "so"}
SHORT = TrainConfig(epochs=1, warmup=60)  # the shortest examples: they are what a few hundred steps can learn from


@dataclass(frozen=True)
class Variant:
    """One model: its shape, how it is trained, and whom it hears."""

    name: str
    shape: ModelConfig = NANO
    train: TrainConfig = SHORT
    hears: Callable[[Utterance], bool] = GROUPS["train"]


def is_person(utterance: Utterance) -> bool:
    """Tell a person of the training from an engine."""
    return GROUPS["train"](utterance) and utterance.source in PEOPLE


def is_engine(utterance: Utterance) -> bool:
    """Tell an engine's voice of the training from a person."""
    return GROUPS["train"](utterance) and utterance.source not in PEOPLE


VARIANTS = (
    Variant("all of it"),
    Variant("people alone", hears=is_person),
    Variant("engines alone", hears=is_engine),
    Variant("letters alone", train=replace(SHORT, phone_weight=0.0, auxiliary_weight=0.0, letter_weight=1.0)),
    Variant("no auxiliary head", replace(NANO, auxiliary_layer=0)),
    Variant("no augmentation", train=replace(SHORT, harden=False)),
    Variant("larger (SMALL)", SMALL),
    Variant("phones alone", train=replace(SHORT, letter_weight=0.0)),
)


def work(rank: int, options: argparse.Namespace) -> None:
    """Train every n-th variant."""
    pin(rank)
    lexicon = read_lexicon(options.work / "lexicon.tsv")
    for variant in VARIANTS[rank :: options.processes]:
        corpora = load(options.work, lexicon, {**GROUPS, "train": variant.hears})
        config = replace(variant.train, steps=options.steps)
        if not config.harden:
            corpora["train"] = {name: variants[:1] for name, variants in corpora["train"].items()}
        noises = [variants[0] for variants in corpora["wordless"].values()]
        tests = {name: [variants[0] for variants in corpora[name].values()][:100] for name in ("people", "ked")}
        with tempfile.TemporaryDirectory() as folder:
            run = start_run(Path(folder), variant.shape, config)
            run.log(variant=variant.name)
            train(run, Team(), corpora["train"], noises, tests)


def main() -> None:
    """Train all variants, as many side by side as there are processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--steps", type=int, default=350)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    spawn(work, (options,), nprocs=options.processes)


if __name__ == "__main__":
    main()
