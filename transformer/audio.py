"""Sound to features: 16 kHz mono samples to a log-mel spectrogram, in numpy for serving and in torch for the lab.

A mel spectrogram is the power of a short-time Fourier transform, gathered into bands that are narrow where the ear is
precise (Stevens, Volkmann and Newman 1937; the formula with a linear part below 1 kHz is Slaney's, Auditory Toolbox
1998).
"""

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from transformer.config import HOP, N_FFT, N_MELS, SAMPLE_RATE, WINDOW

if TYPE_CHECKING:
    import torch

Floats = NDArray[np.float32]

FLOOR = 1e-10  # power of a band that is silent
RANGE = 8.0  # decades kept below the loudest band: 80 dB
BLOCK = 6_000  # frames transformed at once, to bound the memory that hours of sound take


def hz_to_mel(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Slaney's mel of a frequency: linear (3 mel for 200 Hz) up to 1 kHz, logarithmic above."""
    return np.where(hz < 1000, hz * 3 / 200, 15 + 27 * np.log(np.maximum(hz, 1e-3) / 1000) / np.log(6.4))


def mel_to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the frequency in Hz of a mel, the inverse of `hz_to_mel`."""
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * np.log(6.4) / 27))


@cache
def mel_filters() -> Floats:
    """Return triangular filters (N_MELS, N_FFT // 2 + 1), each of unit area, from 0 Hz to half the sample rate."""
    corners = mel_to_hz(np.linspace(0, hz_to_mel(np.array(SAMPLE_RATE / 2)), N_MELS + 2))
    bins = np.arange(N_FFT // 2 + 1) * SAMPLE_RATE / N_FFT
    rise = (bins - corners[:-2, None]) / np.diff(corners)[:-1, None]
    fall = (corners[2:, None] - bins) / np.diff(corners)[1:, None]
    return (np.maximum(0, np.minimum(rise, fall)) * (2 / (corners[2:] - corners[:-2]))[:, None]).astype(np.float32)


@cache
def hann() -> Floats:
    """Return the periodic Hann window of WINDOW samples."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)).astype(np.float32)


def clean_samples(samples: NDArray[np.generic]) -> Floats:
    """Return mono float32 samples within ±1 with every NaN and infinity made silence.

    Raises ValueError for anything but one row of numbers. int16 is scaled; float samples are taken as they are.
    """
    array = np.asarray(samples)
    if array.ndim != 1:
        raise ValueError(f"samples must be one row of mono sound, not an array of shape {array.shape}")
    if array.dtype == np.int16:
        return array.astype(np.float32) / np.float32(32768)
    if array.dtype.kind != "f":
        raise ValueError(f"samples must be float or int16, not {array.dtype}")
    return np.clip(np.nan_to_num(array, nan=0, posinf=0, neginf=0), -1, 1).astype(np.float32)


def log_mel(samples: Floats) -> Floats:
    """Return log10 of the mel power spectrogram: samples (n,) to features (1 + n // HOP, N_MELS).

    Frame i is centred on sample i * HOP; the sound is padded with silence at both ends.
    """
    frames = 1 + len(samples) // HOP
    padded = np.pad(samples, (N_FFT // 2, N_FFT))
    start = (N_FFT - WINDOW) // 2
    windows = np.lib.stride_tricks.sliding_window_view(padded[start:], WINDOW)[::HOP][:frames]
    filters = mel_filters().T
    features = np.empty((frames, N_MELS), np.float32)
    for at in range(0, frames, BLOCK):
        spectrum = np.fft.rfft(windows[at : at + BLOCK] * hann(), N_FFT)
        power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
        features[at : at + BLOCK] = np.log10(np.maximum(power @ filters, FLOOR))
    return features


def normalise(features: Floats) -> Floats:
    """Return features (frames, N_MELS) as the network takes them: 80 dB of range, each band's mean subtracted.

    The mean of a band over time is what microphone, room and codec do to it, not what was said (cepstral mean
    subtraction: Atal 1974).
    """
    limited = np.maximum(features, features.max(initial=np.log10(FLOOR)) - RANGE)
    return ((limited - limited.mean(0, keepdims=True)) / 1.5).astype(np.float32)


def log_mel_torch(samples: "torch.Tensor") -> "torch.Tensor":
    """Return what `log_mel` returns, by torch.stft: (batch, n) to (batch, frames, N_MELS)."""
    import torch

    window = torch.from_numpy(np.pad(hann(), (N_FFT - WINDOW) // 2))
    padded = torch.nn.functional.pad(samples, (N_FFT // 2, N_FFT // 2))
    spectrum = torch.stft(padded, N_FFT, HOP, window=window, center=False, return_complex=True)
    power = spectrum.abs().square().transpose(1, 2)  # (batch, frames, bins)
    return (power @ torch.from_numpy(mel_filters()).T).clamp_min(FLOOR).log10()
