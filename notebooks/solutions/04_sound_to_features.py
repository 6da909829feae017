# %% [markdown]
# # Solutions to 04 · From sound to features
#
# A vowel and a hiss are made first; each solution stands alone after that.

# %%
import numpy as np

from transformer import audio, augment
from transformer.config import N_MELS, SAMPLE_RATE

rng = np.random.default_rng(4)
BANDS_HZ = audio.mel_to_hz(np.linspace(0, audio.hz_to_mel(np.array(8000.0)), N_MELS + 2))[1:-1]


def shaped(source: np.ndarray, gain_of: np.ndarray) -> audio.Floats:
    """Return `source` with each frequency multiplied, at a loudness of 0.1."""
    sound = np.fft.irfft(np.fft.rfft(source) * gain_of, len(source))
    return (0.1 * sound / sound.std()).astype(np.float32)


def bump(hz: np.ndarray, centre: float, width: float) -> np.ndarray:
    return np.exp(-(((hz - centre) / width) ** 2))


def vowel(seconds: float, formants: tuple[float, ...], source: np.ndarray | None = None) -> audio.Floats:
    n = int(seconds * SAMPLE_RATE)
    hz = np.fft.rfftfreq(n, 1 / SAMPLE_RATE)
    puffs = (np.arange(n) % 133 == 0) - 1 / 133  # 120 Hz
    gain = sum(bump(hz, formant, 150) / (1 + formant / 1000) for formant in formants) + 1e-3
    return shaped(puffs if source is None else source, gain)


# %% [markdown]
# ## 1 · Every second sample
#
# At 8 kHz, 6 kHz is folded to |6 − 8| = 2 kHz: a hiss has become a whistle in the middle of the vowels. One should have
# removed everything above 4 kHz *before*, and then nothing is left. `change_speed(…, 0.5)` takes the 8 kHz samples back
# to 16 kHz, so that both are read on one scale; `change_speed(…, 2)` is the honest way down: it cuts the spectrum.

# %%
hz = np.fft.rfftfreq(SAMPLE_RATE, 1 / SAMPLE_RATE)
hiss = shaped(rng.normal(size=SAMPLE_RATE), bump(hz, 6000, 200))
before = audio.log_mel(hiss).mean(0)
careless = audio.log_mel(augment.change_speed(hiss[::2], 0.5)).mean(0)
careful = audio.log_mel(augment.change_speed(augment.change_speed(hiss, 2), 0.5)).mean(0)
print(f"{BANDS_HZ[before.argmax()]:.0f} Hz -> {BANDS_HZ[careless.argmax()]:.0f} Hz")
assert abs(BANDS_HZ[before.argmax()] - 6000) < 300
assert abs(BANDS_HZ[careless.argmax()] - 2000) < 100
assert careful.max() < careless.max() - 2, "filtered first, a hundredth of the power is not left"

# %% [markdown]
# ## 2 · The vowel that vanished
#
# A steady vowel *is* its mean: nothing is left. With a share q of silence the mean is (1 − q)·vowel + q·silence, so
# vowel − mean = q·(vowel − silence): **the formants come back in proportion to the silence**. Pieces cut tightly at
# pauses are therefore fainter for the network than pieces with their pauses, and one held vowel alone is invisible.

# %%
steady = vowel(2, (730, 1090, 2440))


def contrast(share: float) -> float:
    """Return the spread over the bands of the normalised vowel, when a share of the piece is (nearly) silent."""
    n = round(len(steady) * share / (1 - share))
    piece = np.concatenate([steady, np.zeros(n, np.float32)]) + rng.normal(0, 1e-4, len(steady) + n)
    return float(audio.normalise(audio.log_mel(piece.astype(np.float32)))[20:180].mean(0).std())


shares = np.array([0.1, 0.2, 0.4, 0.6])
spreads = np.array([contrast(share) for share in shares])
print(dict(zip(shares.tolist(), spreads.round(3).tolist(), strict=True)))
assert contrast(0) < 0.02
assert np.allclose(spreads / shares, spreads[-1] / shares[-1], rtol=0.15)

# %% [markdown]
# ## 3 · Two ways to be tall
#
# Played at 0.9, what was at f is at 0.9 f. Below 1 kHz mel is linear in Hz, so the band to read from is 1/0.9 = 1.11
# times as high. Above, mel is logarithmic, and a factor in Hz is a *shift*, by 27·ln(1/0.9)/ln 6.4 = 1.5 mel = 2.7
# bands, which is a factor of 1.05 in the sixtieth band. `warp_mel` has one factor for all bands: the best lies
# between, and none matches exactly.

# %%
whisper = vowel(2, (730, 1090, 2440, 3500), rng.normal(size=2 * SAMPLE_RATE))  # without a comb that scales too
target = audio.log_mel(augment.change_speed(whisper, 0.9))[10:-10].mean(0)[:70]
factors = np.arange(1, 1.2, 0.01)
errors = [
    float(np.abs(augment.warp_mel(audio.log_mel(whisper)[10:-10], factor).mean(0)[:70] - target).mean())
    for factor in factors
]
best = float(factors[int(np.argmin(errors))])
print(f"best {best:.2f}: {min(errors):.3f} decades off, against {errors[0]:.3f} without a warp")
assert 1.03 < best < 1.12
assert 0 < min(errors) < 0.5 * errors[0]

# %% [markdown]
# ## 4 · Less than 80
#
# Neighbouring bands rise and fall together, so a few slow cosines carry nearly everything, as in a picture's blocks
# (notebook 20). Older recognisers, whose Gaussians could not afford correlated inputs, kept 13. A convolution wants the
# opposite: numbers whose *neighbours* mean something, and a formant that moves is the same pattern a band higher. Of
# cosines, no two are neighbours.

# %%
tongue = [(730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480), (570, 840, 2410)]
voice = np.concatenate([vowel(0.3, formants) for formants in tongue])
features = audio.normalise(audio.log_mel(voice + rng.normal(0, 1e-3, len(voice)).astype(np.float32)))
k, m = np.mgrid[:N_MELS, :N_MELS]
cosines = np.cos(np.pi * k * (2 * m + 1) / (2 * N_MELS)) * np.sqrt(2 / N_MELS)
cosines[0] /= np.sqrt(2)
assert np.allclose(cosines @ cosines.T, np.eye(N_MELS))
variance = (features @ cosines.T).var(0)
needed = {
    name: int((np.cumsum(np.sort(v)[::-1]) < 0.95 * v.sum()).sum()) + 1
    for name, v in (("cosines", variance), ("bands", features.var(0)))
}
print("for 95 % of the variance:", needed)
assert np.isclose(variance.sum(), features.var(0).sum(), rtol=1e-4)
assert needed["cosines"] < needed["bands"] / 2
