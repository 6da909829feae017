"""`/api/jobs`: lists, poll answers, cancelling, and the event streams."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import httpx_sse
import pytest
from sqlalchemy import event as sql_event

from sfserver.jobs import service
from sfserver.jobs.notify import emit_progress, job_topic
from sfserver.models import Job, Task
from sfserver.wire.events import ProgressEvent
from sfserver.wire.jobs import JobRead
from tests.api.conftest import Api, LiveServer, bearer

PLAN = {
    "fps": {"num": 30, "den": 1},
    "frames": 120,
    "reasons": ["source is 360p"],
    "rungs": [
        {
            "name": "360p",
            "width": 640,
            "height": 360,
            "maxrate_bps": 1_000_000,
            "encoder": "libx264",
            "options": {"crf": "23"},
            "reason": "the source's own size",
        }
    ],
}


def start(api: Api, job_id: str) -> None:
    """Bring a job to where its second chunk is half encoded."""
    with api.runtime.database.write() as session:
        job = session.get_one(Job, job_id)
        service.start_job(session, api.runtime, job)
        job.plan, job.progress = PLAN, 0.7
        session.query(Task).filter_by(job_id=job_id, kind="probe").one().state = "done"
        for index, (state, frames) in enumerate([("done", 60), ("running", 30)]):
            spec = {"chunk": {"index": index, "start_frame": 60 * index, "end_frame": 60 * index + 60}}
            progress = {"progress": frames / 60, "frames": {"360p": frames}, "fps": {"360p": 50.0}}
            result = {"chunk": {"fingerprint": "x264-165"}} if state == "done" else None
            row = {"kind": "encode", "index": index, "queue": "encode", "worker": "w1", "attempts": 1, "state": state}
            session.add(Task(job_id=job_id, spec=spec, progress=progress, result=result, **row))


def report(api: Api, job_id: str, progress: float) -> None:
    with api.runtime.database.write() as session:
        job = session.get_one(Job, job_id)
        emit_progress(session, api.runtime.bus, job, ProgressEvent(job_id=job_id, progress=progress, stage="encode"))


def finish(api: Api, job_id: str) -> None:
    with api.runtime.database.write() as session:
        service.cancel_job(session, api.runtime, session.get_one(Job, job_id))


@dataclass(frozen=True)
class Sent:
    kind: str
    data: dict[str, object]
    id: str


def read_events(live: LiveServer, path: str, last_id: str | None = None) -> list[Sent]:
    """Return everything a stream sends until it ends."""
    headers = bearer(live.token) | ({"Last-Event-ID": last_id} if last_id else {})
    with (
        httpx.Client(base_url=live.url, timeout=20) as client,
        httpx_sse.connect_sse(client, "GET", path, headers=headers) as source,
    ):
        assert source.response.headers["cache-control"] == "no-store"
        assert source.response.headers["x-accel-buffering"] == "no"
        return [Sent(each.event, json.loads(each.data), each.id) for each in source.iter_sse()]


@contextmanager
def listening(live: LiveServer, path: str, topic: str) -> Iterator[Future[list[Sent]]]:
    """Read a stream on another thread; the block runs once the stream listens."""
    listeners = live.runtime.bus._listeners  # type: ignore[attr-defined]
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read_events, live, path)
        while topic not in listeners and not reading.done():
            time.sleep(0.005)
        time.sleep(0.1)
        yield reading


def test_a_job_as_a_whole(api: Api) -> None:
    made = api.new_video(title="Film")
    start(api, made.job_id)
    job = JobRead.model_validate(api.get(f"/api/jobs/{made.job_id}").json())
    assert (job.status, job.progress, job.stage, job.title) == ("processing", 0.7, "encode", "Film")
    assert (job.rungs["360p"].progress, job.rungs["360p"].fps) == (0.75, 50.0)
    stages = {stage.name: stage for stage in job.stages}
    assert (stages["probe"].state, stages["encode"].state) == ("done", "running")
    assert (stages["encode"].tasks, stages["encode"].tasks_done, stages["encode"].progress) == (2, 1, 0.75)
    assert stages["encode"].workers == ["w1"]
    assert job.links.events == f"/api/jobs/{made.job_id}/events"
    assert job.eta_s is not None


def test_the_poll_answer_is_small(api: Api) -> None:
    made = api.new_video()
    start(api, made.job_id)
    answer = api.get(f"/api/jobs/{made.job_id}/status").json()
    assert set(answer) == {"id", "video_id", "status", "progress", "stage", "eta_s", "playable_at", "error"}
    assert (answer["video_id"], answer["status"], answer["stage"]) == (made.video_id, "processing", "encode")


def test_a_finished_job_is_complete(api: Api) -> None:
    made = api.publish()
    job = api.get(f"/api/jobs/{made.job_id}").json()
    assert (job["status"], job["progress"], job["stage"], job["eta_s"]) == ("ready", 1.0, None, None)
    assert job["playable_at"] is not None


def test_explain_tells_settings_and_who_ran_what(api: Api) -> None:
    made = api.new_video()
    start(api, made.job_id)
    told = api.get(f"/api/jobs/{made.job_id}/explain").json()
    assert told["rungs"][0]["options"] == {"crf": "23"}
    assert told["reasons"] == ["source is 360p"]
    chunk = next(task for task in told["tasks"] if (task["kind"], task["index"]) == ("encode", 0))
    assert (chunk["start_frame"], chunk["end_frame"], chunk["fingerprint"]) == (0, 60, "x264-165")


def test_a_failed_job_says_why(api: Api) -> None:
    from sfserver.errors import DamagedMediaError

    made = api.new_video()
    with api.runtime.database.write() as session:
        service.fail_job(session, api.runtime, session.get_one(Job, made.job_id), DamagedMediaError("half is gone"))
    job = api.get(f"/api/jobs/{made.job_id}/status").json()
    assert (job["status"], job["error"]["code"], job["error"]["detail"]) == ("failed", "damaged_media", "half is gone")
    assert api.get(f"/api/videos/{made.video_id}").json()["status"] == "failed"


def test_jobs_are_listed_newest_first_in_pages(api: Api) -> None:
    made = [api.new_video(title=f"clip {n}").job_id for n in range(5)]
    first = api.get("/api/jobs?limit=2").json()
    second = api.get(f"/api/jobs?limit=2&cursor={first['next_cursor']}").json()
    third = api.get(f"/api/jobs?limit=2&cursor={second['next_cursor']}").json()
    ids = [job["id"] for page in (first, second, third) for job in page["items"]]
    assert (ids, third["next_cursor"]) == (made[::-1], None)


def test_jobs_are_listed_by_status_and_video(api: Api) -> None:
    ready, queued = api.publish(), api.new_video(title="other")
    assert [job["id"] for job in api.get("/api/jobs?status=ready").json()["items"]] == [ready.job_id]
    assert [job["id"] for job in api.get(f"/api/jobs?video={queued.video_id}").json()["items"]] == [queued.job_id]
    made_at = api.get(f"/api/jobs/{queued.job_id}").json()["created_at"]
    assert [job["id"] for job in api.get(f"/api/jobs?since={made_at}").json()["items"]] == [queued.job_id]
    assert api.get("/api/jobs?since=2026-01-01T00:00:00").json()["code"] == "invalid_request"
    assert api.get("/api/jobs?status=nonsense").json()["code"] == "invalid_request"
    assert api.get("/api/jobs?cursor=%21").json()["code"] == "invalid_request"


def test_a_list_takes_the_same_number_of_queries_however_long(api: Api) -> None:
    statements: list[str] = []
    sql_event.listen(api.runtime.database.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    counts = []
    for _ in range(2):
        api.publish()
        api.new_video(title="other")
        statements.clear()
        for path in ("/api/jobs", "/api/videos"):
            assert api.get(path).status_code == 200
        counts.append(len(statements))
    assert counts[0] == counts[1] <= 16


def test_cancelling_keeps_the_row(api: Api) -> None:
    made = api.new_video()
    start(api, made.job_id)
    assert api.client.delete(f"/api/jobs/{made.job_id}", headers=api.signed_in).status_code == 204
    job = api.get(f"/api/jobs/{made.job_id}").json()
    assert job["status"] == "cancelled"
    assert {stage["state"] for stage in job["stages"]} == {"done", "cancelled"}
    assert api.get(f"/api/videos/{made.video_id}").json()["status"] == "cancelled"


def test_deleting_a_finished_job_moves_its_video_to_the_trash(api: Api) -> None:
    made = api.publish()
    assert api.get(f"/api/stream/{made.video_id}/720p").status_code == 200
    for _ in range(2):
        assert api.client.delete(f"/api/jobs/{made.job_id}", headers=api.signed_in).status_code == 204
    assert api.get(f"/api/videos/{made.video_id}").json()["code"] == "video_not_found"
    assert api.get(f"/api/stream/{made.video_id}/720p").status_code == 404
    assert api.client.post(f"/api/videos/{made.video_id}/restore", headers=api.signed_in).json()["status"] == "ready"


def test_the_stream_of_a_finished_job_is_a_snapshot_and_done(api: Api, live: LiveServer) -> None:
    made = api.publish()
    snapshot, done = read_events(live, f"/api/jobs/{made.job_id}/events")
    assert (snapshot.kind, done.kind) == ("snapshot", "done")
    assert snapshot.data["jobs"][0]["links"]["self"] == f"/api/jobs/{made.job_id}"  # type: ignore[index]
    assert done.data == {"job_id": made.job_id, "status": "ready"}


def test_a_reconnect_replays_what_was_missed(api: Api, live: LiveServer) -> None:
    made = api.publish()
    everything = read_events(live, f"/api/jobs/{made.job_id}/events", last_id="0")
    kinds = [(sent.kind, sent.data.get("status")) for sent in everything]
    assert kinds == [("snapshot", None), ("state", "queued"), ("playable", None), ("state", "ready"), ("done", "ready")]
    assert everything[0].id == ""
    missed = read_events(live, f"/api/jobs/{made.job_id}/events", last_id=everything[1].id)
    assert missed[1:] == everything[2:]
    after_all = read_events(live, f"/api/jobs/{made.job_id}/events", last_id=everything[-1].id)
    assert [sent.kind for sent in after_all] == ["snapshot", "done"]


def test_events_come_live_and_progress_never_goes_back(api: Api, live: LiveServer) -> None:
    made = api.new_video()
    path = f"/api/jobs/{made.job_id}/events"
    with listening(live, path, job_topic(made.job_id)) as reading:
        start(api, made.job_id)
        for progress in (0.1, 0.2, 0.3):
            report(api, made.job_id, progress)
        time.sleep(0.4)
        report(api, made.job_id, 0.25)
        time.sleep(0.4)
        report(api, made.job_id, 0.8)
        time.sleep(0.4)
        finish(api, made.job_id)
        sent = reading.result(timeout=10)
    assert [each.kind for each in sent if each.kind != "progress"] == ["snapshot", "state", "state", "done"]
    seen = [each.data["progress"] for each in sent if each.kind == "progress"]
    assert seen == sorted(seen)  # type: ignore[type-var]
    assert (seen[-2:], len(seen) <= 3) == ([0.3, 0.8], True)


def test_a_burst_of_progress_is_thinned_out(api: Api, live: LiveServer) -> None:
    made = api.new_video()
    with listening(live, f"/api/jobs/{made.job_id}/events", job_topic(made.job_id)) as reading:
        for step in range(100):
            report(api, made.job_id, step / 200)
        time.sleep(0.4)
        finish(api, made.job_id)
        sent = reading.result(timeout=20)
    progress = [each for each in sent if each.kind == "progress"]
    assert 1 <= len(progress) <= 20
    assert progress[-1].data["progress"] == 0.495
    assert {each.id for each in progress} <= {"", sent[0].id}


def test_one_stream_tells_of_all_my_jobs_and_nobody_elses(api: Api, live: LiveServer) -> None:
    stranger = api.new_user("stranger")
    mine, done = api.new_video(title="mine"), api.publish(title="done")
    with (
        httpx.Client(base_url=live.url, timeout=20) as client,
        httpx_sse.connect_sse(client, "GET", "/api/events", headers=bearer(live.token)) as source,
    ):
        events = source.iter_sse()
        assert [job["id"] for job in json.loads(next(events).data)["jobs"]] == [mine.job_id]
        theirs = api.new_video(title="theirs", owner="stranger")
        finish(api, theirs.job_id)
        finish(api, mine.job_id)
        heard = [json.loads(next(events).data)["job_id"] for _ in range(2)]
    assert heard == [mine.job_id] * 2
    assert api.get(f"/api/jobs/{theirs.job_id}", stranger).status_code == 200
    assert api.get(f"/api/jobs/{done.job_id}", stranger).status_code == 404


@pytest.mark.parametrize("last_id", ["x", "-1", "9" * 30])
def test_a_senseless_last_event_id_is_refused(api: Api, last_id: str) -> None:
    made = api.publish()
    answer = api.get(f"/api/jobs/{made.job_id}/events", last_event_id=last_id)
    assert answer.json()["code"] == "invalid_request"
