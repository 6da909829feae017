"""Which player does what with what we serve: the one table behind the tests and docs/reference/players.md."""

from dataclasses import dataclass, field
from enum import StrEnum


class Exercise(StrEnum):
    """What every player is put through; the value is the table's heading."""

    START = "start"
    SEEK = "seek"
    SWITCH = "switch quality"
    LIVE_START = "live from the start"
    LIVE_TO_VOD = "live, then whole"
    LIVE_BACK = "back to 0 while live"
    END = "end"
    SILENT = "no sound track"


MEANINGS = {
    Exercise.START: "the first frame is frame 0, then every flash comes with its beep",
    Exercise.SEEK: "20 seeks, each shows the frame of that time",
    Exercise.SWITCH: "the other quality in the middle of playing: no stall, no frame left out or shown twice",
    Exercise.LIVE_START: "opened while the video is still being encoded, it begins at frame 0",
    Exercise.LIVE_TO_VOD: "it plays on through the end of the encoding without a stall, and ends with the last frame",
    Exercise.LIVE_BACK: "a seek back to frame 0 while it is still being encoded, and on from there",
    Exercise.END: "it ends by itself, with the last frame, at the duration",
    Exercise.SILENT: "a video that has no sound track starts, seeks and ends",
}
LIVE = (Exercise.LIVE_START, Exercise.LIVE_TO_VOD, Exercise.LIVE_BACK)


class How(StrEnum):
    """Whether an exercise works; the value is what the table says."""

    YES = "yes"
    BY_FILE = "by file"
    NO = "no"
    NOT_RUN = "not run here"


@dataclass(frozen=True)
class Cell:
    """One player at one exercise. Whatever is not simply a yes says why."""

    how: How
    why: str = ""

    @property
    def is_tested(self) -> bool:
        return self.how in {How.YES, How.BY_FILE}


@dataclass(frozen=True)
class Player:
    """A row: everything is a yes but what `cells` says otherwise."""

    name: str
    plays: str
    cells: dict[Exercise, Cell] = field(default_factory=dict)

    def cell(self, exercise: Exercise) -> Cell:
        return self.cells.get(exercise, Cell(How.YES))


def _live(cell: Cell) -> dict[Exercise, Cell]:
    return dict.fromkeys(LIVE, cell)


_NO_SEEK = "FFmpeg 5.1 can't seek in any HLS of fMP4, its own included"
_TWO_FILES = "each quality is a file: the other one is opened at the time"
_FINISHED = "a file is there once the video is ready"
_DASH_LATER = "a DASH manifest is there once the video is ready"
_NEEDS = "needs a device that this machine is not"

PLAYERS = (
    Player(
        "ffmpeg 5.1",
        "files, HLS",
        {
            Exercise.SEEK: Cell(How.BY_FILE, _NO_SEEK),
            Exercise.SWITCH: Cell(How.BY_FILE, _TWO_FILES),
            Exercise.LIVE_START: Cell(How.YES, "with `-live_start_index 0`"),
            Exercise.LIVE_BACK: Cell(How.NO, _NO_SEEK),
        },
    ),
    Player(
        "PyAV (FFmpeg 8.1)",
        "files, HLS",
        {
            Exercise.SEEK: Cell(How.BY_FILE, "in HLS FFmpeg 8.1 lands a second or two late"),
            Exercise.SWITCH: Cell(How.BY_FILE, _TWO_FILES),
            Exercise.LIVE_START: Cell(How.YES, "with `live_start_index=0`"),
            Exercise.LIVE_BACK: Cell(How.NO, "in HLS FFmpeg 8.1 lands a second or two late"),
        },
    ),
    Player(
        "mpv 0.35",
        "files, HLS",
        {
            Exercise.SEEK: Cell(How.BY_FILE, _NO_SEEK),
            Exercise.SWITCH: Cell(How.BY_FILE, _TWO_FILES),
            Exercise.LIVE_START: Cell(How.YES, "with `--demuxer-lavf-o=live_start_index=0`"),
            Exercise.LIVE_BACK: Cell(How.NO, _NO_SEEK),
        },
    ),
    Player(
        "VLC 3",
        "files, HLS",
        {
            Exercise.SEEK: Cell(How.BY_FILE, "to the frame or one beside it"),
            Exercise.SWITCH: Cell(How.BY_FILE, _TWO_FILES),
            **_live(Cell(How.NO, "it joins growing lists near their ends, those of picture and sound apart")),
        },
    ),
    Player(
        "GStreamer 1.22",
        "files, HLS",
        {
            Exercise.SEEK: Cell(How.YES, "in HLS to the frame or the one before: it ignores edit lists there"),
            Exercise.SWITCH: Cell(How.BY_FILE, _TWO_FILES),
            Exercise.LIVE_BACK: Cell(How.YES, "once there are four segments"),
        },
    ),
    Player(
        "Firefox ESR",
        "files",
        {
            Exercise.SWITCH: Cell(How.BY_FILE, _TWO_FILES),
            **_live(Cell(How.NO, f"it has no HLS of its own, and {_FINISHED}")),
        },
    ),
    Player(
        "Chromium",
        "files",
        {Exercise.SWITCH: Cell(How.BY_FILE, _TWO_FILES), **_live(Cell(How.NO, _FINISHED))},
    ),
    Player(
        "Chromium's own HLS",
        "HLS",
        {
            Exercise.SWITCH: Cell(How.NO, "it chooses by itself, a page can't ask for a quality"),
            Exercise.LIVE_TO_VOD: Cell(
                How.NO, "it looks at a list every 8 s and leaves out segments where more than three are new"
            ),
            Exercise.LIVE_BACK: Cell(How.NO, "it can't seek in a list that still grows, not even by a second"),
        },
    ),
    Player("hls.js", "HLS"),
    Player("shaka HLS", "HLS"),
    Player("shaka DASH", "DASH", _live(Cell(How.NO, _DASH_LATER))),
    Player(
        "dash.js",
        "DASH",
        {
            Exercise.SEEK: Cell(
                How.YES, "but dash.js 5.2 never ends a seek to the last frame before a gap in its buffer"
            ),
            **_live(Cell(How.NO, _DASH_LATER)),
        },
    ),
    Player("Safari (macOS, iOS)", "HLS", dict.fromkeys(Exercise, Cell(How.NOT_RUN, _NEEDS))),
    Player("Smart TVs, Chromecast", "HLS, DASH", dict.fromkeys(Exercise, Cell(How.NOT_RUN, _NEEDS))),
)


def runnable(*exercises: Exercise) -> list[tuple[Player, Exercise]]:
    """Return the cells that a test runs, in the order of the exercises."""
    return [(player, each) for each in exercises for player in PLAYERS if player.cell(each).is_tested]
