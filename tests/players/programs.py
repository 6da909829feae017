"""ffmpeg, PyAV and GStreamer. mpv and VLC have files of their own."""

import itertools
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame

from tests.media.clips import read_number
from tests.players import gst_pipeline
from tests.players.command import LIVE_SEEKS, Attended, CommandPlayer, run
from tests.players.library import Video
from tests.players.signals import Heard, Signal, read_luma, watch
from tests.requirements import require_tool

_SMALL = "scale=160:90,format=gray"


class Ffmpeg(CommandPlayer):
    """Debian's, as a program."""

    def play(self, url: str) -> Heard:
        return self._play(url, "0:v:0")

    def show(self, url: str, numbers: list[int], signal: Signal) -> list[int]:
        # It shows the first frame that begins at or after the time.
        return [self._frame(url, signal.middle(number - 1)) for number in numbers]

    def watch_live(self, video: Video) -> Attended:
        # Streams can't be counted: a quality whose first segment is still to come has none.
        lowest = f"0:p:{video.heights.index(video.low)}:v"
        return Attended(self._play(video.hls, lowest, "-live_start_index", "0"))

    def check_table(self, video: Video) -> None:
        """The file says how many frames it has and when each is due: ffprobe counts them at one step."""
        shown = "stream=nb_read_frames,start_time,duration:frame=pts_time"
        options = ("-v", "error", "-select_streams", "v:0", "-count_frames", "-show_entries", shown, "-of", "json")
        for url in video.files.values():
            found = json.loads(run(require_tool("ffprobe"), *options, url))
            stream = found["streams"][0]
            assert int(stream["nb_read_frames"]) == video.signal.frames
            assert float(stream["start_time"]) == 0
            assert abs(float(stream["duration"]) - video.signal.duration_s) < 0.001
            times = [float(frame["pts_time"]) for frame in found["frames"]]
            assert max(abs(b - a - 1 / video.signal.fps) for a, b in itertools.pairwise(times)) < 0.00001

    def _check_start(self, video: Video) -> None:
        super()._check_start(video)
        self.check_table(video)

    def _play(self, url: str, picture: str, *options: str) -> Heard:
        out = self.folder / "played.nut"
        drawn = ("-map", picture, "-vf", _SMALL, "-c:v", "rawvideo", "-fps_mode", "passthrough")
        sound = ("-map", "0:a:0?", "-c:a", "pcm_s16le")
        ffmpeg = (require_tool("ffmpeg"), "-v", "error", "-xerror", "-nostdin", "-y", *options)
        run(*ffmpeg, "-i", url, *drawn, *sound, "-copyts", "-f", "nut", str(out))
        return watch(out)

    def _frame(self, url: str, time_s: float) -> int:
        ffmpeg = (require_tool("ffmpeg"), "-v", "error", "-nostdin", "-ss", f"{max(0.0, time_s):.6f}")
        luma = run(*ffmpeg, "-i", url, "-frames:v", "1", "-vf", _SMALL, "-f", "rawvideo", "-")
        return read_number(np.frombuffer(luma, np.uint8).reshape(90, 160))


class PyAv(CommandPlayer):
    """The FFmpeg in PyAV's wheel, as a library."""

    def play(self, url: str) -> Heard:
        return watch(url)

    def show(self, url: str, numbers: list[int], signal: Signal) -> list[int]:
        with av.open(url) as container:
            frames = [_seek(container, signal.middle(number), signal) for number in numbers]
            return [read_number(read_luma(frame)) for frame in frames]

    def watch_live(self, video: Video) -> Attended:
        return Attended(watch(video.hls, height=video.low, live_start_index="0"))


def _seek(container: InputContainer, time_s: float, signal: Signal) -> VideoFrame:
    container.seek(round(time_s * av.time_base))
    frames = container.decode(video=0)
    return next(frame for frame in frames if (frame.time or 0.0) + 1 / signal.fps > time_s)


class GStreamer(CommandPlayer):
    """`gst-launch-1.0` plays, `gst_pipeline.py` seeks."""

    def play(self, url: str) -> Heard:
        return self._play(url, speed=100_000)

    def _play(self, url: str, *, speed: int) -> Heard:
        out = self.folder / "played.mkv"
        # The muxer takes turns with its inputs, which lie whole segments apart: a queue with a limit would stand still.
        queue = "queue max-size-time=0 max-size-buffers=0 max-size-bytes=0"
        picture = f"source. ! videoconvert ! videoscale ! video/x-raw,format=GRAY8,width=160,height=90 ! {queue} ! mux."
        sound = f"source. ! audioconvert ! audio/x-raw,format=S16LE,channels=1 ! {queue} ! mux."
        # With its speed given it stays with one rendition: another one comes out of new pads, linked to nothing.
        source = f"uridecodebin uri={url} connection-speed={speed} name=source"
        pipeline = f"{source} matroskamux name=mux ! filesink location={out} {picture}"
        both = f"{pipeline} {sound}" if _has_sound(url) else pipeline
        run(require_tool("gst-launch-1.0"), "-q", *both.split())
        return watch(out)

    def show(self, url: str, numbers: list[int], signal: Signal) -> list[int]:
        return self._show(url, numbers, signal, speed=100_000)

    def _show(self, url: str, numbers: list[int], signal: Signal, *, speed: int) -> list[int]:
        require_tool("gst-launch-1.0")
        times = [f"{signal.middle(number):.6f}" for number in numbers]
        lumas = run(sys.executable, str(Path(gst_pipeline.__file__)), url, str(speed), *times)
        width, height = gst_pipeline.SIZE
        return [read_number(luma) for luma in np.frombuffer(lumas, np.uint8).reshape(-1, height, width)]

    def watch_live(self, video: Video) -> Attended:
        with ThreadPoolExecutor(1) as beside:
            heard = beside.submit(self._play, video.hls, speed=1)
            shown = self._seek_live(video)
            return Attended(heard.result(), shown)

    def _seek_live(self, video: Video) -> list[int]:
        """Seek as soon as it lets us, which is when a fourth segment is there."""
        deadline = time.monotonic() + 15
        while True:
            try:
                return self._show(video.hls, LIVE_SEEKS, video.signal, speed=1)
            except AssertionError:
                if time.monotonic() > deadline:
                    return []
            time.sleep(0.5)

    def late_s(self, video: Video, url: str) -> float:
        # In HLS it ignores the edit list that takes back the delay of the reordered frames.
        return float(1 / video.signal.fps) if url == video.hls else 0.0

    @property
    def _slack_s(self) -> float:
        return 0.001  # Matroska counts in milliseconds

    def _check_seek(self, video: Video, numbers: list[int]) -> None:
        super()._check_seek(video, numbers)
        self.check_shown(self.show(video.hls, numbers, video.signal), numbers, early=1)


def _has_sound(url: str) -> bool:
    with av.open(url) as container:
        return bool(container.streams.audio)
