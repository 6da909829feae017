"""The model that is served: what it hears in voices of the engines, when, and that it hears nothing in music."""

import csv
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from transformer import augment
from transformer.audio import Floats
from transformer.config import SAMPLE_RATE, SMALL
from transformer.evaluate import SCORED
from transformer.export import describe
from transformer.metrics import word_accuracy
from transformer.runtime import WEIGHTS, Transcriber, shipped

VOICES = Path(__file__).parent / "voices"
MOST_BYTES = 12_000_000
Said = list[tuple[Floats, dict[str, str]]]


@pytest.fixture(scope="module")
def model() -> Transcriber:
    return shipped()


@pytest.fixture(scope="module")
def voices() -> dict[str, Said]:
    sound = augment.read_sound(str(VOICES / "voices.opus"))
    found: dict[str, Said] = {}
    with (VOICES / "voices.tsv").open(newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            start, end = (round(float(row[name]) * SAMPLE_RATE) for name in ("start_s", "end_s"))
            found.setdefault(row["split"], []).append((sound[start:end], row))
    return found


def accuracy(model: Transcriber, said: Said, change: object = None) -> float:
    heard = [(change(sound) if callable(change) else sound, row["text"]) for sound, row in said]
    return word_accuracy([(" ".join(word.text for word in model.transcribe(sound)), text) for sound, text in heard])


@pytest.mark.parametrize(("split", "least"), [("t1", 0.9), ("t2", 0.85), ("ked", 0.6)])
def test_voices_of_engines_are_understood(
    model: Transcriber, voices: dict[str, Said], split: str, least: float
) -> None:
    assert accuracy(model, voices[split]) >= least


def test_speech_is_understood_in_bad_sound(model: Transcriber, voices: dict[str, Said]) -> None:
    random = np.random.default_rng(0)
    music = partial(augment.add_noise, noise=augment.music(6, random), snr_db=15.0)
    assert accuracy(model, voices["t2"], music) >= 0.7
    assert accuracy(model, voices["t2"], augment.telephone) >= 0.7
    assert accuracy(model, voices["t2"], lambda sound: augment.clip(sound, 0.01)) >= 0.7
    assert accuracy(model, voices["t2"], lambda sound: np.where(np.arange(len(sound)) % 999, sound, np.nan)) >= 0.7


def test_words_are_found_when_the_engine_says_them(model: Transcriber, voices: dict[str, Said]) -> None:
    errors = [
        abs(word.start_s - float(start))
        for sound, row in voices["ked"]
        for word, start in zip(model.align(sound, row["text"]), row["word_starts_s"].split(), strict=True)
    ]
    assert np.median(errors) <= 0.06
    assert np.percentile(errors, 90) <= 0.15


def test_nothing_is_written_where_nobody_speaks(model: Transcriber) -> None:
    random = np.random.default_rng(11)
    sounds = [augment.music(8, random) for _ in range(6)] + [augment.steady_noise(8, random) for _ in range(6)]
    sounds += [np.zeros(8 * SAMPLE_RATE, np.float32), np.full(SAMPLE_RATE, 0.3, np.float32)]
    assert [word.text for sound in sounds for word in model.transcribe(sound)] == []


def test_captions_come_from_the_weights_in_the_file(voices: dict[str, Said], tmp_path: Path) -> None:
    """With the phones of one matrix moved on by one, another language is heard."""
    folder = tmp_path / "other"
    shutil.copytree(WEIGHTS, folder)
    graph = onnx.load(folder / "captioner.onnx")
    (head,) = (init for init in graph.graph.initializer if tuple(init.dims) == (SMALL.d_model, SMALL.n_phones))
    columns = numpy_helper.to_array(head)
    head.CopyFrom(
        numpy_helper.from_array(np.concatenate([columns[:, :1], np.roll(columns[:, 1:], 1, 1)], 1), head.name)
    )
    onnx.save(graph, folder / "captioner.onnx")
    describe(folder, {"version": "moved"})
    assert accuracy(Transcriber(folder), voices["t2"]) < 0.2


def test_long_speech_is_read_over_joints(model: Transcriber, voices: dict[str, Said]) -> None:
    """Without pauses, pieces are cut anywhere: what is said there is said once."""
    tight = [(sound[np.abs(sound) > 0.003], row["text"]) for sound, row in voices["t2"]]
    whole = np.concatenate([sound for sound, _ in tight])
    heard = " ".join(word.text for word in model.transcribe(whole))
    apart = [(" ".join(word.text for word in model.transcribe(sound)), text) for sound, text in tight]
    assert len(whole) > 30 * SAMPLE_RATE
    assert word_accuracy([(heard, " ".join(text for _, text in tight))]) >= word_accuracy(apart) - 0.1


def test_confidence_tells_right_words_from_wrong_ones(model: Transcriber, voices: dict[str, Said]) -> None:
    words = [
        (word, row["text"].split())
        for said in voices.values()
        for sound, row in said
        for word in model.transcribe(sound)
    ]
    right = [word.confidence for word, meant in words if word.text in meant]
    wrong = [word.confidence for word, meant in words if word.text not in meant]
    assert np.mean(right) > np.mean(wrong) + 0.05


def test_it_is_small_and_says_where_it_comes_from() -> None:
    files = {path.name: path.stat().st_size for path in WEIGHTS.iterdir()}
    assert set(files) == {"captioner.json", "captioner.onnx", "language.xz", "lexicon.xz", "LICENCES.md"}
    assert sum(files.values()) <= MOST_BYTES
    card = (WEIGHTS.parent / "MODEL_CARD.md").read_text()
    assert all(
        source in card for source in ("LibriSpeech", "speechocean762", "LJSpeech", "kathleen", "Kokoro", "ESC-10")
    )
    assert "CC BY-SA 4.0" in (WEIGHTS / "LICENCES.md").read_text()


def test_scores_hold_what_was_asked(model: Transcriber) -> None:
    scores = model.about["scores"]
    assert scores["of"] == {name: model.about[name] for name in SCORED}, "scores of another model: evaluate anew"
    tiers = scores["tiers"]
    assert {"T1", "T2", "T3", "T3n", "T4r", "T4l", "T4x"} <= set(tiers)
    assert tiers["T4r"]["beam"] >= 65
    assert tiers["T1"]["beam"] >= 90
    assert tiers["T2"]["beam"] >= 85
    for tier in ("T2", "T4r"):
        assert abs(tiers[tier]["beam"] - tiers[tier]["fp32"]) <= 1, "eight bits must not cost a point"
    assert scores["without_speech"]["words"] == 0
