"""What people ask of a job: stop it, try again, do a stage or the whole video once more."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from httpx import Response
from sqlalchemy import select

from sfserver.errors import DamagedMediaError, StorageFullError
from sfserver.infra.clock import db_now
from sfserver.infra.queue.contract import Queue
from sfserver.models import Asset, Garbage, Job, JobStage, Task, Video
from sfserver.tasks import lifecycle
from sfserver.wire.jobs import JobRead, StageState
from tests.api.conftest import Api
from tests.api.running import fail, finish, start

UNKNOWN = "01900000-0000-7000-8000-000000000000"


def told(answer: Response) -> tuple[int, str]:
    """Return status and code of a refusal."""
    return answer.status_code, answer.json()["code"]


def job_of(api: Api, job_id: str) -> JobRead:
    return JobRead.model_validate(api.get(f"/api/jobs/{job_id}").json())


def states_of(api: Api, job_id: str) -> dict[str, str]:
    return {stage.name: stage.state.value for stage in job_of(api, job_id).stages}


def test_cancelling_stops_a_running_job(api: Api) -> None:
    made = api.new_video()
    start(api, made.job_id)
    stops: list[object] = []
    api.runtime.bus.subscribe("cancel", stops.append)
    answer = api.post(f"/api/jobs/{made.job_id}/cancel")
    assert (answer.status_code, answer.content) == (204, b"")
    assert stops == [{"job_id": made.job_id}]
    assert job_of(api, made.job_id).status == "cancelled"
    with api.runtime.database.read() as session:
        running = session.scalars(select(Task).where(Task.state == StageState.RUNNING)).all()
        tokens = session.scalars(select(Task.token).where(Task.kind == "encode").order_by(Task.index)).all()
    assert (list(running), list(tokens)) == ([], [1, 2])  # the raised token fences whoever still works on it


@pytest.mark.parametrize("end", ["ready", "failed", "cancelled"])
def test_cancelling_leaves_a_finished_job_and_its_video_alone(api: Api, end: str) -> None:
    """L8: a job that finishes while its owner decides must not lose its video."""
    made = api.publish() if end == "ready" else api.new_video()
    if end == "failed":
        fail(api, made.job_id, DamagedMediaError("half is gone"))
    if end == "cancelled":
        finish(api, made.job_id)
    answer = api.post(f"/api/jobs/{made.job_id}/cancel")
    assert told(answer) == (409, "job_finished")
    assert end in answer.json()["detail"]
    assert job_of(api, made.job_id).status == end
    assert api.get(f"/api/videos/{made.video_id}").status_code == 200


@pytest.mark.parametrize(
    "call",
    [
        "jobs/{job}/cancel",
        "jobs/{job}/retry",
        "videos/{video}/reprocess",
        "videos/{video}/stages/poster/redo",
        "videos/{video}/stages/nonsense/redo",
    ],
)
def test_somebody_elses_looks_unknown_and_nothing_happens(api: Api, call: str) -> None:
    made, stranger = api.publish(visibility="public"), api.new_user("stranger")
    code = "job_not_found" if call.startswith("jobs") else "video_not_found"
    path = "/api/" + call.format(job=made.job_id, video=made.video_id)
    missing = "/api/" + call.format(job=UNKNOWN, video=UNKNOWN)
    for answer in (api.post(path, stranger), api.client.post(path), api.post(missing), api.post(missing, stranger)):
        assert told(answer) == (404, code)
    assert job_of(api, made.job_id).status == "ready"
    assert len(api.get("/api/jobs").json()["items"]) == 1


def test_retrying_a_failed_job_keeps_what_it_recorded(api: Api) -> None:
    made = api.new_video()
    start(api, made.job_id)
    fail(api, made.job_id, DamagedMediaError("half is gone"))
    api.rings.clear()
    answer = api.post(f"/api/jobs/{made.job_id}/retry")
    job = JobRead.model_validate(answer.json())
    assert (answer.status_code, job.id, job.status, job.error) == (202, made.job_id, "queued", None)
    assert job.progress == 0.7
    assert states_of(api, made.job_id)["probe"] == "done"
    encode = next(stage for stage in job.stages if stage.name == "encode")
    assert (encode.state, encode.tasks, encode.tasks_done) == ("waiting", 2, 1)
    with api.runtime.database.read() as session:
        tasks = session.scalars(select(Task).where(Task.kind == "encode").order_by(Task.index)).all()
        kept = session.scalars(select(Garbage).where(Garbage.reprieve_job_id.is_not(None))).all()
    assert [(task.state, task.losses, task.crashes) for task in tasks] == [("done", 0, 0), ("waiting", 0, 0)]
    assert list(kept) == []
    assert api.rings[Queue.ENCODE] == 1


def test_retrying_after_a_day_begins_anew(api: Api) -> None:
    made = api.new_video()
    start(api, made.job_id)
    fail(api, made.job_id, DamagedMediaError("half is gone"))
    with api.runtime.database.write() as session:
        for row in session.scalars(select(Garbage)):
            row.due_at = db_now(session) - timedelta(seconds=1)
    api.collect_garbage()
    job = JobRead.model_validate(api.post(f"/api/jobs/{made.job_id}/retry").json())
    assert (job.status, job.progress) == ("queued", 0.0)
    with api.runtime.database.read() as session:
        assert session.get_one(Job, made.job_id).plan is None
        due = session.scalars(select(Task.kind).where(Task.state == StageState.WAITING)).all()
    assert list(due) == ["probe"]


def test_retrying_a_cancelled_job_begins_anew(api: Api) -> None:
    made = api.new_video()
    start(api, made.job_id)
    finish(api, made.job_id)
    job = JobRead.model_validate(api.post(f"/api/jobs/{made.job_id}/retry").json())
    assert (job.status, job.progress, job.finished_at) == ("queued", 0.0, None)
    assert {stage.state for stage in job.stages} == {"waiting"}
    with api.runtime.database.read() as session:
        tokens = session.scalars(select(Task.token).where(Task.kind == "encode").order_by(Task.index)).all()
    assert list(tokens) == [2, 3]  # no key is ever written twice


def test_what_cannot_be_retried_is_left_alone(api: Api) -> None:
    queued, ready = api.new_video(title="queued"), api.publish(title="ready")
    for made in (queued, ready):
        before = job_of(api, made.job_id)
        assert told(api.post(f"/api/jobs/{made.job_id}/retry")) == (409, "conflict")
        assert job_of(api, made.job_id) == before


def test_a_job_of_a_trashed_video_is_not_retried(api: Api) -> None:
    made = api.new_video()
    fail(api, made.job_id, DamagedMediaError("half is gone"))
    api.client.delete(f"/api/videos/{made.video_id}", headers=api.signed_in)
    refused = api.post(f"/api/jobs/{made.job_id}/retry")
    assert told(refused) == (409, "conflict")
    assert "restore" in refused.json()["hint"]
    api.post(f"/api/videos/{made.video_id}/restore")
    assert api.post(f"/api/jobs/{made.job_id}/retry").status_code == 202


def test_only_one_job_works_on_a_video(api: Api) -> None:
    made = api.new_video()
    fail(api, made.job_id, DamagedMediaError("half is gone"))
    again = api.post(f"/api/videos/{made.video_id}/reprocess")
    assert again.status_code == 202
    assert told(api.post(f"/api/jobs/{made.job_id}/retry")) == (409, "conflict")
    assert told(api.post(f"/api/videos/{made.video_id}/reprocess")) == (409, "conflict")


def test_reprocessing_makes_a_new_generation_and_serves_the_old_until_then(api: Api) -> None:
    api.runtime.settings.access.grant_cache_s = 0
    made = api.publish()
    links = api.get(f"/api/videos/{made.video_id}/links").json()
    old_urls = [links["hls"], links["dash"], links["files"][0]["url"]]
    old = [api.client.get(url).content for url in old_urls]
    answer = api.post(f"/api/videos/{made.video_id}/reprocess")
    accepted = answer.json()
    assert (answer.status_code, accepted["video_id"], accepted["status"]) == (202, made.video_id, "queued")
    assert answer.headers["location"] == accepted["links"]["self"] == f"/api/jobs/{accepted['job_id']}"
    assert accepted["job_id"] != made.job_id
    assert api.get(f"/api/videos/{made.video_id}").json()["status"] == "ready"
    assert api.get(f"/api/stream/{made.video_id}/720p").content == made.files["720p"]
    new = api.publish_again(made.video_id, accepted["job_id"])
    assert api.get(f"/api/stream/{made.video_id}/720p").content == new["files"]["720p"] != made.files["720p"]
    assert api.get(f"/api/stream/{made.job_id}/720p").content == new["files"]["720p"]
    assert [api.client.get(url).content for url in old_urls] == old
    assert old[2] in made.files.values()
    with api.runtime.database.read() as session:
        assert session.get_one(Video, made.video_id).generation == 2
        due = [row.due_at - db_now(session) for row in session.scalars(select(Garbage))]
        gone = {key for row in session.scalars(select(Garbage)) for key in row.keys}
    assert {key for key in api.objects() if key.startswith(made.folder)} <= gone
    assert f"video/{made.video_id}/{made.job_id}/probe-0/1/index.npy" in gone
    assert not {key for key in gone if accepted["job_id"] in key and "/package-" in key}
    assert max(due) > timedelta(hours=1)  # whoever watches the old one may go on


def test_reprocessing_a_failed_video_is_a_new_job(api: Api) -> None:
    made = api.new_video()
    fail(api, made.job_id, DamagedMediaError("half is gone"))
    accepted = api.post(f"/api/videos/{made.video_id}/reprocess").json()
    assert api.get(f"/api/videos/{made.video_id}").json()["job_id"] == accepted["job_id"]
    assert api.get(f"/api/videos/{made.video_id}").json()["status"] == "queued"


def test_a_trashed_video_is_neither_processed_nor_redone(api: Api) -> None:
    made = api.publish()
    api.client.delete(f"/api/videos/{made.video_id}", headers=api.signed_in)
    for call in ("reprocess", "stages/poster/redo"):
        assert told(api.post(f"/api/videos/{made.video_id}/{call}")) == (404, "video_not_found")
    assert len(api.get("/api/jobs").json()["items"]) == 1


def test_of_many_who_ask_at_once_one_gets_the_job(api: Api) -> None:
    made = api.publish()
    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(lambda _: api.post(f"/api/videos/{made.video_id}/reprocess"), range(6)))
    assert sorted(answer.status_code for answer in answers) == [202] + [409] * 5
    assert len(api.get(f"/api/jobs?video={made.video_id}").json()["items"]) == 2


def test_a_job_is_cancelled_once_however_many_ask(api: Api) -> None:
    made = api.new_video()
    start(api, made.job_id)
    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(lambda _: api.post(f"/api/jobs/{made.job_id}/cancel"), range(6)))
    assert sorted(answer.status_code for answer in answers) == [204] + [409] * 5


def test_a_retry_and_a_reprocess_at_once_make_one_job_run(api: Api) -> None:
    made = api.new_video()
    fail(api, made.job_id, DamagedMediaError("half is gone"))
    calls = [f"/api/jobs/{made.job_id}/retry", f"/api/videos/{made.video_id}/reprocess"] * 3
    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(api.post, calls))
    assert sorted(answer.status_code for answer in answers) == [202] + [409] * 5
    active = [job for job in api.get("/api/jobs").json()["items"] if job["status"] == "queued"]
    assert len(active) == 1


def test_a_stage_that_no_job_waits_for_is_done_again(api: Api) -> None:
    made = api.publish()
    api.add_poster(made)
    api.rings.clear()
    answer = api.post(f"/api/videos/{made.video_id}/stages/poster/redo")
    assert (answer.status_code, answer.json()["job_id"], answer.json()["status"]) == (202, made.job_id, "ready")
    assert states_of(api, made.job_id)["poster"] == "waiting"
    assert job_of(api, made.job_id).status == "ready"
    assert api.rings == {Queue.INSIGHT: 1}
    assert api.get(f"/api/videos/{made.video_id}/poster.webp").status_code == 200  # the old one until there is another
    with api.runtime.database.read() as session:
        task = session.scalars(select(Task).where(Task.kind == "poster")).one()
        assert (task.token, task.state, task.attempts) == (2, StageState.WAITING, 0)
        assert len(session.scalars(select(Asset)).all()) == 4


def test_redoing_twice_is_one_task(api: Api) -> None:
    made = api.publish()
    api.add_poster(made)
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: api.post(f"/api/videos/{made.video_id}/stages/poster/redo"), range(4)))
    assert {answer.status_code for answer in answers} == {202}
    with api.runtime.database.read() as session:
        row = session.get_one(JobStage, (made.job_id, "poster"))
        assert (row.tasks, row.done, row.state) == (1, 0, StageState.WAITING)
        assert len(session.scalars(select(Task).where(Task.kind == "poster")).all()) == 1


@pytest.mark.parametrize("kind", ["probe", "encode", "audio", "package"])
def test_a_stage_that_decides_the_job_is_not_redone_by_itself(api: Api, kind: str) -> None:
    made = api.publish()
    refused = api.post(f"/api/videos/{made.video_id}/stages/{kind}/redo")
    assert told(refused) == (409, "conflict")
    assert "reprocess" in refused.json()["hint"]
    assert states_of(api, made.job_id)[kind] == "done"


@pytest.mark.parametrize("kind", ["nonsense", "POSTER", "poster.", "x" * 500])
def test_an_unknown_stage_is_404_and_names_those_there_are(api: Api, kind: str) -> None:
    made = api.publish()
    refused = api.post(f"/api/videos/{made.video_id}/stages/{kind}/redo")
    assert told(refused) == (404, "unknown_stage")
    assert "poster" in refused.json()["detail"]
    assert len(refused.json()["detail"]) < 200


def test_a_video_that_is_not_ready_has_no_stage_to_redo(api: Api) -> None:
    made = api.new_video()
    assert told(api.post(f"/api/videos/{made.video_id}/stages/poster/redo")) == (409, "conflict")


def test_a_waiting_job_says_what_the_server_is_short_of(api: Api) -> None:
    made = api.new_video()
    with api.runtime.database.write() as session:
        task = session.scalars(select(Task)).one()
        task.error = lifecycle.describe(StorageFullError("64 MiB are free", hint="make room")).model_dump(mode="json")
        task.not_before = db_now(session) + timedelta(seconds=30)
    want = {"code": "storage_full", "detail": "64 MiB are free", "hint": "make room"}
    for path in ("", "/status"):
        assert api.get(f"/api/jobs/{made.job_id}{path}").json()["waiting"] == want
    assert api.get("/api/jobs").json()["items"][0]["waiting"] == want
    finish(api, made.job_id)
    assert job_of(api, made.job_id).waiting is None
