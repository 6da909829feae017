"""What every player that is a program, and not a page, goes through."""

import subprocess
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path

import av

from tests.media.clips import Picture
from tests.players.library import Video
from tests.players.matrix import Exercise
from tests.players.signals import NUMBERS, Heard, Signal, read_luma


def run(*command: str, timeout_s: float = 120) -> bytes:
    """Run a player to its end and return what it wrote to stdout."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False)
    assert done.returncode == 0, (done.stdout[-1000:] + done.stderr[-3000:]).decode(errors="replace")
    return done.stdout


def read_picture(path: Path) -> Picture:
    """Return the luma of an image file, (height, width)."""
    with av.open(str(path)) as container:
        return read_luma(next(container.decode(video=0)))


@dataclass(frozen=True)
class Attended:
    """What was heard of a video from the time on when it was still being encoded, and the frames after each seek."""

    heard: Heard
    shown: list[int] = field(default_factory=list)


LIVE_SEEKS = [60, 0]


class CommandPlayer(ABC):
    """Plays to a file instead of a screen, and shows single frames."""

    late_frames = 0
    """By how many frames a seek may land late."""
    early_frames = 0
    """By how many frames it may land early."""
    in_step_s = 0.005
    """How far a beep may be from its flash, rounding included."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / type(self).__name__
        self.folder.mkdir()
        self._heard: dict[str, Heard] = {}

    @abstractmethod
    def play(self, url: str) -> Heard:
        """Play all of it."""

    @abstractmethod
    def show(self, url: str, numbers: list[int], signal: Signal) -> list[int]:
        """Seek to the middle of each frame and return the numbers of the frames shown."""

    def get_ready(self) -> None:
        """Be there before it is asked, so that it loses no time then."""
        assert self.folder.is_dir()

    def watch_live(self, video: Video) -> Attended:
        """Play what is still being encoded, in its lowest quality, to the end; go through `LIVE_SEEKS` if it can."""
        raise NotImplementedError

    def late_s(self, video: Video, url: str) -> float:
        """Return by how much everything on the picture's side is late, which is then the player's own doing."""
        return 0.0

    def perform(self, exercise: Exercise, video: Video, numbers: list[int]) -> None:
        """Go through an exercise with a video that is ready."""
        match exercise:
            case Exercise.START:
                self._check_start(video)
            case Exercise.SEEK:
                self._check_seek(video, numbers)
            case Exercise.SWITCH:
                self._check_switch(video, numbers[:3])
            case Exercise.END:
                self._check_end(video)
            case Exercise.SILENT:
                self._check_silent(video)
            case _:
                raise AssertionError(f"{exercise} is not for a video that is ready")

    def check_live(self, exercise: Exercise, video: Video, attended: Attended, ready_after_s: float) -> None:
        """Say whether what was heard while it was live is right."""
        if exercise is Exercise.LIVE_START:
            assert attended.heard.numbers[:60] == video.signal.shown[:60]
        elif exercise is Exercise.LIVE_BACK:
            self.check_shown(attended.shown, LIVE_SEEKS, early=1)
            assert attended.shown[-1] == 0
        else:
            self.check_whole(video, attended.heard, self.late_s(video, video.hls))

    def check_whole(self, video: Video, heard: Heard, late_s: float = 0.0) -> None:
        """Every frame once and in its place, every beep with its flash."""
        signal = video.signal
        assert heard.numbers == signal.shown
        assert max(abs(at - late_s - n / signal.fps) for n, at in enumerate(heard.times)) < 0.002 + self._slack_s
        if signal.has_sound:
            assert len(heard.flashes) == len(heard.beeps) == len(signal.flashes)
            assert heard.worst_offset_s() < late_s + self.in_step_s
        else:
            assert heard.beeps == []

    @property
    def _slack_s(self) -> float:
        return 0.0

    def _played(self, url: str) -> Heard:
        if url not in self._heard:
            self._heard[url] = self.play(url)
        return self._heard[url]

    def _check_start(self, video: Video) -> None:
        for url in video.everything:
            self.check_whole(video, self._played(url), self.late_s(video, url))

    def _check_end(self, video: Video) -> None:
        for url in video.everything:
            heard = self._played(url)
            assert heard.numbers[-1] == video.signal.shown[-1]
            ended_s = heard.times[-1] + float(1 / video.signal.fps)
            assert abs(ended_s - self.late_s(video, url) - video.signal.duration_s) < 0.002 + self._slack_s

    def _check_seek(self, video: Video, numbers: list[int]) -> None:
        for url in video.files.values():
            self.check_shown(self.show(url, numbers, video.signal), numbers)

    def check_shown(self, shown: list[int], numbers: list[int], early: int | None = None) -> None:
        """Each frame is the one that was sought, or up to `late_frames` later or `early` earlier."""
        early = self.early_frames if early is None else early
        missed = [(frame - number + early) % NUMBERS for frame, number in zip(shown, numbers, strict=True)]
        assert max(missed) <= self.late_frames + early, list(zip(numbers, shown, strict=True))

    def _check_switch(self, video: Video, numbers: list[int]) -> None:
        high, low = video.files[video.high], video.files[video.low]
        for number in numbers:
            following = min(number + 1, video.signal.frames - 1)
            before, after = self.show(high, [number], video.signal), self.show(low, [following], video.signal)
            self.check_shown(before + after, [number, following])

    def _check_silent(self, video: Video) -> None:
        self._check_start(video)
        self._check_end(video)
        self._check_seek(video, [video.signal.frames // 2])
