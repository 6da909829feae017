"""The training script: it counts its steps, goes on where it was killed, and hardens what it hears."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from transformer.config import N_MELS, ModelConfig
from transformer.data import Corpus, Example, plan_epoch
from transformer.export import load_run
from transformer.model import Captioner
from transformer.tokenizer import encode_letters
from transformer.train import Run, Team, TrainConfig, error_rates, learning_rate, start_run, train

TINY = ModelConfig(32, n_layers=1, n_heads=2, d_ff=64, conv_channels=4, conv_kernel=3, auxiliary_layer=1, dropout=0.1)
QUICK = TrainConfig(epochs=2, frames=400, warmup=2, muon_lr=0.01, adam_lr=0.01, harden=0.0)


def example(number: int, frames: int = 100) -> Example:
    features = np.random.default_rng(number).normal(0, 1, (frames, N_MELS)).astype(np.float16)
    return Example(features, (1 + number % 39, 3), tuple(encode_letters("ab")), "ls", "ab")


NOBODY = Example(example(99).features, (), (), "none", "")


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return {str(number): [example(number)] for number in range(40)}


def go(run: Run, corpus: Corpus) -> Run:
    train(run, Team(), corpus, [NOBODY], {})
    return run


def weights(model: Captioner) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_it_stops_after_its_epochs_or_its_steps(tmp_path: Path, corpus: Corpus) -> None:
    whole = go(start_run(tmp_path / "whole", TINY, QUICK), corpus)
    first, second = (
        len(plan_epoch(corpus, [NOBODY], seed=1000 + at, frames=400, by_length=at == 0, hardness=0)) for at in (0, 1)
    )
    assert (whole.epoch, whole.step, whole.total) == (2, first + second, 2 * first)
    assert whole.total > 6
    # One step more than an epoch has: the second epoch is begun and not ended.
    few = go(start_run(tmp_path / "few", TINY, replace(QUICK, epochs=99, steps=whole.total // 2 + 1)), corpus)
    assert (few.epoch, few.step, few.total) == (2, whole.total // 2 + 1, whole.total // 2 + 1)


def test_killed_after_an_epoch_it_ends_as_if_nothing_had_been(tmp_path: Path, corpus: Corpus) -> None:
    whole = go(start_run(tmp_path / "whole", TINY, QUICK), corpus)
    killed = start_run(tmp_path / "killed", TINY, QUICK)
    save = Run.save

    def save_and_die(run: Run) -> None:
        save(run)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "save", save_and_die)
        with pytest.raises(KeyboardInterrupt):
            go(killed, corpus)
    with pytest.raises(ValueError, match="other settings"):
        start_run(tmp_path / "killed", TINY, replace(QUICK, epochs=3))
    resumed = start_run(tmp_path / "killed", TINY, QUICK)
    assert (resumed.epoch, resumed.step) == (1, killed.step)
    assert torch.equal(weights(go(resumed, corpus).average), weights(whole.average))


def test_the_same_seed_gives_the_same_weights(tmp_path: Path, corpus: Corpus) -> None:
    seeds = {"one": 1, "again": 1, "other": 2}
    made = {
        name: weights(go(start_run(tmp_path / name, TINY, replace(QUICK, seed=seed)), corpus).model)
        for name, seed in seeds.items()
    }
    assert torch.equal(made["one"], made["again"])
    assert not torch.allclose(made["one"], made["other"], atol=1e-3)


def test_what_is_exported_is_the_average_of_the_weights(tmp_path: Path, corpus: Corpus) -> None:
    run = go(start_run(tmp_path, TINY, QUICK), corpus)
    assert torch.equal(weights(load_run(tmp_path)), weights(run.average))
    assert not torch.equal(weights(run.model), weights(run.average))
    assert not any(parameter.requires_grad for parameter in run.average.parameters())


def test_the_learning_rate_rises_and_falls() -> None:
    rates = [learning_rate(step, 100, 10) for step in range(101)]
    assert rates[9] == max(rates) == 1
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] == pytest.approx(0.01)


def test_error_rates_count_phones_and_letters() -> None:
    torch.manual_seed(0)
    model = Captioner(TINY).eval()
    for head in (model.phone_head, model.letter_head):
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.zeros_(head.bias)
        head.bias.data[0] = 9.0  # says nothing, whatever it hears
    assert error_rates(model, [example(1), example(2, frames=37)]) == {"phones": 1.0, "letters": 1.0}


def test_sound_becomes_harder_until_two_thirds_of_the_epochs() -> None:
    config = TrainConfig(epochs=9, harden=0.6, ramp=2 / 3)
    assert [round(config.hardness(epoch), 3) for epoch in range(9)] == [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.6, 0.6]
    assert replace(config, ramp=0).hardness(0) == 0.6
    assert replace(config, harden=0).hardness(8) == 0
