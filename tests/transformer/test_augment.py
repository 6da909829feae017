import io
from functools import cache

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transformer import augment
from transformer.audio import Floats, log_mel, normalise
from transformer.augment import CODECS
from transformer.config import SAMPLE_RATE


def tone(hz: float, seconds: float = 1) -> Floats:
    return (0.3 * np.sin(2 * np.pi * hz * np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE)).astype(np.float32)


@cache
def voice(seconds: float = 2, seed: int = 0) -> Floats:
    """Return a buzz with three formants, gliding pitch and syllables: what a codec for speech is made for."""
    random = np.random.default_rng(seed)
    time_s = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    phase = 2 * np.pi * (120 * time_s + 10 * np.sin(2 * np.pi * 0.7 * time_s))
    loud = 1 / (1 + ((np.arange(1, 31)[:, None] * 120 - np.array([500, 1500, 2500])) / 150) ** 2).sum(1)
    buzz = sum(level * np.sin(number * phase) for number, level in enumerate(1 / loud, 1))
    sound = buzz * np.maximum(0, np.sin(2 * np.pi * 3 * time_s)) ** 0.5 + random.normal(0, 0.01, len(time_s))
    return (0.5 * sound / np.abs(sound).max()).astype(np.float32)


def noise(seconds: float, seed: int = 1) -> Floats:
    return np.random.default_rng(seed).normal(0, 0.1, int(seconds * SAMPLE_RATE)).astype(np.float32)


def loudest_hz(sound: Floats) -> float:
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound)), 1 << 18))
    return float(spectrum.argmax() * SAMPLE_RATE / (1 << 18))


def power(sound: Floats) -> float:
    return float((sound.astype(np.float64) ** 2).mean())


# --- speed, level, noise, rooms ---


@pytest.mark.parametrize("factor", [0.5, 0.9, 1, 1.1, 1.5])
def test_speed_moves_length_and_pitch(factor: float) -> None:
    sound = tone(1000)
    faster = augment.change_speed(sound, factor)
    assert (len(faster), faster.dtype) == (round(SAMPLE_RATE / factor), np.float32)
    assert loudest_hz(faster) == pytest.approx(1000 * factor, rel=1e-3)
    assert power(faster) == pytest.approx(power(sound), rel=0.02)


@settings(deadline=None)
@given(st.integers(1, 20_000), st.floats(0.5, 2))
def test_speed_gives_the_length_asked_for(length: int, factor: float) -> None:
    assert len(augment.change_speed(np.ones(length, np.float32), factor)) == round(length / factor)


def test_speed_one_is_the_sound() -> None:
    assert np.abs(augment.change_speed(voice(), 1) - voice()).max() < 1e-5


def test_speed_can_be_undone() -> None:
    there = augment.change_speed(voice(), 0.9)
    back = augment.change_speed(there, 1 / 0.9)[: len(voice())]
    # Lengths are whole samples, so that the way back drifts by some hundredths of a sample.
    assert np.corrcoef(back[:16_000], voice()[:16_000])[0, 1] > 0.99


def test_levels_are_matched() -> None:
    assert power(augment.match_level(noise(1), voice())) == pytest.approx(power(voice()), rel=1e-3)
    assert np.abs(augment.match_level(np.zeros(100, np.float32), voice())).max() == 0


@pytest.mark.parametrize("snr_db", [-5, 0, 10, 30])
@pytest.mark.parametrize("seconds", [0.3, 2, 5])
def test_noise_is_as_weak_as_asked(snr_db: float, seconds: float) -> None:
    noisy = augment.add_noise(voice(), noise(seconds), snr_db)
    assert len(noisy) == len(voice())
    measured = 10 * np.log10(power(voice()) / power(noisy - voice()))
    assert measured == pytest.approx(snr_db, abs=0.1)


def test_silence_as_noise_adds_nothing() -> None:
    assert (augment.add_noise(voice(), np.zeros(100, np.float32), 10) == voice()).all()


@pytest.mark.parametrize("seed", range(5))
def test_a_room_keeps_length_and_level_but_rings(seed: int) -> None:
    click = np.zeros(SAMPLE_RATE, np.float32)
    click[1000] = 0.5
    heard = augment.add_room(click, np.random.default_rng(seed))
    assert len(heard) == len(click)
    assert power(heard) == pytest.approx(power(click), rel=1e-3)
    assert np.abs(heard[:1000]).max() < 1e-4
    assert power(heard[1001:3000]) > 100 * power(heard[12_000:])


def test_a_telephone_has_no_high_and_no_low_tones() -> None:
    for hz in (100, 5000):
        assert power(augment.telephone(tone(hz))[2000:-2000]) < 1e-4 * power(tone(hz))
    assert power(augment.telephone(tone(1000))) == pytest.approx(power(tone(1000)), rel=0.02)
    assert len(augment.telephone(voice())) == len(voice())


def test_clipping_cuts_the_share_asked_for() -> None:
    clipped = augment.clip(noise(20), 0.05)
    assert (clipped != noise(20)).mean() == pytest.approx(0.05, abs=0.005)
    assert (augment.clip(np.zeros(100, np.float32), 0.05) == 0).all()


# --- codecs ---


def best_correlation(sound: Floats, other: Floats) -> tuple[float, int]:
    """Return the highest correlation over all delays, and the delay in samples."""
    size = 2 * len(sound)
    products = np.fft.irfft(np.fft.rfft(other, size) * np.fft.rfft(sound, size).conj(), size)
    at = int(products.argmax())
    delay = at if at < len(sound) else at - size
    return float(products[at] / np.sqrt((sound**2).sum() * (other**2).sum())), delay


@pytest.mark.parametrize(("codec", "container", "low", "high"), CODECS, ids=[codec for codec, *_ in CODECS])
def test_a_codec_keeps_length_and_most_of_the_sound(codec: str, container: str, low: int, high: int) -> None:
    for bit_rate, least in ((low, 0.85), (high, 0.95)):
        heard = augment.through_codec(voice(), codec, container, bit_rate)
        correlation, delay = best_correlation(voice(), heard)
        assert heard.shape == voice().shape
        assert heard.dtype == np.float32
        assert correlation > least, bit_rate
        assert abs(delay) < 0.15 * SAMPLE_RATE
        assert not np.allclose(heard, voice(), atol=1e-3)


def test_a_file_is_read_as_16_khz_mono() -> None:
    stereo = np.stack([np.sin(2 * np.pi * 440 * np.arange(44_100) / 44_100)] * 2)
    file = io.BytesIO()
    with av.open(file, "w", format="wav") as output:
        stream = output.add_stream("pcm_s16le", rate=44_100, layout="stereo")
        packed = (stereo * 16_000).astype(np.int16).T.reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(packed), "s16", "stereo")
        frame.sample_rate = 44_100
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    sound = augment.read_sound(io.BytesIO(file.getvalue()))
    assert abs(len(sound) - SAMPLE_RATE) < 50
    assert loudest_hz(sound) == pytest.approx(440, abs=1)


# --- all at once ---


def test_harder_is_the_same_for_the_same_seed() -> None:
    noises = [noise(3), augment.music(3, np.random.default_rng(5))]
    variants = [augment.harder(voice(), noises, np.random.default_rng(seed), 0.9) for seed in (*range(12), 0)]
    assert all(np.isfinite(variant).all() for variant in variants)
    assert {len(variant) for variant in variants} == {round(len(voice()) / 0.9)}
    assert (variants[0] == variants[-1]).all()
    assert len({variant.tobytes() for variant in variants[:-1]}) > 6


# --- sounds without words ---


@pytest.mark.parametrize("make", [augment.music, augment.steady_noise])
def test_made_sounds_are_finite_and_bounded(make: augment.Callable[[float, augment.Random], Floats]) -> None:
    for seed in range(8):
        sound = make(1.5, np.random.default_rng(seed))
        assert (len(sound), sound.dtype) == (24_000, np.float32)
        assert np.isfinite(sound).all()
        assert 0 < np.abs(sound).max() <= 1
        assert (make(1.5, np.random.default_rng(seed)) == sound).all()


# --- on features ---


def test_a_mel_axis_that_is_not_stretched_stays() -> None:
    features = log_mel(voice())
    assert (augment.warp_mel(features, 1) == features).all()


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_a_stretched_mel_axis_moves_a_peak(factor: float) -> None:
    features = np.zeros((3, 80), np.float32)
    features[:, 33] = 1
    warped = augment.warp_mel(features, factor)
    assert warped.shape == features.shape
    assert abs(warped.argmax(1)[0] - 33 / factor) <= 1


def test_time_that_is_not_stretched_stays() -> None:
    features = log_mel(voice())
    stretched = augment.stretch_time(features, 1)
    assert stretched.shape == features.shape
    assert np.abs(stretched - features).max() < 1e-5


@pytest.mark.parametrize("factor", [0.8, 0.9, 1.1, 1.25])
def test_stretched_time_keeps_the_pitch(factor: float) -> None:
    features = np.repeat(np.linspace(0, 1, 101, dtype=np.float32)[:, None], 80, axis=1)
    stretched = augment.stretch_time(features, factor)
    assert len(stretched) == pytest.approx(101 / factor, abs=1)
    assert stretched[10] == pytest.approx(features[0] + 0.1 * factor, abs=1e-5)


def test_a_tilt_is_the_same_at_all_times_and_mild() -> None:
    features = log_mel(voice())
    tilts = [augment.tilt(features, np.random.default_rng(seed)) - features for seed in range(50)]
    assert max(float(np.ptp(tilt, axis=0).max()) for tilt in tilts) < 1e-4
    assert np.std(tilts) == pytest.approx(0.2, abs=0.1)
    assert np.abs(normalise(features + tilts[0]) - normalise(features)).mean() < 0.02


def test_very_weak_noise_leaves_the_sound() -> None:
    features = log_mel(voice())
    assert np.abs(augment.mix(features, log_mel(noise(1)), 200) - features).max() < 1e-3


def test_two_sounds_mix_as_their_samples_do() -> None:
    sound, other = noise(2, 1), noise(2, 2)
    mixed = augment.mix(log_mel(sound), log_mel(other), 0)
    assert abs(float((mixed - log_mel(sound + other)).mean())) < 0.1


def test_a_mask_leaves_most_and_takes_something() -> None:
    features = np.ones((300, 80), np.float32)
    shares = [float((augment.mask(features, np.random.default_rng(seed)) == 0).mean()) for seed in range(100)]
    assert (features == 1).all()
    assert max(shares) < 0.7
    assert 0.1 < np.mean(shares) < 0.4
    assert np.mean(np.array(shares) > 0) > 0.95


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(0, 1000))
def test_a_mask_fits_any_length(frames: int, seed: int) -> None:
    features = np.ones((frames, 80), np.float32)
    masked = augment.mask(features, np.random.default_rng(seed), holes_per_s=20)
    assert masked.shape == features.shape
    assert set(np.unique(masked)) <= {0, 1}
