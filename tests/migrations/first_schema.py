"""A database as the first schema's server left it."""

import json
from datetime import UTC, datetime

from sqlalchemy import text

from sfserver.infra.db import Database
from sfserver.infra.schema import alembic_config
from sfserver.infra.storage.directory import DirectoryStore

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
RUNGS = [
    {
        "name": name,
        "width": height * 16 // 9,
        "height": height,
        "maxrate_bps": 1_000_000,
        "encoder": "libx264",
        "options": {"crf": "23"},
        "reason": "fits",
    }
    for name, height in (("720p", 720), ("360p", 360))
]
CHUNKS = [{"index": 0, "start_frame": 0, "end_frame": 60}, {"index": 1, "start_frame": 60, "end_frame": 100}]
PLAN = {
    "fps": {"num": 30, "den": 1},
    "timescale": 30_000,
    "frame_ticks": 1000,
    "gop_frames": 60,
    "frames": 100,
    "video_stream_index": 0,
    "rungs": RUNGS,
    "chunks": CHUNKS,
    "audio": {
        "stream_index": 1,
        "bitrate_bps": 128_000,
        "sample_rate": 48_000,
        "channels": 2,
        "frames": 157,
        "part_ends": [1, 2],
    },
    "reasons": ["never upscaled"],
}
PUBLISHED = {
    "files": {"v/720p.mp4": 9, "a/main.mp4": 9},
    "renditions": [],
    "audio_average_bps": 1,
    "audio_peak_bps": 1,
    "duration_s": 3.3,
    "fps": {"num": 30, "den": 1},
}
PART = {
    "file": "720p.0.m4s",
    "size_bytes": 5,
    "samples": 60,
    "first_gop": 0,
    "fragment_sizes": [5],
    "codec_config": "01",
    "delay_ticks": 0,
}
CHUNK = {
    "parts": {"720p": PART},
    "fingerprint": "x264-165",
    "decoded_frames": 60,
    "duplicated_frames": 0,
    "concealed_frames": 0,
}


class FirstSchema:
    """Rows as the first schema's server wrote them; times and JSON as SQLite keeps them."""

    def __init__(self, database: Database, store: DirectoryStore) -> None:
        self._database, self._store = database, store
        self._event = 0
        self._migrate_to_first()
        self._add("users", id="me", name="local", is_admin=True, created_at=NOW)

    def video(self, name: str, **columns: object) -> None:
        fields = {
            "owner_id": "me",
            "title": name,
            "description": "",
            "visibility": "private",
            "public_epoch": 0,
            "created_at": NOW,
            "source_key": f"source/{name}/u",
            "source_name": "a.mkv",
            "source_size_bytes": 5,
            "source_sha256": "0" * 64,
            "generation": 0,
        }
        self._add("videos", id=name, **(fields | columns))
        self.put(f"source/{name}/u")

    def job(self, name: str, status: str, **columns: object) -> None:
        """Add the job of the video of this name, and the events that led there."""
        fields = {
            "video_id": name,
            "owner_id": "me",
            "status": status,
            "formats": "mp4",
            "generation": 1,
            "progress": 0.5,
            "warnings": [],
            "plan": PLAN,
            "created_at": NOW,
            "started_at": NOW,
        }
        self._add("jobs", id=f"job-{name}", **(fields | columns))
        for told in dict.fromkeys(("queued", "processing", status)):
            self.event(name, "state", {"job_id": f"job-{name}", "status": told})

    def event(self, name: str, kind: str, data: dict[str, object]) -> None:
        self._event += 1
        fields = {"owner_id": "me", "kind": kind, "data": data, "created_at": NOW}
        self._add("job_events", id=self._event, job_id=f"job-{name}", **fields)

    def task(self, name: str, kind: str, state: str, *, index: int = 0, token: int = 1, **columns: object) -> None:
        fields = {
            "job_id": f"job-{name}",
            "kind": kind,
            "index": index,
            "queue": "io" if kind in {"probe", "package"} else "encode",
            "priority": 0,
            "state": state,
            "needs": 0,
            "spec": {"chunk": CHUNKS[index]} if kind == "encode" else {},
            "progress": {},
            "token": token,
            "attempts": token,
            "crashes": 0,
            "losses": int(state == "running"),
            "errors": 0,
            "started_at": NOW,
            "lease_until": NOW if state == "running" else None,
            "finished_at": NOW if state == "done" else None,
            "cpu_s": 1.5 if state == "done" else None,
            "peak_rss_bytes": 123_456_789 if state == "done" else None,
        }
        self._add("tasks", id=f"{name}-{kind}-{index}", **(fields | columns))

    def part(self, name: str, index: int, key: str) -> None:
        self._add("task_parts", id=f"{name}-{index}", task_id=f"{name}-audio-0", index=index, key=key, result={})
        self.put(key)

    def put(self, key: str, data: bytes = b"bytes") -> str:
        writer = self._store.create(key)
        writer.write(data)
        writer.commit()
        return key

    def _migrate_to_first(self) -> None:
        from alembic import command

        with self._database.engine.begin() as connection:
            config = alembic_config()
            config.attributes["connection"] = connection
            command.upgrade(config, "0001")

    def _add(self, table: str, **columns: object) -> None:
        values = {name: _stored(value) for name, value in columns.items() if value is not None}
        names = ", ".join(f'"{name}"' for name in values)
        marks = ", ".join(f":{name}" for name in values)
        with self._database.engine.begin() as connection:
            connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({marks})"), values)


def _stored(value: object) -> object:
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S.%f")
    return json.dumps(value) if isinstance(value, dict | list) else value
