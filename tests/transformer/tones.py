"""Speech of tones, one pitch for each phone, and a model made by hand that reads it: what is heard can be foretold."""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.transformer.tiny import BEAM, LEXICON, Floats, make_entries, make_language, phones_of
from transformer.audio import hz_to_mel, mel_to_hz
from transformer.config import FRAME_S, N_MELS, SAMPLE_RATE, SUBSAMPLING
from transformer.export import describe
from transformer.graph import N_PHONES, save_entries

N_LETTERS = 29
FRAME = int(FRAME_S * SAMPLE_RATE)
CENTRES = mel_to_hz(np.linspace(0, hz_to_mel(np.array(SAMPLE_RATE / 2)), N_MELS + 2))[1:-1]
SAID = sorted({phone for variants in LEXICON.values() for variant in variants for phone in phones_of(variant)})
BANDS = {phone: 8 + 4 * number for number, phone in enumerate(SAID)}  # so far apart that none is heard in another


def speak_tones(words: Iterable[str], *, pause_frames: int = 2) -> tuple[Floats, list[tuple[float, float]]]:
    """Return sound in which each phone is two frames long and each word ends in silence, and when each word is said."""
    path: list[int] = [0] * 3
    spans = []
    for word in words:
        first = len(path)
        path += [label for phone in phones_of(LEXICON[word][0]) for label in (phone, phone, 0)]
        spans.append((first * FRAME_S, (len(path) - 1) * FRAME_S))
        path += [0] * pause_frames
    time = np.arange(FRAME) / SAMPLE_RATE
    silent = np.zeros(FRAME)
    sound = [0.3 * np.sin(2 * np.pi * CENTRES[BANDS[label]] * time) if label else silent for label in path]
    # The network's frames are centred on multiples of 40 ms; what is heard in one begins half a frame before it.
    return np.concatenate(sound)[FRAME // 2 :].astype(np.float32), spans


def _weights() -> dict[str, np.ndarray]:
    phones, letters = np.zeros((N_MELS, N_PHONES), np.float32), np.zeros((N_MELS, N_LETTERS), np.float32)
    for phone, band in BANDS.items():
        phones[band, phone] = 8
    bias = np.zeros(N_PHONES, np.float32)
    bias[0] = 14
    return {"phone_weights": phones, "letter_weights": letters, "bias": bias}


def make_tone_model(folder: Path, **facts: object) -> Path:
    """Write a folder whose model hears the phone in whose band there is a tone; return it."""
    row = {"starts": [0], "ends": [2**31 - 1], "axes": [1], "steps": [SUBSAMPLING]}
    constants = {**_weights(), **{name: np.array(value, np.int64) for name, value in row.items()}}
    nodes = [
        helper.make_node("Slice", ["features", *row], ["every_fourth"]),
        helper.make_node("MatMul", ["every_fourth", "phone_weights"], ["heard"]),
        helper.make_node("Add", ["heard", "bias"], ["logits"]),
        helper.make_node("LogSoftmax", ["logits"], ["phones"], axis=-1),
        helper.make_node("MatMul", ["every_fourth", "letter_weights"], ["letter_logits"]),
        helper.make_node("LogSoftmax", ["letter_logits"], ["letters"], axis=-1),
    ]
    graph = helper.make_graph(
        nodes,
        "tones",
        [
            helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", "time", N_MELS]),
            helper.make_tensor_value_info("frames", TensorProto.INT64, ["batch"]),
        ],
        [
            helper.make_tensor_value_info("phones", TensorProto.FLOAT, ["batch", "s", N_PHONES]),
            helper.make_tensor_value_info("letters", TensorProto.FLOAT, ["batch", "s", N_LETTERS]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / "captioner.onnx")
    make_language().save(folder / "language.xz")
    save_entries(folder / "lexicon.xz", make_entries())
    describe(folder, {"beam": asdict(BEAM), **facts})
    return folder
