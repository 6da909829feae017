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
# # 20 · Codecs and the ladder
#
# **Goal.** A second of 1080p video is 93 MB of numbers; we send it in about half a megabyte. At the end of this
# notebook you know where the other 99.5 % went: you will have predicted, transformed and quantised blocks by hand,
# measured what the eye loses, and seen why one video is stored in several sizes. Then you read our ladder,
# `sfserver.media.encode.ladder`, as what it is: a handful of rules that follow from these pictures.

# %%
from fractions import Fraction
from itertools import pairwise

import av
import matplotlib.pyplot as plt
import numpy as np

plt.rcParams.update(
    {"figure.dpi": 56, "figure.figsize": (8, 2.5), "axes.spines.top": False, "axes.spines.right": False}
)

# %% [markdown]
# ## A clip to squeeze
#
# The ground is noise whose strength falls with its frequency, as in photographs (*1/f*, from the server's own sample
# maker). A camera pans over it, a ball with a skin of its own rolls the other way, and a sensor adds a little grain.
# 48 frames are enough to see everything.

# %%
from sfserver.media.encode.sample import frame_of, landscape

WIDTH, HEIGHT, FPS, FRAMES = 480, 270, Fraction(30), 48
rng = np.random.default_rng(7)
world, skin = (landscape(rng, HEIGHT + 130, WIDTH + 130, contrast=40, slope=1.2) for _ in range(2))
yy, xx = np.mgrid[:HEIGHT, :WIDTH]


def picture(n: int) -> np.ndarray:
    image = world[30 + n :, 10 + 2 * n :][:HEIGHT, :WIDTH].astype(float)
    ball = np.hypot(yy - 150, xx - 300 + 2 * n) < 60
    image[ball] = 255 - skin[yy[ball], xx[ball] - 200 + 2 * n]
    return np.clip(image + rng.normal(0, 1.2, image.shape), 16, 235)


# %%
luma = np.stack([picture(n) for n in range(FRAMES)])
grey = np.full((HEIGHT // 2, WIDTH // 2), 128, np.uint8)
clip = [frame_of([plane.astype(np.uint8), grey, grey], n) for n, plane in enumerate(luma)]
luma = np.floor(luma)
print(luma.shape, f"= {luma.size * 1.5 / 1e6:.1f} MB with colour")


# %%
def show(pictures: dict[str, np.ndarray], low: float = 0, high: float = 255) -> None:
    _, axes = plt.subplots(1, len(pictures), figsize=(5.6, 1.6))
    for axis, (title, image) in zip(axes, pictures.items(), strict=True):
        axis.imshow(image, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
        axis.set_title(title, fontsize=9)
        axis.axis("off")
    plt.tight_layout()


part = np.s_[100:200, 180:330]
pictures = {"frame 20": luma[20], "frame 24": luma[24], "24 minus 20, + 128": luma[24] - luma[20] + 128}
show({title: image[part] for title, image in pictures.items()})

# %% [markdown]
# ## 1. Predict: send only what could not be guessed
#
# Frame 24 looks like frame 20, shifted. The plain difference (right) wastes that: every edge appears twice. So a codec
# cuts the frame into blocks and looks, for each, **where in an earlier frame it came from**. It sends that *motion
# vector* and the rest, the *residual*.
#
# ```
#   earlier frame              this frame
#  ┌───────────────┐          ┌───────────────┐
#  │    ┌──┐       │  vector  │               │
#  │    │▒▒│· · · ·│· · · · · │· · ·┌──┐      │     residual = block − the place it came from
#  │    └──┘       │          │     │▒▒│      │
#  └───────────────┘          └─────┴──┴──────┘
# ```


# %%
def best_vector(earlier: np.ndarray, frame: np.ndarray, y: int, x: int, reach: int = 8) -> tuple[int, int]:
    block = frame[y : y + 16, x : x + 16]
    found = {}
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            place = earlier[max(0, y + dy) :, max(0, x + dx) :][:16, :16]
            if place.shape == block.shape:
                found[np.abs(block - place).sum() + abs(dy) + abs(dx)] = (dy, dx)
    return found[min(found)]


# %%
def predict(earlier: np.ndarray, frame: np.ndarray) -> np.ndarray:
    guess = np.empty_like(frame)
    for y in range(0, HEIGHT - 15, 16):
        for x in range(0, WIDTH, 16):
            dy, dx = best_vector(earlier, frame, y, x)
            top, left = max(0, y + dy), max(0, x + dx)
            guess[y : y + 16, x : x + 16] = earlier[top : top + 16, left : left + 16]
    return guess[: HEIGHT // 16 * 16]


guess = predict(luma[20], luma[24])
frame = luma[24, : len(guess)]
residual = frame - guess

# %%
plain = frame - luma[20, : len(guess)]
show({"difference": plain[part] + 128, "residual after prediction": residual[part] + 128}, 28, 228)
energies = {"frame": np.var(frame), "difference": np.mean(plain**2), "residual": np.mean(residual**2)}
print({name: round(float(value), 1) for name, value in energies.items()})
assert energies["residual"] < energies["difference"] < energies["frame"]

# %% [markdown]
# A **P** frame predicts from an earlier frame, a **B** frame from an earlier *and* a later one, an **I** frame only
# from its own upper-left neighbourhood. After an I frame a player can begin; that is why we force one every two
# seconds, the *GOP*, and why everything in StreamForge (chunks, segments, fragments) is counted in GOPs.
#
# ## 2. Transform: gather the energy
#
# Neighbouring pixels of a residual are alike. The discrete cosine transform writes a block as a sum of waves. For what
# cameras see, a few slow waves carry nearly all of it.
#
# $$C_{kn} = s_k\cos\frac{\pi(2n+1)k}{2N},\quad s_0=\sqrt{1/N},\ s_k=\sqrt{2/N}\qquad\text{coefficients}=C\,X\,C^\top$$

# %%
N = 8
C = np.array([[np.cos(np.pi * (2 * n + 1) * k / (2 * N)) for n in range(N)] for k in range(N)]) * np.sqrt(2 / N)
C[0] /= np.sqrt(2)
assert np.allclose(C @ C.T, np.eye(N)), "orthonormal: the inverse is the transpose, energy is kept"
show({f"wave ({u},{v})": np.outer(C[u], C[v]) for u, v in ((0, 0), (0, 1), (1, 0), (2, 3), (7, 7))}, -0.25, 0.25)


# %%
def blocks_of(image: np.ndarray) -> np.ndarray:
    height, width = (side // N * N for side in image.shape)
    return image[:height, :width].reshape(height // N, N, width // N, N).swapaxes(1, 2)


def image_of(blocks: np.ndarray) -> np.ndarray:
    rows, columns = blocks.shape[:2]
    return blocks.swapaxes(1, 2).reshape(rows * N, columns * N)


coefficients = C @ blocks_of(frame - 128) @ C.T
assert np.allclose(image_of(C.T @ coefficients @ C), frame[: frame.shape[0] // N * N] - 128)

# %%
energy = np.sort((coefficients**2).reshape(-1, N * N).sum(0))[::-1]
pixels = np.sort((blocks_of(frame - 128) ** 2).reshape(-1, N * N).sum(0))[::-1]
plt.plot(np.cumsum(energy) / energy.sum(), label="waves")
plt.plot(np.cumsum(pixels) / pixels.sum(), label="pixels")
plt.gca().set(xlabel="numbers kept of 64, best first", ylabel="share of energy", ylim=(0, 1.03))
plt.legend(frameon=False)
assert energy[:8].sum() / energy.sum() > 0.9

# %% [markdown]
# ## 3. Quantise: the only place where something is lost
#
# Divide each coefficient by a step and round. Small ones become 0, and zeros are nearly free. H.264 numbers its steps
# by **QP**, and each 6 double the step: $q = 0.625\cdot 2^{QP/6}$. What the numbers then cost is close to their
# entropy.


# %%
def step(qp: float) -> float:
    return 0.625 * 2 ** (qp / 6)


def bits(levels: np.ndarray) -> float:
    """Entropy of each of the 64 positions by itself: an arithmetic coder learns them apart."""
    total = 0.0
    for position in levels.reshape(-1, N * N).T:
        share = np.unique(position, return_counts=True)[1] / len(position)
        total -= len(position) * float((share * np.log2(share)).sum())
    return total


# %%
def squeeze(image: np.ndarray, guess: np.ndarray, qp: float) -> tuple[np.ndarray, float]:
    levels = np.rint(C @ blocks_of(image - guess) @ C.T / step(qp))
    rest = image_of(C.T @ (levels * step(qp)) @ C)
    return guess[: rest.shape[0], : rest.shape[1]] + rest, bits(levels)


results = {qp: squeeze(frame, guess, qp) for qp in (16, 28, 40)}
show({f"QP {qp}: {cost / frame.size:.2f} bit/px": image[part] for qp, (image, cost) in results.items()})


# %% [markdown]
# With the same quantiser, predicting from another frame (inter) beats no prediction (intra) by a factor. That, and not
# the transform, is what makes video so much smaller than a row of photographs.


# %%
def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((a - b) ** 2)))


curves: dict[str, list[tuple[float, float]]] = {"intra": [], "inter": []}
for kind, start in (("intra", np.full_like(frame, 128.0)), ("inter", guess)):
    for qp in range(16, 44, 4):
        image, cost = squeeze(frame, start, qp)
        curves[kind].append((cost / frame.size, psnr(image, frame[: image.shape[0]])))
    plt.plot(*zip(*curves[kind], strict=True), "o-", label=kind)
plt.gca().set(xlabel="bits a pixel", ylabel="PSNR, dB")
plt.legend(frameon=False)
assert all(inter[0] < intra[0] for intra, inter in zip(curves["intra"], curves["inter"], strict=True))

# %% [markdown]
# ## 4. How bad is it? SSIM
#
# PSNR counts every error alike. **SSIM** (Wang et al. 2004) compares windows by mean, variance and covariance, which
# is nearer to what we see:
#
# $$\mathrm{SSIM}=\frac{(2\mu_a\mu_b+c_1)(2\sigma_{ab}+c_2)}{(\mu_a^2+\mu_b^2+c_1)(\sigma_a^2+\sigma_b^2+c_2)}$$
#
# The filter in FFmpeg takes 8 × 8 windows, one every 4 pixels. So do we, and the two must agree.


# %%
def windows(image: np.ndarray) -> np.ndarray:
    height, width = (side // 4 * 4 for side in image.shape)
    quarters = image[:height, :width].reshape(height // 4, 4, width // 4, 4).sum((1, 3))
    return quarters[:-1, :-1] + quarters[1:, :-1] + quarters[:-1, 1:] + quarters[1:, 1:]


def ssim(a: np.ndarray, b: np.ndarray) -> float:
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    ma, mb, aa, bb, ab = (windows(x) / 64 for x in (a, b, a * a, b * b, a * b))
    va, vb, cov = ((x - y) * 64 / 63 for x, y in ((aa, ma * ma), (bb, mb * mb), (ab, ma * mb)))
    return float(np.mean((2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))))


# %%
def filter_ssim(pairs: list[tuple[av.VideoFrame, av.VideoFrame]]) -> float:
    graph, tick = av.filter.Graph(), Fraction(1, 30)
    sides = [graph.add_buffer(width=WIDTH, height=HEIGHT, format="yuv420p", time_base=tick) for _ in range(2)]
    meter, sink = graph.add("ssim"), graph.add("buffersink")
    for pad, side in enumerate(sides):
        side.link_to(meter, 0, pad)
    meter.link_to(sink)
    graph.configure()
    found = []
    for number, pair in enumerate(pairs):
        for side, frame in zip(sides, pair, strict=True):
            frame.pts, frame.time_base = number, tick
            side.push(frame)
        found.append(float(sink.pull().metadata["lavfi.ssim.Y"]))
    return sum(found) / len(found)


# %%
theirs, mine = filter_ssim([(clip[20], clip[24])]), ssim(luma[20], luma[24])
print(f"FFmpeg {theirs:.4f}, ours {mine:.4f}")
assert abs(theirs - mine) < 2e-3

# %% [markdown]
# ## 5. A real codec, and how to ask it for quality
#
# x264 does all of the above with better vectors, smaller blocks, a filter against block edges and an adaptive
# arithmetic coder. We only turn its knobs. Here is all it takes to encode, and to look at the result.


# %%
def encode(frames: list[av.VideoFrame], **options: str) -> list[av.Packet]:
    context = av.CodecContext.create("libx264", "w")
    context.width, context.height, context.pix_fmt = frames[0].width, frames[0].height, "yuv420p"
    context.time_base, context.framerate, context.thread_count = 1 / FPS, FPS, 1
    context.options = {"preset": "veryfast", "g": "60", **options}
    packets = []
    for number, frame in enumerate(frames):
        frame.pts, frame.time_base, frame.pict_type = number, 1 / FPS, 0
        packets += context.encode(frame)
    return [*packets, *context.encode(None)]


def decode(packets: list[av.Packet]) -> list[av.VideoFrame]:
    decoder = av.CodecContext.create("h264", "r")
    return [frame for packet in (*packets, None) for frame in decoder.decode(packet)]


# %%
def kbps(packets: list[av.Packet], frames: int = FRAMES) -> float:
    return sum(packet.size for packet in packets) * 8 * 30 / frames / 1000


def seen(frames: list[av.VideoFrame], packets: list[av.Packet]) -> float:
    """SSIM after decoding, blown up to the clip's size: what a viewer with a full screen gets."""
    shown = [frame.reformat(WIDTH, HEIGHT, "yuv420p", interpolation="BICUBIC") for frame in decode(packets)]
    return filter_ssim(list(zip(frames, shown, strict=True)))


# %%
crfs = range(14, 45, 5)
curve = [(kbps(packets), seen(clip, packets)) for packets in (encode(clip, crf=str(crf)) for crf in crfs)]
plt.semilogx(*zip(*curve, strict=True), "o-")
for crf, (x, y) in zip(crfs, curve, strict=True):
    plt.annotate(f"CRF {crf}", (x, y), textcoords="offset points", xytext=(5, -10), fontsize=8)
plt.gca().set(xlabel="kb/s", ylabel="SSIM")
assert all(a[0] > b[0] and a[1] > b[1] for a, b in pairwise(curve))

# %% [markdown]
# **The knee.** To the right of CRF 20 or so bits double and nothing visible comes; left of 30 the picture falls apart.
# Everybody's default, 23, and ours, lies where the curve bends.
#
# **Rate control** decides how bits are spent over time. Three ways to ask, for a clip that is calm and then busy (grain
# appears):


# %%
def grainy(frame: av.VideoFrame, strength: float) -> av.VideoFrame:
    planes = frame.to_ndarray()
    noise = rng.normal(0, strength, (HEIGHT, WIDTH))
    planes[:HEIGHT] = np.clip(planes[:HEIGHT] + noise, 16, 235)
    return av.VideoFrame.from_ndarray(planes, format="yuv420p")


mixed = [grainy(frame, 0.5 if n < FRAMES // 2 else 12) for n, frame in enumerate(clip)]

# %%
asks = {"constant QP": {"qp": "28"}, "CRF": {"crf": "25"}, "average bitrate": {"b": "1500k"}}
for name, options in asks.items():
    sizes = np.zeros(FRAMES)
    for packet in encode(mixed, **options):
        sizes[packet.pts] = packet.size / 1000
    plt.plot(np.convolve(sizes, np.ones(6) / 6, "valid"), label=f"{name}: {sizes.sum():.0f} kB")
plt.gca().set(xlabel="frame", ylabel="kB a frame")
plt.legend(frameon=False)
plt.tight_layout()

# %% [markdown]
# Constant QP pays any price. An average bitrate starves what is hard and wastes bits on what is easy, for the sake of
# a file size nobody asked for. **CRF** asks for constant *quality*: the encoder raises QP where motion and noise hide
# the loss. But it has no upper limit, and a network has. So we use **capped CRF**: constant quality below a ceiling.
#
# ## 6. Why several sizes? The convex hull
#
# At 100 kb/s, is it better to send all pixels badly or a third of them well? Encode the clip at three sizes (in the
# proportions of 1080p, 720p and 360p), blow each up to full size and compare with the original.

# %%
SIZES = {"1080p": (480, 270), "720p": (320, 180), "360p": (160, 90)}
points: dict[str, list[tuple[float, float]]] = {}
for name, size in SIZES.items():
    small = [frame.reformat(*size, interpolation="BICUBIC") for frame in clip]
    points[name] = []
    for crf in (18, 24, 30, 36, 42):
        packets = encode(small, crf=str(crf))
        points[name].append((kbps(packets), seen(clip, packets)))


# %%
def hull(cloud: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the upper convex hull over log rate: what no mixture of others beats (Andrew's monotone chain)."""
    kept: list[tuple[float, float]] = []
    for x, y in sorted(cloud):
        while len(kept) > 1:
            (x1, y1), (x2, y2) = kept[-2:]
            if (y2 - y1) * np.log(x / x1) > (y - y1) * np.log(x2 / x1):
                break
            kept.pop()
        kept.append((x, y))
    best = max(range(len(kept)), key=lambda n: kept[n][1])
    return kept[: best + 1]


# %%
edge = hull([point for curve in points.values() for point in curve])
for name, curve in points.items():
    plt.semilogx(*zip(*curve, strict=True), "o-", label=name, alpha=0.7)
plt.semilogx(*zip(*edge, strict=True), "k--", lw=1, label="convex hull")
plt.gca().set(xlabel="kb/s", ylabel="SSIM at full size")
plt.legend(frameon=False)
assert edge[-1] in points["1080p"], "with enough bits all pixels are best"
assert edge[0] not in points["1080p"], "with few bits fewer pixels are better"

# %% [markdown]
# The curves **cross**. Each size is the best one in a band of rates; outside of it another one is. A *ladder* is a few
# points near the hull, far enough apart that switching makes a difference. A player climbs it with its network.
#
# ## 7. The ladder of this house
#
# First from scratch. The rules: a picture must fit a box, in either orientation; never make pixels up; the smallest box
# that holds the source gets it as it is; sides are even, since colour has half the resolution.

# %%
BOXES = {"1080p": (1920, 1080), "720p": (1280, 720), "360p": (640, 360)}


def toy_ladder(width: int, height: int) -> dict[str, tuple[int, int]]:
    long, short, rungs = max(width, height), min(width, height), {}
    for name, (box_long, box_short) in reversed(BOXES.items()):
        scale = min(Fraction(box_long, long), Fraction(box_short, short))
        if scale >= 1:
            rungs[name] = tuple(max(2, side - side % 2) for side in (width, height))
            break
        rungs[name] = tuple(max(2, round(side * scale / 2) * 2) for side in (width, height))
    return dict(reversed(rungs.items()))


toy_ladder(1948, 1182), toy_ladder(720, 1280), toy_ladder(400, 300)

# %% [markdown]
# And the one that works in the server. It also says *why*, which `sfctl explain` shows to whoever wonders.

# %%
from sfserver.media.encode.ladder import build_ladder, chunk_options

rungs, reasons = build_ladder(1948, 1182, FPS, 60)
print(*reasons, sep="\n")

# %%
for _ in range(500):
    width, height = (int(side) for side in rng.integers(16, 4000, 2))
    theirs = {rung.name: (rung.width, rung.height) for rung in build_ladder(width, height, FPS, 60)[0]}
    assert theirs == toy_ladder(width, height), (width, height)
print("500 sources, the same ladders")

# %% [markdown]
# ## 8. Our capped CRF
#
# Each rung has a rate; its x264 options ask for CRF and name a ceiling (`maxrate`) over a buffer of a second
# (`bufsize`). A chunk begins with nine tenths of that second to spend at once, for its first picture has nothing to
# refer to; so the ceiling is lowered until **rate × time holds for every chunk**, and so for the file. In symbols:
# $r' = r\,(1 - 0.9\,\mathrm s / t)$.

# %%
from sfserver.media.contract import ChunkSpec

rung = rungs[0]
for seconds in (2, 4, 12):
    options = chunk_options(rung, ChunkSpec(0, 0, 30 * seconds), FPS)
    toy = rung.maxrate_bps * (1 - 0.9 / seconds)
    assert int(options["maxrate"]) == int(toy)
    assert int(options["bufsize"]) == rung.maxrate_bps
    print(f"{seconds:2} s: ceiling {toy / 1000:.0f} kb/s of {rung.maxrate_bps / 1000:.0f}")

# %% [markdown]
# **Experiment.** Give a small rung a ceiling of 800 kb/s. On the calm half nothing changes; on the grain plain CRF runs
# away, and ours doesn't. Both are decoded by anything, and both have the same GOPs.

# %%
from dataclasses import replace

ceiling_bps = 800_000
rung = replace(build_ladder(WIDTH, HEIGHT, FPS, 60)[0][-1], maxrate_bps=ceiling_bps)
capped = chunk_options(rung, ChunkSpec(0, 0, FRAMES), FPS)
capped["x264-params"] = capped["x264-params"].replace("annexb=0:", "")
free = {name: value for name, value in capped.items() if name not in ("maxrate", "bufsize")}
outcome = {"CRF": encode(mixed, **free), "capped CRF": encode(mixed, **capped)}
{name: round(kbps(packets)) for name, packets in outcome.items()}

# %%
for name, packets in outcome.items():
    sizes = np.zeros(FRAMES)
    for packet in packets:
        sizes[packet.pts] = packet.size
    plt.plot(np.arange(1, FRAMES + 1) / 30, np.cumsum(sizes) / 1000, label=name)
plt.plot([0, FRAMES / 30], [0, ceiling_bps * FRAMES / 30 / 8000], "k:", label="800 kb/s")
plt.gca().set(xlabel="seconds", ylabel="kB so far")
plt.legend(frameon=False)
assert kbps(outcome["capped CRF"]) <= ceiling_bps / 1000 * 1.02 < kbps(outcome["CRF"])

# %% [markdown]
# Why capped CRF, then? **Easy videos get small** (a lecture needs a tenth of its rung's rate), and **hard ones stay
# within what a rung promises** to a player that chooses by bandwidth. The source's own rate is a bad ceiling: slides
# earned theirs with a keyframe every ten seconds, and ours come every two. What a video may take on disk is a budget
# over all of its rungs instead, kept by a slightly higher CRF for the chunks to come (ADR 10). The speed of each rung's
# encoder is a trade of its own, measured in `bench/transcode` and explained in ADR 6.
#
# ## Exercises
#
# 1. **Half a pixel.** Let `best_vector` also try places half a pixel off (the mean of neighbours). How much does the
#    residual's energy fall?
# 2. **Bits for bits.** How many dB does one more bit a pixel buy in `curves["intra"]` at its upper end? Theory: 6.02.
# 3. **A rung too many.** Add a size of 448 × 252 to the hull experiment. How far, at most, does it rise above the hull
#    of the other three? Would you store it?
# 4. **A short chunk.** With `chunk_options`, which share of the rung's rate is left as ceiling to a chunk of one GOP,
#    and which to one of six GOPs? Why are early chunks short all the same?
#
# Solutions: `solutions/20_codecs_and_ladder.py`.
#
# ## Further reading
#
# - I. Richardson, *The H.264 Advanced Video Compression Standard*, chapters 6 and 7.
# - Z. Wang et al., *Image quality assessment: from error visibility to structural similarity*, 2004.
# - J. De Cock et al., *Complexity-based consistent-quality encoding in the cloud*, 2016: ladders from convex hulls.
# - C. Helmrich et al., *XPSNR: a low-complexity extension of the perceptually weighted PSNR*, 2020.
# - In this house: `sfserver/media/encode/ladder.py`, `bench/quality.py`, `docs/adr/0006-encoder-settings.md`.
