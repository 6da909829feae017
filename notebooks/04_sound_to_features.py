# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 04 · From sound to features
#
# **Goal.** A second of sound is 16 000 numbers, and no two recordings of a word are alike. The captioner reads
# 100 rows of 80 numbers instead, in which the same vowel looks the same. At the end of this notebook you can derive
# that picture, the *log-mel spectrogram*, step by step, say what each step throws away and why we want it thrown away,
# and break it on purpose in the ways that rooms, noises and microphones do.
#
# ```
#   samples ─► windows ─► |Fourier|² ─► mel bands ─► log10 ─► minus the mean
#   (16000,)   (101, 400)  (101, 257)   (101, 80)   (101, 80)   (101, 80)        one second
# ```

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Audio

torch.set_num_threads(1)
plt.rcParams.update(
    {"figure.dpi": 60, "figure.figsize": (8, 2.4), "axes.spines.top": False, "axes.spines.right": False}
)
RATE, WINDOW, HOP, N_FFT, N_MELS = 16_000, 400, 160, 512, 80
rng = np.random.default_rng(4)

# %% [markdown]
# ## 1. Samples: what can be known between the dots
#
# We look at the air pressure `RATE` times a second. A cosine of $f$ Hz gives $x_n=\cos(2\pi f n/\mathrm{RATE})$, and
# since $\cos$ neither minds a whole turn more nor the sign, $f$, $f+\mathrm{RATE}$ and $\mathrm{RATE}-f$ give **the
# same samples**. So every frequency is folded into the range from 0 to RATE / 2, like a paper strip. Before you look:
# at 8 kHz, which tone do we get from one of 7 kHz?


# %%
def folded(hz: np.ndarray, rate: int) -> np.ndarray:
    return np.abs(hz - rate * np.round(hz / rate))


n = np.arange(17)
fine = np.linspace(0, 16, 800)
assert np.allclose(np.cos(2 * np.pi * 7000 * n / 8000), np.cos(2 * np.pi * 1000 * n / 8000))
assert folded(np.array([7000.0]), 8000) == 1000

# %%
_, (left, right) = plt.subplots(1, 2, width_ratios=(2, 1))
for hz, style in ((7000, "C0:"), (1000, "C1-")):
    left.plot(fine, np.cos(2 * np.pi * hz * fine / 8000), style, lw=1, label=f"{hz} Hz")
left.plot(n, np.cos(2 * np.pi * 1000 * n / 8000), "ko", ms=4)
left.set(xlabel="sample at 8 kHz", xlim=(0, 16))
left.legend(frameon=False, loc="upper right", ncols=2, bbox_to_anchor=(1, 1.25))
tones = np.arange(100, 20_000, 300)
spectra = np.abs(np.fft.rfft(np.cos(2 * np.pi * tones[:, None] * np.arange(800) / 8000)))
right.plot(tones / 1000, spectra.argmax(1) * 8000 / 800 / 1000, ".", label="measured")
right.plot(tones / 1000, folded(tones, 8000) / 1000, lw=0.8, label="folded()")
right.set(xlabel="true kHz", ylabel="heard kHz")
right.legend(frameon=False, ncols=2, fontsize=8, loc="upper right", bbox_to_anchor=(1, 1.3))
plt.tight_layout()

# %% [markdown]
# No arithmetic can undo this, so whatever lies above RATE / 2 has to be filtered out **before** sampling. Speech has
# its vowels below 4 kHz and its hiss (*s*, *f*) up to 8 kHz; hence 16 kHz, and not the 8 kHz of a telephone, on which
# "f" and "s" are guesses.
#
# ## 2. A voice to look at
#
# A voice is a buzz in a tube. The vocal folds let a puff of air through about 120 times a second, and the throat and
# mouth ring at a few *formants*. The tongue moves the formants; that is what makes an "a" an "a". A hiss is noise
# instead of puffs. All of it fits in two cells: a ringing of $F$ Hz that dies away in bandwidth $b$ is
# $y_n = x_n + 2r\cos(\theta)\,y_{n-1} - r^2 y_{n-2}$ with $r=e^{-\pi b/\mathrm{RATE}}$, $\theta=2\pi F/\mathrm{RATE}$,
# so its response to a tone of $f$ Hz is $H = 1/(1-2r\cos\theta\,z^{-1}+r^2z^{-2})$ with $z=e^{2\pi i f/\mathrm{RATE}}$,
# where $z^{-1}$ is the delay of one sample.


# %%
def response(hz: np.ndarray, formants: list[tuple[float, float]]) -> np.ndarray:
    """Frequency response (complex) of resonators in a row, each scaled to pass 1 at its quiet end."""
    delay = np.exp(-2j * np.pi * hz / RATE)  # of one sample
    total = np.ones_like(delay)
    for f, bandwidth in formants:
        r, theta = np.exp(-np.pi * bandwidth / RATE), 2 * np.pi * f / RATE
        total *= (1 - 2 * r * np.cos(theta) + r * r) / (1 - 2 * r * np.cos(theta) * delay + (r * delay) ** 2)
    return total


FORMANTS = {"a": (730, 1090, 2440, 3500), "i": (270, 2290, 3010, 3500), "u": (300, 870, 2240, 3500)}


def tube(sound: str) -> list[tuple[float, float]]:
    return [(f, 60 + 0.03 * f) for f in FORMANTS[sound]] + [(0, 1500)]  # the last: puffs are round, not clicks


# %%
def speak(sound: str, seconds: float, pitch: float = 120) -> np.ndarray:
    size = int(seconds * RATE)
    if sound == "s":
        source, shape = rng.normal(0, 0.3, size), [(5500, 1500), (6800, 1500)]
        gain = 1 / np.abs(response(np.array([5500.0]), shape))
    else:
        cycles = np.cumsum(np.linspace(pitch * 1.1, pitch * 0.9, size) / RATE)  # the voice falls
        source, shape, gain = np.diff(np.floor(cycles), prepend=0), tube(sound), 3.0
    hz = np.fft.rfftfreq(2 * size, 1 / RATE)
    wave = np.fft.irfft(np.fft.rfft(source - source.mean(), 2 * size) * response(hz, shape) * gain)[:size]
    ramp = np.minimum(1, np.arange(size) / 320)
    return wave * ramp * ramp[::-1]


# %%
word = np.concatenate(
    [speak(sound, seconds) for sound, seconds in zip("saius", (0.2, 0.3, 0.25, 0.3, 0.2), strict=True)]
)
word = np.pad(0.5 * word / np.abs(word).max(), 800) + rng.normal(0, 3e-4, len(word) + 1600)
print(word.shape, f"{len(word) / RATE:.2f} s")
Audio((word * 32767).astype(np.int16), rate=RATE)

# %% [markdown]
# What will the spectrum of the "a" be? The puffs repeat 120 times a second, so there is power at multiples of 120 Hz
# and nowhere else: a comb. The tube multiplies each tooth by its response. **The comb is the pitch, its envelope is the
# vowel.** A captioner wants the envelope.

# %%
vowel = speak("a", 0.4, pitch=120)
power = np.abs(np.fft.rfft(vowel[2000:5200] * np.hanning(3200))) ** 2
hz = np.fft.rfftfreq(3200, 1 / RATE)
envelope = np.abs(response(hz, tube("a"))) ** 2
shown = hz < 4000
plt.plot(hz[shown], 10 * np.log10(power[shown] / power.max()), lw=0.8, label='spectrum of "a"')
plt.plot(hz[shown], 10 * np.log10(envelope[shown] / envelope.max()), "C1", label="response of the tube")
plt.gca().set(xlabel="Hz", ylabel="dB", ylim=(-60, 5))
plt.legend(frameon=False)
plt.tight_layout()

# %% [markdown]
# ## 3. A window, and what leaks through its frame
#
# Speech changes; a Fourier transform doesn't know *when*. So we cut out 25 ms, in which a mouth hardly moves. Cutting
# multiplies by a box, and multiplying in time is convolving in frequency: every tone becomes the box's own spectrum,
# $\sin(\pi d)/\pi d$ at a distance of $d$ bins. It falls as slowly as $1/d$ and spills a loud vowel over a
# faint hiss: *leakage*.
#
# The **Hann** window is $\tfrac12-\tfrac12\cos(2\pi n/N)$, and multiplying by that cosine shifts a spectrum by one bin
# to both sides. So we get the box's spectrum minus its own neighbours, $\tfrac12B_k-\tfrac14B_{k-1}-\tfrac14B_{k+1}$.
# In the tails the three nearly cancel, which leaves $1/d^3$. The price: the main lobe is twice as wide.

# %%
time = np.arange(WINDOW)
hann = 0.5 - 0.5 * np.cos(2 * np.pi * time / WINDOW)
tone = np.cos(2 * np.pi * 1020 * time / RATE)  # 25.5 bins: between two, the worst case
box = np.fft.fft(tone)
assert np.allclose(np.fft.fft(tone * hann), box / 2 - np.roll(box, 1) / 4 - np.roll(box, -1) / 4)

# %%
hz = np.fft.rfftfreq(8192, 1 / RATE)
for name, window in (("box", np.ones(WINDOW)), ("Hann", hann)):
    level = 20 * np.log10(np.abs(np.fft.rfft(tone * window, 8192)) / window.sum() * 2 + 1e-9)
    plt.plot(hz, level, lw=0.8, label=name)
    print(f"{name}: {level[np.abs(hz - 4000).argmin() + np.arange(-40, 40)].max():.0f} dB at 4 kHz")
plt.gca().set(xlabel="Hz", ylabel="dB", xlim=(0, 5000), ylim=(-130, 5))
plt.legend(frameon=False)
plt.tight_layout()

# %% [markdown]
# ### How long a window?
#
# The main lobe of a Hann window of $T$ seconds is $4/T$ wide. With 100 ms that is 40 Hz, and the comb of a 120 Hz
# voice is drawn tooth by tooth. With 5 ms it is 800 Hz: the teeth melt, but each single puff is seen in time. 25 ms is
# 160 Hz, a little more than a tooth: the envelope remains.


# %%
def spectrogram(sound: np.ndarray, size: int, hop: int) -> np.ndarray:
    cuts = np.lib.stride_tricks.sliding_window_view(np.pad(sound, size // 2), size)[::hop]
    shape = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    return np.log10(np.abs(np.fft.rfft(cuts * shape, 2048)) ** 2 / size + 1e-9)


_, axes = plt.subplots(1, 3, figsize=(8, 2.6), sharey=True)
for axis, milliseconds in zip(axes, (5, 25, 100), strict=True):
    picture = spectrogram(word[4000:8800], milliseconds * RATE // 1000, 16)
    axis.imshow(picture.T[:384], origin="lower", aspect="auto", extent=(0, 300, 0, 3), vmin=-6, vmax=1)
    axis.set(title=f"{milliseconds} ms", xlabel="ms")
axes[0].set_ylabel("kHz")
plt.tight_layout()

# %% [markdown]
# ## 4. The short-time Fourier transform, by hand
#
# One window every 10 ms, each overlapping the next by 15. Frame $i$ is centred on sample $160\,i$, with silence
# before and after the sound. 400 samples are padded to 512, which adds no knowledge, only closer bins (31 Hz). The
# transform itself is a product with waves: $X_{ik}=\sum_n w_n x_{160i+n-200}\,e^{-2\pi ikn/512}$. We keep $|X|^2$ and
# drop the phase, which says where in the window a wave began.


# %%
def toy_power(samples: np.ndarray) -> np.ndarray:
    padded = np.pad(samples, WINDOW // 2)
    starts = range(0, len(samples) + 1, HOP)
    frames = np.stack([padded[start : start + WINDOW] * hann for start in starts])  # (frames, 400)
    waves = np.exp(-2j * np.pi * np.outer(np.arange(WINDOW), np.arange(N_FFT // 2 + 1)) / N_FFT)  # (400, 257)
    assert np.allclose(frames @ waves, np.fft.rfft(frames, N_FFT))
    return np.abs(frames @ waves) ** 2


power = toy_power(word)
print(word.shape, "->", power.shape)

# %% [markdown]
# ## 5. Mel: bands as narrow as the ear is precise
#
# 100 and 200 Hz are an octave apart, 7000 and 7100 Hz sound the same. Asked to halve the distance between two tones,
# people draw a scale that is even up to about 1 kHz and logarithmic above: the **mel**. Ours is Slaney's: 15 steps
# up to 1 kHz, then 27 more for each factor of 6.4. Now put 82 points evenly on the mel scale, go back to Hz, and hang a
# triangle over each three neighbours. A triangle is the smaller of a rising and a falling line; dividing by half its
# width gives it area 1, so that white noise is flat.


# %%
def toy_mel(hz: float) -> float:
    return hz * 15 / 1000 if hz < 1000 else 15 + 27 * np.log(hz / 1000) / np.log(6.4)


def toy_filters() -> np.ndarray:
    mels = np.array([toy_mel(hz) for hz in range(RATE // 2 + 1)])
    corners = np.interp(np.linspace(0, mels[-1], N_MELS + 2), mels, np.arange(RATE // 2 + 1))  # mel to Hz by table
    bins = np.arange(N_FFT // 2 + 1) * RATE / N_FFT
    bands = []
    for low, peak, high in zip(corners, corners[1:], corners[2:], strict=False):
        triangle = np.minimum((bins - low) / (peak - low), (high - bins) / (high - peak))
        bands.append(np.maximum(0, triangle) / ((high - low) / 2))
    return np.stack(bands)


filters = toy_filters()
print(filters.shape, "the widest band has", (filters[-1] > 0).sum(), "bins, the narrowest", (filters > 0).sum(1).min())

# %%
_, (left, right) = plt.subplots(1, 2, width_ratios=(1, 2))
left.plot(np.arange(0, 8001, 50) / 1000, [toy_mel(hz) for hz in range(0, 8001, 50)])
left.set(xlabel="kHz", ylabel="mel")
right.plot(np.arange(257) * RATE / N_FFT / 1000, filters[4::15].T, lw=1)
right.set(xlabel="kHz", title="every 15th filter", yticks=[])
plt.tight_layout()

# %% [markdown]
# ## 6. The logarithm, and a microphone that vanishes
#
# Power spans a factor of a million between a vowel and the room, and we hear ratios. A logarithm does more than
# compress, though. A microphone, a loudspeaker, a codec's tilt all multiply each frequency by a constant, $P\to g_kP$;
# in the logarithm that is $\log P+\log g_k$. **A product became a sum, the same in every frame.** So subtract each
# band's mean over time, and the microphone is gone, whatever it was. Let us hold a bad one before the voice.

# %%
features = np.log10(np.maximum(power @ filters.T, 1e-10))  # (frames, 80)


def microphone(samples: np.ndarray) -> np.ndarray:
    hz = np.fft.rfftfreq(2 * len(samples), 1 / RATE)
    gain = 0.3 / (1 + (hz / 1500) ** 2) + np.exp(-(((hz - 3000) / 500) ** 2))  # dull, with a shrill peak
    return np.fft.irfft(np.fft.rfft(samples, 2 * len(samples)) * gain)[: len(samples)]


cheap = np.log10(np.maximum(toy_power(microphone(word)) @ filters.T, 1e-10))


# %%
def show(pictures: dict[str, np.ndarray], columns: int = 4, low: float = -3, high: float = 3) -> None:
    rows = -(-len(pictures) // columns)
    _, axes = plt.subplots(rows, columns, figsize=(2.1 * columns, 1.55 * rows), sharey=True, squeeze=False)
    for axis, (title, image) in zip(axes.flat, pictures.items(), strict=True):
        axis.imshow(image.T, origin="lower", aspect="auto", vmin=low, vmax=high)
        axis.set_title(title, fontsize=9)
        axis.set(xticks=[], yticks=[])
    plt.tight_layout()


centred, cheap_centred = features - features.mean(0), cheap - cheap.mean(0)
level = features.mean()  # one number, so that both are shown on one scale
show({"good": features - level, "cheap": cheap - level, "good − means": centred, "cheap − means": cheap_centred})
before, after = np.abs(features - cheap).mean(), np.abs(centred - cheap_centred).mean()
print(f"the two differ by {before:.2f} decades on average, by {after:.3f} without their means")
assert after < 0.1 * before

# %% [markdown]
# (Dark to bright is −3 to 3 decades; time runs to the right, pitch upwards. *s, a, i, u, s*.) The small rest comes from
# bands in which the microphone isn't constant. And there is a price: what never changes during a piece is taken for the
# microphone, be it a hum or a vowel. Exercise 2.
#
# ## 7. `transformer.audio`
#
# The same, in float32, in blocks so that hours fit in memory, and once more in torch. Serving uses numpy; no torch is
# loaded there. Everything must agree with what we derived.

# %%
from transformer import audio

assert np.allclose([toy_mel(hz) for hz in range(1, 8000, 7)], audio.hz_to_mel(np.arange(1, 8000, 7)))
assert np.abs(filters - audio.mel_filters()).max() < 1e-5
assert np.allclose(audio.hann(), hann, atol=1e-6)
theirs = audio.log_mel(word.astype(np.float32))
print(theirs.shape, theirs.dtype, f"differs from ours by {np.abs(theirs - features).max():.1e}")
assert np.abs(theirs - features).max() < 1e-3

# %%
in_torch = audio.log_mel_torch(torch.from_numpy(word[None].astype(np.float32)))[0].numpy()  # from a batch of one
difference = np.abs(in_torch - theirs)
kept = theirs > theirs.max() - 8
print(f"numpy and torch differ by {difference.max():.1e}, in the upper 80 dB by {difference[kept].max():.1e}")
assert difference[kept].max() < 1e-4
assert np.abs(audio.normalise(in_torch) - audio.normalise(theirs)).max() < 1e-4

# %% [markdown]
# float32 keeps seven digits of the loudest wave in a window, so what lies 80 dB (four digits of amplitude, eight of
# power) below it is known to about three. That is one reason to cut there. `normalise` lifts all that lies 8 decades
# below the loudest cell to this floor: digital silence, $-\infty$ without any floor, then looks like a quiet
# room. And it divides by 1.5, about the spread of speech, so that the network's inputs are about 1.

# %%
limited = np.maximum(features, features.max() - 8)
assert np.allclose(audio.normalise(theirs), (limited - limited.mean(0)) / 1.5, atol=1e-3)
louder = audio.normalise(audio.log_mel((word * 1.9).astype(np.float32)))
assert np.abs(louder - audio.normalise(theirs)).max() < 1e-3, "loudness is a constant too: it vanishes"
silence = audio.normalise(audio.log_mel(np.zeros(8000, np.float32)))
print(f"spread of the voice {audio.normalise(theirs).std():.2f}, of silence {silence.std():.2f}")

# %% [markdown]
# ### Sound from outside
#
# A file may hold anything. One NaN would make every number of its band NaN (the mean!) and then every caption of the
# piece. `clean_samples` mends what has one sensible meaning and refuses what hasn't.

# %%
broken = np.array([0.5, np.nan, np.inf, -3.0])
print(audio.clean_samples(broken), audio.clean_samples(np.array([16384, -32768], np.int16)))
assert np.isfinite(audio.clean_samples(broken)).all()
for bad in (np.zeros((2, 8)), np.zeros(8, np.int32)):
    try:
        audio.clean_samples(bad)
    except ValueError as refusal:
        print("refused:", refusal)
    else:
        raise AssertionError("stereo and int32 must be refused")

# %% [markdown]
# ## 8. Harder on purpose
#
# A network that has only heard clean voices has learnt that silence between words is clean. `transformer.augment` makes
# other rooms, voices and noises of the same recording. Predict each picture first:
#
# - `change_speed(0.8)`: longer, and *everything* lower, formants too: a bigger person who speaks slowly. Nothing is
#   left above 0.8 × 8 kHz.
# - `add_room`: each moment is smeared to the right; gaps fill. The room's echo is longer than a window, so it is *not*
#   a constant factor and the mean doesn't remove it.
# - `add_noise` 10 dB: the dark parts become grey, the bright ones stay: noise hides the valleys.
# - `tilt`: a random equaliser, drawn on the features: bands brighter or darker from end to end. (Before `normalise`,
#   over a whole piece, it would do nothing. Why?)
# - `mix`: noise added to features, cheaply. `mask`: stripes without knowledge, so that no single band is relied on.

# %%
from transformer import augment

sound = word.astype(np.float32)
hiss = augment.steady_noise(2, rng)
plain = audio.normalise(audio.log_mel(sound))
noisy = audio.log_mel(augment.add_noise(sound, hiss, 10))
mixed = augment.mix(audio.log_mel(sound), audio.log_mel(hiss), 10)
variants = {"change_speed 0.8": augment.change_speed(sound, 0.8), "add_room": augment.add_room(sound, rng)}
pictures = {"as it is": plain, **{name: audio.normalise(audio.log_mel(made)) for name, made in variants.items()}}
pictures |= {"add_noise 10 dB": audio.normalise(noisy), "mix 10 dB": audio.normalise(mixed)}
pictures |= {"tilt": augment.tilt(plain, rng), "mask": augment.mask(plain, rng, holes_per_s=3)}
show({**pictures, "warp_mel 1.15": augment.warp_mel(plain, 1.15)}, low=-2, high=2)

# %% [markdown]
# Two of the predictions in numbers. Played at 0.8, the first formant of the "a" must lie at 0.8 × 730 = 584 Hz. And
# features can be mixed without going back to sound, because powers of unrelated sounds add up: for waves $a+b$,
# $|A+B|^2=|A|^2+|B|^2+2|A||B|\cos\varphi$, and over the bins of a band the last term averages out.


# %%
def first_formant(samples: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)))) ** 2
    smooth = np.convolve(spectrum, np.hanning(len(samples) * 300 // RATE), "same")  # 300 Hz: teeth melt
    hz = np.fft.rfftfreq(len(samples), 1 / RATE)
    return float(hz[np.where((hz > 400) & (hz < 900), smooth, 0).argmax()])


steady = speak("a", 1.0).astype(np.float32)
slow = augment.change_speed(steady, 0.8)
before, after = first_formant(steady), first_formant(slow)
print(f"{before:.0f} Hz -> {after:.0f} Hz, ratio {after / before:.2f}")
assert abs(after / before - 0.8) < 0.03

# %%
scaled = augment.add_noise(sound, hiss, 10) - sound  # the noise alone, as loud as it was added
sum_of_powers = np.log10(10 ** audio.log_mel(sound) + 10 ** audio.log_mel(scaled))
error = noisy - sum_of_powers
half, most = np.quantile(np.abs(error), (0.5, 0.95))
plt.hist(error.ravel(), np.linspace(-1.5, 1.5, 80))
plt.gca().set(xlabel="true minus sum of powers, decades", ylabel="cells", yticks=[])
print(f"half of all cells within {half:.3f} decades, 95 % within {most:.2f}")
assert half < 0.1

# %% [markdown]
# So noise can be drawn anew for every batch at the price of one logarithm, long after the samples are gone.
#
# How much of it, and when? Hard from the start, a small network learnt far less in equal time (31.2 against 54.8 % of
# words, `transformer/LOG.md`). So the first epoch is plain, and the share made harder rises to 70 % by two thirds of
# the epochs.

# %%
from transformer.train import TrainConfig

config = TrainConfig()
ramp = [0.7 * min(1, n / (2 / 3 * 10)) for n in range(10)]
assert np.allclose([config.hardness(n) for n in range(config.epochs)], ramp)
plt.figure(figsize=(4, 1.6))
plt.step(range(10), ramp, where="mid")
plt.gca().set(xlabel="epoch", ylabel="share made harder", ylim=(0, 1))
plt.tight_layout()

# %% [markdown]
# ## Exercises
#
# 1. **Every second sample.** Halve the rate of a hiss at 6 kHz by `sound[::2]`, without a filter. Where does it appear?
#    Predict the mel band, then measure. What should have been done first?
# 2. **The vowel that vanished.** Normalise one steady "a" of 2 s, alone. What is left of its formants? How much silence
#    must the piece hold for them to come back, and what does that say about pieces cut at pauses?
# 3. **Two ways to be tall.** Which `warp_mel` factor makes a vowel most like `change_speed(0.9)`? Search for it. Why
#    can none match it exactly?
# 4. **Less than 80.** A cosine transform of the 80 numbers gathers their energy in the first few (the *cepstrum*). How
#    many of 80 keep 95 % of the variance of a voice? Why do we nonetheless feed all 80 to a network that convolves?
#
# Solutions: `solutions/04_sound_to_features.py`.
#
# ## Further reading
#
# - S. Stevens, J. Volkmann, E. Newman, *A scale for the measurement of the psychological magnitude pitch*, 1937.
# - F. Harris, *On the use of windows for harmonic analysis with the discrete Fourier transform*, 1978.
# - S. Davis, P. Mermelstein, *Comparison of parametric representations for monosyllabic word recognition*, 1980.
# - B. Atal, *Effectiveness of linear prediction characteristics of the speech wave for speaker identification*, 1974:
#   subtracting the mean.
# - T. Ko et al., *Audio augmentation for speech recognition*, 2015; D. Park et al., *SpecAugment*, 2019.
