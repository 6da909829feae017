"""What is published becomes rows: publications, their tracks and chunks; jobs that were under way begin again.

A track file of the earlier layout becomes one chunk of its track. What its rows lack lies in the store, which a
migration cannot read: `videos.backfill` adds it at the next start.
"""

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

from sfserver.models.base import UtcDateTime, new_id

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

Row = sa.RowMapping
_FINAL = ("ready", "failed", "cancelled")
_AGAIN = ("probe", "encode", "audio", "package")
_MOST_KEYS = 1000
_SEGMENT_GOPS, _TARGET_S = 2, 4

_VIDEOS = sa.table(
    "videos",
    *(sa.column(name) for name in ("id", "generation", "published_prefix")),
    sa.column("published", sa.JSON),
    sa.column("published_at", UtcDateTime),
)
_RETIRED = sa.table(
    "retired_publications",
    *(sa.column(name) for name in ("video_id", "generation", "prefix")),
    sa.column("published", sa.JSON),
    *(sa.column(name, UtcDateTime) for name in ("published_at", "until")),
)
_JOBS = sa.table(
    "jobs",
    *(sa.column(name) for name in ("id", "video_id", "status", "generation", "progress")),
    sa.column("plan", sa.JSON),
    sa.column("warnings", sa.JSON),
    *(sa.column(name, UtcDateTime) for name in ("started_at", "playable_at")),
)
_TASKS = sa.table(
    "tasks",
    *(sa.column(name) for name in ("id", "job_id", "kind", "index", "state", "token", "attempts", "crashes", "losses")),
    *(sa.column(name) for name in ("outages", "doubts", "worker")),
    *(sa.column(name, sa.JSON) for name in ("spec", "result", "progress", "error")),
    *(sa.column(name, UtcDateTime) for name in ("ready_at", "lease_until", "not_before", "started_at", "finished_at")),
)


def upgrade() -> None:
    _create_tables()
    _convert_publications()
    _start_jobs_again()
    op.drop_table("retired_publications")
    for name in ("published_prefix", "published"):
        op.drop_column("videos", name)


def downgrade() -> None:
    raise NotImplementedError("an older version cannot read what this one writes: restore a backup")


def _create_tables() -> None:
    op.create_table(
        "publications",
        sa.Column("video_id", sa.String(36), nullable=False),
        sa.Column("job_id", sa.String(36), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in ("fps_num", "fps_den")),
        sa.Column("duration_s", sa.Float(), nullable=False),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in ("target_s", "segment_gops", "opening_gops")),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        *(sa.Column(name, UtcDateTime(), nullable=True) for name in ("published_at", "until")),
        sa.Column("id", sa.String(36), nullable=False),
        sa.ForeignKeyConstraint(
            ["video_id"], ["videos.id"], name="fk_publications_video_id_videos", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_publications_job_id_jobs", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_publications"),
        sa.UniqueConstraint("video_id", "generation", name="uq_publications_video_id_generation"),
    )
    op.create_index("ix_publications_state_until", "publications", ["state", "until"])
    op.create_index("ix_publications_job_id", "publications", ["job_id"])
    op.create_table(
        "tracks",
        sa.Column("publication_id", sa.String(36), nullable=False),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("name", sa.String(16), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("codecs", sa.String(40), nullable=False),
        sa.Column("timescale", sa.BigInteger(), nullable=False),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in ("width", "height", "channels")),
        sa.Column("peak_bps", sa.BigInteger(), nullable=False),
        sa.Column("codec_config", sa.String(2000), nullable=True),
        sa.Column("delay_ticks", sa.Integer(), nullable=False),
        sa.Column("init", sa.LargeBinary(), nullable=True),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in ("shown_chunks", "shown_segments")),
        sa.Column("head_key", sa.String(300), nullable=True),
        sa.Column("facts", sa.JSON(), nullable=True),
        sa.Column("id", sa.String(36), nullable=False),
        sa.ForeignKeyConstraint(
            ["publication_id"], ["publications.id"], name="fk_tracks_publication_id_publications", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_tracks"),
        sa.UniqueConstraint("publication_id", "name", name="uq_tracks_publication_id_name"),
    )
    op.create_table(
        "track_chunks",
        sa.Column("track_id", sa.String(36), nullable=False),
        sa.Column("index", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("key", sa.String(300), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in ("start", "size_bytes")),
        sa.Column("first_gop", sa.Integer(), nullable=False),
        sa.Column("fragments", sa.LargeBinary(), nullable=False),
        sa.Column("samples", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(
            ["track_id"], ["tracks.id"], name="fk_track_chunks_track_id_tracks", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("track_id", "index", name="pk_track_chunks"),
    )


def _convert_publications() -> None:
    connection = op.get_bind()
    for video in connection.execute(sa.select(_VIDEOS).where(_VIDEOS.c.published_prefix.is_not(None))).mappings().all():
        facts = {"state": "published", "until": None, "generation": video["generation"]}
        _insert(video["id"], video["published_prefix"], video["published"], video["published_at"], facts)
    for old in connection.execute(sa.select(_RETIRED)).mappings().all():
        facts = {"state": "retired", "until": old["until"], "generation": old["generation"]}
        _insert(old["video_id"], old["prefix"], old["published"], old["published_at"], facts)


def _insert(video_id: str, prefix: str, published: dict[str, Any], moment: datetime, facts: dict[str, Any]) -> None:
    """Write what the packager measured as rows; a track without `init` is one that `videos.backfill` has to look at."""
    publication = {
        "id": new_id(),
        "video_id": video_id,
        "job_id": _job_of(video_id, facts["generation"], prefix),
        "fps_num": published["fps"]["num"],
        "fps_den": published["fps"]["den"],
        "duration_s": published["duration_s"],
        "target_s": _TARGET_S,
        "segment_gops": _SEGMENT_GOPS,
        "opening_gops": 0,
        "created_at": moment,
        "published_at": moment,
        **facts,
    }
    op.bulk_insert(_table("publications", publication), [publication])
    tracks = [_picture(prefix, rung, published["files"]) for rung in published["renditions"]]
    if published.get("audio"):
        tracks.append(_sound(prefix, published))
    for place, (track, chunk) in enumerate(tracks):
        row = {"id": new_id(), "publication_id": publication["id"], "place": place, **track}
        op.bulk_insert(_table("tracks", row), [row])
        part = {"track_id": row["id"], **chunk}
        op.bulk_insert(_table("track_chunks", part), [part])


def _job_of(video_id: str, generation: int, prefix: str) -> str:
    """Return the job that made a generation: the one its objects are named after, or a job of this number."""
    jobs = op.get_bind().execute(sa.select(_JOBS).where(_JOBS.c.video_id == video_id)).mappings().all()
    named = [job["id"] for job in jobs if f"/{job['id']}/" in prefix]
    numbered = [job["id"] for job in jobs if job["generation"] == generation and job["status"] == "ready"]
    return str([*named, *numbered, *(job["id"] for job in jobs)][0])


def _picture(prefix: str, rung: dict[str, Any], files: dict[str, int]) -> tuple[dict[str, Any], dict[str, Any]]:
    name = rung["quality"]
    facts = {
        "size_bytes": rung["track_size_bytes"],
        "average_bps": rung["video_average_bps"],
        "peak_bps": rung["video_peak_bps"],
        "iframe_average_bps": rung["iframe_average_bps"],
        "iframe_peak_bps": rung["iframe_peak_bps"],
        "head_bytes": files[f"file/{name}.head"],
        "progressive_bytes": rung["progressive_size_bytes"],
    }
    track = {
        **_track("video", name, rung["video_codecs"], rung["video_peak_bps"], facts),
        "width": rung["width"],
        "height": rung["height"],
        "head_key": f"{prefix}/file/{name}.head",
    }
    return track, _chunk(f"{prefix}/v/{name}.mp4", rung["init_bytes"] + rung["index_bytes"], rung["track_size_bytes"])


def _sound(prefix: str, published: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    sound, size = published["audio"], published["files"]["a/main.mp4"]
    facts = {"size_bytes": size, "average_bps": published["audio_average_bps"], "peak_bps": published["audio_peak_bps"]}
    track = _track("audio", "main", sound["codecs"], published["audio_peak_bps"], facts)
    return {**track, "channels": sound["channels"]}, _chunk(
        f"{prefix}/a/main.mp4", sound["init_bytes"] + sound["index_bytes"], size
    )


def _track(kind: str, name: str, codecs: str, peak_bps: int, facts: dict[str, Any]) -> dict[str, Any]:
    zeros = dict.fromkeys(("width", "height", "channels", "delay_ticks", "shown_segments", "timescale"), 0)
    more: dict[str, Any] = {"shown_chunks": 1, "codec_config": None, "init": None, "head_key": None}
    said = {"kind": kind, "name": name, "codecs": codecs, "peak_bps": peak_bps, "facts": facts}
    return {**zeros, **more, **said}


def _chunk(key: str, start: int, size: int) -> dict[str, Any]:
    where = {"key": key, "start": start, "size_bytes": size - start, "first_gop": 0}
    return {"index": 0, "fragments": b"", "samples": None, **where}


def _table(name: str, row: dict[str, Any]) -> sa.TableClause:
    kinds: dict[str, Any] = {"facts": sa.JSON, "init": sa.LargeBinary, "fragments": sa.LargeBinary}
    kinds |= dict.fromkeys(("created_at", "published_at", "until"), UtcDateTime)
    return sa.table(name, *(sa.column(column, kinds.get(column, sa.String())) for column in row))


def _start_jobs_again() -> None:
    """Have unfinished jobs begin anew, and failed ones when they are tried again: their parts have no tables.

    Tokens go on rising, so that no key is ever written twice.
    """
    connection = op.get_bind()
    for job in connection.execute(sa.select(_JOBS).where(_JOBS.c.status != "ready")).mappings().all():
        connection.execute(
            sa.text("UPDATE garbage SET reprieve_job_id = NULL WHERE reprieve_job_id = :job"), {"job": job["id"]}
        )
        if job["status"] in _FINAL:
            continue
        mine = (_TASKS.c.job_id == job["id"]) & _TASKS.c.kind.in_(_AGAIN)
        tasks = connection.execute(sa.select(_TASKS).where(mine)).mappings().all()
        _discard(_passing_keys(job, tasks))
        fresh: dict[str, Any] = dict.fromkeys(("attempts", "crashes", "losses", "outages", "doubts"), 0)
        fresh |= {"state": "cancelled", "spec": {}, "progress": {}, "token": _TASKS.c.token + 1}
        fresh |= dict.fromkeys(("result", "error", "worker", "ready_at", "lease_until", "not_before"))
        connection.execute(sa.update(_TASKS).where(mine).values(**fresh))
        connection.execute(
            sa.text("DELETE FROM task_parts WHERE task_id IN (SELECT id FROM tasks WHERE job_id = :job)"),
            {"job": job["id"]},
        )
        _reset_stages(job)
        again: dict[str, Any] = {
            "status": "queued",
            "plan": None,
            "started_at": None,
            "playable_at": None,
            "warnings": [],
        }
        connection.execute(sa.update(_JOBS).where(_JOBS.c.id == job["id"]).values(**again))


def _reset_stages(job: Row) -> None:
    zeros = ("tasks", "done", "units", "done_units", "attempts", "crashes", "losses", "cpu_s")
    values = ", ".join([f'"{name}" = 0' for name in zeros] + [f'"{name}" = NULL' for name in _STAGE_TIMES])
    kinds = ", ".join(f"'{kind}'" for kind in _AGAIN)
    op.get_bind().execute(
        sa.text(
            f"UPDATE job_stages SET {values}, state = 'waiting', tally = :tally, error = NULL"  # noqa: S608 - names of ours
            f" WHERE job_id = :job AND kind IN ({kinds})"
        ),
        {"job": job["id"], "tally": json.dumps({})},
    )


_STAGE_TIMES = ("opened_at", "started_at", "finished_at")


def _passing_keys(job: Row, tasks: Sequence[Row]) -> Iterator[str]:
    """Yield the keys of what every attempt at these tasks may have stored."""
    rungs = [rung["name"] for rung in (job["plan"] or {}).get("rungs", [])]
    sound = (job["plan"] or {}).get("audio") or {"part_ends": []}
    for task in tasks:
        kind, index = task["kind"], task["index"]
        names = {
            "probe": ["index.npy"],
            "encode": [f"{rung}.{index}.m4s" for rung in rungs],
            "audio": [f"audio.{part}.m4s" for part in range(len(sound["part_ends"]))],
            "package": list(_published_names(rungs)),
        }[kind]
        for token in range(1, task["token"] + 1):
            folder = f"chunks/{job['id']}" if kind in {"encode", "audio"} else f"video/{job['video_id']}/{job['id']}"
            yield from (f"{folder}/{kind}-{index}/{token}/{name}" for name in names)


def _published_names(rungs: list[str]) -> Iterator[str]:
    yield from ("a/main.mp4", "hls/audio.m3u8")
    for rung in rungs:
        yield from (f"v/{rung}.mp4", f"hls/{rung}.m3u8", f"hls/{rung}.iframes.m3u8")
        yield from (f"file/{rung}.head", f"file/{rung}.layout")


def _discard(keys: Iterator[str]) -> None:
    table = sa.table("garbage", sa.column("id"), sa.column("keys", sa.JSON), sa.column("due_at", UtcDateTime))
    found = list(dict.fromkeys(keys))
    rows = [
        {"id": new_id(), "keys": found[start : start + _MOST_KEYS], "due_at": datetime.now(UTC)}
        for start in range(0, len(found), _MOST_KEYS)
    ]
    if rows:
        op.bulk_insert(table, rows)
