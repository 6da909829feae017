"""The event streams: live, replayed, and never a number twice."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import httpx
import httpx_sse
import pytest

from sfserver.errors import DamagedMediaError
from sfserver.models import JobEvent
from sfserver.tasks.announce import cursor_of, job_topic
from tests.api.conftest import Api, LiveServer, bearer
from tests.api.running import fail, finish, report, start


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
def listening(live: LiveServer, path: str, topic: str, last_id: str | None = None) -> Iterator[Future[list[Sent]]]:
    """Read a stream on another thread; the block runs once the stream listens."""
    listeners = live.runtime.bus._listeners  # type: ignore[attr-defined]
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read_events, live, path, last_id)
        while topic not in listeners and not reading.done():
            time.sleep(0.005)
        time.sleep(0.1)
        yield reading


def test_the_stream_of_a_finished_job_is_a_snapshot_and_done(api: Api, live: LiveServer) -> None:
    made = api.publish()
    snapshot, done = read_events(live, f"/api/jobs/{made.job_id}/events")
    assert (snapshot.kind, done.kind) == ("snapshot", "done")
    assert snapshot.data["jobs"][0]["links"]["self"] == f"/api/jobs/{made.job_id}"  # type: ignore[index]
    assert done.data == {"job_id": made.job_id, "seq": 5, "status": "ready"}


def test_a_reconnect_replays_what_was_missed(api: Api, live: LiveServer) -> None:
    made = api.publish()
    everything = read_events(live, f"/api/jobs/{made.job_id}/events", last_id="0")
    kinds = [(sent.kind, sent.data.get("status")) for sent in everything]
    assert kinds == [
        ("snapshot", None),
        ("state", "queued"),
        ("state", "processing"),
        ("playable", None),
        ("state", "ready"),
        ("done", "ready"),
    ]
    assert [sent.id for sent in everything] == ["", "1", "2", "3", "4", "5"]
    assert [sent.data["seq"] for sent in everything[1:]] == [1, 2, 3, 4, 5]
    assert {sent.data["job_id"] for sent in everything[1:]} == {made.job_id}
    missed = read_events(live, f"/api/jobs/{made.job_id}/events", last_id="2")
    assert missed[1:] == everything[3:]
    after_all = read_events(live, f"/api/jobs/{made.job_id}/events", last_id="5")
    assert [(sent.kind, sent.id) for sent in after_all] == [("snapshot", "5"), ("done", "5")]
    beyond = read_events(live, f"/api/jobs/{made.job_id}/events", last_id="2000000000")
    assert [sent.kind for sent in beyond] == ["snapshot", "done"]


def test_the_end_before_a_retry_does_not_end_the_stream_after_it(api: Api, live: LiveServer) -> None:
    made = api.new_video()
    fail(api, made.job_id, DamagedMediaError("half is gone"))
    heard = read_events(live, f"/api/jobs/{made.job_id}/events", last_id="0")
    assert [sent.kind for sent in heard[1:]] == ["state", "error", "state", "done"]
    assert api.post(f"/api/jobs/{made.job_id}/retry").status_code == 202
    path = f"/api/jobs/{made.job_id}/events"
    with listening(live, path, job_topic(made.job_id), last_id="1") as reading:
        start(api, made.job_id)
        finish(api, made.job_id)
        sent = reading.result(timeout=10)
    states = [(each.kind, each.data.get("status")) for each in sent[1:]]
    assert states == [
        ("error", None),
        ("state", "failed"),
        ("state", "queued"),
        ("state", "processing"),
        ("state", "cancelled"),
        ("done", "cancelled"),
    ]
    numbers = [int(each.id) for each in sent[1:]]
    assert numbers == sorted(set(numbers))
    again = read_events(live, path, last_id=sent[-1].id)
    assert [each.kind for each in again] == ["snapshot", "done"]


def test_numbers_are_not_used_again_after_a_purge(api: Api, live: LiveServer) -> None:
    """L11: on SQLite the ids of all jobs' events once came from one counter, which a purge turned back."""
    first = api.publish(title="first")
    last_heard = read_events(live, f"/api/jobs/{first.job_id}/events", last_id="0")[-1].id
    purged = api.publish(title="purged")
    api.client.delete(f"/api/videos/{purged.video_id}?purge=1", headers=api.signed_in)
    second = api.new_video(title="second")
    assert [sent.id for sent in read_events(live, f"/api/jobs/{first.job_id}/events", last_id="0")][-1] == last_heard
    with listening(live, f"/api/jobs/{second.job_id}/events", job_topic(second.job_id), last_id="0") as reading:
        finish(api, second.job_id)
        sent = reading.result(timeout=10)
    assert [(each.kind, each.id) for each in sent[1:]] == [("state", "1"), ("state", "2"), ("done", "3")]


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


@contextmanager
def all_my_events(live: LiveServer, last_id: str | None = None, token: str | None = None) -> Iterator[Iterator[Sent]]:
    """Yield what the stream of all my jobs sends, as it comes."""
    headers: dict[str, str | bytes] = dict(bearer(token or live.token))
    if last_id is not None:
        headers["Last-Event-ID"] = last_id.encode("latin-1")
    with (
        httpx.Client(base_url=live.url, timeout=20) as client,
        httpx_sse.connect_sse(client, "GET", "/api/events", headers=headers) as source,
    ):
        assert source.response.status_code == 200
        yield (Sent(each.event, json.loads(each.data), each.id) for each in source.iter_sse())


def test_one_stream_tells_of_all_my_jobs_and_nobody_elses(api: Api, live: LiveServer) -> None:
    stranger = api.new_user("stranger")
    mine, done = api.new_video(title="mine"), api.publish(title="done")
    with all_my_events(live) as events:
        snapshot = next(events)
        assert [job["id"] for job in snapshot.data["jobs"]] == [mine.job_id]  # type: ignore[attr-defined]
        theirs = api.new_video(title="theirs", owner="stranger")
        finish(api, theirs.job_id)
        finish(api, mine.job_id)
        heard = [next(events) for _ in range(2)]
    assert [(each.data["job_id"], each.data["seq"]) for each in heard] == [(mine.job_id, 2), (mine.job_id, 3)]
    assert api.get(f"/api/jobs/{theirs.job_id}", stranger).status_code == 200
    assert api.get(f"/api/jobs/{done.job_id}", stranger).status_code == 404


def move_events(api: Api, job_id: str, by: timedelta) -> int:
    """Let a job's events have happened at another time; return the cursor of the last one."""
    with api.runtime.database.write() as session:
        rows = session.query(JobEvent).filter_by(job_id=job_id).all()
        for row in rows:
            row.created_at += by
        return cursor_of(max(row.created_at for row in rows))


def test_the_stream_of_all_my_jobs_replays_from_a_minute_before_its_cursor(api: Api, live: LiveServer) -> None:
    old, within, new = (api.publish(title=title) for title in ("old", "within", "new"))
    theirs = api.publish(title="theirs", owner=api.new_user("stranger") and "stranger")
    move_events(api, old.job_id, timedelta(seconds=-200))
    cursor = move_events(api, within.job_id, timedelta(seconds=-100)) + 50_000
    with all_my_events(live, last_id=str(cursor)) as events:
        snapshot = next(events)
        heard = [next(events) for _ in range(10)]
    assert (snapshot.kind, snapshot.id) == ("snapshot", "")
    by_job = {
        made.job_id: [each.data["seq"] for each in heard if each.data["job_id"] == made.job_id]
        for made in (within, new)
    }
    assert by_job == {within.job_id: [1, 2, 3, 4, 5], new.job_id: [1, 2, 3, 4, 5]}
    times = [int(each.id) for each in heard]
    assert times == sorted(times)
    assert theirs.job_id not in {each.data["job_id"] for each in heard}


def test_live_events_follow_a_replay_without_being_sent_twice(api: Api, live: LiveServer) -> None:
    made = api.new_video()
    with all_my_events(live) as events:
        cursor = next(events).id
    assert cursor.isdecimal()
    start(api, made.job_id)
    with all_my_events(live, last_id=cursor) as events:
        heard = [next(events) for _ in range(3)]
        finish(api, made.job_id)
        heard += [next(events) for _ in range(2)]
    assert [(each.kind, each.data.get("seq")) for each in heard] == [
        ("snapshot", None),
        ("state", 1),
        ("state", 2),
        ("state", 3),
        ("done", 4),
    ]


@pytest.mark.parametrize("cursor", ["x", "-1", "9" * 30, "1e9", "\xb2", "12:30", "", "9" * 15])
def test_a_cursor_that_is_none_of_ours_is_ignored(api: Api, live: LiveServer, cursor: str) -> None:
    made = api.new_video()
    with all_my_events(live, last_id=cursor) as events:
        assert next(events).id.isdecimal()
        finish(api, made.job_id)
        assert next(events).data["seq"] == 2


def test_a_cursor_far_from_now_is_no_error(api: Api, live: LiveServer) -> None:
    made = api.new_video()
    with all_my_events(live, last_id="253402300799999") as events:
        assert next(events).id.isdecimal()
    with all_my_events(live, last_id="0") as events:
        next(events)
        assert next(events).data == {"job_id": made.job_id, "seq": 1, "status": "queued"}


def test_a_cursor_too_long_to_be_one_is_refused(api: Api) -> None:
    assert api.get("/api/events", last_event_id="9" * 65).json()["code"] == "invalid_request"


@pytest.mark.parametrize("last_id", ["x", "-1", "9" * 30])
def test_a_senseless_last_event_id_is_refused(api: Api, last_id: str) -> None:
    made = api.publish()
    answer = api.get(f"/api/jobs/{made.job_id}/events", last_event_id=last_id)
    assert answer.json()["code"] == "invalid_request"
