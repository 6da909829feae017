"""Pictures of screens, made from seeds: a test card, a photograph that stands still, slides, and somebody typing."""

from collections.abc import Callable
from functools import cache

import numpy as np
import numpy.typing as npt

from sfserver.media.encode.sample import landscape

Plane = npt.NDArray[np.uint8]
Planes = list[Plane]
Draw = Callable[[int], Planes]
PAPER, INK = 235, 30


def colour_bars(size: tuple[int, int]) -> Draw:
    """Return a still of eight colour bars over a grey ramp."""
    width, height = size
    planes = blank(size, 128)
    bars = (
        (235, 128, 128),
        (210, 16, 146),
        (170, 166, 16),
        (145, 54, 34),
        (106, 202, 222),
        (81, 90, 240),
        (41, 240, 110),
    )
    for n, colour in enumerate(bars):
        fill(planes, (n * width // 7 & ~1, 0, width // 7 + 2, height * 2 // 3 & ~1), colour)
    ramp = np.linspace(16, 235, width).astype(np.uint8)
    planes[0][height * 2 // 3 :] = ramp
    return lambda _: planes


def photograph(size: tuple[int, int], seed: int) -> Draw:
    """Return a still with the spectrum of a photograph."""
    planes = blank(size, 128)
    paste_photograph(planes, (0, 0, *size), seed)
    return lambda _: planes


def slides(size: tuple[int, int], hold: int, *, seed: int, dense: bool = False) -> Draw:
    """Return slides that change every `hold` frames: text; dense ones small print, a chart and a photograph, too."""

    @cache
    def slide(number: int) -> Planes:
        rng = np.random.default_rng([seed, number])
        planes = blank(size, PAPER)
        width, height = size
        letter = height // (72 if dense else 27)
        fill(planes, (0, 0, width, height // 8 & ~1), (70, 160, 110))
        write(planes[0], (width // 20, height // 32, width * 9 // 10, height // 10), height // 18, rng, 225)
        text_width = width * (5 if dense else 8) // 10
        write(planes[0], (width // 20, height // 6, text_width, height * 9 // 10), letter, rng)
        if dense:
            paste_photograph(
                planes, (width * 6 // 10 & ~1, height // 6 & ~1, width // 3 & ~1, height // 3 & ~1), number
            )
            for bar in range(9):
                tall = int(rng.integers(height // 20, height // 3)) & ~1
                left = (width * 6 // 10 + bar * width // 28) & ~1
                fill(
                    planes,
                    (left, height * 9 // 10 - tall & ~1, width // 40 & ~1, tall),
                    (60 + 15 * bar, 90 + 8 * bar, 150),
                )
        return planes

    return lambda t: slide(t // hold)


def typing(size: tuple[int, int], seed: int, *, dark: bool = False) -> Draw:
    """Return an editor: a word is typed every fourth frame, a cursor blinks, and pages turn."""
    width, height = size
    letter = height // 48
    paper, ink = (30, 200) if dark else (PAPER, INK)

    @cache
    def page(number: int) -> Plane:
        luma = np.full((height, width), paper, np.uint8)
        write(
            luma,
            (width // 12, height // 20, width * 10 // 12, height * 17 // 20),
            letter,
            np.random.default_rng([seed, number]),
            ink,
        )
        return luma

    def draw(t: int) -> Planes:
        planes = blank(size, paper)
        planes[0][:] = page(t // 90)
        line = height * 17 // 20 + letter
        typed = width // 12 + (t % 90) * width // 120
        planes[0][line : line + letter, width // 12 : typed] = page(t // 90 + 1)[
            height // 20 : height // 20 + letter, width // 12 : typed
        ]
        if t // 15 % 2:
            planes[0][line : line + letter, typed : typed + 3] = ink
        fill(planes, (0, 0, width, height // 30 & ~1), (120, 140, 110))
        return planes

    return draw


def blank(size: tuple[int, int], luma: int) -> Planes:
    """Return yuv420p planes of one grey."""
    width, height = size
    return [
        np.full((height // half, width // half), level, np.uint8) for half, level in ((1, luma), (2, 128), (2, 128))
    ]


def fill(planes: Planes, area: tuple[int, int, int, int], colour: tuple[int, int, int]) -> None:
    """Paint (left, top, width, height), all even."""
    left, top, width, height = area
    for plane, level, half in zip(planes, colour, (1, 2, 2), strict=True):
        plane[top // half : (top + height) // half, left // half : (left + width) // half] = level


def paste_photograph(planes: Planes, area: tuple[int, int, int, int], seed: int) -> None:
    """Paint (left, top, width, height), all even, with 1/f noise."""
    left, top, width, height = area
    for n, (plane, half) in enumerate(zip(planes, (1, 2, 2), strict=True)):
        rng = np.random.default_rng([seed, n])
        photo = landscape(rng, height // half, width // half, contrast=16.0 if n else 40.0)
        plane[top // half : (top + height) // half, left // half : (left + width) // half] = photo


def write(luma: Plane, area: tuple[int, int, int, int], letter: int, rng: np.random.Generator, ink: int = INK) -> None:
    """Fill (left, top, width, height) with words of made-up letters, `letter` pixels high, edges softened."""
    left, top, width, height = area
    glyphs = [_glyph(letter, np.random.default_rng(n)) for n in range(40)]
    for y in range(top, top + height - letter, letter * 8 // 5):
        x = left
        while x < left + width - letter * 6:
            for _ in range(int(rng.integers(2, 10))):
                glyph = glyphs[int(rng.integers(len(glyphs)))]
                view = luma[y : y + glyph.shape[0], x : x + glyph.shape[1]]
                share = glyph[: view.shape[0], : view.shape[1]]
                view[:] = np.rint(view + (ink - view.astype(np.float32)) * share).astype(np.uint8)
                x += glyph.shape[1]
                if x >= left + width:
                    break
            x += letter // 2


def _glyph(letter: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Return a letter's coverage, drawn at four times its size: an upright, a bow and a bar."""
    tall, wide, pen = letter * 4, letter * 5 // 2, max(3, letter // 2)
    shape = np.zeros((tall, wide), np.float32)
    yy, xx = np.ogrid[0:tall, 0:wide]
    upright = int(rng.integers(1, wide - 2 * pen))
    shape[int(rng.integers(0, tall // 2)) :, upright : upright + pen] = 1
    cy, cx, radius = rng.uniform(0.3, 0.7) * tall, wide / 2, wide * rng.uniform(0.3, 0.42)
    ring = np.hypot((yy - cy) * 0.8, xx - cx)
    shape[np.abs(ring - radius) < pen / 2] = 1
    bar = int(rng.integers(0, tall - pen))
    shape[bar : bar + pen, wide // 8 : wide - wide // 6] = 1
    fours = shape[: tall // 4 * 4, : wide // 4 * 4].reshape(tall // 4, 4, wide // 4, 4)
    cover: npt.NDArray[np.float32] = fours.mean((1, 3))
    return cover
