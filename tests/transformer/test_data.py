import wave
from pathlib import Path

import numpy as np
import pytest

from transformer import augment, data
from transformer.audio import Floats, normalise
from transformer.config import N_MELS, SAMPLE_RATE
from transformer.data import Example, Utterance, make_batch, plan_epoch, random_of, read_noises, read_samples, wordless


def make_noises() -> list[Floats]:
    return [
        np.random.default_rng(seed).normal(0, 0.1, 20 * SAMPLE_RATE).clip(-1, 1).astype(np.float32) for seed in (1, 2)
    ]


def test_wordless_sounds_are_finite_bounded_and_long_enough() -> None:
    sounds = list(wordless(make_noises(), 12, seed=3))
    assert len(sounds) == 12
    for sound in sounds:
        assert sound.dtype == np.float32
        assert 3 * SAMPLE_RATE <= len(sound) <= 14 * SAMPLE_RATE
        assert np.isfinite(sound).all()
        assert 0 < np.abs(sound).max() <= 1


def test_wordless_sounds_are_the_same_for_the_same_seed() -> None:
    first, again, other = (list(wordless(make_noises(), 3, seed=seed)) for seed in (3, 3, 4))
    assert all(np.array_equal(one, two) for one, two in zip(first, again, strict=True))
    assert not any(np.array_equal(one, two) for one, two in zip(first, other, strict=True))


def test_an_utterance_is_cut_out_of_its_file(tmp_path: Path) -> None:
    path = str(tmp_path / "two.wav")
    ramp = np.arange(SAMPLE_RATE, dtype=np.int16)
    with wave.open(path, "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
        file.writeframes(ramp.tobytes())
    utterances = [
        Utterance("a", "ls", "ls-1", "train", "one", path, 0.25, 0.5),
        Utterance("b", "ls", "ls-1", "train", "two", path, 0.5),
    ]
    (_, first), (last, rest) = read_samples(utterances)
    assert (first * 32_768).round().astype(int).tolist() == list(range(4000, 8000))
    assert (rest * 32_768).round().astype(int).tolist() == list(range(8000, 16_000))
    assert last.id == "b"


def test_noise_for_tests_is_not_heard_in_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cafe.opus", "street.opus"):
        (tmp_path / name).touch()
    ramp = np.arange(3 * SAMPLE_RATE, dtype=np.float32)
    monkeypatch.setattr(augment, "read_sound", lambda path: ramp + 1e6 * ("street" in path))
    monkeypatch.setattr(data, "NOISE_TRAIN_S", 2)
    train, test = read_noises(tmp_path), read_noises(tmp_path, held_out=True)
    assert [len(noise) for noise in train] == [2 * SAMPLE_RATE] * 2
    assert [len(noise) for noise in test] == [SAMPLE_RATE] * 2
    for heard, kept, (first, last) in zip(train, test, [(0, ramp[-1]), (1e6, ramp[-1] + 1e6)], strict=True):
        assert (heard[0], kept[-1]) == (first, last)
        assert heard[-1] < kept[0]


def make_examples(count: int) -> list[Example]:
    random = np.random.default_rng(5)
    sounds = (random.normal(0, 1, (100 + number, N_MELS)).astype(np.float16) for number in range(count))
    return [Example(sound, (1, 2), (3,), "ls", "a") for sound in sounds]


@pytest.mark.parametrize(("hardness", "least", "most"), [(0.0, 0, 0), (0.5, 60, 140), (1.0, 160, 240)])
def test_an_epoch_draws_as_many_harder_variants_as_it_shall(hardness: float, least: int, most: int) -> None:
    plain, harder = make_examples(300), make_examples(300)
    corpus = {str(number): [one, other, other] for number, (one, other) in enumerate(zip(plain, harder, strict=True))}
    plan = plan_epoch(corpus, plain[:1], seed=1, frames=3000, by_length=True, hardness=hardness)
    chosen = {id(example) for batch in plan for group in batch for example in group}
    assert least <= sum(id(example) in chosen for example in harder) <= most


def test_a_batch_is_the_plain_sound_or_made_harder() -> None:
    groups = [(example,) for example in make_examples(8)]
    plain = [normalise(group[0].features.astype(np.float32)) for group in groups]
    for hardness in (0.0, 1.0):
        batch = make_batch(groups, [groups[0][0]], (1, 2), hardness)
        same = [np.array_equal(row[: len(item)], item) for row, item in zip(batch.features, plain, strict=True)]
        assert same == [hardness == 0.0] * 8
    assert np.array_equal(batch.features, make_batch(groups, [groups[0][0]], (1, 2), 1.0).features)


def test_every_name_has_its_own_luck() -> None:
    names = ["t3-f001", "t3-f002", "train-000.1", "train-000.2", "train-001.1"]
    drawn = [random_of(name).random() for name in names]
    assert len(set(drawn)) == len(names)
    assert drawn == [random_of(name).random() for name in names]
