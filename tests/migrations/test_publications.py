"""What was published as one file a track plays on as rows, byte for byte; what rows stand for goes."""

import random
import re
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, text

from sfserver.accounts.service import CredentialKind, issue
from sfserver.deps import Runtime
from sfserver.infra.db import Database
from sfserver.infra.events.memory import InProcessBus
from sfserver.infra.queue.dramatiq import in_memory_doorbell
from sfserver.infra.schema import upgrade_schema
from sfserver.infra.storage.directory import DirectoryStore
from sfserver.models import Publication, Track, TrackChunk, Video
from sfserver.publications.backfill import complete_publications
from sfserver.roots.api import create_app
from sfserver.roots.runtime import make_runtime
from sfserver.settings import Settings
from sfserver.tasks import garbage
from sfserver.videos.service import purge_video
from tests.api.conftest import TestClient
from tests.migrations.first_schema import NOW, FirstSchema

CHANCE = random.Random(7)
PREFIX = "video/old/1/1"
PICTURE = [CHANCE.randbytes(size) for size in (900, 700, 800)]
SOUND = [CHANCE.randbytes(size) for size in (90, 70)]
HEAD = CHANCE.randbytes(500)
INIT = struct.pack(">I4s8x", 16, b"ftyp") + struct.pack(">I4s32x", 40, b"moov")


def index_of(fragments: list[bytes], ticks: int, timescale: int) -> bytes:
    """Return a `sidx` of version 1 (ISO/IEC 14496-12, 8.16.3)."""
    head = struct.pack(">IIIQQHH", 1 << 24, 1, timescale, 0, 0, 0, len(fragments))
    rows = b"".join(struct.pack(">III", len(each), ticks, 0x90000000) for each in fragments)
    return struct.pack(">I4s", 8 + len(head) + len(rows), b"sidx") + head + rows


def track_file(fragments: list[bytes], ticks: int, timescale: int) -> tuple[bytes, int]:
    index = index_of(fragments, ticks, timescale)
    return INIT + index + b"".join(fragments), len(index)


def add_published(old: FirstSchema) -> dict[str, bytes]:
    """Add a ready video of one quality as it used to be stored; return its files."""
    video, video_index = track_file(PICTURE, 180_000, 90_000)
    audio, audio_index = track_file(SOUND, 96_000, 48_000)
    starts = [len(INIT) + video_index + sum(len(each) for each in PICTURE[:k]) for k in range(3)]
    iframes = "".join(
        f"#EXTINF:2,\n#EXT-X-BYTERANGE:{100 + k}@{start}\n../v/360p.mp4\n" for k, start in enumerate(starts)
    )
    files = {
        "v/360p.mp4": video,
        "a/main.mp4": audio,
        "file/360p.head": HEAD,
        "file/360p.layout": b"layout",
        "hls/360p.m3u8": b"#EXTM3U\n",
        "hls/360p.iframes.m3u8": iframes.encode(),
        "hls/audio.m3u8": b"#EXTM3U\n",
    }
    names = ("average_bps", "peak_bps", "video_average_bps", "video_peak_bps", "iframe_average_bps", "iframe_peak_bps")
    rendition = {name: 1000 + number for number, name in enumerate(names)} | {
        "quality": "360p",
        "width": 640,
        "height": 360,
        "video_codecs": "avc1.64001E",
        "audio_codecs": "mp4a.40.2",
        "track_size_bytes": len(video),
        "progressive_size_bytes": len(HEAD) + sum(map(len, PICTURE + SOUND)),
        "init_bytes": len(INIT),
        "index_bytes": video_index,
    }
    sound = {
        "codecs": "mp4a.40.2",
        "channels": 2,
        "sample_rate": 48_000,
        "init_bytes": len(INIT),
        "index_bytes": audio_index,
    }
    published = {
        "files": {name: len(data) for name, data in files.items()},
        "renditions": [rendition],
        "audio": sound,
        "audio_average_bps": 10,
        "audio_peak_bps": 20,
        "duration_s": 6.0,
        "fps": {"num": 30, "den": 1},
    }
    old.video("old", generation=1, published_prefix=PREFIX, published=published, published_at=NOW)
    old.job("old", "ready", progress=1.0, playable_at=NOW, swept_at=NOW, finished_at=NOW)
    for name, data in files.items():
        old.put(f"{PREFIX}/{name}", data)
    return files


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    settings = Settings(data_dir=tmp_path)
    database, store = Database(settings.database_url), DirectoryStore(tmp_path)
    add_published(FirstSchema(database, store))
    upgrade_schema(database)
    runtime = make_runtime(
        settings,
        database=database,
        doorbell=in_memory_doorbell(),
        store=store,
        bus=InProcessBus(),
        signing_key=b"k" * 32,
        version="0",
    )
    yield runtime
    database.close()


def objects(runtime: Runtime) -> set[str]:
    root = runtime.settings.data_dir / "objects"
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def signed_in(runtime: Runtime) -> TestClient:
    with runtime.database.write() as session:
        secret = issue(session, "me", CredentialKind.API_TOKEN).secret
    return TestClient(create_app(runtime), base_url="http://localhost", headers={"Authorization": f"Bearer {secret}"})


def test_it_plays_byte_for_byte(runtime: Runtime) -> None:
    complete_publications(runtime)
    complete_publications(runtime)
    whole = HEAD + PICTURE[0] + SOUND[0] + PICTURE[1] + SOUND[1] + PICTURE[2]
    with signed_in(runtime) as client:
        (rendition,) = client.get("/api/videos/old/renditions").json()
        assert (rendition["size_bytes"], rendition["average_bps"], rendition["peak_bps"]) == (len(whole), 1012, 1023)
        assert client.get(rendition["url"]).content == whole
        assert client.get(rendition["url"], headers={"Range": "bytes=490-1399"}).content == whole[490:1400]
        base = client.get("/api/videos/old/links").json()["hls"].removesuffix("hls/master.m3u8")
        assert client.get(f"{base}v/360p/init.mp4").content == INIT
        stored = client.get(f"{base}v/360p/0.m4s").content
        for name, runs in (
            ("360p", [PICTURE[0] + PICTURE[1], PICTURE[2]]),
            ("360p.iframes", [p[: 100 + k] for k, p in enumerate(PICTURE)]),
        ):
            ranges = re.findall(r"BYTERANGE:(\d+)@(\d+)", client.get(f"{base}hls/{name}.m3u8").text)
            assert [stored[int(at) : int(at) + int(size)] for size, at in ranges] == runs


def test_what_rows_stand_for_goes_and_the_rest_stays(runtime: Runtime) -> None:
    complete_publications(runtime)
    garbage.collect(runtime.database, runtime.store)
    kept = {f"{PREFIX}/{name}" for name in ("v/360p.mp4", "a/main.mp4", "file/360p.head")}
    assert objects(runtime) == kept | {"source/old/u"}
    with runtime.database.write() as session:
        purge_video(session, runtime, session.get_one(Video, "old"))
    garbage.collect(runtime.database, runtime.store)
    assert objects(runtime) == set()
    with runtime.database.read() as session:
        assert [session.scalars(select(table)).all() for table in (Publication, Track, TrackChunk)] == [[], [], []]


def test_a_video_whose_files_are_gone_stops_nobody(runtime: Runtime) -> None:
    shutil.rmtree(runtime.settings.data_dir / "objects" / PREFIX / "v")
    complete_publications(runtime)
    with signed_in(runtime) as client:
        assert client.get("/api/videos/old").json()["status"] == "ready"
        answer = client.get("/api/stream/old/360p")
        assert (answer.status_code, answer.json()["code"]) == (404, "object_missing")


def test_the_tables_of_the_earlier_layout_are_gone(runtime: Runtime) -> None:
    with runtime.database.read() as session:
        columns = {row[1] for row in session.execute(text("PRAGMA table_info(videos)"))}
        assert not columns & {"published", "published_prefix"}
        assert session.execute(text("PRAGMA foreign_key_check")).all() == []
