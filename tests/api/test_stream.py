"""`/api/stream`: exact bytes, conditions, names, and who gets them."""

import random
from collections.abc import Callable

import pytest

from tests.api.conftest import QUALITIES, Api


def test_the_whole_file_is_what_was_published(api: Api) -> None:
    made = api.publish()
    for quality in QUALITIES:
        answer = api.get(f"/api/stream/{made.video_id}/{quality}")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "video/mp4")
        assert answer.headers["accept-ranges"] == "bytes"
        assert answer.content == made.files[quality]


def test_a_job_id_names_its_video(api: Api) -> None:
    made = api.publish()
    by_job = api.get(f"/api/stream/{made.job_id}/360p")
    assert by_job.content == made.files["360p"]
    assert by_job.headers["etag"] == api.get(f"/api/stream/{made.video_id}/360p").headers["etag"]


def test_ranges_are_slices_of_the_whole(api: Api) -> None:
    made = api.publish()
    whole, chance = made.files["720p"], random.Random(7)
    for _ in range(200):
        start = chance.randrange(len(whole))
        end = chance.randrange(start, min(len(whole) + 50, start + chance.choice([1, 2, 900, 9000, 90_000])))
        answer = api.get(f"/api/stream/{made.video_id}/720p", range=f"bytes={start}-{end}")
        assert answer.status_code == 206
        assert answer.content == whole[start : end + 1]
        assert answer.headers["content-range"] == f"bytes {start}-{min(end, len(whole) - 1)}/{len(whole)}"
        assert int(answer.headers["content-length"]) == len(answer.content)


def test_a_suffix_and_an_open_end(api: Api) -> None:
    made = api.publish()
    whole, path = made.files["720p"], f"/api/stream/{made.video_id}/720p"
    assert api.get(path, range="bytes=-700").content == whole[-700:]
    assert api.get(path, range=f"bytes={len(whole) - 1}-").content == whole[-1:]


def test_a_range_behind_the_end_is_416(api: Api) -> None:
    made = api.publish()
    size = len(made.files["720p"])
    answer = api.get(f"/api/stream/{made.video_id}/720p", range=f"bytes={size}-")
    assert (answer.status_code, answer.json()["code"]) == (416, "range_not_satisfiable")
    assert answer.headers["content-range"] == f"bytes */{size}"
    assert answer.headers["content-type"] == "application/problem+json"


def test_several_ranges_get_the_whole(api: Api) -> None:
    made = api.publish()
    answer = api.get(f"/api/stream/{made.video_id}/720p", range="bytes=0-1,5-9")
    assert (answer.status_code, answer.content) == (200, made.files["720p"])


def test_head_has_the_headers_of_get_and_no_body(api: Api) -> None:
    made = api.publish()
    path = f"/api/stream/{made.video_id}/720p"
    head = api.client.head(path, headers=api.signed_in | {"range": "bytes=0-9"})
    whole = api.get(path)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-length", "etag", "last-modified", "content-type", "accept-ranges"):
        assert head.headers[name] == whole.headers[name]


def test_a_current_copy_is_not_sent_again(api: Api) -> None:
    made = api.publish()
    path = f"/api/stream/{made.video_id}/720p"
    first = api.get(path)
    for condition in (
        {"if-none-match": first.headers["etag"]},
        {"if-none-match": f'"other", W/{first.headers["etag"]}'},
        {"if-none-match": "*"},
        {"if-modified-since": first.headers["last-modified"]},
    ):
        answer = api.get(path, **condition)
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == first.headers["etag"]
        assert "content-length" not in answer.headers


def test_another_version_is_refused_or_sent_whole(api: Api) -> None:
    made = api.publish()
    path, etag = f"/api/stream/{made.video_id}/720p", api.get(f"/api/stream/{made.video_id}/720p").headers["etag"]
    assert api.get(path, if_match='"other"').json()["code"] == "precondition_failed"
    assert api.get(path, if_match=etag).status_code == 200
    assert api.get(path, range="bytes=0-9", if_range=etag).status_code == 206
    assert api.get(path, range="bytes=0-9", if_range='"other"').status_code == 200
    assert api.get(path, range="bytes=0-9", if_range=f"W/{etag}").status_code == 200


def test_an_unknown_quality_names_those_there_are(api: Api) -> None:
    made = api.publish()
    for path in ("4320p", "720p?format=webm", "nonsense"):
        answer = api.get(f"/api/stream/{made.video_id}/{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_rendition")
        assert "720p" in answer.json()["detail"]
        assert "360p" in answer.json()["detail"]


def test_nothing_can_be_watched_before_it_is_published(api: Api) -> None:
    made = api.new_video()
    answer = api.get(f"/api/stream/{made.video_id}/720p")
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_rendition")


def test_the_source_is_for_its_owner(api: Api) -> None:
    made = api.publish(visibility="public")
    answer = api.get(f"/api/stream/{made.job_id}/source", range="bytes=10-19")
    assert (answer.status_code, answer.content) == (206, made.source[10:20])
    assert answer.headers["content-type"] == "video/x-matroska"
    refused = api.client.get(f"/api/stream/{made.video_id}/source")
    assert (refused.status_code, refused.json()["code"]) == (404, "unknown_rendition")


@pytest.mark.parametrize(
    ("title", "plain", "encoded"),
    [
        ("Film", "Film-720p.mp4", "Film-720p.mp4"),
        ("Schöner Film", "Sch_ner Film-720p.mp4", "Sch%C3%B6ner%20Film-720p.mp4"),
        ('a/b\\c"d\r\n;e%', "a_b_c_d___e_-720p.mp4", "a_b_c_d___e_-720p.mp4"),
        ("../../etc/passwd", "_.._etc_passwd-720p.mp4", "_.._etc_passwd-720p.mp4"),
        ("...", "video-720p.mp4", "video-720p.mp4"),
    ],
)
def test_a_download_is_named_after_the_title(api: Api, title: str, plain: str, encoded: str) -> None:
    made = api.publish(title=title)
    answer = api.get(f"/api/stream/{made.video_id}/720p?download=1")
    assert answer.headers["content-disposition"] == f"attachment; filename=\"{plain}\"; filename*=UTF-8''{encoded}"


def test_an_object_that_has_gone_is_404(api: Api) -> None:
    made = api.publish()
    api.runtime.store.delete(f"{made.folder}/720p.0.m4s")
    path = f"/api/stream/{made.video_id}/720p"
    assert api.get(path, range="bytes=700-").status_code == 404
    assert api.client.head(path, headers=api.signed_in | {"range": "bytes=0-0"}).status_code == 404
    behind = len(made.files["720p"]) - 50
    assert api.get(path, range=f"bytes={behind}-").content == made.files["720p"][behind:], "the rest is there"


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"x", lambda _data: b""])
def test_an_object_that_is_another_one_is_not_sent(api: Api, change: Callable[[bytes], bytes]) -> None:
    made = api.publish()
    path = api.runtime.settings.data_dir / "objects" / made.folder / "720p.0.m4s"
    path.write_bytes(change(path.read_bytes()))
    answer = api.get(f"/api/stream/{made.video_id}/720p", range="bytes=700-719")
    assert (answer.status_code, answer.json()["code"]) == (404, "object_truncated")
    assert "reprocess" in answer.json()["hint"]
    assert made.folder not in answer.text


def test_deleting_ends_playback_at_once(api: Api) -> None:
    made = api.publish()
    path = f"/api/stream/{made.video_id}/720p"
    assert api.get(path).status_code == 200
    assert api.client.delete(f"/api/videos/{made.video_id}", headers=api.signed_in).status_code == 204
    assert api.get(path).json()["code"] == "video_not_found"
