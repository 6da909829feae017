"""`thumbs`: a poster as a file."""

import json
from pathlib import Path

import pytest

from sfserver.wire.jobs import JobStatus
from sfserver.wire.videos import VideoRead
from tests.cli.conftest import Cli, Stream
from tests.cli.fake_server import FakeServer


@pytest.fixture
def film(server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> VideoRead:
    monkeypatch.chdir(tmp_path)
    return server.add("a/film")


@pytest.mark.parametrize(
    ("options", "name", "asked"),
    [
        ([], "a_film-poster.webp", "poster.webp?size=large"),
        (["--format", "jpg"], "a_film-poster.jpg", "poster.jpg?size=large"),
        (["--size", "small"], "a_film-poster-small.webp", "poster.webp?size=small"),
        (["-o", "x.webp"], "x.webp", "poster.webp?size=large"),
        (["-o", "pictures"], "pictures/a_film-poster.webp", "poster.webp?size=large"),
    ],
)
def test_a_poster_is_named_after_the_title_or_as_told(
    cli: Cli, server: FakeServer, film: VideoRead, options: list[str], name: str, asked: str
) -> None:
    Path("pictures").mkdir()
    ran = cli("thumbs", film.id, *options)
    assert (ran.code, ran.out) == (0, f"{name}\n")
    assert Path(name).read_bytes() == server.poster
    assert server.seen[-1] == f"GET /api/videos/{film.id}/{asked}"
    assert not list(Path().rglob("*.part"))


def test_a_poster_in_a_pipe(cli: Cli, server: FakeServer, film: VideoRead) -> None:
    pipe = Stream()
    assert cli("thumbs", film.id, "-o", "-", stdout=pipe).code == 0
    assert pipe.buffer.getvalue() == server.poster
    on_a_terminal = cli("thumbs", film.id, "-o", "-", stdout_tty=True)
    assert (on_a_terminal.code, "no text for a terminal" in on_a_terminal.err) == (2, True)


def test_json_and_quiet(cli: Cli, server: FakeServer, film: VideoRead) -> None:
    told = json.loads(cli("thumbs", film.id, "--json").out)
    assert told == {"id": film.id, "file": "a_film-poster.webp", "size_bytes": len(server.poster)}
    assert cli("thumbs", film.id, "-q", "--force").out == f"{film.id}\n"


def test_what_is_there_is_not_replaced_unasked(cli: Cli, film: VideoRead) -> None:
    Path("a_film-poster.webp").write_text("mine")
    ran = cli("thumbs", film.id)
    assert (ran.code, Path("a_film-poster.webp").read_text()) == (2, "mine")
    assert "--force" in ran.err
    assert cli("thumbs", film.id, "--force").code == 0


def test_a_place_that_cannot_be_written_is_named(cli: Cli, film: VideoRead) -> None:
    ran = cli("thumbs", film.id, "-o", "missing/x.webp")
    assert ran.code == 2
    assert ran.err.startswith("error: cannot write missing/x.webp\n")


def test_a_video_without_a_poster_says_how_to_make_one(
    cli: Cli, server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    video = server.add("new", JobStatus.PROCESSING)
    ran = cli("thumbs", video.id)
    assert ran.code == 5
    assert f"hint: `sfctl reprocess {video.id} --stage poster` makes one" in ran.err
    assert list(tmp_path.iterdir()) == []
    assert cli("thumbs", video.id, "--format", "gif").code == 2
