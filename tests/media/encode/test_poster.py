from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation
from numpy.typing import NDArray

from sfserver.errors import DamagedMediaError
from sfserver.media.contract import MediaLimits
from sfserver.media.encode.plan import probe
from sfserver.media.encode.poster import PosterArguments, PosterResult, run_poster
from sfserver.media.encode.sample import landscape
from sfserver.media.sandbox.parent import Sandbox, SandboxLimits, output_file
from tests.media.clips import Clip, Picture, draw, ignore, make_clip, read_number

EXACT = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
FAST = {"preset": "ultrafast", "sc_threshold": "0"}
SIZE = (320, 180)
NAMES = ["poster.jpg", "poster.webp", "poster-small.jpg", "poster-small.webp"]
COLOURS = [(200, 40, 40), (40, 180, 60), (30, 60, 200), (220, 200, 40), (128, 128, 128), (240, 240, 240), (20, 20, 20)]
RGB = NDArray[np.uint8]


def arguments(source: Path, workdir: Path) -> PosterArguments:
    probed = probe(source, workdir, MediaLimits(), ignore)
    return PosterArguments(source, workdir / probed.index_file, probed.plan, MediaLimits())


def poster(source: Path, workdir: Path, name: str = "out") -> tuple[PosterResult, Path]:
    out = workdir / name
    out.mkdir()
    return run_poster(arguments(source, workdir), out, ignore), out


def open_picture(path: Path) -> RGB:
    """Decode a picture to (height, width, 3)."""
    with av.open(str(path)) as container:
        return next(container.decode(video=0)).to_ndarray(format="rgb24", interpolation=EXACT)


def read_luma(path: Path) -> Picture:
    return open_picture(path).mean(axis=2).astype(np.uint8)


def write_lumas(path: Path, lumas: Iterable[Picture], gop: int = 25) -> Path:
    """Write (height, width) pictures of 0–255 at 25 frames a second."""
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=25, options=FAST)
        video.width, video.height, video.pix_fmt = *SIZE, "yuv420p"
        video.codec_context.gop_size = gop
        for number, luma in enumerate(lumas):
            frame = VideoFrame.from_ndarray(luma, "gray").reformat(format="yuv420p", dst_color_range=ColorRange.MPEG)
            frame.pts, frame.time_base = number, Fraction(1, 25)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
    return path


def scene(seed: int) -> Picture:
    return landscape(np.random.default_rng(seed), SIZE[1], SIZE[0], contrast=45.0)


def blur(luma: Picture) -> Picture:
    wide = luma.astype(float)
    for _ in range(8):
        wide = sum(np.roll(wide, shift, axis) for shift in (-1, 0, 1) for axis in (0, 1)) / 6
    return wide.astype(np.uint8)


def dissolve(one: Picture, other: Picture, frames: int) -> Iterator[Picture]:
    for share in np.linspace(0, 1, frames):
        yield (one * (1 - share) + other * share).astype(np.uint8)


def film() -> list[Picture]:
    """Black to 49, blurred to 99, a dissolve to 174, sharp to 224, a dissolve to black to 299."""
    black, soft, sharp = np.zeros(SIZE[::-1], np.uint8), blur(scene(1)), scene(2)
    scenes = ([black] * 50, [soft] * 50, dissolve(soft, sharp, 75), [sharp] * 50, dissolve(sharp, black, 75))
    return [*chain.from_iterable(scenes)]


@pytest.mark.parametrize("gop", [25, 60, 1000])
def test_the_sharp_scene_is_chosen(gop: int, tmp_path: Path) -> None:
    result, out = poster(write_lumas(tmp_path / "a.mp4", film(), gop), tmp_path)
    assert 174 <= result.frame < 225
    assert result.time_s == result.frame / 25
    assert abs(read_luma(out / "poster.jpg").astype(int) - film()[result.frame]).mean() < 4
    assert "steadiness 1.00" in result.reason


def test_a_white_flash_is_not_chosen(tmp_path: Path) -> None:
    sharp, white = scene(2).astype(float), 255.0
    shares = {0: 0.9, 1: 0.6, 2: 0.3}
    pictures = [
        (sharp * (1 - share) + white * share).astype(np.uint8)
        for share in (shares.get(number % 25, 0.0) if number < 275 else 0.0 for number in range(300))
    ]
    result, _ = poster(write_lumas(tmp_path / "a.mp4", pictures), tmp_path)
    assert result.frame % 25 > 2 or result.frame >= 275


def test_scenes_that_fade_in_from_black_keyframes_show_more_than_black(tmp_path: Path) -> None:
    black = np.zeros(SIZE[::-1], np.uint8)
    pictures = [black if number % 25 < 12 else scene(number // 25) for number in range(300)]
    result, _ = poster(write_lumas(tmp_path / "a.mp4", pictures), tmp_path)
    assert result.frame % 25 >= 12


@pytest.mark.parametrize("level", [0, 255, 90])
def test_a_plain_clip_gets_a_plain_poster(level: int, tmp_path: Path) -> None:
    source = write_lumas(tmp_path / "a.mp4", [np.full(SIZE[::-1], level, np.uint8)] * 60)
    _, out = poster(source, tmp_path)
    assert abs(open_picture(out / "poster.jpg").astype(int) - level).max() <= 2


def test_a_still_shows_itself_early(tmp_path: Path) -> None:
    result, out = poster(write_lumas(tmp_path / "a.mp4", [scene(2)] * 100, 1000), tmp_path)
    assert result.frame < 33
    assert abs(read_luma(out / "poster.webp").astype(int) - scene(2)).mean() < 4


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_the_shortest_clips(frames: int, tmp_path: Path) -> None:
    result, out = poster(make_clip(tmp_path / "a.mp4", Clip(frames=frames, options=FAST)), tmp_path)
    assert read_number(read_luma(out / "poster.jpg")) == result.frame < frames


@pytest.mark.parametrize(
    ("size", "large", "small"),
    [
        ((1920, 1080), (1280, 720), (640, 360)),
        ((1280, 720), (1280, 720), (640, 360)),
        ((720, 1280), (720, 1280), (360, 640)),
        ((320, 180), (320, 180), (320, 180)),
        ((640, 480), (640, 480), (480, 360)),
        ((1000, 200), (1000, 200), (640, 128)),
    ],
)
def test_pictures_fit_their_boxes_and_are_never_upscaled(
    size: tuple[int, int], large: tuple[int, int], small: tuple[int, int], tmp_path: Path
) -> None:
    result, out = poster(make_clip(tmp_path / "a.mp4", Clip(frames=6, size=size, options=FAST)), tmp_path)
    assert [(file.width, file.height) for file in result.files] == [large, large, small, small]
    for file in result.files:
        assert open_picture(out / file.file).shape == (file.height, file.width, 3)
        assert (out / file.file).stat().st_size == file.size_bytes
    assert [(file.file, file.format) for file in result.files] == list(zip(NAMES, ["jpeg", "webp"] * 2, strict=True))
    assert sorted(path.name for path in out.iterdir()) == sorted(NAMES)


@pytest.mark.parametrize(("rotation", "turns"), [(90, 1), (180, 2), (-90, 3)])
def test_posters_are_upright(rotation: int, turns: int, tmp_path: Path) -> None:
    clip = Clip(frames=12, options=FAST, rotation=rotation)
    result, out = poster(make_clip(tmp_path / "a.mp4", clip), tmp_path)
    for name in NAMES:
        picture = read_luma(out / name)
        assert picture.shape == ((180, 320) if turns == 2 else (320, 180))
        assert read_number(np.rot90(picture, -turns)) == result.frame


def test_pixels_that_are_not_square_are_shown_square(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mkv"), "w") as out:
        video = out.add_stream("libx264", rate=25, options=FAST)
        video.width, video.height, video.pix_fmt = 240, 180, "yuv420p"
        video.codec_context.sample_aspect_ratio = Fraction(4, 3)
        for number in range(10):
            frame = VideoFrame.from_ndarray(draw(number, (240, 180)), "gray").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
    result, _ = poster(tmp_path / "a.mkv", tmp_path)
    assert (result.files[0].width, result.files[0].height) == (320, 180)


def patches(size: tuple[int, int]) -> RGB:
    """Return upright stripes of the colours, (height, width, 3)."""
    stripe = size[0] // len(COLOURS)
    columns = np.minimum(np.arange(size[0]) // stripe, len(COLOURS) - 1)
    return np.broadcast_to(np.array(COLOURS, np.uint8)[columns], (size[1], size[0], 3)).copy()


@pytest.mark.parametrize(
    ("size", "matrix", "pix_fmt", "tagged"),
    [
        ((1280, 720), Colorspace.ITU709, "yuv420p", True),
        ((1280, 720), Colorspace.ITU709, "yuv420p", False),
        ((644, 360), Colorspace.ITU601, "yuv420p", False),
        ((644, 360), Colorspace.ITU709, "yuv444p", True),
        ((644, 360), Colorspace.ITU601, "yuvj420p", True),
        ((644, 360), Colorspace.BT2020, "yuv420p10le", True),
    ],
)
def test_colours_are_right_in_every_file(
    size: tuple[int, int], matrix: Colorspace, pix_fmt: str, *, tagged: bool, tmp_path: Path
) -> None:
    full = pix_fmt.startswith("yuvj")
    colour_range = ColorRange.JPEG if full else ColorRange.MPEG
    frame = VideoFrame.from_ndarray(patches(size), "rgb24").reformat(
        format=pix_fmt, dst_colorspace=matrix, dst_color_range=colour_range, interpolation=EXACT
    )
    with av.open(str(tmp_path / "a.mp4"), "w") as out:
        video = out.add_stream("libx264", rate=25, options={"preset": "ultrafast", "qp": "4"})
        video.width, video.height, video.pix_fmt = *size, pix_fmt
        if tagged:
            video.codec_context.colorspace = {1: 1, 5: 6, 9: 9}[int(matrix)]
            video.codec_context.color_range = int(colour_range)
        else:
            frame.colorspace, frame.color_range = 2, 0
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        out.mux(video.encode(frame))
        out.mux(video.encode(None))
    _, made = poster(tmp_path / "a.mp4", tmp_path)
    for name in NAMES:
        picture = open_picture(made / name).astype(int)
        stripe = picture.shape[1] / len(COLOURS)
        middles = [picture[picture.shape[0] // 2, int((n + 0.5) * stripe)] for n in range(len(COLOURS))]
        assert np.abs(np.array(middles) - COLOURS).max() <= 3, name


def segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (marker, payload) of a JPEG's segments up to its picture (ITU-T T.81, annex B)."""
    at = 2
    while data[at + 1] != 0xDA:
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        yield data[at + 1], data[at + 4 : at + 2 + length]
        at += 2 + length


def test_files_hold_nothing_but_the_picture(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", Clip(frames=6, options=FAST))
    _, out = poster(source, tmp_path)
    for name in ("poster", "poster-small"):
        jpeg, webp = ((out / f"{name}.{suffix}").read_bytes() for suffix in ("jpg", "webp"))
        found = list(segments(jpeg))
        assert {marker for marker, _ in found} <= {0xE0, 0xDB, 0xC0, 0xC4}
        assert [payload[:5] for marker, payload in found if marker == 0xE0] == [b"JFIF\0"]
        assert jpeg[:2] + jpeg[-2:] == b"\xff\xd8\xff\xd9"
        assert (webp[:4], webp[8:16]) == (b"RIFF", b"WEBPVP8 ")
        assert 20 + int.from_bytes(webp[16:20], "little") == len(webp)


SOURCES = {
    "av1.mkv": Clip("libsvtav1", frames=120, gop=90, options={"preset": "10", "svtav1-params": "lp=1:scd=0"}),
    "vp9.webm": Clip("libvpx-vp9", options={"deadline": "realtime", "cpu-used": "8"}),
    "hevc.mp4": Clip("libx265", options={"preset": "ultrafast", "x265-params": "log-level=none:pools=1"}),
    "portrait.mp4": Clip(size=(180, 320), options=FAST),
    "slides.mkv": Clip(frames=20, fps=Fraction(3), gop=250, options=FAST),
    "vfr.mkv": Clip(times=[0, 1, 2, 30, 31, 90, 200, 201, 202], fps=Fraction(30), gop=250, options=FAST),
    "interlaced.ts": Clip("mpeg2video", frames=130, options={"flags": "+ilme+ildct", "bf": "2", "b": "3M"}),
    "frames.avi": Clip(options={"preset": "veryfast", "bf": "3"}),
}


@pytest.mark.parametrize("name", SOURCES)
def test_every_kind_of_source_gets_the_frame_it_is_told(name: str, tmp_path: Path) -> None:
    source = make_clip(tmp_path / name, SOURCES[name])
    asked = arguments(source, tmp_path)
    (tmp_path / "out").mkdir()
    result = run_poster(asked, tmp_path / "out", ignore)
    rows = np.load(asked.index_file)
    shown = int(np.searchsorted(np.unique(rows[:, 0]), rows[result.frame, 0]))
    assert [read_number(read_luma(tmp_path / "out" / file)) for file in NAMES] == [shown] * 4
    fps = asked.plan.fps
    assert result.time_s == pytest.approx(result.frame * fps.den / fps.num)


def test_the_same_source_gives_the_same_bytes(tmp_path: Path) -> None:
    source = write_lumas(tmp_path / "a.mp4", film())
    (first, one), (second, two) = poster(source, tmp_path, "one"), poster(source, tmp_path, "two")
    assert first == second
    assert all((one / name).read_bytes() == (two / name).read_bytes() for name in NAMES)


def damage(source: Path, spoil: Callable[[int, int], Sequence[int]]) -> None:
    data = bytearray(source.read_bytes())
    start = data.find(b"mdat") + 4
    size = int.from_bytes(data[start - 8 : start - 4], "big") - 8
    first, end = spoil(start, size)
    data[first:end] = bytes(end - first)
    source.write_bytes(data)


def test_what_cannot_be_decoded_is_passed_over(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", Clip(frames=250, options={**FAST, "bf": "0"}))
    asked = arguments(source, tmp_path)
    damage(source, lambda start, size: (start, start + size * 2 // 3))
    result = run_poster(asked, tmp_path, ignore)
    assert result.frame >= 150
    assert read_number(read_luma(tmp_path / "poster.jpg")) == result.frame


def test_where_nothing_can_be_decoded_there_is_no_poster(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", Clip(frames=60, options=FAST))
    asked = arguments(source, tmp_path)
    damage(source, lambda start, size: (start, start + size))
    with pytest.raises(DamagedMediaError, match="no picture"):
        run_poster(asked, tmp_path, ignore)


def test_progress_is_told_and_ends_at_one(tmp_path: Path) -> None:
    asked = arguments(make_clip(tmp_path / "a.mp4", Clip(frames=60, options=FAST)), tmp_path)
    reports: list[dict[str, object]] = []
    run_poster(asked, tmp_path, reports.append)
    shares = [report["progress"] for report in reports]
    assert len(shares) >= 2
    assert shares == sorted(shares, key=float)  # type: ignore[arg-type]
    assert shares[-1] == 1.0


def test_a_poster_is_made_behind_the_walls(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", Clip(frames=60, options=FAST))
    asked, workdir = arguments(source, tmp_path), tmp_path / "work"
    workdir.mkdir()
    run = Sandbox(SandboxLimits()).run(
        "sfserver.media.encode.poster:run_poster",
        asked,
        workdir,
        readable=[source, asked.index_file],
        output_bytes=8 << 20,
        on_report=ignore,
        should_stop=lambda: None,
    )
    assert isinstance(run.result, PosterResult)
    assert [output_file(workdir, file.file).stat().st_size for file in run.result.files] == [
        file.size_bytes for file in run.result.files
    ]
