"""No route is forgotten: each is declared public, or proven closed; forbidden and missing look the same."""

import re
from collections.abc import Iterator

import pytest
from fastapi.routing import APIRoute
from httpx import Response
from starlette.routing import BaseRoute

from tests.api.conftest import Api, bearer

UNKNOWN = "01900000-0000-7000-8000-000000000000"
PUBLIC = {
    ("GET", "/api/health"): "everybody may ask",
    ("GET", "/sign-in/{secret}"): "the secret in it is the proof",
    ("GET", "/"): "an empty page that asks the API",
    ("GET", "/watch/{video_id}"): "an empty page that asks the API",
    ("GET", "/static/{name}"): "scripts and styles of the pages",
}
SHARED = {
    ("GET", "/api/videos/{video_id}"),
    ("GET", "/api/videos/{video_id}/renditions"),
    ("GET", "/api/videos/{video_id}/links"),
    ("GET", "/api/videos/{video_id}/hls/master.m3u8"),
    ("GET", "/api/videos/{video_id}/dash/manifest.mpd"),
    ("GET", "/api/stream/{video_or_job_id}/{quality}"),
    ("HEAD", "/api/stream/{video_or_job_id}/{quality}"),
    ("GET", "/api/videos/{video_id}/poster.{suffix}"),
    ("HEAD", "/api/videos/{video_id}/poster.{suffix}"),
    ("GET", "/m/{token}/{video_id}/{generation}/{path:path}"),
    ("HEAD", "/m/{token}/{video_id}/{generation}/{path:path}"),
}


def routes(api: Api) -> Iterator[tuple[str, str]]:
    """Yield method and path of everything the app answers."""
    for route in walk(api.client.app.routes):  # type: ignore[attr-defined]
        assert isinstance(route, APIRoute), f"{route} is neither declared nor proven"
        yield from ((method, route.path) for method in sorted(route.methods))


def walk(found: list[BaseRoute]) -> Iterator[BaseRoute]:
    for route in found:
        included = getattr(route, "original_router", None)
        if included is None:
            yield route
        else:
            yield from walk(included.routes)


def fill(path: str, video_id: str, job_id: str) -> str:
    values = {"video_id": video_id, "job_id": job_id, "video_or_job_id": video_id, "quality": "720p"}
    values |= {"suffix": "webp", "kind": "poster"}
    values |= {"generation": "1", "path": "hls/master.m3u8", "token": "p-1.99999999999." + "A" * 43}
    return re.sub(r"\{(\w+)(:path)?\}", lambda found: values.get(found[1], "x"), path)


def ask(api: Api, method: str, path: str, token: str | None) -> Response:
    body = {"json": {"next": "/"}} if method in {"POST", "PATCH"} else {}
    return api.client.request(method, path, headers=bearer(token) if token else {}, **body)  # type: ignore[arg-type]


def test_there_are_routes_to_prove(api: Api) -> None:
    assert len(set(routes(api))) > 20


def test_every_route_is_public_or_closed_to_anonymous_callers(api: Api) -> None:
    made = api.publish()
    for method, path in routes(api):
        if (method, path) in PUBLIC:
            continue
        answer = ask(api, method, fill(path, made.video_id, made.job_id), None)
        names_one = "{" in path and not path.startswith("/m/")
        assert answer.status_code == (404 if names_one else 401), (method, path, answer.text)
    assert api.get(f"/api/videos/{made.video_id}").status_code == 200


def test_what_is_declared_public_exists(api: Api) -> None:
    assert set(PUBLIC) | SHARED <= set(routes(api))


def test_somebody_elses_and_unknown_look_the_same(api: Api) -> None:
    made, stranger = api.publish(), api.new_user("stranger")
    for token in (None, stranger):
        for method, path in routes(api):
            if "{" not in path or (method, path) in PUBLIC or path.startswith("/m/"):
                continue
            theirs = ask(api, method, fill(path, made.video_id, made.job_id), token)
            missing = ask(api, method, fill(path, UNKNOWN, UNKNOWN), token)
            assert theirs.status_code == missing.status_code == 404, (method, path, theirs.text)
            if method != "HEAD":
                assert {**theirs.json(), "request_id": ""} == {**missing.json(), "request_id": ""}
    assert api.get(f"/api/stream/{made.video_id}/720p").content == made.files["720p"]


@pytest.mark.parametrize("visibility", ["public", "unlisted"])
def test_shared_videos_can_be_watched_by_everybody_and_changed_by_nobody_else(api: Api, visibility: str) -> None:
    made, stranger = api.publish(visibility=visibility), api.new_user("stranger")
    api.add_poster(made)
    for token in (None, stranger):
        for method, path in routes(api):
            if (method, path) in PUBLIC or path.startswith("/m/") or "{" not in path:
                continue
            answer = ask(api, method, fill(path, made.video_id, made.job_id), token)
            assert answer.status_code == (200 if (method, path) in SHARED else 404), (method, path)


def test_what_strangers_see_of_a_shared_video_is_not_the_owners_business(api: Api) -> None:
    made = api.publish(visibility="unlisted")
    seen = api.client.get(f"/api/videos/{made.video_id}").json()
    assert (seen["job_id"], seen["source"]) == (None, None)
    assert len(seen["renditions"]) == 2
    assert api.get(f"/api/videos/{made.video_id}").json()["source"]["file_name"] == "clip.mkv"


def test_a_bad_token_is_401_everywhere(api: Api) -> None:
    made = api.publish(visibility="public")
    for path in ("/api/jobs", f"/api/videos/{made.video_id}", f"/api/stream/{made.video_id}/720p"):
        for header in ("Bearer sf_wrong", "Bearer", "Basic abc", "Bearer \u00e9"):
            answer = api.client.get(path, headers={"Authorization": header.encode("latin-1")})
            assert (answer.status_code, answer.json()["code"]) == (401, "not_signed_in")
            assert answer.headers["www-authenticate"] == "Bearer"
