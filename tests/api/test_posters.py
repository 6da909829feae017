"""`/api/videos/{id}/poster.jpg` and `.webp`: who gets which bytes, under which conditions."""

import pytest

from tests.api.conftest import Api

NAMES = {
    "poster.jpg": "poster.jpg",
    "poster.webp?size=large": "poster.webp",
    "poster.jpg?size=small": "poster-small.jpg",
    "poster.webp?size=small": "poster-small.webp",
}


def test_every_size_and_format_is_sent(api: Api) -> None:
    made = api.publish()
    files = api.add_poster(made)
    for path, name in NAMES.items():
        answer = api.get(f"/api/videos/{made.video_id}/{path}")
        assert (answer.status_code, answer.content) == (200, files[name])
        assert answer.headers["content-type"] == ("image/webp" if "webp" in path else "image/jpeg")
        assert answer.headers["cache-control"] == "private, no-cache"


def test_a_video_says_where_its_poster_is(api: Api) -> None:
    made = api.publish()
    assert api.get(f"/api/videos/{made.video_id}").json()["poster_url"] is None
    api.add_poster(made)
    url = api.get(f"/api/videos/{made.video_id}").json()["poster_url"]
    assert url == f"/api/videos/{made.video_id}/poster.webp"
    assert api.get(url).status_code == 200
    assert [video["poster_url"] for video in api.get("/api/videos").json()["items"]] == [url]


def test_head_has_the_headers_of_get_and_no_body(api: Api) -> None:
    made = api.publish()
    api.add_poster(made)
    path = f"/api/videos/{made.video_id}/poster.webp"
    head, whole = api.client.head(path, headers=api.signed_in | {"Range": "bytes=0-9"}), api.get(path)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-length", "etag", "last-modified", "content-type", "accept-ranges"):
        assert head.headers[name] == whole.headers[name]


def test_a_current_copy_is_not_sent_again_and_a_range_is_a_slice(api: Api) -> None:
    made = api.publish()
    files = api.add_poster(made)
    path = f"/api/videos/{made.video_id}/poster.jpg"
    etag = api.get(path).headers["etag"]
    current = api.get(path, if_none_match=etag)
    assert (current.status_code, current.content, current.headers["etag"]) == (304, b"", etag)
    part = api.get(path, range="bytes=100-199")
    assert (part.status_code, part.content) == (206, files["poster.jpg"][100:200])
    assert part.headers["content-range"] == f"bytes 100-199/{len(files['poster.jpg'])}"
    assert api.get(path, range="bytes=9999999-").json()["code"] == "range_not_satisfiable"
    assert api.get(path, range="bytes=0-9", if_range='"other"').content == files["poster.jpg"]
    assert api.get(path, if_match='"other"').json()["code"] == "precondition_failed"
    assert len({api.get(f"/api/videos/{made.video_id}/{path}").headers["etag"] for path in NAMES}) == len(NAMES)


def test_a_new_poster_has_another_tag_and_the_old_one_lingers(api: Api) -> None:
    made = api.publish()
    api.add_poster(made)
    path = f"/api/videos/{made.video_id}/poster.jpg"
    first, before = api.get(path), api.objects()
    api.add_poster(made)
    second = api.get(path, if_none_match=first.headers["etag"])
    assert (second.status_code, second.headers["etag"] != first.headers["etag"]) == (200, True)
    api.collect_garbage()
    assert before <= api.objects()  # an answer that is being sent still reads it


@pytest.mark.parametrize("path", ["poster.webp", "poster.gif", "poster.jpeg", "poster.JPG"])
def test_what_there_is_not_is_404(api: Api, path: str) -> None:
    made = api.publish()
    if path != "poster.webp":
        api.add_poster(made)
    answer = api.get(f"/api/videos/{made.video_id}/{path}")
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_rendition")


def test_an_unknown_size_is_named(api: Api) -> None:
    made = api.publish()
    api.add_poster(made)
    answer = api.get(f"/api/videos/{made.video_id}/poster.webp?size=huge")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert "size" in answer.json()["detail"]


def test_a_private_poster_is_for_its_owner(api: Api) -> None:
    made, stranger = api.publish(), api.new_user("stranger")
    api.add_poster(made)
    path = f"/api/videos/{made.video_id}/poster.webp"
    for answer in (api.client.get(path), api.get(path, stranger), api.client.get(f"{path}?size=small")):
        assert (answer.status_code, answer.json()["code"]) == (404, "video_not_found")
    assert api.client.head(path).status_code == 404
    api.client.patch(f"/api/videos/{made.video_id}", json={"visibility": "unlisted"}, headers=api.signed_in)
    assert api.client.get(path).status_code == 200


def test_a_trashed_video_shows_no_poster(api: Api) -> None:
    made = api.publish(visibility="public")
    api.add_poster(made)
    path = f"/api/videos/{made.video_id}/poster.webp"
    api.client.delete(f"/api/videos/{made.video_id}", headers=api.signed_in)
    assert api.get(path).json()["code"] == "video_not_found"
    api.post(f"/api/videos/{made.video_id}/restore")
    assert api.get(path).status_code == 200


def test_a_poster_whose_object_has_gone_is_404(api: Api) -> None:
    made = api.publish()
    api.add_poster(made)
    for key in api.objects():
        if key.endswith("poster.webp"):
            api.runtime.store.delete(key)
    assert api.get(f"/api/videos/{made.video_id}/poster.webp").status_code == 404
    assert api.get(f"/api/videos/{made.video_id}/poster.jpg").status_code == 200


def test_a_purge_takes_the_poster_along(api: Api) -> None:
    made = api.publish()
    api.add_poster(made)
    assert api.client.delete(f"/api/videos/{made.video_id}?purge=1", headers=api.signed_in).status_code == 204
    api.collect_garbage()
    assert api.objects() == set()
