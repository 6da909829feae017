"""`/m/…` and the links into it: what opens, what closes it, and that one address has one reading."""

import re
import time
from urllib.parse import urljoin

import pytest

from sfserver.errors import NotFoundError, NotSignedInError
from sfserver.playback.tokens import Grant, expiry, sign, verify
from tests.api.conftest import Api, Made

KEY, VIDEO = b"k" * 32, "01900000-0000-7000-8000-000000000001"


def hls_url(api: Api, made: Made) -> str:
    url: str = api.get(f"/api/videos/{made.video_id}/links").json()["hls"]
    return url


def test_links_open_everything_without_a_header(api: Api) -> None:
    made = api.publish()
    links = api.get(f"/api/videos/{made.video_id}/links").json()
    master = api.client.get(links["hls"])
    assert (master.status_code, master.headers["content-type"]) == (200, "application/vnd.apple.mpegurl")
    children = [line for line in master.text.splitlines() if line and not line.startswith("#")]
    assert children == ["720p.m3u8", "360p.m3u8"]
    lists = urljoin(links["hls"], children[0])
    media = [line for line in api.client.get(lists).text.splitlines() if not line.startswith("#")]
    assert media == [f"../v/720p/{chunk}.m4s" for chunk in (0, 1, 2, 3, 3, 4, 4)]
    part = api.client.get(urljoin(lists, media[0]), headers={"Range": "bytes=10-19"})
    assert (part.status_code, len(part.content), part.headers["content-type"]) == (206, 10, "video/mp4")
    for file in links["files"]:
        assert api.client.get(file["url"]).content == made.files[file["quality"]]
    assert api.client.get(links["dash"]).headers["content-type"] == "application/dash+xml"


def test_the_masters_of_the_api_point_below_the_gate(api: Api) -> None:
    made = api.publish()
    master = api.get(f"/api/videos/{made.video_id}/hls/master.m3u8").text
    addresses = [line for line in master.splitlines() if line.startswith("/m/")] + re.findall(
        r'URI="(/m/[^"]+)"', master
    )
    assert len(addresses) == 5
    assert {api.client.get(address).status_code for address in addresses} == {200}
    manifest = api.get(f"/api/videos/{made.video_id}/dash/manifest.mpd").text
    found = re.findall(r'(?:sourceURL|media)="([^"]+)"', manifest)
    assert len(set(found)) == 3 + 5 + 5 + 2
    assert {api.client.get(address).status_code for address in found} == {200}


def test_media_may_be_kept_and_playlists_may_not(api: Api) -> None:
    made = api.publish()
    base = hls_url(api, made).removesuffix("hls/master.m3u8")
    for path in ("v/720p/0.m4s", "v/720p/init.mp4"):
        assert api.client.get(base + path).headers["cache-control"] == "private, max-age=31536000, immutable"
    assert api.client.get(base + "a/main/1.m4s").headers["content-type"] == "audio/mp4"
    for path in ("hls/720p.m3u8", "hls/live/720p.m3u8", "dash/manifest.mpd"):
        assert api.client.get(base + path).headers["cache-control"] == "private, max-age=1"


@pytest.mark.parametrize(
    "path",
    [
        *("file/720p.head", "file/4320p.mp4", "v/720p/9.m4s", "v/720p/00.m4s", "v/720p/-1.m4s", "v/4320p/0.m4s"),
        *("v/main/0.m4s", "a/720p/0.m4s", "hls/main.m3u8", "hls/audio.iframes.m3u8", "hls/live/720p.iframes.m3u8"),
        *("v/720p/init.m4s", "hls/live/master.m3u8", "", "hls", "x/y"),
    ],
)
def test_only_what_players_need_lies_below_the_gate(api: Api, path: str) -> None:
    made = api.publish()
    base = hls_url(api, made).removesuffix("hls/master.m3u8")
    assert api.client.get(base + path).status_code == 404


def test_signing_out_closes_the_urls(api: Api) -> None:
    made = api.publish()
    url = hls_url(api, made)
    assert api.client.get(url).status_code == 200
    assert api.client.post("/api/auth/logout", headers=api.signed_in).status_code == 204
    answer = api.client.get(url)
    assert (answer.status_code, answer.json()["code"]) == (401, "not_signed_in")


def test_deleting_and_hiding_close_the_urls(api: Api) -> None:
    made = api.publish(visibility="public")
    own, everybodys = hls_url(api, made), api.client.get(f"/api/videos/{made.video_id}/links").json()["hls"]
    assert api.client.get(everybodys).status_code == 200
    api.client.patch(f"/api/videos/{made.video_id}", json={"visibility": "private"}, headers=api.signed_in)
    assert (api.client.get(everybodys).status_code, api.client.get(own).status_code) == (404, 200)
    api.client.patch(f"/api/videos/{made.video_id}", json={"visibility": "public"}, headers=api.signed_in)
    assert api.client.get(everybodys).status_code == 404
    api.client.delete(f"/api/videos/{made.video_id}", headers=api.signed_in)
    assert api.client.get(own).status_code == 404


def test_a_token_opens_one_generation_of_one_video(api: Api) -> None:
    made, other = api.publish(title="one"), api.publish(title="two")
    url = hls_url(api, made)
    assert api.client.get(url.replace(made.video_id, other.video_id)).status_code == 401
    assert api.client.get(url.replace("/1/hls", "/2/hls")).status_code == 401
    assert api.client.get(url.replace("/1/hls", "/01/hls")).status_code == 404


def test_who_watches_a_generation_that_is_replaced_watches_it_to_its_end(api: Api) -> None:
    made = api.publish(visibility="public")
    links = api.get(f"/api/videos/{made.video_id}/links").json()
    urls = [links["hls"], *(file["url"] for file in links["files"])]
    before = {url: api.client.get(url).content for url in urls}
    job_id = api.post(f"/api/videos/{made.video_id}/reprocess").json()["job_id"]
    api.publish_again(made.video_id, job_id)
    assert {url: api.client.get(url).content for url in urls} == before
    fresh = api.get(f"/api/videos/{made.video_id}/links").json()["hls"]
    assert "/2/hls/" in fresh
    api.client.patch(f"/api/videos/{made.video_id}", json={"visibility": "private"}, headers=api.signed_in)
    everybodys = [url for url in urls if "/m/p-" in url]
    assert {api.client.get(url).status_code for url in everybodys} <= {404}
    api.client.delete(f"/api/videos/{made.video_id}", headers=api.signed_in)
    assert {api.client.get(url).status_code for url in [*urls, fresh]} == {404}


def test_a_token_is_read_back() -> None:
    grant = Grant.of_credential(VIDEO)
    token = sign(KEY, grant, 2000, VIDEO, 3)
    assert verify(KEY, token, VIDEO, 3, now=1999.9) == grant
    assert grant.credential_id == VIDEO
    assert Grant.of_epoch(4).credential_id is None


@pytest.mark.parametrize(
    "change",
    [
        lambda token: token[:-1] + ("A" if token[-1] != "A" else "B"),
        lambda token: token.replace(".2000.", ".3000."),
        lambda token: "p-5" + token[3:],
        lambda token: token + "A",
        lambda token: token + "=",
        lambda token: token.replace(".", ".0", 1),
        lambda token: "",
        lambda token: token.upper(),
    ],
)
def test_a_changed_token_is_refused(change: object) -> None:
    token = sign(KEY, Grant.of_epoch(4), 2000, VIDEO, 3)
    assert callable(change)
    with pytest.raises((NotSignedInError, NotFoundError)):
        verify(KEY, change(token), VIDEO, 3, now=0)


def test_a_token_ends() -> None:
    token = sign(KEY, Grant.of_epoch(4), 2000, VIDEO, 3)
    with pytest.raises(NotSignedInError):
        verify(KEY, token, VIDEO, 3, now=2000)
    with pytest.raises(NotSignedInError):
        verify(b"x" * 32, token, VIDEO, 3, now=0)


def test_urls_last_for_twice_the_duration() -> None:
    now = time.time()
    assert expiry(now, 10 * 3600, 6 * 3600) >= now + 20 * 3600
    assert expiry(now, 60, 6 * 3600) >= now + 6 * 3600
    assert expiry(1000, 0, 0) == expiry(1199, 0, 0) == 1200
