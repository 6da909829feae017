"""Half a minute of 1080p30 that an encoder takes for film: made once from seeds, kept in `.bench/`.

Pictures are built like nature's: "dead leaves" (occluding shapes with power-law sizes, Lee, Mumford and Huang 2001)
give edges at every scale, 1/f noise gives the grain within them, a lens blurs both, a sensor adds noise. Cameras pan
over them with parallax, stand still while things drive by, zoom, shake, fade; a cartoon, water and a page of text come
between.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from sfserver.media.encode.sample import frame_of, landscape, sounds

Plane = npt.NDArray[np.float32]
Planes = list[Plane]
WIDTH, HEIGHT, FPS = 1920, 1080, 30
FOLDER = Path(__file__).parents[1] / ".bench"
SOURCE = {"preset": "veryfast", "crf": "15", "g": "250"}


@dataclass(frozen=True)
class Scene:
    """`draw(t)` gives luma and half-size chroma of frame `t` (float, 0–255); `noise` is the sensor's, in levels."""

    frames: int
    draw: Callable[[int], Planes]
    noise: float
    fade: int = 0


@dataclass(frozen=True)
class Look:
    """How a camera looks: `zoom` screen pixels to a texel, and `wind` that moves what it sees by so many pixels."""

    zoom: float = 1.0
    wind: float = 0.0
    time: float = 0.0


STEADY = Look()


def film() -> Path:
    """Return the clip, making it on the first call (about two minutes)."""
    path = FOLDER / "film.mp4"
    if not path.exists():
        FOLDER.mkdir(exist_ok=True)
        part = path.with_suffix(".part")
        _write(part, scenes())
        part.rename(path)
    return path


def scenes() -> list[Scene]:
    """Return the film's scenes in order, 900 frames in all."""
    return [
        Scene(120, _drive, 1.4),
        Scene(130, _crossing, 1.8),
        Scene(120, _portrait, 1.2),
        Scene(120, _cartoon, 0.0),
        Scene(90, _water, 1.4),
        Scene(100, _zoom, 1.0),
        Scene(110, _page, 0.0),
        Scene(110, _chase, 1.6, fade=45),
    ]


def pictures(shown: list[Scene], seed: int = 5) -> Iterator[list[npt.NDArray[np.uint8]]]:
    """Yield luma and chroma planes of every frame, with noise and fades, as 8-bit video levels."""
    rng = np.random.default_rng(seed)
    grain = _blur(rng.normal(0, 1.9, (HEIGHT + 128, WIDTH + 128)).astype(np.float32), 1)
    for scene in shown:
        for t in range(scene.frames):
            planes = scene.draw(t)
            if scene.noise:
                y, x = rng.integers(0, 128, 2)
                planes[0] = planes[0] + scene.noise * grain[y : y + HEIGHT, x : x + WIDTH]
            light = min(1.0, (scene.frames - t) / scene.fade) if scene.fade else 1.0
            planes = [_faded(plane, light, rest) for plane, rest in zip(planes, (16, 128, 128), strict=True)]
            yield [np.clip(np.rint(plane), 16, 240).astype(np.uint8) for plane in planes]


def _write(path: Path, shown: list[Scene]) -> None:
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as container:
        video = container.add_stream("libx264", rate=FPS, options=SOURCE)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        audio = container.add_stream("aac", rate=48_000, layout="stereo")
        for number, planes in enumerate(pictures(shown)):
            container.mux(video.encode(frame_of(planes, number)))
        container.mux(video.encode(None))
        for sound in sounds(sum(scene.frames for scene in shown) / FPS):
            container.mux(audio.encode(sound))
        container.mux(audio.encode(None))


# Textures ------------------------------------------------------------------------------------------------------------


@cache
def _leaves(seed: int, size: tuple[int, int], smallest: float, blur: int, contrast: float = 34.0) -> tuple[Plane, ...]:
    """Return (height, width) of dead leaves with 1/f grain in them: luma, and chroma at half size."""
    rng = np.random.default_rng(seed)
    height, width = size
    luma, u, v = (np.full(size, level, np.float32) for level in (110, 126, 130))
    # Sizes fall with the third power, which makes the picture look alike at every scale; big ones lie below.
    count = int(1.6 * height * width / (np.pi * smallest**2 * np.log(300 / smallest)))
    radii = np.sort(smallest / np.sqrt(rng.uniform((smallest / 300) ** 2, 1, count)))[::-1]
    for radius in radii:
        place = rng.uniform(0, height), rng.uniform(0, width), radius, rng.uniform(0.4, 1), rng.uniform(0, np.pi)
        _leaf((luma, u, v), place, tuple(rng.normal((118, 126, 130), (contrast, 9, 9))))
    grain = landscape(rng, height, width, contrast=8.0, slope=1.3).astype(np.float32) - 126
    luma = _blur(np.clip(luma + grain, 18, 232), blur)
    return luma, _blur(u, 2)[::2, ::2].copy(), _blur(v, 2)[::2, ::2].copy()


def _leaf(planes: tuple[Plane, ...], shape: tuple[float, ...], tones: tuple[float, ...]) -> None:
    cy, cx, radius, squeeze, angle = shape
    height, width = planes[0].shape
    top, left = max(0, int(cy - radius)), max(0, int(cx - radius))
    bottom, right = min(height, int(cy + radius) + 1), min(width, int(cx + radius) + 1)
    yy, xx = np.ogrid[top:bottom, left:right]
    along = (xx - cx) * np.cos(angle) + (yy - cy) * np.sin(angle)
    across = (yy - cy) * np.cos(angle) - (xx - cx) * np.sin(angle)
    inside = along**2 + (across / squeeze) ** 2 < radius**2
    for plane, tone, shade in zip(planes, tones, (14 / radius, 0, 0), strict=True):
        np.copyto(plane[top:bottom, left:right], (tone + shade * along).astype(np.float32), where=inside)


def _blur(plane: Plane, times: int) -> Plane:
    """Apply the 1-2-1 kernel both ways: a lens."""
    for axis in (0, 1) * times:
        plane = ((plane + (np.roll(plane, 1, axis) + np.roll(plane, -1, axis)) / 2) / 2).astype(np.float32)
    return plane


# Cameras -------------------------------------------------------------------------------------------------------------


def _view(texture: tuple[Plane, ...], x: float, y: float, look: Look = STEADY, rows: int = HEIGHT) -> Planes:
    """Look at a texture from its point (x, y) on, with sub-pixel steps."""
    sizes = [(rows, WIDTH, 1)] + [(rows // 2, WIDTH // 2, 2)] * (len(texture) - 1)
    return [
        _resample(_resample(plane, _places(y, height, half, look), 0), _places(x, width, half, look), 1)
        for plane, (height, width, half) in zip(texture, sizes, strict=True)
    ]


def _places(start: float, count: int, half: int, look: Look) -> npt.NDArray[np.float64]:
    """Return where in the texture each row (or column) of the screen lies."""
    at = np.arange(count) * half
    swing = (
        np.sin(at / 61 + look.time / 5.1) + 0.7 * np.sin(at / 23 - look.time / 3.3) + np.sin(at / 170 + look.time / 9)
    )
    return (start + at / look.zoom + look.wind * swing) / half


def _resample(plane: Plane, at: npt.NDArray[np.floating], axis: int) -> Plane:
    low = np.floor(at).astype(np.intp)
    part = (at - low).astype(np.float32)
    if low[-1] - low[0] == len(low) - 1 and np.ptp(part) < 1e-3:
        a, b = (np.moveaxis(np.moveaxis(plane, axis, 0)[low[0] + k : low[-1] + 1 + k], 0, axis) for k in (0, 1))
    else:
        a, b = plane.take(low, axis), plane.take(low + 1, axis)
    between: Plane = a + (b - a) * (part[:, None] if axis == 0 else part)
    return between


def _shake(t: int, strength: float) -> tuple[float, float]:
    """Return the sway of a hand-held camera: a few slow sines."""
    x = np.sin(t / 7.3) + 0.6 * np.sin(t / 3.1 + 1)
    y = np.sin(t / 8.9 + 2) + 0.5 * np.sin(t / 3.7)
    return float(strength * x), float(strength * y)


def _faded(plane: Plane, light: float, rest: int) -> Plane:
    return plane if light == 1.0 else rest + (plane - rest) * light


def _shaded(planes: Planes, t: int, strength: float) -> Planes:
    """Let the light play: shadows of clouds drift and the iris follows, so that no block stays quite as it was."""
    clouds = _resample(_resample(_sky(), 20 + 2.9 * t + np.arange(WIDTH) / 3, 1), 10 + t / 2 + np.arange(HEIGHT) / 3, 0)
    planes[0] = planes[0] * (1 + strength * clouds + 0.2 * strength * np.float32(np.sin(t / 5)))
    return planes


@cache
def _sky() -> Plane:
    noise = landscape(np.random.default_rng(14), 640, 1200, contrast=40.0, slope=1.5).astype(np.float32)
    return ((noise - 126) / 40).astype(np.float32)


def _over(below: Planes, above: Planes, mask: Plane, top: int) -> Planes:
    """Lay `above` over the rows from `top` on where `mask` is 1."""
    for plane, cover, share in zip(below, above, (mask, mask[::2, ::2], mask[::2, ::2]), strict=True):
        start = top if plane is below[0] else top // 2
        area = plane[start : start + cover.shape[0]]
        area += (cover - area) * share
    return below


# Scenes --------------------------------------------------------------------------------------------------------------


def _drive(t: int) -> Planes:
    """Pan over a far landscape with bushes passing in front."""
    sx, sy = _shake(t, 1.2)
    far = _view(_leaves(1, (1160, 2500), 14.0, 3), 20 + 2.3 * t + sx, 30 + sy, Look(wind=1.6, time=t))
    rows = 400
    x = 30 + 6.4 * t + sx
    near = _view(_leaves(2, (480, 3400), 16.0, 6), x, 20 + sy, Look(wind=4.0, time=t), rows=rows)
    mask = _resample(_hedge(3400, rows), x + np.arange(WIDTH), 1)
    return _shaded(_over(far, near, mask, HEIGHT - rows), t, 0.05)


@cache
def _hedge(width: int, rows: int) -> Plane:
    x = np.arange(width)
    edge = 150 + 70 * np.sin(x / 140) + 50 * np.sin(x / 57 + 1) + 18 * np.sin(x / 11)
    cover: Plane = np.clip((np.arange(rows)[:, None] - edge) / 6, 0, 1).astype(np.float32)
    return cover


def _crossing(t: int) -> Planes:
    """Stand still while cars go by: most blocks don't change, but for the sensor's noise."""
    planes = _view(_leaves(3, (1160, 2100), 12.0, 3), 40, 30, Look(wind=0.7, time=t))
    for lane, (speed, size, row, seed) in enumerate(((9.3, 340, 560, 4), (-5.7, 260, 420, 5), (13.1, 460, 760, 6))):
        x = (lane * 700 + speed * t) % (WIDTH + 2 * size) - size
        _box(planes, _leaves(seed, (300, 520), 16.0, 3), (int(x), row, size, size // 2))
    return _shaded(planes, t, 0.03)


def _box(planes: Planes, texture: tuple[Plane, ...], where: tuple[int, int, int, int]) -> None:
    x, y, width, height = (value // 2 * 2 for value in where)
    left, right = max(0, x), min(WIDTH, x + width)
    for plane, skin, half in zip(planes, texture, (1, 2, 2), strict=True):
        if left < right:
            cut = skin[: height // half, (left - x) // half : (right - x) // half]
            plane[y // half : (y + height) // half, left // half : right // half] = cut


def _portrait(t: int) -> Planes:
    """Show a talking head before a room out of focus: soft ground, sharp face that sways and stretches."""
    sx, sy = _shake(t, 1.5)
    planes = _view(_room(), 60 + sx, 40 + sy)
    sway, nod = 46 * np.sin(t / 13), 19 * np.sin(t / 6.1)
    face = _view(_leaves(8, (1160, 2100), 10.0, 3), 60 - sway, 40 - nod, Look(wind=6.0, time=t))
    yy, xx = np.ogrid[0:HEIGHT, 0:WIDTH]
    mouth = 30 * np.sin(t / 2.3)
    distance = np.hypot((xx - 960 - sway) / 560, (yy - 560 - nod) / (520 + mouth * (yy > 640)))
    mask = np.clip((1 - distance) * 60, 0, 1).astype(np.float32)
    face[0] = 60 + 0.55 * face[0]
    return _shaded(_over(planes, face, mask, 0), t, 0.04)


@cache
def _room() -> tuple[Plane, ...]:
    luma, u, v = _leaves(7, (1160, 2100), 40.0, 1)
    return _blur(luma, 60), _blur(u, 30), _blur(v, 30)


def _cartoon(t: int) -> Planes:
    """Flat colours, dark outlines, a graded sky that pans slowly; no noise."""
    luma = np.repeat(np.linspace(190, 120, HEIGHT, dtype=np.float32)[:, None], WIDTH, 1)
    planes = [luma, *(np.full((HEIGHT // 2, WIDTH // 2), level, np.float32) for level in (150, 105))]
    for n in range(14):
        radius = 60 + 23 * (n * 7 % 9)
        depth = 1 + n / 5
        x = (n * 331 + depth * 2.1 * t) % (WIDTH + 4 * radius) - 2 * radius
        y = 200 + (n * 173) % 800 + 40 * np.sin(t / (9 + n) + n)
        for scale, tone in ((1.0, 40.0), (0.95, 90.0 + 11 * n % 120), (0.5, 200.0 - 9 * n)):
            colour = (tone, 100 + 9 * n % 60, 110 + 13 * n % 50)
            _ellipse(planes, (x, y, radius * scale, radius * scale * (0.7 + 0.2 * np.sin(t / 8 + n))), colour)
    return planes


def _ellipse(planes: Planes, shape: tuple[float, float, float, float], colour: tuple[float, float, float]) -> None:
    for plane, value, half in zip(planes, colour, (1, 2, 2), strict=True):
        cx, cy, rx, ry = (number / half for number in shape)
        top, left = max(0, int(cy - ry - 1)), max(0, int(cx - rx - 1))
        view = plane[top : max(0, int(cy + ry + 2)), left : max(0, int(cx + rx + 2))]
        yy, xx = np.ogrid[top : top + view.shape[0], left : left + view.shape[1]]
        share = np.clip((1 - np.hypot((xx - cx) / rx, (yy - cy) / ry)) * min(rx, ry), 0, 1).astype(np.float32)
        view += (value - view) * share


def _water(t: int) -> Planes:
    """Show a reflection that ripples: every row moves on its own, which no block vector fits."""
    planes = _view(_leaves(9, (1160, 2100), 20.0, 5), 60, 30)
    for plane, half in zip(planes, (1, 2, 2), strict=True):
        rows = np.arange(plane.shape[0]) * half
        depth = rows / HEIGHT
        shift = (2 + 10 * depth) * np.sin(rows / (6 + 30 * depth) - t / 4.5) / half
        for row in np.nonzero(rows > HEIGHT // 3)[0]:
            at = np.arange(plane.shape[1]) + shift[row]
            plane[row] = np.interp(at, np.arange(plane.shape[1]), plane[row])
    return _shaded(planes, t, 0.06)


def _zoom(t: int) -> Planes:
    """Zoom in from a hand-held camera."""
    zoom = 1.0001 + 0.004 * t
    look = Look(zoom, 1.5, t)
    sx, sy = _shake(t, 1.6)
    spare = 1 - 1 / zoom
    x, y = 60 + spare * WIDTH / 2 + sx, 50 + spare * HEIGHT / 2 + sy
    return _shaded(_view(_leaves(10, (1180, 2060), 14.0, 3), x, y, look), t, 0.04)


def _page(t: int) -> Planes:
    """Show a page of text that stands still, then scrolls."""
    scroll = max(0, t - 70) * 4
    page = _text()[scroll : scroll + HEIGHT]
    return [page.copy(), *(np.full((HEIGHT // 2, WIDTH // 2), 128, np.float32) for _ in range(2))]


@cache
def _text() -> Plane:
    """Return lines of words of strokes, black on white with one softened pixel."""
    rng = np.random.default_rng(11)
    page = np.full((HEIGHT + 200, WIDTH), 230, np.float32)
    for y in range(80, page.shape[0] - 40, 44):
        x = 160
        while x < WIDTH - 200:
            for _ in range(int(rng.integers(2, 9))):
                for _ in range(2):
                    dx, dy = rng.integers(0, 10), rng.integers(0, 16)
                    page[y : y + 24, x + dx : x + dx + 3] = 30
                    page[y + dy : y + dy + 3, x : x + 14] = 30
                x += 18
            x += 16
    return ((page + np.roll(page, 1, 1) + np.roll(page, 1, 0)) / 3).astype(np.float32)


def _chase(t: int) -> Planes:
    """Follow something fast: the ground blurs along the motion, the followed thing stays sharp."""
    x = 30 + 15.0 * t
    planes = _view(_smeared(), x, 30 + _shake(t, 3.0)[1], Look(wind=2.0, time=t))
    sx, sy = _shake(t, 8.0)
    _box(planes, _leaves(13, (500, 800), 12.0, 3), (int(620 + sx), int(380 + sy), 700, 380))
    return _shaded(planes, t, 0.05)


@cache
def _smeared() -> tuple[Plane, ...]:
    def smear(plane: Plane, length: int) -> Plane:
        total = np.cumsum(plane, 1, dtype=np.float64)
        return ((total[:, length:] - total[:, :-length]) / length).astype(np.float32)

    luma, u, v = _leaves(12, (1180, 3700), 12.0, 1)
    return smear(luma, 12), smear(u, 6), smear(v, 6)


if __name__ == "__main__":
    print(film())
