"""Stages as rows, events numbered per job, garbage, assets; jobs that were under way begin again with what they had.

Nothing here rebuilds a table that others refer to: on SQLite that would delete their rows (`ON DELETE CASCADE`).
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

from sfserver.models.base import UtcDateTime, new_id

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

Row = sa.RowMapping
_FINAL = ("ready", "failed", "cancelled")
_QUEUES = {"probe": "io", "encode": "encode", "audio": "audio", "package": "io"}
_RESULTS = {"probe": "probe", "encode": "chunk", "audio": "audio", "package": "package"}
_MOST_KEYS = 1000

_JOBS = sa.table(
    "jobs",
    *(sa.column(name) for name in ("id", "video_id", "status", "generation", "swept_at", "seq", "started_at")),
    sa.column("plan", sa.JSON),
    sa.column("progress"),
)
_TASKS = sa.table(
    "tasks",
    *(sa.column(name) for name in ("id", "job_id", "kind", "index", "state", "token", "attempts", "crashes", "losses")),
    *(sa.column(name, sa.JSON) for name in ("spec", "result", "progress", "error")),
    *(sa.column(name) for name in ("size", "cpu_s", "outages", "worker")),
    *(sa.column(name, UtcDateTime) for name in ("started_at", "finished_at", "ready_at", "lease_until", "not_before")),
)
_PARTS = sa.table("task_parts", sa.column("task_id"), sa.column("key"))


def upgrade() -> None:
    _create_tables()
    _number_events()
    op.add_column("jobs", sa.Column("limits", sa.JSON(), nullable=True))
    op.add_column("jobs", sa.Column("seq", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("tasks", sa.Column("size", sa.BigInteger(), nullable=False, server_default="1"))
    op.add_column("tasks", sa.Column("doubts", sa.Integer(), nullable=False, server_default="0"))
    op.alter_column("tasks", "errors", new_column_name="outages")
    _widen("tasks", "peak_rss_bytes")
    _convert_jobs()
    op.drop_index("ix_tasks_state_queue_priority", "tasks")
    for name in ("needs", "queue", "priority"):
        op.drop_column("tasks", name)
    op.drop_column("jobs", "swept_at")
    op.create_index("ix_tasks_job_id_kind_state_index", "tasks", ["job_id", "kind", "state", "index"])
    op.create_index("ix_tasks_state_lease_until", "tasks", ["state", "lease_until"])


def downgrade() -> None:
    raise NotImplementedError("an older version cannot read what this one writes: restore a backup")


def _widen(table: str, name: str) -> None:
    """Make a column of numbers a BIGINT by way of a new one: SQLite can change no type in place."""
    wide = f"{name}_wide"
    op.add_column(table, sa.Column(wide, sa.BigInteger(), nullable=True))
    rows = sa.table(table, sa.column(name), sa.column(wide))
    op.execute(sa.update(rows).values({wide: rows.c[name]}))
    op.drop_column(table, name)
    op.alter_column(table, wide, new_column_name=name)


def _create_tables() -> None:
    op.create_table(
        "job_stages",
        sa.Column("job_id", sa.String(36), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("queue", sa.String(16), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("fatal", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in ("tasks", "done")),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in ("units", "done_units")),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in ("attempts", "crashes", "losses")),
        sa.Column("cpu_s", sa.Float(), nullable=False),
        sa.Column("tally", sa.JSON(), nullable=False),
        sa.Column("error", sa.JSON(), nullable=True),
        *(sa.Column(name, UtcDateTime(), nullable=True) for name in ("opened_at", "started_at", "finished_at")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_job_stages_job_id_jobs", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "kind", name="pk_job_stages"),
    )
    op.create_index("ix_job_stages_queue_state_priority", "job_stages", ["queue", "state", "priority"])
    op.create_table(
        "garbage",
        sa.Column("keys", sa.JSON(), nullable=False),
        sa.Column("due_at", UtcDateTime(), nullable=False),
        sa.Column("reprieve_job_id", sa.String(36), nullable=True),
        sa.Column("id", sa.String(36), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_garbage"),
    )
    op.create_index("ix_garbage_due_at", "garbage", ["due_at"])
    op.create_index("ix_garbage_reprieve_job_id", "garbage", ["reprieve_job_id"])
    op.create_table(
        "assets",
        sa.Column("video_id", sa.String(36), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("media_type", sa.String(100), nullable=False),
        sa.Column("key", sa.String(300), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("id", sa.String(36), nullable=False),
        sa.ForeignKeyConstraint(["video_id"], ["videos.id"], name="fk_assets_video_id_videos", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_assets"),
        sa.UniqueConstraint("video_id", "kind", "name", name="uq_assets_video_id_kind_name"),
    )

    op.create_table(
        "retired_publications",
        sa.Column("video_id", sa.String(36), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("prefix", sa.String(300), nullable=False),
        sa.Column("published", sa.JSON(), nullable=False),
        sa.Column("published_at", UtcDateTime(), nullable=False),
        sa.Column("until", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["video_id"], ["videos.id"], name="fk_retired_publications_video_id_videos", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("video_id", "generation", name="pk_retired_publications"),
    )
    op.create_index("ix_retired_publications_until", "retired_publications", ["until"])


def _number_events() -> None:
    """Give events a number within their job in place of one in the whole table, which SQLite uses again."""
    connection = op.get_bind()
    columns = ("id", "job_id", "owner_id", "kind", "data", "created_at")
    old = sa.table("job_events", *(sa.column(name, _EVENT_TYPES.get(name, sa.String())) for name in columns))
    rows = connection.execute(sa.select(old).order_by(old.c.id)).mappings().all()
    op.drop_table("job_events")
    new = op.create_table(
        "job_events",
        sa.Column("job_id", sa.String(36), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("owner_id", sa.String(36), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_job_events_job_id_jobs", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], name="fk_job_events_owner_id_users"),
        sa.PrimaryKeyConstraint("job_id", "seq", name="pk_job_events"),
    )
    op.create_index("ix_job_events_owner_id_created_at", "job_events", ["owner_id", "created_at"])
    counts: dict[str, int] = defaultdict(int)
    numbered = []
    for row in rows:
        counts[row["job_id"]] += 1
        seq = counts[row["job_id"]]
        kept = {name: row[name] for name in ("job_id", "owner_id", "kind", "created_at")}
        numbered.append({**kept, "seq": seq, "data": {**row["data"], "job_id": row["job_id"], "seq": seq}})
    if numbered:
        connection.execute(sa.insert(new), numbered)


_EVENT_TYPES: dict[str, Any] = {"id": sa.Integer(), "data": sa.JSON(), "created_at": UtcDateTime()}


def _convert_jobs() -> None:
    connection = op.get_bind()
    newest = sa.text("SELECT job_id, max(seq) FROM job_events GROUP BY job_id")
    seqs: dict[str, int] = {row[0]: row[1] for row in connection.execute(newest)}
    parts: dict[str, list[str]] = defaultdict(list)
    for task_id, key in connection.execute(sa.select(_PARTS.c.task_id, _PARTS.c.key)):
        parts[task_id].append(key)
    for job in connection.execute(sa.select(_JOBS)).mappings().all():
        tasks = connection.execute(sa.select(_TASKS).where(_TASKS.c.job_id == job["id"])).mappings().all()
        changes: dict[str, Any] = {"seq": seqs.get(job["id"], 0)}
        if job["plan"]:
            changes["plan"] = {**job["plan"], "chunks": []}
        if job["status"] not in _FINAL:
            changes |= {"status": "queued", "plan": None, "started_at": None}
        if job["status"] not in _FINAL or job["swept_at"] is None:
            _discard(_passing_keys(job, tasks, parts))
        connection.execute(sa.update(_JOBS).where(_JOBS.c.id == job["id"]).values(**changes))
        _convert_tasks(job, tasks)


def _convert_tasks(job: Row, tasks: Sequence[Row]) -> None:
    connection = op.get_bind()
    if job["status"] in _FINAL:
        for task in tasks:
            connection.execute(sa.update(_TASKS).where(_TASKS.c.id == task["id"]).values(**_flat(task)))
        for kind in _QUEUES:
            mine = [task for task in tasks if task["kind"] == kind]
            if mine:
                op.bulk_insert(_stage_table(), [_sum_up(job, kind, mine)])
        return
    # It begins again: results of an older version are not mixed with this one's. Tokens go on rising.
    fresh: dict[str, Any] = {
        "state": "cancelled",
        "result": None,
        "progress": {},
        "error": None,
        "worker": None,
        "spec": {},
    }
    counters = {"attempts": 0, "crashes": 0, "losses": 0, "outages": 0, "lease_until": None, "not_before": None}
    mine = _TASKS.c.job_id == job["id"]
    connection.execute(sa.update(_TASKS).where(mine).values(token=_TASKS.c.token + 1, **fresh, **counters))
    connection.execute(
        sa.text("DELETE FROM task_parts WHERE task_id IN (SELECT id FROM tasks WHERE job_id = :job)"),
        {"job": job["id"]},
    )
    op.bulk_insert(_stage_table(), [_empty_stage(job, kind) for kind in _QUEUES])


def _flat(task: Row) -> dict[str, Any]:
    """Return a finished task's columns as this version writes them."""
    spec = task["spec"].get("chunk", {}) if task["kind"] == "encode" else {}
    result = (task["result"] or {}).get(_RESULTS[task["kind"]])
    size = max(1, spec.get("end_frame", 1) - spec.get("start_frame", 0))
    return {"spec": spec, "result": result, "size": size, "lease_until": None}


def _sum_up(job: Row, kind: str, tasks: Sequence[Row]) -> dict[str, Any]:
    sizes = {task["id"]: _flat(task)["size"] for task in tasks}
    done = [task for task in tasks if task["state"] == "done"]
    states = {task["state"] for task in tasks}
    state = next((name for name in ("failed", "cancelled", "running", "waiting") if name in states), "done")
    started = [task["started_at"] for task in tasks if task["started_at"]]
    finished = [task["finished_at"] for task in tasks if task["finished_at"]]
    return {
        **_empty_stage(job, kind),
        "state": state,
        "tasks": len(tasks),
        "done": len(done),
        "units": sum(sizes.values()),
        "done_units": sum(sizes[task["id"]] for task in done),
        "attempts": sum(task["attempts"] for task in tasks),
        "crashes": sum(task["crashes"] for task in tasks),
        "losses": sum(task["losses"] for task in tasks),
        "cpu_s": sum(task["cpu_s"] or 0.0 for task in tasks),
        "error": next((task["error"] for task in tasks if task["error"]), None),
        "opened_at": min(started, default=None) or datetime.now(UTC),
        "started_at": min(started, default=None),
        "finished_at": max(finished, default=None),
    }


def _empty_stage(job: Row, kind: str) -> dict[str, Any]:
    numbers = dict.fromkeys(("tasks", "done", "units", "done_units", "attempts", "crashes", "losses"), 0)
    times = dict.fromkeys(("opened_at", "started_at", "finished_at"))
    return {
        "job_id": job["id"],
        "kind": kind,
        "queue": _QUEUES[kind],
        "priority": 0 if kind == "probe" else 5,
        "fatal": True,
        "state": "waiting",
        "cpu_s": 0.0,
        "tally": {},
        "error": None,
        **numbers,
        **times,
    }


def _stage_table() -> sa.TableClause:
    names = ["job_id", "kind", "queue", "priority", "fatal", "state", "tasks", "done", "units", "done_units"]
    names += ["attempts", "crashes", "losses", "cpu_s"]
    times = ("opened_at", "started_at", "finished_at")
    return sa.table(
        "job_stages",
        *(sa.column(name) for name in names),
        *(sa.column(name, sa.JSON) for name in ("tally", "error")),
        *(sa.column(name, UtcDateTime) for name in times),
    )


def _passing_keys(job: Row, tasks: Sequence[Row], parts: dict[str, list[str]]) -> Iterator[str]:
    """Yield the keys of what an unfinished or unswept job stored and nobody will want any more."""
    rungs = [rung["name"] for rung in (job["plan"] or {}).get("rungs", [])]
    sound = (job["plan"] or {}).get("audio") or {"part_ends": []}
    for task in tasks:
        yield from parts.get(task["id"], [])
        names = {
            "probe": ["index.npy"],
            "encode": [f"{rung}.{task['index']}.m4s" for rung in rungs],
            "audio": [f"audio.{part}.m4s" for part in range(len(sound["part_ends"]))],
        }.get(task["kind"], [])
        for token in range(1, task["token"] + 1):
            folder = f"chunks/{job['id']}/{task['kind']}-{task['index']}/{token}"
            yield from (f"{folder}/{name}" for name in names)
            if task["kind"] == "package" and not (job["status"] == "ready" and token == task["token"]):
                published = f"video/{job['video_id']}/{job['generation']}/{token}"
                yield from (f"{published}/{name}" for name in _published_names(rungs))


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
