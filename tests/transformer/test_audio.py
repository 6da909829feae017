import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from transformer import audio
from transformer.audio import (
    BLOCK,
    FLOOR,
    RANGE,
    Floats,
    clean_samples,
    hann,
    hz_to_mel,
    log_mel,
    log_mel_torch,
    mel_filters,
    mel_to_hz,
    normalise,
)
from transformer.config import HOP, N_FFT, N_MELS, SAMPLE_RATE, WINDOW

BIN_HZ = SAMPLE_RATE / N_FFT
CENTRES = mel_to_hz(np.linspace(0, hz_to_mel(np.array(SAMPLE_RATE / 2)), N_MELS + 2))[1:-1]


def noise(length: int, seed: int = 0, level: float = 0.1) -> Floats:
    return np.random.default_rng(seed).normal(0, level, length).astype(np.float32)


def tone(hz: float, seconds: float = 0.5) -> Floats:
    return np.sin(2 * np.pi * hz * np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE).astype(np.float32)


# --- the mel scale and its filters ---


@pytest.mark.parametrize(("hz", "mel"), [(0, 0), (200, 3), (1000, 15), (6400, 42)])
def test_the_scale_is_slaneys(hz: float, mel: float) -> None:
    assert hz_to_mel(np.array(hz)) == pytest.approx(mel)
    assert mel_to_hz(np.array(mel)) == pytest.approx(hz)


@settings(deadline=None)
@given(st.floats(0, 8000))
def test_the_scale_has_an_inverse(hz: float) -> None:
    assert mel_to_hz(hz_to_mel(np.array(hz))) == pytest.approx(hz, abs=1e-6)


def test_filters_have_unit_area() -> None:
    areas = mel_filters().sum(1) * BIN_HZ
    assert mel_filters().shape == (N_MELS, N_FFT // 2 + 1)
    # Below 1 kHz a triangle spans about two bins, so that its sampled area is rough.
    assert np.abs(areas - 1).max() < 0.12
    assert np.abs(areas[CENTRES > 2000] - 1).max() < 0.02


def test_filters_are_ordered_and_none_is_empty() -> None:
    filters = mel_filters()
    centres = (filters * np.arange(filters.shape[1])).sum(1) / filters.sum(1) * BIN_HZ
    assert (filters >= 0).all()
    assert (filters.max(1) > 0).all()
    assert (np.diff(centres) > 0).all()
    assert np.abs(centres - CENTRES).max() < BIN_HZ


@pytest.mark.parametrize("band", [5, 20, 40, 60, 79])
def test_a_tone_is_loudest_in_its_band(band: int) -> None:
    features = log_mel(tone(float(CENTRES[band])))
    assert (features[5:-5].argmax(1) == band).all()


def test_the_window_is_periodic() -> None:
    assert np.allclose(hann() + np.roll(hann(), WINDOW // 2), 1, atol=1e-6)


# --- log-mel ---


@pytest.mark.parametrize("length", [0, 1, 159, 160, 161, WINDOW - 1, WINDOW, N_FFT, 1_000, SAMPLE_RATE, 50_001])
def test_numpy_and_torch_agree(length: int) -> None:
    sound = noise(length)
    sound[length // 2 :] *= 1e-3
    by_numpy, by_torch = log_mel(sound), log_mel_torch(torch.from_numpy(sound)[None])[0].numpy()
    assert by_numpy.shape == by_torch.shape == (1 + length // HOP, N_MELS)
    assert by_numpy.dtype == by_torch.dtype == np.float32
    assert np.abs(by_numpy - by_torch).max() < 1e-4


def test_torch_takes_a_batch() -> None:
    sounds = torch.from_numpy(np.stack([noise(2000, 1), noise(2000, 2)]))
    batch = log_mel_torch(sounds)
    assert torch.allclose(batch[1], log_mel_torch(sounds[1:])[0], atol=1e-6)


def test_silence_is_the_floor() -> None:
    assert np.allclose(log_mel(np.zeros(1000, np.float32)), np.log10(FLOOR))


@pytest.mark.parametrize("frame", [0, 3, 50, 100])
def test_frames_are_centred_on_their_hop(frame: int) -> None:
    click = np.zeros(SAMPLE_RATE + 1, np.float32)
    click[frame * HOP] = 1
    assert log_mel(click).sum(1).argmax() == frame


@pytest.mark.parametrize("block", [1, 7, 100, 101, 102])
def test_blocks_leave_no_seam(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    sound = noise(SAMPLE_RATE)
    at_once = log_mel(sound)
    monkeypatch.setattr(audio, "BLOCK", block)
    assert np.abs(log_mel(sound) - at_once).max() < 1e-5


def test_a_long_sound_is_its_parts() -> None:
    sound = noise((BLOCK + 500) * HOP)
    features = log_mel(sound)
    assert features.shape == (BLOCK + 501, N_MELS)
    for first in (0, BLOCK - 50, BLOCK + 400):
        part = log_mel(sound[first * HOP : (first + 100) * HOP])
        assert np.abs(features[first + 3 : first + 97] - part[3:97]).max() < 1e-5


def working_memory(blocks: int) -> int:
    """Return the bytes that log_mel takes beyond its padded input and its result."""
    sound = noise(blocks * BLOCK * HOP - 1)
    tracemalloc.start()
    features = log_mel(sound)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak - sound.nbytes - features.nbytes


def test_memory_is_bounded_by_a_block() -> None:
    two, four = working_memory(2), working_memory(4)
    assert four < 1.01 * two
    assert two < BLOCK * 20_000


# --- what the network takes ---


def test_normalise_removes_an_equaliser() -> None:
    features = log_mel(noise(2 * SAMPLE_RATE))
    equaliser = np.random.default_rng(1).normal(0, 0.5, N_MELS).astype(np.float32)
    assert np.abs(normalise(features + equaliser) - normalise(features)).max() < 1e-4


def test_normalise_removes_a_real_filter() -> None:
    sound = noise(2 * SAMPLE_RATE) * np.linspace(0.2, 1, 2 * SAMPLE_RATE, dtype=np.float32)
    filtered = np.convolve(sound, [1, -0.7, 0.2])[: len(sound)].astype(np.float32)
    before, after = log_mel(sound), log_mel(filtered)
    assert np.abs(before - after).mean() > 0.1
    assert np.abs(normalise(before) - normalise(after)).mean() < 0.02


@settings(deadline=None)
@given(st.floats(-2, 2))
def test_normalise_removes_loudness(decades: float) -> None:
    """80 dB below the loudest band are kept, however loud that is."""
    features = np.linspace(-7.5, 0, 50 * N_MELS, dtype=np.float32).reshape(50, N_MELS)
    np.testing.assert_allclose(normalise(features + np.float32(decades)), normalise(features), atol=1e-4)


def test_normalise_keeps_80_db() -> None:
    features = np.full((10, N_MELS), np.log10(FLOOR), np.float32)
    features[4:6] = 2
    normalised = normalise(features)
    assert np.ptp(normalised) == pytest.approx(RANGE / 1.5, rel=1e-5)
    assert np.abs(normalised.mean(0)).max() < 1e-5
    assert normalised.dtype == np.float32


def test_normalised_silence_is_zero() -> None:
    assert np.abs(normalise(log_mel(np.zeros(0, np.float32)))).max() == 0


# --- samples from anywhere ---


@settings(deadline=None)
@given(arrays(np.float32, st.integers(0, 50), elements=st.floats(width=32)))
def test_cleaned_samples_are_finite_and_bounded(samples: Floats) -> None:
    cleaned = clean_samples(samples)
    inside = np.isfinite(samples) & (np.abs(samples) <= 1)
    assert cleaned.dtype == np.float32
    assert np.isfinite(cleaned).all()
    assert (np.abs(cleaned) <= 1).all()
    assert (cleaned[inside] == samples[inside]).all()


def test_what_is_no_number_becomes_silence() -> None:
    dirty = np.array([0.5, np.nan, np.inf, -np.inf, 3, -3], np.float32)
    assert clean_samples(dirty).tolist() == [0.5, 0, 0, 0, 1, -1]


def test_integers_of_16_bits_are_scaled() -> None:
    assert clean_samples(np.array([0, 16_384, -32_768], np.int16)).tolist() == [0, 0.5, -1]


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_every_float_is_taken(kind: type) -> None:
    cleaned = clean_samples(np.array([0.25, -0.5], kind))
    assert (cleaned.dtype, cleaned.tolist()) == (np.float32, [0.25, -0.5])


def test_a_float_beyond_32_bits_is_bounded_too() -> None:
    assert np.abs(clean_samples(np.array([1e300, -1e300]))).max() <= 1


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros((100, 2), np.float32),
        np.zeros((1, 100), np.int16),
        np.float32(0.5),
        np.zeros(10, np.int32),
        np.zeros(10, np.uint8),
        np.zeros(10, np.bool_),
        np.zeros(10, np.complex64),
        np.array(["a"]),
    ],
    ids=["stereo", "row", "scalar", "int32", "uint8", "bool", "complex", "text"],
)
def test_anything_else_is_refused(samples: np.ndarray) -> None:
    with pytest.raises(ValueError, match="samples must be"):
        clean_samples(samples)
