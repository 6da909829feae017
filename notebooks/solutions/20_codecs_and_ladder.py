# %% [markdown]
# # Solutions to 20 · Codecs and the ladder
#
# Each stands alone; the notebook's clip, in small, is made first.

# %%
from fractions import Fraction

import av
import numpy as np

from sfserver.media.contract import ChunkSpec
from sfserver.media.encode.ladder import build_ladder, chunk_options
from sfserver.media.encode.sample import frame_of, landscape

WIDTH, HEIGHT, FPS, FRAMES = 320, 176, Fraction(30), 24
rng = np.random.default_rng(7)
world = landscape(rng, HEIGHT + 80, WIDTH + 80, contrast=40, slope=1.2)


def picture(n: int, pan: float) -> np.ndarray:
    """Look at the world from a place that may lie between two pixels."""
    x = 10 + pan * n
    left, part = int(x), x % 1
    view = world[20 + n :, left:][:HEIGHT, : WIDTH + 1].astype(float)
    return view[:, :-1] * (1 - part) + view[:, 1:] * part


# %% [markdown]
# ## 1 · Half a pixel
#
# Blow the earlier frame up twofold by the mean of neighbours and search in steps of one there. A pan of 2.5 pixels a
# frame has no whole vector, and the half one leaves only a fraction of the energy.


# %%
def doubled(image: np.ndarray) -> np.ndarray:
    wide = np.repeat(np.repeat(image, 2, 0), 2, 1).astype(float)
    wide[:, 1:-1:2] = (wide[:, 0:-2:2] + wide[:, 2::2]) / 2
    wide[1:-1:2] = (wide[0:-2:2] + wide[2::2]) / 2
    return wide


def residual_energy(earlier: np.ndarray, frame: np.ndarray, *, half: bool) -> float:
    fine, energy = doubled(earlier), []
    for y in range(16, HEIGHT - 31, 16):
        for x in range(16, WIDTH - 31, 16):
            block = frame[y : y + 16, x : x + 16]
            moves = range(-10, 11, 1 if half else 2)
            places = (fine[2 * y + dy :, 2 * x + dx :][:32:2, :32:2] for dy in moves for dx in moves)
            energy.append(min(float(((block - place) ** 2).mean()) for place in places))
    return float(np.mean(energy))


earlier, later = (picture(n, 2.5) + rng.normal(0, 1, (HEIGHT, WIDTH)) for n in (0, 1))
whole, half = (residual_energy(earlier, later, half=half) for half in (False, True))
print(f"whole pixels {whole:.1f}, half pixels {half:.1f}")
assert half < whole / 2

# %% [markdown]
# ## 2 · Bits for bits
#
# At fine steps the rounding error is even over the step: its variance is a twelfth of the step's square. Half the step
# costs one bit a number and makes the error 20·log10(2) = 6.02 dB smaller. The notebook's curve comes close at its
# upper end and is better below: there most numbers are zero, and making zeros costs less than theory's bits.

# %%
numbers = rng.laplace(0, 60, 400_000)
errors, costs = [], []
for step in (2.0, 1.0):
    levels = np.rint(numbers / step)
    share = np.unique(levels, return_counts=True)[1] / len(levels)
    costs.append(-(share * np.log2(share)).sum())
    errors.append(10 * np.log10(np.mean((numbers - levels * step) ** 2)))
slope = (errors[0] - errors[1]) / (costs[1] - costs[0])
print(f"{slope:.2f} dB a bit")
assert abs(slope - 6.02) < 0.1

# %% [markdown]
# ## 3 · A rung too many
#
# A size near another one has nearly the other one's curve: it wins at best in a narrow band, by a hair. Storing it
# would cost as many bytes as a neighbour and win nothing a viewer sees.


# %%
def points(size: tuple[int, int]) -> list[tuple[float, float]]:
    frames = [picture(n, 2.0) for n in range(FRAMES)]
    grey = np.full((HEIGHT // 2, WIDTH // 2), 128, np.uint8)
    clip = [frame_of([frame.astype(np.uint8), grey, grey], n) for n, frame in enumerate(frames)]
    return [rate_and_quality(clip, size, crf) for crf in (18, 24, 30, 36, 42)]


def rate_and_quality(clip: list[av.VideoFrame], size: tuple[int, int], crf: int) -> tuple[float, float]:
    """Return log rate and PSNR at full size."""
    encoder, decoder = av.CodecContext.create("libx264", "w"), av.CodecContext.create("h264", "r")
    (encoder.width, encoder.height), encoder.pix_fmt, encoder.thread_count = size, "yuv420p", 1
    encoder.time_base, encoder.options = 1 / FPS, {"preset": "veryfast", "crf": str(crf)}
    small = [frame.reformat(*size, interpolation="BICUBIC") for frame in clip]
    packets = [packet for frame in (*small, None) for packet in encoder.encode(frame)]
    shown = [frame for packet in (*packets, None) for frame in decoder.decode(packet)]
    error = [
        np.mean(
            (a.to_ndarray()[:HEIGHT].astype(float) - b.reformat(WIDTH, HEIGHT, "yuv420p").to_ndarray()[:HEIGHT]) ** 2
        )
        for a, b in zip(clip, shown, strict=True)
    ]
    return float(np.log(sum(packet.size for packet in packets))), float(10 * np.log10(255**2 / np.mean(error)))


# %%
def best_at(rate: float, curves: list[list[tuple[float, float]]]) -> float:
    # More bits than a curve was measured with buy no less; fewer buy nothing.
    return max(float(np.interp(rate, *zip(*sorted(curve), strict=True), left=0.0)) for curve in curves)


three = [points(size) for size in ((320, 176), (214, 118), (106, 58))]
fourth = points((298, 164))
rates = np.linspace(min(fourth)[0], max(fourth)[0], 30)
gain = max(best_at(rate, [*three, fourth]) - best_at(rate, three) for rate in rates)
print(f"at most {gain:.2f} dB")
assert 0 <= gain < 1.5

# %% [markdown]
# ## 4 · A short chunk
#
# One GOP is 2 s, and nine tenths of a second may be spent at once: 1 − 0.9/2 = 55 %. Six GOPs are 12 s: 1 − 0.9/12 =
# 92.5 %. The first chunk is short all the same, because a viewer can begin once it is done.

# %%
rung = build_ladder(1920, 1080, FPS, 60)[0][0]
shares = {
    gops: int(chunk_options(rung, ChunkSpec(0, 0, 60 * gops), FPS)["maxrate"]) / rung.maxrate_bps for gops in (1, 6)
}
print(shares)
assert round(shares[1], 3) == 0.55
assert round(shares[6], 3) == 0.925
