import io
import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from sfctl.bars import Glyphs, JobRow, RungRow, choose_glyphs, draw_bar, draw_board
from sfctl.context import Environment
from sfctl.progress import PlainReporter, TtyReporter, make_reporter
from sfserver.wire.jobs import JobRead
from tests.cli.fake_events import events_of, pause
from tests.cli.fake_server import TOKEN, FakeServer

BLOCKS = Glyphs()


def encoding_row(title: str = "film.mp4") -> JobRow:
    rungs = {name: RungRow(0.42, 88.2) for name in ("360p", "1080p", "720p")}
    return JobRow(title, "processing", "encode", 0.42, speed=1.8, eta_s=12, rungs=rungs)


def test_a_bar_is_drawn_as_the_mission_draws_it() -> None:
    assert draw_bar(0.42, 10, BLOCKS) == "[XXXX░░░░░░]  42%"
    assert draw_bar(0.999, 10, BLOCKS) == "[XXXXXXXXX░]  99%"
    assert draw_bar(1.0, 10, BLOCKS) == "[XXXXXXXXXX] 100%"
    assert draw_bar(-1, 4, choose_glyphs("ascii")) == "[----]   0%"


def test_one_job_shows_its_qualities_biggest_first() -> None:
    lines = draw_board([encoding_row()], (100, 24), BLOCKS)
    assert lines[0].split() == ["film.mp4", "encode", "[XXXXXXXX░░░░░░░░░░░░]", "42%", "1.8x", "ETA", "0:12"]
    assert [line.split()[0] for line in lines[1:]] == ["1080p", "720p", "360p"]
    assert lines[1].endswith("88.2 fps")


def test_a_job_that_waits_says_so_on_a_line_of_its_own() -> None:
    row = encoding_row()
    row.waiting = "storage full: this step may need 211 MiB, 12 MiB are free"
    lines = draw_board([row], (80, 24), BLOCKS)
    assert lines[0].split() == ["film.mp4", "waiting", "[XXXXXXXX░░░░░░░░░░░░]", "42%"]
    assert lines[1] == "  waiting: storage full: this step may need 211 MiB, 12 MiB are free"
    assert len(lines) == 5
    row.state = "ready"
    assert "waiting" not in "".join(draw_board([row], (80, 24), BLOCKS))


def test_what_several_jobs_wait_for_is_told_while_there_is_room() -> None:
    rows = [encoding_row(f"clip {number}") for number in range(3)]
    for row in rows:
        row.waiting = "storage full: 12 MiB are free"
    assert sum("12 MiB" in line for line in draw_board(rows, (80, 24), BLOCKS)) == 3
    crowded = draw_board(rows, (80, 8), BLOCKS)
    assert (len(crowded), sum(" waiting " in line for line in crowded)) == (4, 3)


def test_many_jobs_are_summed_up() -> None:
    rows = [encoding_row(f"clip {number}") for number in range(3)]
    rows += [JobRow(f"clip {number}") for number in range(3, 30)]
    lines = draw_board(rows, (80, 20), BLOCKS)
    assert lines[0] == "30 jobs: 3 processing, 27 queued"
    assert lines[-1] == "14 more"
    assert len(lines) == 18


@given(
    titles=st.lists(st.text(max_size=60), min_size=1, max_size=40),
    size=st.tuples(st.integers(40, 200), st.integers(8, 60)),
)
def test_a_board_fits_the_terminal(titles: list[str], size: tuple[int, int]) -> None:
    lines = draw_board([encoding_row(title) for title in titles], size, BLOCKS)
    assert len(lines) < size[1]
    assert max(map(cell_len, lines)) <= size[0]


def test_plain_writes_a_line_a_change(environment: Environment) -> None:
    now = 0.0
    reporter = PlainReporter(environment, lambda: now)
    row = JobRow("film")
    for progress in (0.0, 0.01, 0.05, 0.11, 0.12, 0.2):
        row.progress, row.state = progress, "processing"
        reporter.changed(row)
        now += 0.7
    row.state, row.note = "failed", "half of it is missing"
    reporter.changed(row)
    text = environment.stderr.getvalue()  # type: ignore[attr-defined]
    assert text.splitlines() == [
        "film: processing 0%",
        "film: processing 11%",
        "film: processing 20%",
        "film: failed 20%  half of it is missing",
    ]
    assert "\r" not in text


def test_json_writes_a_line_a_change(environment: Environment) -> None:
    make_reporter(environment, "json").changed(encoding_row())
    line = json.loads(environment.stderr.getvalue())  # type: ignore[attr-defined]
    assert line["rungs"]["720p"] == {"progress": 0.42, "fps": 88.2}
    assert (line["state"], line["speed"]) == ("processing", 1.8)


def test_the_mode_follows_the_terminal(environment: Environment) -> None:
    terminal = replace(environment, stderr_tty=True)
    dumb = replace(terminal, variables={"TERM": "dumb"})
    assert isinstance(make_reporter(terminal, "auto"), TtyReporter)
    assert isinstance(make_reporter(environment, "auto"), PlainReporter)
    assert isinstance(make_reporter(dumb, "auto"), PlainReporter)
    make_reporter(terminal, "none").changed(encoding_row())
    assert environment.stderr.getvalue() == ""  # type: ignore[attr-defined]


def test_bars_are_redrawn_in_place(environment: Environment) -> None:
    reporter = TtyReporter(environment)
    row = encoding_row("\x1b]0;owned\x07film")
    reporter.changed(row)
    row.progress = 1.0
    row.state = "ready"
    reporter.changed(row)
    reporter.close()
    text = environment.stderr.getvalue()  # type: ignore[attr-defined]
    assert text.startswith("\x1b[?25l")
    assert "\x1b[4F" in text
    assert text.endswith("\x1b[?25h")
    assert "\x07" not in text
    assert "100%" in text


def test_a_note_stays_above_the_bars(environment: Environment) -> None:
    reporter = TtyReporter(environment)
    reporter.changed(encoding_row())
    reporter.note("film.mp4: playable\x07 after 2.6 s")
    reporter.close()
    text = environment.stderr.getvalue()  # type: ignore[attr-defined]
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1
    # Up to the block's first line, the note over it, and the block anew below.
    assert "\x1b[4Ffilm.mp4: playable after 2.6 s\x1b[K\nfilm.mp4" in text
    assert text.count("playable") == 1


def test_a_note_before_there_are_bars(environment: Environment) -> None:
    for mode in ("tty", "plain"):
        make_reporter(environment, mode).note("playable")
    for mode in ("json", "none"):
        make_reporter(environment, mode).note("nobody reads this")
    text = environment.stderr.getvalue()  # type: ignore[attr-defined]
    assert text == "\x1b[?25lplayable\x1b[K\n\x1b[Jplayable\n"


@pytest.mark.parametrize(("encoding", "rest"), [("utf-8", "░"), ("ascii", "-")])
def test_bars_on_a_real_terminal(server: FakeServer, tmp_path: Path, encoding: str, rest: str) -> None:
    def slowly(job: JobRead, last_id: str) -> Iterator[bytes]:
        for part in events_of(job, last_id):
            yield from pause(0.15)
            yield part

    server.event_scripts = [slowly]
    film = tmp_path / "film.mp4"
    film.write_bytes(b"frames" * 1000)
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [Path(sys.executable).with_name("sfctl"), "upload", str(film), "--wait"],
        env={
            "SF_URL": server.url,
            "SF_TOKEN": TOKEN,
            "HOME": str(tmp_path),
            "TERM": "xterm",
            "PYTHONIOENCODING": encoding,
            "COLUMNS": "90",
        },
        stdout=subprocess.PIPE,
        stderr=follower,
    )
    os.close(follower)
    screen = io.BytesIO()
    while True:
        try:
            part = os.read(leader, 65536)
        except OSError:
            break
        if not part:
            break
        screen.write(part)
    os.close(leader)
    out = process.communicate(timeout=20)[0]
    text = screen.getvalue().decode()
    assert process.returncode == 0
    assert b"\tready\t" in out
    assert "ready      [XXXXXXXXXXXXXXXXXXXX] 100%" in text
    assert f"[{'X' * 8}{rest * 12}]  42%" in text
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1
