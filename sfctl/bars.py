"""Progress as text: rows of jobs drawn as ASCII bars. Pure functions of the rows and the room there is."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sfctl.text import format_bytes, format_duration, safe_text

_BY_BYTES = {"uploading", "downloading"}
_ORDER = {"uploading": 0, "downloading": 0, "processing": 1, "queued": 2, "failed": 3, "cancelled": 4, "ready": 5}
_MIN_TITLE = 8


@dataclass
class RungRow:
    """One quality of a job: `progress` 0–1 and frames encoded per second."""

    progress: float = 0.0
    fps: float | None = None


@dataclass
class JobRow:
    """One job as shown. `speed` is seconds of video per second, or bytes per second while up- or downloading.

    `waiting` is what the server is short of while nothing goes on, `playable_s` how long it took until it could play.
    """

    title: str
    state: str = "queued"
    stage: str | None = None
    progress: float = 0.0
    speed: float | None = None
    eta_s: float | None = None
    note: str | None = None
    waiting: str | None = None
    job_id: str | None = None
    playable_s: float | None = None
    rungs: dict[str, RungRow] = field(default_factory=dict)

    @property
    def is_final(self) -> bool:
        """Whether nothing will change any more."""
        return self.state in {"ready", "failed", "cancelled"}

    @property
    def is_waiting(self) -> bool:
        """Whether the server is short of something."""
        return self.waiting is not None and not self.is_final


@dataclass(frozen=True)
class Glyphs:
    """The two cells of a bar."""

    full: str = "X"
    rest: str = "░"


def choose_glyphs(encoding: str | None) -> Glyphs:
    """Take `░` where `encoding` has it, `-` otherwise."""
    try:
        "░".encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return Glyphs(rest="-")
    return Glyphs()


def draw_bar(progress: float, cells: int, glyphs: Glyphs) -> str:
    """Draw `[XXXX░░░░░░] 42%`; it is full, and says 100%, only at 1."""
    progress = min(max(progress, 0.0), 1.0)
    full = int(progress * cells)
    return f"[{glyphs.full * full}{glyphs.rest * (cells - full)}] {int(progress * 100):3}%"


def describe_pace(row: JobRow) -> str:
    """Say how fast a row goes and when it will be done: `1.8x  ETA 0:12`."""
    parts = []
    if row.is_waiting:
        return safe_text(row.note or "")
    if row.speed and row.speed > 0:
        parts.append(f"{format_bytes(row.speed)}/s" if row.state in _BY_BYTES else f"{row.speed:.1f}x")
    if row.eta_s is not None and not row.is_final:
        parts.append(f"ETA {format_duration(row.eta_s)}")
    if row.note:
        parts.append(safe_text(row.note))
    return "  ".join(parts)


def draw_job(row: JobRow, width: int, glyphs: Glyphs) -> str:
    """Draw a job in one line of at most `width` columns: title, stage, bar, pace."""
    label = row.stage if row.state == "processing" and row.stage else row.state
    label = "waiting" if row.is_waiting else label
    cells = 20 if width >= 70 else 10
    tail = f"{safe_text(label):<10.10} {draw_bar(row.progress, cells, glyphs)}  {describe_pace(row)}".rstrip()
    room = max(_MIN_TITLE, min(28, width - 58 if width >= 70 else width - 48))
    return fit(f"{fit(safe_text(row.title), room, pad=True)}  {tail}", width)


def draw_rungs(row: JobRow, width: int, glyphs: Glyphs) -> list[str]:
    """Draw what a job waits for, and a line per quality, biggest first."""
    cells = 20 if width >= 70 else 10
    # What it waits for stands on a line of its own: on the bar's, its end would be cut.
    lines = [fit(f"  waiting: {safe_text(row.waiting)}", width)] if row.is_waiting and row.waiting else []
    for name, rung in sorted(row.rungs.items(), key=lambda item: _height(item[0]), reverse=True):
        fps = f"  {rung.fps:.1f} fps" if rung.fps else ""
        lines.append(fit(f"  {safe_text(name):>6} {draw_bar(rung.progress, cells, glyphs)}{fps}", width))
    return lines


def draw_board(rows: Sequence[JobRow], size: tuple[int, int], glyphs: Glyphs) -> list[str]:
    """Draw all rows into `size` columns and lines: a summary, the liveliest on top, `… 12 more` for the rest."""
    width, room = size[0], max(size[1] - 2, 3)
    if len(rows) == 1:
        return [draw_job(rows[0], width, glyphs), *draw_rungs(rows[0], width, glyphs)][:room]
    lines = [fit(summarize(rows), width)]
    ranked = sorted(rows, key=lambda row: _ORDER.get(row.state, 2))
    shown = len(ranked) if len(ranked) < room else room - 2
    spare = room - 1 - len(ranked)
    for row in ranked[:shown]:
        lines.append(draw_job(row, width, glyphs))
        details = [] if row.is_final else draw_rungs(row, width, glyphs)
        if len(details) <= spare:
            lines.extend(details)
            spare -= len(details)
    if shown < len(ranked):
        lines.append(f"{len(ranked) - shown} more")
    return lines


def summarize(rows: Iterable[JobRow]) -> str:
    """Count the rows by state: `20 jobs: 1 processing, 18 queued, 1 ready`."""
    counts = Counter(row.state for row in rows)
    parts = [f"{counts[state]} {state}" for state in _ORDER if counts[state]]
    return f"{counts.total()} jobs: {', '.join(parts)}"


def fit(text: str, width: int, *, pad: bool = False) -> str:
    """Cut `text` to `width` terminal columns (wide characters are two), with `pad` fill it up."""
    from rich.cells import cell_len, set_cell_size

    if cell_len(text) > width:
        return set_cell_size(text, max(width - 1, 0)) + "…"
    return set_cell_size(text, width) if pad else text


def _height(quality: str) -> int:
    digits = quality.removesuffix("p")
    return int(digits) if digits.isdigit() else 0
