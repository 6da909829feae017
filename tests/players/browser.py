"""What every player in a page goes through, and what is right of what the page saw."""

import base64
import itertools
import statistics
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.players.library import Video
from tests.players.matrix import Exercise
from tests.players.origin import Origin, Report
from tests.players.signals import NUMBERS, Signal, watch

START_S = 3.4
TAIL_S = 0.5
BACK_AT_S = 3.0
OUT_OF_STEP_S = 0.1
"""A page's ears and eyes are no better than this on a machine that is busy."""
STALL_S = 0.75
LIVE_STALL_S = 1.0
SKIP_S = 0.2
"""By how much more than the time that went by a video may move on."""
NEIGHBOUR, AHEAD = 1.3, 4
"""Frames by which what is read may lag behind what was announced, and be ahead of it where the page was told late."""
PATIENCE_S = 60.0


class BrowserPlayer:
    """One of the page's players; `open_page` starts its browser, or returns the one that runs."""

    def __init__(
        self, name: str, open_page: Callable[[], Origin], *, on_tape: bool = False, goes_back: bool = True
    ) -> None:
        self.name = name
        self._open_page = open_page
        self._on_tape = on_tape
        self._behind_s = 0.5 if on_tape else 0.0
        self._goes_back = goes_back

    @cached_property
    def _page(self) -> Origin:
        return self._open_page()

    def get_ready(self) -> None:
        """Have the browser there before it is asked."""
        assert self._page.url

    def perform(self, exercise: Exercise, video: Video, numbers: list[int]) -> None:
        """Go through an exercise with a video that is ready."""
        match exercise:
            case Exercise.START:
                self._check_start(video)
            case Exercise.SEEK:
                self._check_seek(video, numbers)
            case Exercise.SWITCH:
                self._check_switch(video)
            case Exercise.END:
                report = self._ask("end", video, tail_s=TAIL_S)
                check_end(report, video.signal)
            case Exercise.SILENT:
                self._check_silent(video)
            case _:
                raise AssertionError(f"{exercise} is not for a video that is ready")

    def watch_live(self, video: Video) -> Report:
        """Watch what is still being encoded, in its lowest quality, to the end: once back to the start, if it can."""
        timeout_ms = 1000 * (1.5 * video.signal.duration_s + 30)
        patience_s = timeout_ms / 1000 + PATIENCE_S
        task = _task(video, video.low, back_at_s=BACK_AT_S if self._goes_back else None, timeout_ms=timeout_ms)
        asked = self._page.ask("live", self.name, task)
        return asked.result(patience_s)

    def check_live(self, exercise: Exercise, video: Video, report: Report, ready_after_s: float) -> None:
        """Say whether what the page saw is right; it was live for `ready_after_s`, as long as the encoding took."""
        after = report["frames"][report["before"] :]
        if exercise is Exercise.LIVE_START:
            assert report["first"]["number"] == 0
            assert report["first"]["time"] < 0.02  # EXT-X-START is a little more than 0, which shaka takes for none
            begun = report["frames"][: report["before"] or None]
            check_flow([frame for frame in begun if frame["time"] < BACK_AT_S], video.signal, LIVE_STALL_S)
        elif exercise is Exercise.LIVE_BACK:
            assert report["back"]["number"] == 0
            assert report["again_ms"] < 1000 * LIVE_STALL_S
            assert after[0]["time"] < BACK_AT_S / 2
        else:
            # Before, it may have to wait for an encoder that is kept from its work.
            ready_ms = report["opened_ms"] + 1000 * ready_after_s
            check_flow(after, video.signal, PATIENCE_S)
            check_flow([frame for frame in after if frame["at_ms"] >= ready_ms], video.signal, LIVE_STALL_S)
            check_end(report, video.signal)

    def _ask(self, exercise: str, video: Video, height: int | None = None, **task: Any) -> Report:
        asked = self._page.ask(exercise, self.name, _task(video, height or video.high, **task))
        report = asked.result(PATIENCE_S)
        assert report["errors"] == []
        assert abs(report["duration"] - video.signal.duration_s) < 0.025, "more than a block of sound off"
        return report

    def _check_start(self, video: Video) -> None:
        # What is recorded is encoded as it plays, which a small picture leaves time for.
        height = video.low if self._on_tape else video.high
        report = self._ask("start", video, height, play_s=START_S, on_tape=self._on_tape)
        assert report["first"]["number"] == 0
        assert report["size"][1] == height
        assert report["frames"][0]["time"] < 0.5
        check_flow(report["frames"], video.signal, LIVE_STALL_S, self._behind_s)
        flashes, beeps = self._taped(report) if self._on_tape else _onsets(report)
        assert len(flashes) >= 3
        assert len(beeps) >= 3
        offsets = [min((beep - flash for beep in beeps), key=abs) for flash in flashes]
        assert abs(statistics.median(offsets)) < OUT_OF_STEP_S, offsets

    def _taped(self, report: Report) -> tuple[list[float], list[float]]:
        with TemporaryDirectory() as folder:
            tape = Path(folder) / "tape.webm"
            tape.write_bytes(base64.b64decode(report["tape"]))
            heard = watch(tape)
        return heard.flashes, heard.beeps

    def _check_seek(self, video: Video, numbers: list[int]) -> None:
        times = [video.signal.middle(number) for number in numbers]
        report = self._ask("seek", video, times=times)
        shown = report["shown"]
        assert [each["number"] for each in shown] == [number % NUMBERS for number in numbers]
        assert max(abs(each["time"] - time) for each, time in zip(shown, times, strict=True)) < 0.001

    def _check_switch(self, video: Video) -> None:
        report = self._ask("switch", video, video.low, other=video.high)
        frames = report["frames"]
        heights = [height for height, _ in itertools.groupby(frame["height"] for frame in frames)]
        assert heights == [video.low, video.high]
        check_flow(frames, video.signal, STALL_S, self._behind_s)

    def _check_silent(self, video: Video) -> None:
        number = video.signal.frames // 2
        report = self._ask("silent", video, time=video.signal.middle(number), tail_s=TAIL_S)
        assert report["first"]["number"] == 0
        assert report["shown"]["number"] == number
        check_end(report, video.signal)


def _task(video: Video, height: int, **task: Any) -> dict[str, Any]:
    media = {"files": video.files, "hls": video.hls, "dash": video.dash}
    return {"media": media, "height": height, **task}


def check_end(report: Report, signal: Signal) -> None:
    """It ended by itself, with the last frame, at the duration."""
    assert report["errors"] == []
    assert report["last"]["number"] == signal.shown[-1]
    assert abs(report["end"] - signal.duration_s) < 0.025
    assert abs(report["final_duration"] - signal.duration_s) < 0.025


def check_flow(frames: list[dict[str, Any]], signal: Signal, stall_s: float, behind_s: float = 0.0) -> None:
    """Each frame is the one of its time, none comes again, none is skipped, and the picture never stands still.

    What a page can read of the picture may be `behind_s` older than what its browser announces.
    """
    fps = float(signal.fps)
    for frame in frames:
        late = (frame["time"] * fps - frame["number"] + AHEAD) % NUMBERS
        assert late < AHEAD + NEIGHBOUR + behind_s * fps, frame
    for before, after in itertools.pairwise(frames):
        waited_s, moved_s = (after["at_ms"] - before["at_ms"]) / 1000, after["time"] - before["time"]
        assert waited_s < stall_s, f"stood still for {waited_s:.2f} s: {before} {after}"
        assert -0.001 < moved_s < waited_s + SKIP_S, f"jumped: {before} {after}"


def _onsets(report: Report) -> tuple[list[float], list[float]]:
    """Return when it became white, and when it became loud, in seconds of the page's clock."""
    pairs = itertools.pairwise(report["frames"])
    flashes = [after["at_ms"] / 1000 for before, after in pairs if after["white"] and not before["white"]]
    return flashes, [beep / 1000 for beep in report["beeps"]]
