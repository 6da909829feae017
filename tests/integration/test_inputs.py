"""Every kind of input through the whole way, judged on what is served: frames, sound, sync, size."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame

from tests.integration.server import EmbeddedServer
from tests.media.clips import Clip, make_clip, read_number

SIZE = (320, 180)
H264 = Clip(frames=90, fps=Fraction(30), audio="aac")


@dataclass(frozen=True)
class Case:
    """A clip, its container, and what should come out where that is not the clip's own."""

    clip: Clip
    container: str = "mp4"
    size: tuple[int, int] = SIZE
    numbers: Sequence[int] | None = None

    @property
    def expected(self) -> list[int]:
        """The numbers drawn on the frames that should come out (the AVI muxer leaves its second slot empty)."""
        return list(self.numbers if self.numbers is not None else range(self.clip.frames))


CASES = {
    "mp4 h264 aac": Case(H264),
    "mov h264 pcm": Case(replace(H264, audio="pcm_s16le"), "mov"),
    "mkv h264 vorbis": Case(replace(H264, audio="vorbis"), "matroska"),
    "mp4 hevc": Case(replace(H264, codec="libx265", audio="libmp3lame", options={"x265-params": "log-level=none"})),
    "webm vp8 vorbis": Case(replace(H264, codec="libvpx", audio="vorbis"), "webm"),
    "webm vp9 opus": Case(replace(H264, codec="libvpx-vp9", audio="libopus", options={"deadline": "realtime"}), "webm"),
    "avi mpeg4 mp3": Case(replace(H264, codec="mpeg4", audio="libmp3lame"), "avi", numbers=[0, *range(90)]),
    "avi mjpeg pcm": Case(replace(H264, codec="mjpeg", audio="pcm_s16le", pix_fmt="yuvj420p"), "avi"),
    "ts h264 aac": Case(H264, "mpegts"),
    "no sound": Case(replace(H264, audio=None)),
    "10 fps": Case(replace(H264, frames=40, fps=Fraction(10))),
    "60 fps": Case(replace(H264, frames=150, fps=Fraction(60))),
    "23.976 fps": Case(replace(H264, fps=Fraction(24000, 1001)), "matroska"),
    "one keyframe": Case(replace(H264, frames=300, gop=1000, options={"x264-params": "scenecut=0"})),
    "rotated": Case(replace(H264, rotation=90), size=(180, 320)),
    "portrait": Case(replace(H264, size=(180, 320)), size=(180, 320)),
    "odd size": Case(replace(H264, size=(321, 181), pix_fmt="yuv444p"), size=(320, 180)),
    "tiny": Case(replace(H264, size=(176, 144)), size=(176, 144)),
    "10 bit": Case(replace(H264, pix_fmt="yuv420p10le")),
    "no duration": Case(replace(H264, muxer={"live": "1"}), "matroska"),
}


@pytest.fixture(scope="module")
def uploaded(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """Upload every case at once, so that they share the machine as they would in life."""
    folder = tmp_path_factory.mktemp("inputs")
    accepted = {}
    for name, case in CASES.items():
        path = make_clip(folder / f"{name}.bin", case.clip, format=case.container)
        accepted[name] = server.upload(path)
    return accepted


def served(server: EmbeddedServer, video_id: str, tmp_path: Path, quality: str = "360p") -> Path:
    """Return a local copy of a progressive file."""
    path = tmp_path / "served.mp4"
    answer = server.http.get(f"/api/stream/{video_id}/{quality}")
    assert answer.status_code == 200, answer.text
    path.write_bytes(answer.content)
    return path


def pictures(path: Path) -> Iterator[VideoFrame]:
    with av.open(str(path)) as container:
        yield from container.decode(video=0)


def sound(path: Path) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    with av.open(str(path)) as container:
        return np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)


@pytest.mark.parametrize("name", CASES)
def test_what_goes_in_comes_out(
    server: EmbeddedServer, uploaded: dict[str, dict[str, str]], tmp_path: Path, name: str
) -> None:
    case = CASES[name]
    job = server.wait(uploaded[name]["job_id"], timeout_s=180)
    assert job["status"] == "ready", job
    path = served(server, uploaded[name]["video_id"], tmp_path)
    frames = list(pictures(path))
    assert (frames[0].width, frames[0].height) == case.size
    step = 1 / case.clip.fps
    assert [round(frame.pts * frame.time_base / step) for frame in frames] == list(range(len(case.expected)))
    if name != "rotated":
        numbers = [read_number(frame.to_ndarray(format="gray")) % 256 for frame in frames]
        assert numbers == [number % 256 for number in case.expected], "a frame was lost, doubled or moved"
    if case.clip.audio:
        heard_s = sound(path).shape[1] / 48_000
        assert abs(heard_s - len(case.expected) * step) < step + Fraction(1024, 48_000)
    else:
        with av.open(str(path)) as container:
            assert not container.streams.audio


def test_variable_frame_rate_keeps_its_timing(server: EmbeddedServer, tmp_path: Path) -> None:
    times = [0, 1, 2, 3, 10, 11, 12, 30, 31, 45, 46, 47, 48, 60, 75, 76, 89]
    clip = Clip(fps=Fraction(30), times=times, frames=len(times), audio="vorbis")
    accepted = server.upload(make_clip(tmp_path / "vfr.mkv", clip, format="matroska"))
    assert server.wait(accepted["job_id"])["status"] == "ready"
    frames = list(pictures(served(server, accepted["video_id"], tmp_path)))
    shown = {round(float(frame.pts * frame.time_base), 3): frame for frame in frames}
    for number, time in enumerate(times):
        at = round(time / 30, 3)
        nearest = shown[min(shown, key=lambda t: abs(t - at))]
        assert read_number(nearest.to_ndarray(format="gray")) == number


def flash_and_beep(path: Path, seconds: int) -> Path:
    """Write black pictures and silence with a white flash and a beep at every full second."""
    rate = 48_000
    with av.open(str(path), "w", format="matroska") as out:
        video = out.add_stream("libx264", rate=30, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = 320, 180, "yuv420p"
        audio = out.add_stream("pcm_s16le", rate=rate, layout="mono")
        for n in range(30 * seconds):
            luma = np.full((180, 320), 235 if n % 30 < 2 and n >= 30 else 16, np.uint8)
            frame = VideoFrame.from_ndarray(luma, "gray").reformat(format="yuv420p")
            frame.pts, frame.time_base = n, Fraction(1, 30)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        t = np.arange(rate * seconds)
        loud = (t % rate < rate // 15) & (t >= rate)
        wave = (20_000 * np.sin(2 * np.pi * 1000 * t / rate) * loud).astype(np.int16)
        for start in range(0, len(wave), 960):
            block = AudioFrame.from_ndarray(wave[None, start : start + 960], "s16", "mono")
            block.sample_rate, block.pts, block.time_base = rate, start, Fraction(1, rate)
            out.mux(audio.encode(block))
        out.mux(audio.encode(None))
    return path


def test_flash_and_beep_stay_together_over_every_joint(server: EmbeddedServer, tmp_path: Path) -> None:
    accepted = server.upload(flash_and_beep(tmp_path / "flash.mkv", 20))
    assert server.wait(accepted["job_id"])["status"] == "ready"
    path = served(server, accepted["video_id"], tmp_path)
    bright = [float(f.pts * f.time_base) for f in pictures(path) if f.to_ndarray(format="gray").mean() > 128]
    flashes = [t for n, t in enumerate(bright) if n == 0 or t - bright[n - 1] > 0.5]
    envelope = np.abs(sound(path)[0])
    beeps = []
    for second in range(1, 20):
        window = envelope[int((second - 0.5) * 48_000) : int((second + 0.5) * 48_000)]
        beeps.append(second - 0.5 + int(np.argmax(window > 0.2)) / 48_000)
    assert len(flashes) == 19
    offsets = np.array(beeps) - np.array(flashes)
    assert np.abs(offsets).max() < 1 / 30, offsets


def test_the_real_source_comes_back_unchanged(server: EmbeddedServer, small_clip: Path) -> None:
    accepted = server.upload(small_clip, title="mine")
    answer = server.http.get(f"/api/stream/{accepted['video_id']}/source")
    assert answer.status_code == 200
    assert answer.content == small_clip.read_bytes()
    assert server.wait(accepted["job_id"])["status"] == "ready"
