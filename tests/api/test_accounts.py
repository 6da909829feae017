"""Tokens, the browser's sign-in, and that a cookie speaks for our own pages alone."""

import hashlib

import pytest
from httpx import Response
from sqlalchemy import select

from sfserver.accounts.service import ensure_local_user
from sfserver.models import Credential
from tests.api.conftest import Api


def sign_in(api: Api, path: str = "/watch/x") -> Response:
    """Sign the test's client in like a browser; return the answer that set the cookie."""
    link = api.client.post("/api/auth/one-time", json={"next": path}, headers=api.signed_in)
    assert link.status_code == 201
    return api.client.get(link.json()["url"])


def test_the_local_user_is_made_once(api: Api) -> None:
    with api.runtime.database.write() as session:
        assert ensure_local_user(session) is None
        kept = session.scalars(select(Credential)).one()
    assert api.token.startswith("sf_")
    assert len(api.token) >= 46
    assert kept.secret_sha256 == hashlib.sha256(api.token.encode()).hexdigest()
    me = api.get("/api/users/me").json()
    assert (me["name"], me["is_admin"]) == ("local", True)


def test_a_link_signs_one_browser_in_once(api: Api) -> None:
    link = api.client.post("/api/auth/one-time", json={"next": "/watch/x"}, headers=api.signed_in).json()["url"]
    answer = api.client.get(link)
    assert (answer.status_code, answer.headers["location"]) == (303, "/watch/x")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert answer.headers["cache-control"] == "no-store"
    assert api.client.get("/api/users/me").json()["name"] == "local"
    api.client.cookies.clear()
    assert api.client.get(link).json()["code"] == "not_signed_in"
    assert api.client.get("/api/users/me").status_code == 401


@pytest.mark.parametrize(
    "path", ["//evil.example", "https://evil.example", "/\\evil", "watch", "", "/a\r\nb", "/%2fevil", "/a?b=//c"]
)
def test_a_link_leads_nowhere_else(api: Api, path: str) -> None:
    answer = api.client.post("/api/auth/one-time", json={"next": path}, headers=api.signed_in)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")


def test_a_cookie_speaks_for_our_own_pages_alone(api: Api) -> None:
    made = api.publish()
    sign_in(api)
    path = f"/api/videos/{made.video_id}"
    assert api.client.get(f"/api/stream/{made.video_id}/720p").content == made.files["720p"]
    for origin in ("http://evil.example", "null", "http://localhost.evil.example", "http://localhost:81", None):
        headers = {} if origin is None else {"Origin": origin}
        assert api.client.patch(path, json={"title": "x"}, headers=headers).status_code == 404
        assert api.client.post("/api/upload", headers=headers).status_code == 401
    ours = api.client.patch(path, json={"title": "ours"}, headers={"Origin": "http://localhost"})
    assert ours.json()["title"] == "ours"


def test_signing_out_ends_the_session_and_the_urls_made_under_it(api: Api) -> None:
    made = api.publish()
    sign_in(api)
    secret = api.client.cookies["sf_session"]
    url = api.client.get(f"/api/videos/{made.video_id}/links").json()["files"][0]["url"]
    assert api.client.get(url).status_code == 200
    assert api.client.post("/api/auth/logout", headers={"Origin": "http://localhost"}).status_code == 204
    assert api.client.get(url).status_code == 401
    api.client.cookies.set("sf_session", secret)
    assert api.client.get("/api/users/me").status_code == 401
    assert api.get("/api/users/me").status_code == 200


def test_a_stale_cookie_does_not_hide_what_everybody_may_see(api: Api) -> None:
    made = api.publish(visibility="public")
    api.client.cookies.set("sf_session", "sf_stale")
    assert api.client.get(f"/api/videos/{made.video_id}").status_code == 200
    assert api.client.get("/api/videos").status_code == 401


def test_a_secret_of_one_kind_is_no_other(api: Api) -> None:
    sign_in(api)
    session = api.client.cookies["sf_session"]
    api.client.cookies.clear()
    assert api.get("/api/users/me", session).status_code == 401
    api.client.cookies.set("sf_session", api.token)
    assert api.client.get("/api/users/me").status_code == 401
    assert api.client.get(f"/sign-in/{api.token}").status_code == 401
