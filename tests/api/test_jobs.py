"""`/api/jobs`: the whole job, lists, poll answers, what is explained."""

from sqlalchemy import event as sql_event

from sfserver.errors import DamagedMediaError
from sfserver.wire.jobs import JobRead
from tests.api.conftest import Api
from tests.api.running import fail, start


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
    assert {name for name, stage in stages.items() if not stage.fatal} == {"poster"}
    assert job.waiting is None
    assert job.links.events == f"/api/jobs/{made.job_id}/events"
    assert job.eta_s is not None


def test_the_poll_answer_is_small(api: Api) -> None:
    made = api.new_video()
    start(api, made.job_id)
    answer = api.get(f"/api/jobs/{made.job_id}/status").json()
    assert set(answer) == {"id", "video_id", "status", "progress", "stage", "eta_s", "playable_at", "error", "waiting"}
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
    assert told["rungs"][0]["options"] == {"crf": "23.5"}
    assert told["reasons"] == ["source is 360p"]
    chunk = next(task for task in told["tasks"] if (task["kind"], task["index"]) == ("encode", 0))
    assert (chunk["start_frame"], chunk["end_frame"], chunk["fingerprint"]) == (0, 60, "x264-165")
    chunks = [task for task in told["tasks"] if task["kind"] == "encode"]
    assert [task["crf"] for task in chunks] == [23.5, 24.5]
    assert [task["losses"] for task in chunks] == [0, 0]  # a running attempt is charged in advance and not shown


def test_a_failed_job_says_why(api: Api) -> None:
    made = api.new_video()
    fail(api, made.job_id, DamagedMediaError("half is gone"))
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
    for prefix, found in ((queued.job_id, 1), (queued.job_id[:8], 2), ("%", 0), ("_" * 8, 0), ("", 2)):
        items = api.get("/api/jobs", params={"prefix": prefix}).json()["items"]
        assert (len(items), all(job["id"].startswith(prefix) for job in items)) == (found, True), prefix
    assert api.get(f"/api/jobs?prefix={'0' * 37}").json()["code"] == "invalid_request"
    assert api.get("/api/jobs?since=2026-01-01T00:00:00").json()["code"] == "invalid_request"
    assert api.get("/api/jobs?status=nonsense").json()["code"] == "invalid_request"
    assert api.get("/api/jobs?cursor=%21").json()["code"] == "invalid_request"


def test_a_list_takes_the_same_number_of_queries_however_long(api: Api) -> None:
    statements: list[str] = []
    for engine in (api.runtime.database.engine, api.runtime.database.read_engine):
        sql_event.listen(engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    counts = []
    for _ in range(2):
        api.publish()
        api.new_video(title="other")
        statements.clear()
        for path in ("/api/jobs", "/api/videos"):
            assert api.get(path).status_code == 200
        counts.append(len(statements))
    assert counts[0] == counts[1] <= 17


def test_cancelling_keeps_the_row(api: Api) -> None:
    made = api.new_video()
    start(api, made.job_id)
    assert api.client.delete(f"/api/jobs/{made.job_id}", headers=api.signed_in).status_code == 204
    job = api.get(f"/api/jobs/{made.job_id}").json()
    assert job["status"] == "cancelled"
    assert {stage["state"] for stage in job["stages"]} == {"done", "cancelled"}
    assert api.client.get(f"/api/jobs/{made.job_id}").status_code == 404
    assert api.get(f"/api/videos/{made.video_id}").json()["status"] == "cancelled"


def test_deleting_a_finished_job_moves_its_video_to_the_trash(api: Api) -> None:
    made = api.publish()
    assert api.get(f"/api/stream/{made.video_id}/720p").status_code == 200
    for _ in range(2):
        assert api.client.delete(f"/api/jobs/{made.job_id}", headers=api.signed_in).status_code == 204
    assert api.get(f"/api/videos/{made.video_id}").json()["code"] == "video_not_found"
    assert api.get(f"/api/stream/{made.video_id}/720p").status_code == 404
    assert api.client.post(f"/api/videos/{made.video_id}/restore", headers=api.signed_in).json()["status"] == "ready"
