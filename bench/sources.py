"""Sources of every kind that people upload, small, made once from seeds and kept in `.bench/`."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.container import OutputContainer
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from bench import screens
from bench.material import FOLDER, FPS, pictures, scenes
from sfserver.media.encode.sample import frame_of

HD, MID = (1920, 1080), (1280, 720)
Planes = list[npt.NDArray[np.uint8]]


@dataclass(frozen=True)
class Source:
    """A file to make: a codec with options over the `footage` of a name; `gop` is the longest."""

    name: str
    footage: str
    codec: str = "libx264"
    options: dict[str, str] = field(default_factory=dict)
    size: tuple[int, int] = HD
    gop: int = 250

    @property
    def path(self) -> Path:
        """Where it is kept."""
        return FOLDER / f"{self.name}.{'webm' if 'vp' in self.codec else 'mp4'}"


X265 = {"preset": "fast", "x265-params": "log-level=none"}
SVT = {"preset": "9"}
VP9 = {"deadline": "good", "cpu-used": "5", "b": "0"}
SOURCES = (
    Source("bars", "bars"),
    Source("photograph", "photograph"),
    Source("slides", "slides"),
    Source("slides-dense", "dense"),
    Source("slides-hevc", "slides", "libx265", {**X265, "crf": "28"}),
    Source("slides-av1", "slides", "libsvtav1", {**SVT, "crf": "45"}),
    Source("screencast", "typing", options={"crf": "28"}),
    Source("screencast-vp9", "typing", "libvpx-vp9", {**VP9, "deadline": "realtime", "cpu-used": "8", "crf": "40"}),
    Source("camera", "camera", options={"preset": "veryfast", "crf": "15"}, gop=60),
    Source("low-h264", "camera", options={"preset": "fast", "crf": "32"}, size=MID),
    Source("low-hevc", "camera", "libx265", {**X265, "crf": "32"}, MID),
    Source("low-av1", "camera", "libsvtav1", {**SVT, "crf": "46"}, MID),
    Source("low-vp9", "camera", "libvpx-vp9", {**VP9, "crf": "43"}, MID),
)


def make_sources() -> tuple[Source, ...]:
    """Make what is missing (all of them: about a minute); return all."""
    FOLDER.mkdir(exist_ok=True)
    missing = [source for source in SOURCES if not source.path.exists()]
    for footage in dict.fromkeys(source.footage for source in missing):
        _write([source for source in missing if source.footage == footage], _draw(footage))
    return SOURCES


def _draw(footage: str) -> Iterator[Planes]:
    """Yield the frames: stills of three seconds, screens of eight, three scenes of a film of two each."""
    if footage == "camera":
        drive, crossing, portrait = (replace(scene, frames=60) for scene in scenes()[:3])
        return pictures([drive, portrait, crossing])
    draw, frames = {
        "bars": (screens.colour_bars(HD), 90),
        "photograph": (screens.photograph(HD, 1), 90),
        "slides": (screens.slides(HD, 100, seed=1), 240),
        "dense": (screens.slides(HD, 100, seed=2, dense=True), 240),
        "typing": (screens.typing(HD, 3), 240),
    }[footage]
    return map(draw, range(frames))


def _write(sources: list[Source], frames: Iterator[Planes]) -> None:
    """Encode the same frames into every source, side by side."""
    files = [av.open(f"{source.path}.part", "w", format=source.path.suffix[1:]) for source in sources]
    tracks = [_add_track(file, source) for file, source in zip(files, sources, strict=True)]
    scaler = VideoReformatter()
    for number, planes in enumerate(frames):
        frame = frame_of(planes, number)
        for file, track in zip(files, tracks, strict=True):
            picture = scaler.reformat(frame, track.width, track.height)
            picture.pts, picture.time_base = number, Fraction(1, FPS)
            file.mux(track.encode(picture))
    for file, track, source in zip(files, tracks, sources, strict=True):
        file.mux(track.encode(None))
        file.close()
        Path(f"{source.path}.part").rename(source.path)


def _add_track(file: OutputContainer, source: Source) -> VideoStream:
    track = file.add_stream(source.codec, rate=FPS, options=source.options)
    assert isinstance(track, VideoStream)
    track.width, track.height = source.size
    track.pix_fmt, track.codec_context.gop_size = "yuv420p", source.gop
    return track
