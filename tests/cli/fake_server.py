"""A server that answers as the HTTP contract says, from what a test puts into it."""

import json
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from pydantic import BaseModel

from sfserver.wire.jobs import (
    JobError,
    JobExplain,
    JobLinks,
    JobRead,
    JobStatus,
    RungExplain,
    StageRead,
    StageState,
    TaskExplain,
    UploadAccepted,
)
from sfserver.wire.problem import Problem
from sfserver.wire.system import HealthRead, PartHealth
from sfserver.wire.videos import RenditionRead, SourceRead, VideoRead, Visibility
from tests.cli.fake_events import events_of
from tests.cli.fake_media import make_links, make_playlist

TOKEN = "sf_local_token"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
PLAYABLE_AT = NOW + timedelta(seconds=2.6)
Answer = tuple[int, dict[str, str], bytes]


def make_job(job_id: str, video_id: str, title: str, status: JobStatus = JobStatus.READY) -> JobRead:
    links = JobLinks(
        self_=f"/api/jobs/{job_id}",
        status=f"/api/jobs/{job_id}/status",
        events=f"/api/jobs/{job_id}/events",
        video=f"/api/videos/{video_id}",
        watch=f"/watch/{video_id}",
    )
    progress = 1.0 if status is JobStatus.READY else 0.25
    state = StageState.DONE if status is JobStatus.READY else StageState.RUNNING
    stages = [
        StageRead(name="encode", state=state, progress=progress, tasks=4, tasks_done=int(4 * progress)),
        StageRead(name="poster", state=StageState.WAITING, fatal=False),
    ]
    return JobRead(
        id=job_id,
        video_id=video_id,
        status=status,
        progress=progress,
        title=title,
        created_at=NOW,
        links=links,
        stages=stages,
    )


def make_video(video_id: str, job_id: str, title: str, status: JobStatus = JobStatus.READY) -> VideoRead:
    renditions = [
        RenditionRead(
            quality=quality,
            format="mp4",
            width=width,
            height=height,
            fps=30.0,
            video_codec="h264",
            audio_codec="aac",
            codecs="avc1.640028,mp4a.40.2",
            size_bytes=height * 1000,
            average_bps=height * 1000,
            peak_bps=height * 2000,
            duration_s=20.0,
            url=f"/api/stream/{video_id}/{quality}",
        )
        for quality, width, height in (("1080p", 1920, 1080), ("720p", 1280, 720), ("360p", 640, 360))
    ]
    return VideoRead(
        id=video_id,
        job_id=job_id,
        title=title,
        description="",
        visibility=Visibility.PRIVATE,
        language=None,
        status=status,
        duration_s=20.0 if status is JobStatus.READY else None,
        created_at=NOW,
        published_at=NOW if status is JobStatus.READY else None,
        source=SourceRead(file_name="film.mov", size_bytes=123_456, sha256="ab" * 32, video_codec="h264"),
        renditions=renditions if status is JobStatus.READY else [],
        watch_url=f"/watch/{video_id}",
        poster_url=f"/api/videos/{video_id}/poster.webp" if status is JobStatus.READY else None,
    )


class FakeServer:
    """The state of the server; tests change it, `seen` holds the requests as `METHOD target`."""

    def __init__(self) -> None:
        self.url = ""
        self.videos: dict[str, VideoRead] = {}
        self.jobs: dict[str, JobRead] = {}
        self.seen: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.bodies: list[bytes] = []
        self.refusals: dict[str, Answer] = {}
        self.sequences: dict[str, list[Answer]] = {}
        self.upload_ends_as = JobStatus.READY
        self.file = bytes(range(256)) * 400
        self.etag = '"v1"'
        self.cut_after: list[int] = []
        self.event_scripts: list[Callable[[JobRead, str], Iterator[bytes]]] = []
        self.page_size = 100
        self.sandbox = "all"
        self.storage = PartHealth(ok=True)
        self.poster = b"RIFF....WEBP" + bytes(range(100))
        self.begun = {"720p", "360p", "audio"}

    def add(self, title: str, status: JobStatus = JobStatus.READY) -> VideoRead:
        number = len(self.videos) + 1
        video_id, job_id = f"0192f3a1-7c2b-7000-8000-{number:012x}", f"0192f3a1-7c2b-7000-9000-{number:012x}"
        self.jobs[job_id] = make_job(job_id, video_id, title, status)
        self.videos[video_id] = make_video(video_id, job_id, title, status)
        return self.videos[video_id]

    def add_playable(self, title: str) -> VideoRead:
        """Add a video that can be played while it is made."""
        video = self.add(title, JobStatus.PROCESSING)
        self.jobs[video.job_id or ""].playable_at = PLAYABLE_AT
        return video

    def refuse(self, call: str, status: int, code: str, title: str, *, detail: str = "", hint: str = "") -> None:
        """Answer `METHOD /path` with a problem."""
        problem = Problem(
            title=title, status=status, detail=detail or title, code=code, request_id="req-1", hint=hint or None
        )
        self.refusals[call] = _json(status, problem)


def _json(status: int, model: BaseModel) -> Answer:
    kind = "application/problem+json" if status >= 400 else "application/json"
    return status, {"Content-Type": kind}, model.model_dump_json(by_alias=True).encode()


def _refusal(status: int, code: str, title: str) -> Answer:
    return _json(status, Problem(title=title, status=status, detail=title, code=code, request_id="req-1"))


def _page(server: FakeServer, query: dict[str, str], items: list[VideoRead] | list[JobRead]) -> Answer:
    wanted = [item for item in reversed(items) if not query.get("status") or item.status == query["status"]]
    start, size = int(query.get("cursor", 0)), min(server.page_size, int(query.get("limit", 100)))
    cursor = str(start + size) if start + size < len(wanted) else None
    items = [item.model_dump(mode="json", by_alias=True) for item in wanted[start : start + size]]
    return 200, {}, json.dumps({"items": items, "next_cursor": cursor}).encode()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    fake: FakeServer

    def log_message(self, _format: str, *_args: object) -> None:
        pass

    def _serve(self) -> None:
        target = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(target.query).items()}
        self.fake.seen.append(f"{self.command} {self.path}")
        self.fake.headers.append(dict(self.headers.items()))
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.fake.bodies.append(body)
        call = f"{self.command} {target.path}"
        if call in self.fake.refusals:
            self._answer(self.fake.refusals[call])
        elif self.fake.sequences.get(call):
            self._answer(self.fake.sequences[call].pop(0))
        elif call.startswith("GET /m/sig/"):
            self._send_playlist(target.path)
        elif target.path != "/api/health" and not self._is_signed_in(target.path):
            problem = Problem(
                title="Not signed in", status=401, detail="no token", code="not_signed_in", request_id="r"
            )
            self._answer(_json(401, problem))
        elif match := re.fullmatch(r"GET /api/jobs/([^/]+)/events", call):
            self._stream_events(match[1])
        elif match := re.fullmatch(r"GET /api/stream/([^/]+)/([^/]+)", call):
            self._stream_file()
        else:
            self._answer(self._route(call, query, body))

    do_GET = do_POST = do_DELETE = _serve  # noqa: N815 - the names that http.server looks for

    def _is_signed_in(self, path: str) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _route(self, call: str, query: dict[str, str], body: bytes) -> Answer:
        fake = self.fake
        if call == "GET /api/health":
            part = PartHealth(ok=True)
            health = HealthRead(status="ok", version="0.1.0", database=part, queue=part, storage=fake.storage)
            health.sandbox = fake.sandbox
            return _json(200, health)
        if call == "GET /api/users/me":
            return 200, {}, b'{"id": "u1", "name": "local", "is_admin": true}'
        if call == "POST /api/auth/one-time":
            link = {"url": f"/sign-in/abc?next={json.loads(body)['next']}", "expires_at": NOW.isoformat()}
            return 200, {}, json.dumps(link).encode()
        if call == "POST /api/upload":
            return self._upload(body)
        if call in {"GET /api/videos", "GET /api/jobs"}:
            known = list(fake.videos.values() if call.endswith("videos") else fake.jobs.values())
            return _page(fake, query, known)
        return self._route_one(call)

    def _route_one(self, call: str) -> Answer:
        method, noun, key, rest = (*re.sub(r" /api/", "/", call).split("/"), "", "")[:4]
        known = self.fake.videos if noun == "videos" else self.fake.jobs
        found = known.get(key)
        if found is None:
            code = "video_not_found" if noun == "videos" else "job_not_found"
            return _refusal(404, code, f"No such {noun[:-1]}")
        if method == "DELETE":
            return 204, {}, b""
        if method == "POST":
            wanted = call.split("/", 4)[4]
            is_job = isinstance(found, JobRead)
            return self._act_on_job(found, wanted) if is_job else self._act_on_video(found, wanted)
        return self._read_one(found, rest)

    def _read_one(self, found: VideoRead | JobRead, rest: str) -> Answer:
        if rest == "links" and isinstance(found, VideoRead):
            if not (found.renditions or self.fake.jobs[found.job_id or ""].playable_at):
                return _refusal(404, "unknown_rendition", "nothing of this video can be watched yet")
            return _json(200, make_links(found))
        if rest.startswith("poster."):
            return self._poster(found)
        return _json(200, make_explain(found.id) if rest == "explain" else found)

    def _act_on_job(self, job: JobRead, call: str) -> Answer:
        if call == "cancel" and not job.status.is_final:
            job.status = JobStatus.CANCELLED
            return 204, {}, b""
        if call == "retry" and job.status in {JobStatus.FAILED, JobStatus.CANCELLED}:
            job.status = JobStatus.QUEUED
            return _json(202, job)
        code = "job_finished" if call == "cancel" else "conflict"
        return _refusal(409, code, "The job is not one to do that with")

    def _act_on_video(self, video: VideoRead, call: str) -> Answer:
        job = self.fake.jobs[video.job_id or ""]
        if call in {"reprocess", "stages/poster/redo"} and job.status.is_final:
            status = JobStatus.QUEUED if call == "reprocess" else job.status
            return _json(202, UploadAccepted(job_id=job.id, video_id=job.video_id, status=status, links=job.links))
        if call == "reprocess" or re.fullmatch(r"stages/(probe|encode|audio|package|poster)/redo", call):
            return _refusal(409, "conflict", "Not now, or not by itself")
        return _refusal(404, "unknown_stage", "There is none")

    def _send_playlist(self, path: str) -> None:
        text = make_playlist(path, self.fake.begun)
        kind = {"Content-Type": "application/vnd.apple.mpegurl"}
        self._answer(_refusal(410, "media_gone", "Gone") if text is None else (200, kind, text.encode()))

    def _poster(self, video: VideoRead | JobRead) -> Answer:
        if not isinstance(video, VideoRead) or video.poster_url is None:
            return _refusal(404, "unknown_rendition", "No such rendition")
        return 200, {"Content-Type": "image/webp"}, self.fake.poster

    def _upload(self, body: bytes) -> Answer:
        fields = dict(re.findall(rb'name="(\w+)"\r\n\r\n([^\r]*)\r\n', body))
        name = re.search(rb'filename="([^"]*)"', body)
        if b"not a video" in body:
            title = "Not a supported video"
            problem = Problem(
                title=title, status=415, detail="it is text", code="unsupported_media", request_id="req-9"
            )
            return _json(415, problem)
        title = fields.get(b"title", name[1] if name else b"").decode()
        video = self.fake.add(title, self.fake.upload_ends_as)
        job = self.fake.jobs[video.job_id or ""]
        if self.fake.upload_ends_as is JobStatus.FAILED:
            job.error = JobError(code="damaged_media", detail="half of it is missing")
        else:
            job.playable_at = PLAYABLE_AT
        accepted = UploadAccepted(job_id=job.id, video_id=video.id, status=JobStatus.QUEUED, links=job.links)
        return _json(201, accepted)

    def _stream_events(self, job_id: str) -> None:
        script = self.fake.event_scripts.pop(0) if self.fake.event_scripts else events_of
        self._head(200, {"Content-Type": "text/event-stream", "Connection": "close"})
        for part in script(self.fake.jobs[job_id], self.headers.get("Last-Event-ID", "")):
            self.wfile.write(part)
            self.wfile.flush()
        self.close_connection = True

    def _stream_file(self) -> None:
        data, status = self.fake.file, 200
        headers = {"ETag": self.fake.etag, "Accept-Ranges": "bytes", "Content-Type": "video/mp4"}
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if match and self.headers.get("If-Range", self.fake.etag) == self.fake.etag:
            start = int(match[1])
            if start >= len(data):
                self._answer((416, {"Content-Range": f"bytes */{len(data)}"}, b""))
                return
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            data, status = data[start:], 206
        cut = self.fake.cut_after.pop(0) if self.fake.cut_after else len(data)
        self._head(status, {**headers, "Content-Length": str(len(data))})
        self.wfile.write(data[:cut])
        self.close_connection = cut < len(data)

    def _answer(self, answer: Answer) -> None:
        status, headers, body = answer
        self._head(status, {**headers, "Content-Length": str(len(body))})
        self.wfile.write(body)

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


def make_explain(job_id: str) -> JobExplain:
    rung = RungExplain(
        name="720p",
        width=1280,
        height=720,
        fps=30.0,
        maxrate_bps=2_500_000,
        encoder="libx264",
        options={"crf": "23", "preset": "veryfast"},
        reason="fits the box",
    )
    task = TaskExplain(
        kind="encode",
        index=0,
        state=StageState.DONE,
        rungs=["720p", "360p"],
        worker="w1",
        attempts=3,
        crashes=1,
        losses=1,
        wall_s=3.5,
        cpu_s=6.5,
        start_frame=0,
        end_frame=60,
        crf=24.5,
    )
    return JobExplain(job_id=job_id, rungs=[rung], reasons=["never upscaled"], tasks=[task])


class QuietServer(ThreadingHTTPServer):
    """Clients that go away in the middle are part of the tests."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


@contextmanager
def serving() -> Iterator[FakeServer]:
    """Run a fake server on a free port."""
    fake = FakeServer()
    handler = type("BoundHandler", (Handler,), {"fake": fake})
    httpd = QuietServer(("127.0.0.1", 0), handler)
    fake.url = f"http://127.0.0.1:{httpd.server_address[1]}"
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield fake
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()
