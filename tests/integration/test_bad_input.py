"""The table "What bad input gets" of the HTTP contract, through HTTP."""

import struct
import time
from pathlib import Path

import httpx
import pytest

from tests.integration.server import EmbeddedServer
from tests.media.clips import Clip, make_clip

HOSTILE = {
    "hls": b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
    "ffconcat": b"ffconcat version 1.0\nfile /etc/passwd\n",
    "sdp": b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=video 5004 RTP/AVP 96\r\n",
    "dash": b"<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011'><BaseURL>http://127.0.0.1/</BaseURL></MPD>",
    "text": b"hello " * 1000,
    "picture": b"\x89PNG\r\n\x1a\n" + bytes(5000),
}


@pytest.fixture(scope="module")
def small_server(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    server = EmbeddedServer(
        tmp_path_factory.mktemp("limits"), SF_LIMITS__MAX_UPLOAD_BYTES="200000", SF_LIMITS__MAX_PIXELS="100000"
    ).start()
    yield server
    server.close()


def post(server: EmbeddedServer, name: str, data: bytes) -> httpx.Response:
    return server.http.post("/api/upload", files={"file": (name, data)})


def assert_problem(answer: httpx.Response, status: int, code: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert (body["code"], body["status"]) == (code, status)
    assert body["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize("extension", ["mp4", "m3u8", "mkv", "ts", "bin"])
@pytest.mark.parametrize("kind", HOSTILE)
def test_what_is_no_video_is_refused_whatever_it_is_called(server: EmbeddedServer, kind: str, extension: str) -> None:
    assert_problem(post(server, f"clip.{extension}", HOSTILE[kind]), 415, "unsupported_media")


def test_no_file_and_an_empty_file_are_refused(server: EmbeddedServer) -> None:
    assert_problem(server.http.post("/api/upload", files={"other": ("a", b"x")}), 400, "empty_upload")
    assert_problem(post(server, "a.mp4", b""), 400, "empty_upload")


def test_a_broken_container_fails_within_two_seconds_of_being_picked_up(server: EmbeddedServer) -> None:
    accepted = post(server, "clip.mp4", struct.pack(">I4s", 24, b"ftyp") + b"isom" + bytes(5000)).json()
    started = time.monotonic()
    job = server.wait(accepted["job_id"])
    assert time.monotonic() - started < 4
    assert (job["status"], job["error"]["code"]) == ("failed", "unsupported_media")


def test_a_file_without_pictures_names_the_limit(server: EmbeddedServer, tmp_path: Path) -> None:
    import av

    from tests.media.clips import tone

    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("aac", rate=48_000, layout="stereo")
        for block in tone(1.0):
            out.mux(stream.encode(block))
        out.mux(stream.encode(None))
    job = server.wait(server.upload(path)["job_id"])
    assert job["status"] == "failed"
    assert job["error"]["code"].startswith("limit_")


def test_size_is_judged_early_and_while_streaming(small_server: EmbeddedServer) -> None:
    data = struct.pack(">I4s", 24, b"ftyp") + b"isom" + bytes(1_000_000)
    assert_problem(post(small_server, "a.mp4", data), 413, "upload_too_large")

    def endless():  # type: ignore[no-untyped-def]
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n' + data[:1000]
        for _ in range(40):
            yield bytes(100_000)

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = small_server.http.post("/api/upload", content=endless(), headers=headers)
    assert_problem(answer, 413, "upload_too_large")
    assert "200000" in answer.json()["detail"]
    time.sleep(0.2)
    stored = [p for p in (small_server.data_dir / "objects").rglob("*") if p.is_file()]
    assert stored == []
    assert list((small_server.data_dir / "tmp").iterdir()) == []


def test_too_many_pixels_names_limit_and_value(small_server: EmbeddedServer, tmp_path: Path) -> None:
    clip = Clip(frames=3, size=(640, 360), codec="libx264")
    job = small_server.wait(small_server.upload(make_clip(tmp_path / "big.mp4", clip))["job_id"])
    assert (job["status"], job["error"]["code"]) == ("failed", "limit_pixels")
    assert "100,000" in job["error"]["detail"]
    assert "230,400" in job["error"]["detail"]


def test_a_slightly_damaged_video_is_kept_with_a_warning_a_ruined_one_is_not(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    whole = make_clip(tmp_path / "a.mkv", Clip(frames=300, gop=15), format="matroska").read_bytes()
    hurt = bytearray(whole)
    middle = len(whole) // 2
    hurt[middle : middle + 40] = bytes(40)
    (tmp_path / "hurt.mkv").write_bytes(hurt)
    (tmp_path / "cut.mkv").write_bytes(whole[: len(whole) // 3])
    kept = server.wait(server.upload(tmp_path / "hurt.mkv")["job_id"])
    assert kept["status"] == "ready", kept
    ruined = server.wait(server.upload(tmp_path / "cut.mkv")["job_id"])
    assert ruined["status"] in {"failed"}, ruined
    assert ruined["error"]["code"] == "damaged_media"


def test_unknown_ids_qualities_and_hosts(server: EmbeddedServer, small_clip: Path) -> None:
    missing = "01890000-0000-7000-8000-000000000000"
    assert_problem(server.http.get(f"/api/jobs/{missing}"), 404, "job_not_found")
    assert_problem(server.http.delete(f"/api/jobs/{missing}"), 404, "job_not_found")
    assert_problem(server.http.get(f"/api/stream/{missing}/720p"), 404, "video_not_found")
    accepted = server.upload(small_clip)
    assert server.wait(accepted["job_id"])["status"] == "ready"
    answer = server.http.get(f"/api/stream/{accepted['video_id']}/1080p")
    assert_problem(answer, 404, "unknown_rendition")
    assert "360p" in answer.json()["detail"]
    assert_problem(server.http.get("/api/health", headers={"Host": "evil.example"}), 421, "unknown_host")


def test_tokens(server: EmbeddedServer, small_clip: Path) -> None:
    accepted = server.upload(small_clip)
    with httpx.Client(base_url=server.url) as anonymous:
        assert_problem(anonymous.get(f"/api/jobs/{accepted['job_id']}"), 404, "job_not_found")
        assert_problem(anonymous.get(f"/api/stream/{accepted['video_id']}/360p"), 404, "video_not_found")
        assert_problem(anonymous.get("/api/jobs"), 401, "not_signed_in")
        assert_problem(anonymous.get("/api/jobs", headers={"Authorization": "Bearer sf_no"}), 401, "not_signed_in")
        assert anonymous.get("/api/health").json()["status"] == "ok"
        assert set(anonymous.get("/api/health").json()) == {"status", "version"}
