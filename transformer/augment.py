"""Speech made harder, so that what is learnt holds elsewhere: other rooms, microphones, codecs, voices and company.

Two kinds: on samples, once per cached variant (rooms, codecs and resampling can't be had from features), and on
features, anew in every batch (cheap enough to do each time).
"""

import io
from collections.abc import Callable, Sequence

import av
import numpy as np

from transformer.audio import Floats
from transformer.config import SAMPLE_RATE

Random = np.random.Generator
CODECS = (("aac", "adts", 24_000, 64_000), ("libopus", "ogg", 12_000, 48_000), ("libmp3lame", "mp3", 32_000, 64_000))


def change_speed(samples: Floats, factor: float) -> Floats:
    """Return `samples` played `factor` times as fast: pitch and formants move too, as with another vocal tract.

    Resampled in the frequency domain (Ko et al. 2015 found three speeds worth more than any other augmentation).
    """
    wanted = round(len(samples) / factor)
    size_in = _smooth(len(samples))
    size_out = max(2, round(size_in / factor))
    spectrum = np.fft.rfft(samples, size_in)
    bins = size_out // 2 + 1
    spectrum = spectrum[:bins] if bins <= len(spectrum) else np.pad(spectrum, (0, bins - len(spectrum)))
    return (np.fft.irfft(spectrum, size_out)[:wanted] * (size_out / size_in)).astype(np.float32)


def _smooth(size: int) -> int:
    """Return the next multiple of 4096, a size that an FFT is quick at."""
    return -(-size // 4096) * 4096


def add_room(samples: Floats, random: Random) -> Floats:
    """Return `samples` as heard in a room: a decaying noise tail of 0.1-0.6 s after the direct sound (Moorer 1979)."""
    reverberation_s, direct = random.uniform(0.1, 0.6), random.uniform(0.4, 3.0)
    n = int(reverberation_s * SAMPLE_RATE)
    tail = random.normal(size=n) * 10 ** (-3 * np.arange(n) / n)
    response = np.concatenate([[1.0], tail / np.sqrt((tail**2).sum()) / direct])
    size = _smooth(len(samples) + n)
    wet = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(response, size), size)[: len(samples)]
    return match_level(wet.astype(np.float32), samples)


def match_level(samples: Floats, like: Floats) -> Floats:
    """Return `samples` scaled to the power of `like`."""
    return (samples * np.sqrt((like**2).mean() / max(float((samples**2).mean()), 1e-12))).astype(np.float32)


def add_noise(samples: Floats, noise: Floats, snr_db: float) -> Floats:
    """Return `samples` over `noise` (repeated to their length) that is `snr_db` weaker."""
    long = np.resize(noise, len(samples))
    gain = np.sqrt((samples**2).mean() / max(float((long**2).mean()), 1e-12)) * 10 ** (-snr_db / 20)
    return (samples + gain * long).astype(np.float32)


def telephone(samples: Floats) -> Floats:
    """Return `samples` through 8 kHz and a telephone's band, 300-3400 Hz."""
    size = _smooth(len(samples))
    spectrum = np.fft.rfft(samples, size)
    hz = np.arange(len(spectrum)) * SAMPLE_RATE / size
    spectrum[(hz < 300) | (hz > 3400)] = 0
    return np.fft.irfft(spectrum, size)[: len(samples)].astype(np.float32)


def clip(samples: Floats, share: float) -> Floats:
    """Return `samples` (n,) cut off where the loudest `share` of them begins."""
    limit = float(np.quantile(np.abs(samples[::7]), 1 - share))
    return np.clip(samples, -limit, limit) if limit > 0 else samples


def through_codec(samples: Floats, codec: str, container: str, bit_rate: int) -> Floats:
    """Return `samples` (n,) encoded at `bit_rate` bits a second and decoded by a real codec, as long as before."""
    decoded = read_sound(io.BytesIO(encode(samples, codec, container, bit_rate)))
    return np.pad(decoded[: len(samples)], (0, max(0, len(samples) - len(decoded))))


def encode(samples: Floats, codec: str, container: str, bit_rate: int) -> bytes:
    """Return a file of sound made of mono samples (n,) at 16 kHz, at `bit_rate` bits a second."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        rate = 48_000 if codec == "libopus" else SAMPLE_RATE
        stream = output.add_stream(codec, rate=rate, layout="mono", bit_rate=bit_rate)
        assert isinstance(stream, av.AudioStream)
        frame = av.AudioFrame.from_ndarray((np.clip(samples, -1, 1) * 32767).astype(np.int16)[None], "s16", "mono")
        frame.sample_rate = SAMPLE_RATE
        resampler = av.AudioResampler(stream.codec_context.format, "mono", rate)
        for converted in [*resampler.resample(frame), *resampler.resample(None)]:
            converted.pts = None
            output.mux(stream.encode(converted))
        output.mux(stream.encode(None))
    return file.getvalue()


def read_sound(file: io.BytesIO | str) -> Floats:
    """Return what a file of sound holds, as 16 kHz mono float samples."""
    resampler = av.AudioResampler("flt", "mono", SAMPLE_RATE)
    with av.open(file, "r") as container:
        frames = [out for frame in container.decode(audio=0) for out in resampler.resample(frame)]
    frames += resampler.resample(None)
    return np.concatenate([frame.to_ndarray()[0] for frame in frames] or [np.zeros(0, np.float32)])


def music(seconds: float, random: Random) -> Floats:
    """Return music-like sound without words: chords of decaying partials, a bass and noise for drums."""
    n = int(seconds * SAMPLE_RATE)
    sound = np.zeros(n + 4 * SAMPLE_RATE, np.float32)
    beat = int(random.uniform(0.2, 0.6) * SAMPLE_RATE)
    root, scale = (
        random.uniform(90, 330),
        np.array([0, 2, 3, 5, 7, 8, 10] if random.random() < 0.5 else [0, 2, 4, 5, 7, 9, 11]),
    )
    has_drums, partials = random.random() < 0.6, random.integers(2, 9)
    length = int(random.uniform(0.3, 2.5) * SAMPLE_RATE)
    time_s = np.arange(length, dtype=np.float32) / SAMPLE_RATE
    envelope = np.exp(-time_s * random.uniform(0.5, 8)) * np.minimum(1, time_s * random.uniform(10, 300))
    for at in range(0, n, beat):
        for degree in random.choice(scale, random.integers(1, 4)):
            pitch = root * 2 ** ((degree + 12 * random.integers(-1, 2)) / 12)
            vibrato = 0.003 * pitch * np.sin(2 * np.pi * 5 * time_s) if partials % 2 else 0
            for partial in range(1, partials):
                sound[at : at + length] += (
                    envelope * np.sin(2 * np.pi * partial * (pitch + vibrato) * time_s) / partial**1.3
                )
        if has_drums:
            hit = random.normal(size=beat // 2) * np.exp(-np.arange(beat // 2) / random.uniform(200, 2000))
            sound[at : at + beat // 2] += hit.astype(np.float32)
    return (sound[:n] / max(float(np.abs(sound[:n]).max()), 1e-6) * random.uniform(0.05, 0.7)).astype(np.float32)


def steady_noise(seconds: float, random: Random) -> Floats:
    """Return noise whose power falls with frequency by a random slope (white to brown), with hum now and then."""
    n = int(seconds * SAMPLE_RATE)
    spectrum = np.fft.rfft(random.normal(size=_smooth(n)))
    spectrum /= np.maximum(np.arange(len(spectrum)), 20) ** random.uniform(0, 1)
    sound = np.fft.irfft(spectrum)[:n]
    sound /= np.abs(sound).max()
    if random.random() < 0.3:
        sound += 0.5 * np.sin(2 * np.pi * random.choice([50, 60, 100, 120]) * np.arange(n) / SAMPLE_RATE)
    return (sound * random.uniform(0.001, 0.4)).astype(np.float32)


def harder(samples: Floats, noises: Sequence[Floats], random: Random, speed: float) -> Floats:
    """Return one hard variant of an utterance: another speed, and by chance a room, noise, clipping, phone or codec."""
    sound = change_speed(samples, speed)
    noise = noises[int(random.integers(len(noises)))]
    codec, container, low, high = CODECS[random.integers(len(CODECS))]
    steps: list[tuple[float, Callable[[Floats], Floats]]] = [
        (0.4, lambda sound: add_room(sound, random)),
        (0.5, lambda sound: add_noise(sound, np.roll(noise, random.integers(len(noise))), random.uniform(6, 30))),
        (0.08, lambda sound: clip(sound, random.uniform(0.001, 0.03))),
        (0.08, telephone),
        (0.25, lambda sound: through_codec(sound, codec, container, int(random.integers(low, high)))),
    ]
    for chance, step in steps:
        if random.random() < chance:
            sound = step(sound)
    return sound


def warp_mel(features: Floats, factor: float) -> Floats:
    """Return features (frames, mels) with the mel axis stretched: another vocal tract (VTLP: Jaitly 2013)."""
    mels = features.shape[1]
    source = np.minimum(np.arange(mels) * factor, mels - 1).astype(np.float32)
    low = source.astype(int)
    part = source - low
    return features[:, low] * (1 - part) + features[:, np.minimum(low + 1, mels - 1)] * part


def stretch_time(features: Floats, factor: float) -> Floats:
    """Return features (frames, mels) played `factor` times as fast with the pitch kept: (frames / factor, mels)."""
    last = len(features) - 1
    source = np.minimum(np.arange(0, last + 1e-3, factor, dtype=np.float32), last)
    low = source.astype(int)
    part = (source - low)[:, None]
    return features[low] * (1 - part) + features[np.minimum(low + 1, last)] * part


def tilt(features: Floats, random: Random) -> Floats:
    """Return features (frames, mels) through a random smooth equaliser of about ±6 dB (0.6 decades of power).

    For the lesson: `audio.normalise` takes a fixed gain a band out again, so training has no use for it.
    """
    mels = features.shape[1]
    angle = np.pi * np.arange(mels) / mels
    waves = [random.normal(0, 0.25 / order) * np.cos(order * angle + random.uniform(0, 6.3)) for order in (1, 2, 3, 4)]
    return features + np.sum(waves, 0, dtype=np.float32)


def mix(features: Floats, noise: Floats, snr_db: float) -> Floats:
    """Return log-mel features of two sounds at once, (frames, mels) each: powers add up (phases are neglected)."""
    gain = np.percentile(features.mean(1), 80) - noise.mean() - snr_db / 10
    return np.log10(10**features + 10 ** (np.resize(noise, features.shape) + gain)).astype(np.float32)


def mask(features: Floats, random: Random, *, bands: int = 2, holes_per_s: float = 0.7) -> Floats:
    """Return normalised features (frames, mels) with bands and moments set to 0, the mean (SpecAugment: Park 2019)."""
    features = features.copy()
    frames, mels = features.shape
    for _ in range(bands):
        width = random.integers(0, 20)
        start = random.integers(0, mels - width)
        features[:, start : start + width] = 0
    for _ in range(random.poisson(holes_per_s * frames / 100)):
        width = random.integers(0, min(25, max(2, frames // 8)))
        start = random.integers(0, max(1, frames - width))
        features[start : start + width] = 0
    return features
