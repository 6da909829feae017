"""Playing while it encodes: lists that grow, their end, what they share with the lists that stay, and what is gone."""

import gzip
import re
from datetime import timedelta
from itertools import pairwise
from urllib.parse import urljoin

import pytest

from sfserver.errors import DamagedMediaError
from sfserver.infra.clock import db_now
from sfserver.models import JobStage, Publication
from sfserver.tasks import repository
from sfserver.tasks.stage import StageContext
from sfserver.videos.publish import publish as move_pointer
from tests.api.conftest import Api, Made, end_stage
from tests.api.generations import Generation
from tests.api.running import fail, finish


def begin(api: Api, *, visibility: str = "private") -> tuple[Made, Generation]:
    """Return a video whose job is at work, and that nothing has to wait for what is remembered."""
    api.runtime.settings.access.grant_cache_s = 0
    made = api.new_video(visibility=visibility)
    return made, api.grow(made.video_id, made.job_id)


def show(api: Api, made: Made, generation: Generation, name: str, first: int, count: int) -> None:
    """Record chunks of a track as `playable` would have them."""
    with api.runtime.database.write() as session:
        job = repository.lock_job(session, made.job_id)
        assert job is not None
        generation.show(session, job, name, first, count)
        job.playable_at = db_now(session)


@pytest.fixture(autouse=True)
def always_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sfserver.playback.lists._FRESH_S", 0.0)


def links(api: Api, made: Made) -> dict[str, object]:
    found: dict[str, object] = api.get(f"/api/videos/{made.video_id}/links").json()
    return found


def playlist(api: Api, master_url: object, name: str) -> str:
    answer = api.client.get(urljoin(str(master_url), name))
    assert answer.status_code == 200, answer.text
    return answer.text


def segments(text: str) -> list[tuple[str, str, str]]:
    """Return (duration, byte range, name of the object) of each segment."""
    return re.findall(r"#EXTINF:([0-9.]+),\n#EXT-X-BYTERANGE:(\S+)\n(?:\.\./)+(\S+)", text)


def test_nothing_is_there_before_it_is_playable(api: Api) -> None:
    made, _ = begin(api)
    for path in ("links", "hls/master.m3u8", "dash/manifest.mpd"):
        answer = api.get(f"/api/videos/{made.video_id}/{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_rendition")


def test_while_it_encodes_there_is_hls_alone(api: Api) -> None:
    made, generation = begin(api)
    show(api, made, generation, "720p", 0, 3)
    found = links(api, made)
    assert (found["live"], found["dash"], found["files"]) == (True, None, [])
    master = api.client.get(str(found["hls"])).text
    assert re.findall(r"^[^#].*", master, re.MULTILINE) == ["live/720p.m3u8", "live/360p.m3u8"]
    assert 'URI="live/audio.m3u8"' in master
    assert "I-FRAME" not in master
    assert "/hls/live/720p.m3u8" in api.get(f"/api/videos/{made.video_id}/hls/master.m3u8").text
    stream = api.get(f"/api/stream/{made.video_id}/720p")
    assert (stream.status_code, "meanwhile" in stream.json()["hint"]) == (404, True)
    for path in ("720p.m3u8", "720p.iframes.m3u8", "../dash/manifest.mpd", "../file/720p.mp4"):
        assert api.client.get(urljoin(str(found["hls"]), path)).status_code == 404


def test_a_list_shows_nothing_or_three_segments_at_least_and_only_grows(api: Api) -> None:
    made, generation = begin(api)
    show(api, made, generation, "360p", 0, 3)
    url, seen = links(api, made)["hls"], [playlist(api, links(api, made)["hls"], "live/720p.m3u8")]
    for first, count in ((0, 1), (1, 1), (2, 1), (4, 1), (3, 1)):
        show(api, made, generation, "720p", first, count)
        seen.append(playlist(api, url, "live/720p.m3u8"))
    assert [len(segments(text)) for text in seen] == [0, 0, 0, 3, 3, 7]
    assert all(later.startswith(earlier) for earlier, later in pairwise(seen))
    assert "#EXT-X-ENDLIST" not in seen[-1]
    assert "#EXT-X-PLAYLIST-TYPE:EVENT" in seen[-1]
    assert [segment[0] for segment in segments(seen[-1])] == ["2.000000"] * 3 + ["4.000000"] * 3 + ["2.000000"]


def test_the_sound_does_not_get_ahead_of_the_picture(api: Api) -> None:
    """Chromium's own HLS and GStreamer stop for good where it does."""
    made, generation = begin(api)
    show(api, made, generation, "main", 0, 2)
    url, seen = links(api, made)["hls"], []
    for name, first, count in (
        ("720p", 0, 2),
        ("720p", 2, 1),
        ("360p", 0, 2),
        ("720p", 3, 1),
        ("360p", 2, 2),
        ("360p", 4, 1),
    ):
        show(api, made, generation, name, first, count)
        seen.append(sum(float(duration) for duration, _, _ in segments(playlist(api, url, "live/audio.m3u8"))))
    assert seen == [0, 6, 6, 14, 14, 14], "360p has begun only with its third segment"
    show(api, made, generation, "720p", 4, 1)
    whole = segments(playlist(api, url, "live/audio.m3u8"))
    assert sum(float(duration) for duration, _, _ in whole) == 18
    publish(api, made, generation, shown=True)
    assert segments(playlist(api, url, "live/audio.m3u8")) == whole


def test_what_a_list_names_is_there(api: Api) -> None:
    made, generation = begin(api)
    url = None
    for number in range(3):
        show(api, made, generation, "720p", number, 1)
        url = url or links(api, made)["hls"]
    text = playlist(api, url, "live/720p.m3u8")
    (init,) = re.findall(r'MAP:URI="([^"]+)"', text)
    base = urljoin(str(url), "live/720p.m3u8")
    assert api.client.get(urljoin(base, init)).content == generation.inits["720p"]
    for number, (_, span, name) in enumerate(segments(text)):
        length, offset = map(int, span.split("@"))
        asked = {"Range": f"bytes={offset}-{offset + length - 1}"}
        answer = api.client.get(urljoin(base, f"../../{name}"), headers=asked)
        assert answer.content == b"".join(generation.tracks["720p"][number])
        assert answer.headers["cache-control"].endswith("immutable")
    assert api.client.get(urljoin(base, "../../v/720p/3.m4s")).status_code == 404, "stored, but not shown yet"


def test_live_and_vod_share_every_address_and_the_live_list_ends_late(api: Api) -> None:
    made, generation = begin(api)
    show(api, made, generation, "720p", 0, 3)
    url = str(links(api, made)["hls"])
    before = {name: api.client.get(urljoin(url, f"../v/720p/{name}")) for name in ("init.mp4", "0.m4s")}
    publish(api, made, generation)
    for name, old in before.items():
        new = api.client.get(urljoin(url, f"../v/720p/{name}"))
        assert (new.content, new.headers["etag"]) == (old.content, old.headers["etag"])
    live, vod = playlist(api, url, "live/720p.m3u8"), playlist(api, url, "720p.m3u8")
    assert segments(live) == segments(vod)
    assert (live.count("ENDLIST"), vod.count("ENDLIST")) == (0, 1), "its last segment may not come with the end"
    age(api, made, seconds=7)
    assert "ENDLIST" not in playlist(api, url, "live/720p.m3u8")
    age(api, made, seconds=1)
    ended = playlist(api, url, "live/720p.m3u8")
    assert ended == live + "#EXT-X-ENDLIST\n"
    fresh = links(api, made)
    assert (fresh["live"], "live/" in api.client.get(str(fresh["hls"])).text) == (False, False)


def publish(api: Api, made: Made, generation: Generation, *, shown: bool = False) -> None:
    """Record the rest, unless all is shown, and publish."""
    for name, first, count in () if shown else (("720p", 3, 2), ("360p", 0, 5), ("main", 0, 2)):
        show(api, made, generation, name, first, count)
    with api.runtime.database.write() as session:
        job = repository.lock_job(session, made.job_id)
        assert job is not None
        task = end_stage(session, made.job_id, "package")
        row = session.get_one(JobStage, (made.job_id, "package"))
        context = StageContext(session, api.runtime.settings, api.runtime.stages, job, row, task)
        heads = {name: generation.head_key(name) for name in generation.heads}
        move_pointer(context, generation.package(), heads)


def age(api: Api, made: Made, *, seconds: float) -> None:
    """Have the video been published so much longer ago."""
    with api.runtime.database.write() as session:
        publication = session.query(Publication).filter_by(video_id=made.video_id).one()
        assert publication.published_at is not None
        publication.published_at -= timedelta(seconds=seconds)


@pytest.mark.parametrize("end", ["fail", "cancel", "trash"])
def test_what_was_taken_back_is_gone_for_those_who_watch_it(api: Api, end: str) -> None:
    made, generation = begin(api, visibility="public")
    show(api, made, generation, "720p", 0, 3)
    url = str(links(api, made)["hls"])
    everything = [
        url,
        urljoin(url, "live/720p.m3u8"),
        urljoin(url, "../v/720p/0.m4s"),
        urljoin(url, "../v/720p/init.mp4"),
    ]
    assert {api.client.get(each).status_code for each in everything} == {200}
    if end == "fail":
        fail(api, made.job_id, DamagedMediaError())
    elif end == "cancel":
        finish(api, made.job_id)
    else:
        assert api.client.delete(f"/api/videos/{made.video_id}", headers=api.signed_in).status_code == 204
    answers = [api.client.get(each) for each in everything]
    expected = {404} if end == "trash" else {410}
    assert {answer.status_code for answer in answers} == expected
    assert {answer.json()["code"] for answer in answers} == {"video_not_found" if end == "trash" else "media_gone"}
    assert api.get(f"/api/videos/{made.video_id}/links").status_code == 404


def test_lists_are_packed_for_those_who_ask(api: Api) -> None:
    made, generation = begin(api)
    show(api, made, generation, "720p", 0, 3)
    url = urljoin(str(links(api, made)["hls"]), "live/720p.m3u8")
    plain = api.client.get(url, headers={"Accept-Encoding": "identity;q=1, *;q=0"})
    assert "content-encoding" not in plain.headers
    for asked in ("gzip", "GZIP;q=0.5, br", "deflate, x-gzip"):
        packed = api.client.get(url, headers={"Accept-Encoding": asked})
        assert (packed.headers["content-encoding"], packed.headers["vary"]) == ("gzip", "Accept-Encoding")
        assert packed.content == plain.content
    for asked in ("", "*", "gzip;q=0", "gzip;q=0.000, *", "br"):
        assert "content-encoding" not in api.client.get(url, headers={"Accept-Encoding": asked}).headers, asked
    show(api, made, generation, "720p", 3, 1)
    with api.client.stream("GET", url, headers={"Accept-Encoding": "gzip"}) as answer:
        raw = b"".join(answer.iter_raw())
    assert gzip.decompress(raw) == api.client.get(url).content != plain.content
