"""HEAD wherever there is GET, methods that are not allowed, and answers that have no body."""

import time
from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

from sfserver.infra.events.memory import InProcessBus
from sfserver.middleware import EveryMethod
from tests.api.conftest import Api, LiveServer, TestClient
from tests.api.raw import body_of, exchange, head_of
from tests.api.test_access import fill, walk


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/api/health", "GET, HEAD"),
        ("POST", "/", "GET, HEAD"),
        ("TRACE", "/static/page.css", "GET, HEAD"),
        ("OPTIONS", "/api/videos/x/links", "GET, HEAD"),
        ("PUT", "/api/jobs/x", "DELETE, GET, HEAD"),
        ("PUT", "/api/videos/x", "DELETE, GET, HEAD, PATCH"),
        ("PUT", "/api/stream/x/720p", "GET, HEAD"),
        ("DELETE", "/m/t/v/1/v/720p.mp4", "GET, HEAD"),
        ("GET", "/api/upload", "POST"),
        ("HEAD", "/api/upload", "POST"),
    ],
)
def test_a_405_names_what_is_allowed(api: Api, method: str, path: str, allow: str) -> None:
    answer = api.client.request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allow)
    assert answer.headers["content-type"] == "application/problem+json"


def test_the_server_names_all_its_methods(live: LiveServer) -> None:
    for line in ("OPTIONS * HTTP/1.1", "CONNECT localhost:80 HTTP/1.1"):
        allow = head_of(exchange(live, line, "Host: localhost")[1])["allow"]
        assert allow == "DELETE, GET, HEAD, OPTIONS, PATCH, POST"


def test_head_is_get_without_its_body(api: Api, live: LiveServer) -> None:
    made = api.publish()
    api.add_poster(made)
    gate = api.get(f"/api/videos/{made.video_id}/links").json()["hls"].removesuffix("/hls/master.m3u8")
    known = {"/static/{name}": "/static/page.js"}
    paths = {route.path for route in walk(api.client.app.routes) if "GET" in route.methods}  # type: ignore[attr-defined]
    assert len(paths) > 18
    for path in sorted(paths):
        heads = []
        for method in ("GET", "HEAD"):
            known["/sign-in/{secret}"] = api.post("/api/auth/one-time", next="/").json()["url"]
            target = known.get(path) or fill(path, made.video_id, made.job_id)
            target = f"{gate}/v/720p/0.m4s" if path.startswith("/m/") else target
            heads.append(head_until_end(live, method, target))
        assert heads[0] == heads[1], path
        assert heads[1]["status"] in {"200", "303"}, path


def head_until_end(live: LiveServer, method: str, target: str) -> dict[str, str]:
    """Return an answer's head, without what differs from one answer to the next; of HEAD there must be no more."""
    with live.connect() as line:
        asked = [f"{method} {target} HTTP/1.1", "Host: localhost", "Connection: close"]
        # Anonymous health is two words; for users it tells ages, of as many digits as it takes.
        asked += [] if target == "/api/health" else [f"Authorization: Bearer {live.token}"]
        line.sendall("\r\n".join([*asked, "", ""]).encode())
        received = b""
        while b"\r\n\r\n" not in received or method == "HEAD":
            data = line.recv(65536)
            received += data
            if not data:
                break
    assert method == "GET" or body_of(received) == b"", target
    head = head_of(received) | {"status": received.split(b" ", 2)[1].decode()}
    if "set-cookie" in head:
        head["set-cookie"] = head["set-cookie"].partition("=")[0]
    # How a body is framed is no matter of the answer but of the line (RFC 9112, 6.1).
    return {name: value for name, value in head.items() if name not in {"date", "x-request-id", "transfer-encoding"}}


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/nowhere", 404),
        ("/static/nothing.js", 404),
        ("/api/jobs/x", 404),
        ("/api/jobs?limit=0", 422),
        ("/api/jobs?limit=1&limit=1", 400),
    ],
)
def test_head_of_an_error_is_its_head(live: LiveServer, path: str, status: int) -> None:
    got, answered = (head_until_end(live, method, path) for method in ("GET", "HEAD"))
    assert got == answered
    assert (got["status"], got["content-type"]) == (str(status), "application/problem+json")


def test_head_of_an_event_stream_ends_at_once_and_is_unsubscribed(api: Api, live: LiveServer) -> None:
    made = api.new_video()
    for path in ("/api/events", f"/api/jobs/{made.job_id}/events"):
        head = head_until_end(live, "HEAD", path)
        assert (head["status"], head["content-type"]) == ("200", "text/event-stream; charset=utf-8")
        assert "content-length" not in head
    bus = api.runtime.bus
    assert isinstance(bus, InProcessBus)
    deadline = time.monotonic() + 5
    while set(bus._listeners) != {"access"} and time.monotonic() < deadline:
        time.sleep(0.01)
    assert set(bus._listeners) == {"access"}


def test_head_makes_no_more_of_a_body_than_its_first_part() -> None:
    app, made = FastAPI(), []

    @app.get("/numbers")
    def count(request: Request) -> StreamingResponse:
        async def parts() -> AsyncIterator[bytes]:
            for number in range(1000):
                made.append(number)
                yield b"%d" % number

        return StreamingResponse(parts(), headers={"X-Asked": " ".join({"range", "etag"} & set(request.headers))})

    app.add_middleware(EveryMethod)
    answer = TestClient(app).head("/numbers", headers={"Range": "bytes=0-1", "ETag": "x"})
    assert (answer.status_code, answer.content, answer.headers["x-asked"]) == (200, b"", "etag")
    assert len(made) <= 1


def test_answers_without_a_body_claim_none(api: Api, live: LiveServer) -> None:
    made = api.publish()
    path = f"/api/stream/{made.video_id}/720p"
    signed_in = f"Authorization: Bearer {live.token}"
    etag = api.get(path).headers["etag"]
    for method in ("GET", "HEAD"):
        asked = [f"{method} {path} HTTP/1.1", "Host: localhost", signed_in, f"If-None-Match: {etag}"]
        status, received = exchange(live, *asked)
        assert (status, body_of(received)) == (304, b"")
        assert "content-length" not in head_of(received)
    # RFC 9110, 8.6: never in a 204.
    for line in ("OPTIONS * HTTP/1.1", f"DELETE /api/videos/{made.video_id} HTTP/1.1"):
        status, received = exchange(live, line, "Host: localhost", signed_in)
        assert (status, body_of(received)) == (204, b"")
        assert not {"content-length", "transfer-encoding"} & set(head_of(received))
