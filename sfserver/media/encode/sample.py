"""A sample clip made on the spot: a landscape of 1/f noise under a drifting camera, moving discs, and a melody."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.uint8]
_FPS = 30
_SAMPLE_RATE = 48_000
_NOTES_HZ = (261.6, 329.6, 392.0, 523.3, 440.0, 392.0, 329.6, 293.7)


def make_sample(path: Path, *, seconds: float, width: int = 1920, height: int = 1080, seed: int = 7) -> None:
    """Write an MP4 (H.264 and AAC, 30 frames a second) of `seconds`; the same arguments give the same picture."""
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as container:
        video = container.add_stream("libx264", rate=_FPS, options={"preset": "ultrafast", "crf": "23"})
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        audio = container.add_stream("aac", rate=_SAMPLE_RATE, layout="stereo")
        for picture in _pictures(round(seconds * _FPS), width, height, seed):
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
        for sound in sounds(seconds):
            container.mux(audio.encode(sound))
        container.mux(audio.encode(None))


def _pictures(count: int, width: int, height: int, seed: int) -> Iterator[av.VideoFrame]:
    rng = np.random.default_rng(seed)
    margin = 256
    luma = landscape(rng, height + margin, width + margin, contrast=38.0)
    chroma = [landscape(rng, (height + margin) // 2, (width + margin) // 2, contrast=16.0) for _ in range(2)]
    grain = rng.normal(0, 1.0, (height + 64, width + 64)).astype(np.int16)
    for n in range(count):
        x, y = (int(margin / 4 * (1 + f)) * 2 for f in (np.sin(n / 53), np.cos(n / 71)))
        gx, gy = rng.integers(0, 64, 2)
        picture = luma[y : y + height, x : x + width].astype(np.int16) + grain[gy : gy + height, gx : gx + width]
        planes = [np.clip(picture, 16, 235).astype(np.uint8)]
        planes += [c[y // 2 : y // 2 + height // 2, x // 2 : x // 2 + width // 2].copy() for c in chroma]
        _draw_discs(planes, n)
        yield frame_of(planes, n)


def landscape(rng: np.random.Generator, height: int, width: int, *, contrast: float, slope: float = 1.6) -> Plane:
    """Return a (height, width) picture of noise whose amplitude falls with 1/f, as in photographs (Field 1987)."""
    spectrum = np.fft.rfft2(rng.standard_normal((height, width)))
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :]
    frequency = np.hypot(fy * height / width, fx)
    frequency[0, 0] = 1.0
    picture = np.fft.irfft2(spectrum / frequency**slope, s=(height, width))
    picture *= contrast / picture.std()
    return np.clip(picture + 126, 16, 235).astype(np.uint8)


def _draw_discs(planes: list[Plane], n: int) -> None:
    """Paint three shaded discs on their own orbits."""
    height, width = planes[0].shape
    for disc, (u, v) in enumerate(((90, 160), (160, 90), (110, 60))):
        radius = height // (8 + 3 * disc)
        cx = int(width / 2 + (width / 2 - radius) * np.sin(n / (37 + 9 * disc) + disc))
        cy = int(height / 2 + (height / 2 - radius) * np.sin(n / (23 + 5 * disc)))
        for plane, value, scale in zip(planes, (None, u, v), (1, 2, 2), strict=True):
            _paint(plane, cx // scale, cy // scale, radius // scale, value)


def _paint(plane: Plane, cx: int, cy: int, radius: int, value: int | None) -> None:
    top, left = max(0, cy - radius), max(0, cx - radius)
    view = plane[top : cy + radius, left : cx + radius]
    yy, xx = np.ogrid[top : top + view.shape[0], left : left + view.shape[1]]
    distance = np.hypot(yy - cy, xx - cx) / max(1, radius)
    shade = (225 - 130 * distance**2) if value is None else np.full_like(distance, value)
    np.copyto(view, np.clip(shade, 16, 240).astype(np.uint8), where=distance < 1)


def frame_of(planes: list[Plane], n: int) -> av.VideoFrame:
    """Return yuv420p planes as frame `n` at 30 frames a second."""
    height, width = planes[0].shape
    frame = av.VideoFrame(width, height, "yuv420p")
    for plane, data in zip(frame.planes, planes, strict=True):
        padded = np.zeros((plane.height, plane.line_size), np.uint8)
        padded[:, : plane.width] = data
        plane.update(padded.tobytes())
    frame.pts, frame.time_base = n, Fraction(1, _FPS)
    return frame


def sounds(seconds: float) -> Iterator[av.AudioFrame]:
    """Yield stereo frames at 48 kHz: a melody with a bass below it, one note every half second."""
    total = round(seconds * _SAMPLE_RATE)
    for start in range(0, total, 1024):
        t = np.arange(start, min(start + 1024, total)) / _SAMPLE_RATE
        note = np.array(_NOTES_HZ)[(t * 2).astype(int) % len(_NOTES_HZ)]
        fade = np.exp(-3 * (t * 2 % 1))
        left = 0.25 * fade * np.sin(2 * np.pi * note * t) + 0.08 * np.sin(2 * np.pi * 65.4 * t)
        right = 0.25 * fade * np.sin(2 * np.pi * note * t + 0.5) + 0.08 * np.sin(2 * np.pi * 65.4 * t)
        frame = av.AudioFrame.from_ndarray(np.stack([left, right]).astype(np.float32), format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = _SAMPLE_RATE, start, Fraction(1, _SAMPLE_RATE)
        yield frame
