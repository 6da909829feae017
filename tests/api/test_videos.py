"""`/api/videos`: the library, changes, trash, and removal for good."""

from datetime import timedelta

import pytest
from sqlalchemy import select

from sfserver.models import Job, JobEvent, Task, Upload, Video
from sfserver.videos.service import purge_expired
from tests.api.conftest import Api


def titles(api: Api, query: str = "") -> list[str]:
    return [video["title"] for video in api.get(f"/api/videos{query}").json()["items"]]


def change(api: Api, video_id: str, **changes: object) -> dict[str, object]:
    answer = api.client.patch(f"/api/videos/{video_id}", json=changes, headers=api.signed_in)
    return {"status_code": answer.status_code, **answer.json()}


def test_a_published_video_has_renditions(api: Api) -> None:
    made = api.publish(title="Film")
    video = api.get(f"/api/videos/{made.video_id}").json()
    assert (video["status"], video["duration_s"], video["watch_url"]) == ("ready", 20.0, f"/watch/{made.video_id}")
    assert [each["quality"] for each in video["renditions"]] == ["720p", "360p"]
    first = video["renditions"][0]
    assert (first["video_codec"], first["audio_codec"], first["codecs"]) == ("h264", "aac", "avc1.64001F,mp4a.40.2")
    assert first["size_bytes"] == len(made.files["720p"])
    assert api.get(first["url"]).content == made.files["720p"]
    assert api.get(f"/api/videos/{made.video_id}/renditions").json() == video["renditions"]


def test_the_library_is_mine_alone(api: Api) -> None:
    stranger = api.new_user("stranger")
    api.publish(title="mine")
    api.publish(title="theirs", owner="stranger", visibility="public")
    assert titles(api) == ["mine"]
    assert [video["title"] for video in api.get("/api/videos", stranger).json()["items"]] == ["theirs"]


@pytest.mark.parametrize(
    ("sort", "expected"),
    [("-created_at", "bCa"), ("created_at", "aCb"), ("title", "abC"), ("-title", "Cba")],
)
@pytest.mark.parametrize("limit", [1, 2, 50])
def test_pages_put_together_are_the_whole_list_in_order(api: Api, sort: str, expected: str, limit: int) -> None:
    for title in "aCb":
        api.new_video(title=title)
    found: list[str] = []
    cursor = ""
    while True:
        page = api.get(f"/api/videos?sort={sort}&limit={limit}{cursor}").json()
        found += [video["title"] for video in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert "".join(found) == expected


def test_equal_titles_are_not_lost_between_pages(api: Api) -> None:
    made = [api.new_video(title="same").video_id for _ in range(3)]
    first = api.get("/api/videos?sort=title&limit=2").json()
    second = api.get(f"/api/videos?sort=title&limit=2&cursor={first['next_cursor']}").json()
    assert [video["id"] for video in first["items"] + second["items"]] == made


def test_a_page_goes_on_where_a_deleted_video_was(api: Api) -> None:
    for title in "abc":
        api.new_video(title=title)
    first = api.get("/api/videos?limit=1").json()
    api.client.delete(f"/api/videos/{first['items'][0]['id']}?purge=1", headers=api.signed_in)
    assert titles(api, f"?cursor={first['next_cursor']}") == ["b", "a"]


def test_the_library_is_searched_and_filtered(api: Api) -> None:
    red, blue = api.publish(title="100% Red"), api.new_video(title="Blue", visibility="public")
    change(api, blue.video_id, description="not a red one")
    assert titles(api, "?q=RED") == ["Blue", "100% Red"]
    assert titles(api, "?q=0%25") == ["100% Red"]
    assert titles(api, "?q=_") == []
    assert titles(api, "?status=ready") == titles(api, "?visibility=private") == ["100% Red"]
    assert titles(api, "?status=queued") == titles(api, "?visibility=public") == ["Blue"]
    assert api.get("/api/videos?sort=size").json()["code"] == "invalid_request"
    assert red.video_id != blue.video_id


def test_changes_touch_what_was_sent(api: Api) -> None:
    made = api.publish(title="Film")
    assert change(api, made.video_id, description="d", language="de-CH")["language"] == "de-CH"
    changed = change(api, made.video_id, title=" New\u0000 ", visibility="unlisted", language=None)
    assert (changed["title"], changed["description"], changed["language"]) == ("New", "d", None)
    assert api.client.get(f"/api/videos/{made.video_id}").json()["title"] == "New"


@pytest.mark.parametrize(
    "wrong", [{"title": ""}, {"title": "\u0000"}, {"title": "x" * 301}, {"visibility": "none"}, {"language": "?"}]
)
def test_a_change_that_does_not_fit_is_refused(api: Api, wrong: dict[str, object]) -> None:
    made = api.publish(title="Film")
    assert change(api, made.video_id, **wrong)["code"] == "invalid_request"
    assert titles(api) == ["Film"]


def test_the_trash_is_unreachable_and_gives_back(api: Api) -> None:
    made = api.publish(visibility="public")
    path = f"/api/videos/{made.video_id}"
    assert api.client.delete(path, headers=api.signed_in).status_code == 204
    for below in ("", "/renditions", "/links", "/hls/master.m3u8"):
        assert api.get(path + below).json()["code"] == "video_not_found"
    assert titles(api) == []
    assert api.client.delete(path, headers=api.signed_in).status_code == 404
    assert api.client.post(f"{path}/restore", headers=api.signed_in).json()["id"] == made.video_id
    assert api.client.post(f"{path}/restore", headers=api.signed_in).status_code == 404
    assert api.get(f"/api/stream/{made.video_id}/720p").content == made.files["720p"]


@pytest.mark.parametrize("trashed_before", [True, False])
def test_a_purge_leaves_nothing(api: Api, trashed_before: bool) -> None:
    accepted = api.upload().json()
    made, kept = api.publish(title="purged"), api.publish(title="kept")
    for video_id in (made.video_id, accepted["video_id"]):
        path = f"/api/videos/{video_id}"
        if trashed_before:
            api.client.delete(path, headers=api.signed_in)
        assert api.client.delete(f"{path}?purge=1", headers=api.signed_in).status_code == 204
        assert api.client.delete(f"{path}?purge=1", headers=api.signed_in).status_code == 404
    api.collect_garbage()
    assert {key.split("/")[1] for key in api.objects()} == {kept.video_id}
    with api.runtime.database.read() as session:
        assert session.scalars(select(Video.title)).all() == ["kept"]
        for model in (Job, Task, JobEvent):
            owner = Job.id if model is Job else model.job_id  # type: ignore[attr-defined]
            assert set(session.scalars(select(owner))) == {kept.job_id}
        assert session.scalars(select(Upload.video_id)).all() == [None]


def test_deleting_a_video_in_work_cancels_its_job(api: Api) -> None:
    made = api.new_video()
    stops: list[object] = []
    api.runtime.bus.subscribe("cancel", stops.append)
    api.client.delete(f"/api/videos/{made.video_id}", headers=api.signed_in)
    assert stops == [{"job_id": made.job_id}]
    assert api.get(f"/api/jobs/{made.job_id}").json()["status"] == "cancelled"


def test_the_trash_is_emptied_in_time(api: Api) -> None:
    old, young = api.publish(title="old"), api.publish(title="young")
    for made in (old, young):
        api.client.delete(f"/api/videos/{made.video_id}", headers=api.signed_in)
    with api.runtime.database.write() as session:
        video = session.get_one(Video, old.video_id)
        assert video.deleted_at is not None
        video.deleted_at -= timedelta(days=31)
    purge_expired(api.runtime)
    api.collect_garbage()
    assert {key.split("/")[1] for key in api.objects()} == {young.video_id}
    assert api.client.post(f"/api/videos/{old.video_id}/restore", headers=api.signed_in).status_code == 404
