"""What holds for every request: problem documents, ids, known hosts, one reading per address, other origins."""

from http.client import HTTPConnection

import pytest
from starlette.responses import PlainTextResponse

from sfserver.errors import DatabaseUnavailableError, StoreUnavailableError
from sfserver.infra.clock import db_now
from sfserver.middleware import KnownHost, RequestScope
from sfserver.models import WorkerNode
from tests.api.conftest import Api, LiveServer, TestClient
from tests.api.raw import ask, exchange, head_of

MUTATIONS = [
    "/api/stream/{id}//720p",
    "//api/stream/{id}/720p",
    "/api//stream/{id}/720p",
    "/api/stream/{id}/720p/",
    "/api/stream/{id}%2f720p",
    "/api/stream%2F{id}/720p",
    "/api/stream/{id}/720p%00",
    "/api/stream/{id}/720p%00.mp4",
    "/api/stream/%2e/{id}/720p",
    "/api/stream/%2e%2e/stream/{id}/720p",
    "/api/stream/../stream/{id}/720p",
    "/api/./stream/{id}/720p",
    "/api/stream/{id}/x/../720p",
    "/api/stream/{id}/720p/.",
    "/api/stream/{id}/720p/..",
    "/api/stream/{id}/..",
    "/api/stream/{id}\\720p",
    "/api/stream/{id}%5c720p",
    "/api/stream/{id}/%37%32%30p",
    "/api/stream/{id}/720p;x",
    "/api/stream/{id}/720P",
    "/api/stream/{id}/720p%20",
    "/api/stream/{id}/720p?format=mp4&format=mp4",
    "/api/stream/{id}/720p?format=mp4&%66ormat=webm",
    "/api/stream/{id}/720p?download=1&download=0",
    "/api/stream/{id}/720p?format=mp4%00",
    "/API/stream/{id}/720p",
    "/api/videos/{id}/hls/%2e%2e/hls/master.m3u8",
    "/api/videos/{id}%2Fhls%2Fmaster.m3u8",
    "{gate}//v/720p.mp4",
    "{gate}/%2e%2e/1/v/720p.mp4",
    "{gate}/../1/v/720p.mp4",
    "{gate}/v/..%2fv/720p.mp4",
    "{gate}/v%2f720p.mp4",
    "{gate}/v/720p.mp4%00",
    "{gate}/v/720p.mp4/",
    "{gate}/v/./720p.mp4",
    "{gate}/v//720p.mp4",
    "{gate}/v/%37%32%30p.mp4",
    "{gate}/file/720p.head",
    "{gate}/file/../file/720p.mp4",
    "{gate}/v/720p.mp4?a=1&a=2",
    "{gate}/",
    "{gate}",
]

# What a `Host` gets. RFC 9112, 3.2: 400 for "a Host header field with an invalid field value"; a user is an error
# (RFC 9110, 4.2.4).
HOSTS = {
    "localhost": 200,
    "localhost:8420": 200,
    "localhost:": 200,
    "LocalHost": 200,
    "localhost.": 200,
    "127.0.0.1:1": 200,
    "[::1]:8420": 200,
    "[0:0::0:1]": 200,
    "evil.example": 421,
    "localhost.evil.example": 421,
    "localhost..": 421,
    "[::2]": 421,
    "": 421,
    "localhost:80@evil.example": 400,
    "evil.example@localhost": 400,
    "localhost, evil.example": 400,
    "localhost:http": 400,
    "localhost/": 400,
    "::1": 400,
}
# What a method and a target get beside a `Host` of localhost.
TARGETS = {
    "GET http://localhost/api/health": 200,
    "GET HTTP://LOCALHOST:8420/api/health": 200,
    "GET http://localhost.:/api/health": 200,
    "GET http://[::1]:8420/api/health": 200,
    "GET http://localhost": 200,
    "GET http://localhost?x=1": 200,
    "HEAD http://localhost/api/health": 200,
    "GET http://evil.example/api/health": 421,
    "GET http://evil.example": 421,
    "GET http://localhost.evil.example/api/health": 421,
    "GET http://loc%61lhost/api/health": 421,
    # RFC 9110, 7.4: a scheme whose demands this line does not meet.
    "GET https://localhost/api/health": 421,
    "GET ftp://localhost/api/health": 421,
    # RFC 9110, 4.2.1 and 4.2.4: no host, or a user.
    "GET http:///api/health": 400,
    "GET http:/api/health": 400,
    "GET http://localhost:80@evil.example/api/health": 400,
    "GET http://evil.example@localhost/api/health": 400,
    "GET http://localhost:http/api/health": 400,
    "GET http://localhost//api/health": 404,
    "GET //localhost/api/health": 404,
    # RFC 9112, 3.2.1: a target has no fragment.
    "GET /api/health#x": 400,
    "GET /api/health?a=1#x": 400,
    "GET /api/health#": 400,
    "GET http://localhost/api/health#x": 400,
    "GET http://localhost#x": 400,
    "GET #x": 400,
    # RFC 9112, 3.2.3 and 3.2.4: these two forms belong to a method each.
    "OPTIONS *": 204,
    "GET *": 400,
    "HEAD *": 400,
    "GET localhost:80": 400,
    "GET api/health": 400,
    "CONNECT localhost:80": 405,
    "CONNECT evil.example:80": 421,
    "CONNECT /api/health": 400,
    "TRACE /api/health": 405,
    "OPTIONS /api/health": 405,
    "NONSENSE /api/health": 400,
    "get /api/health": 400,
}


def test_one_address_has_one_reading(api: Api, live: LiveServer) -> None:
    made = api.publish()
    gate = api.get(f"/api/videos/{made.video_id}/links").json()["hls"].removesuffix("/hls/master.m3u8")
    plain = ["/api/stream/{id}/720p", "/api/stream/{id}/720p?format=mp4&download=1", "{gate}/v/720p/0.m4s"]
    assert [ask(live, path.format(id=made.video_id, gate=gate))[0] for path in plain] == [200] * 3
    for mutation in MUTATIONS:
        status, received = ask(live, mutation.format(id=made.video_id, gate=gate))
        assert status in {400, 404}, (mutation, status)
        assert b"problem+json" in received, mutation


def test_only_known_hosts_are_answered(live: LiveServer) -> None:
    for host, expected in HOSTS.items():
        status, received = ask(live, "/api/health", host)
        assert status == expected, host
        assert (b"unknown_host" in received) == (status == 421), host
        assert (b"bad_request" in received) == (status == 400), host


def test_an_ipv6_address_that_is_listened_on_is_known() -> None:
    client = TestClient(RequestScope(KnownHost(PlainTextResponse("here"), allowed_hosts=["fd00::1"])))
    for host, status in [("[fd00::1]:8420", 200), ("[FD00:0::1]", 200), ("[fd00::2]", 421)]:
        assert client.get("/", headers={"Host": host}).status_code == status, host


def test_a_request_names_its_host_once(live: LiveServer) -> None:
    for version, hosts, status in [
        ("1.1", ["localhost", "localhost"], 400),
        ("1.1", ["localhost", "evil.example"], 400),
        ("1.1", ["evil.example", "localhost"], 400),
        ("1.1", [], 400),
        ("1.0", ["localhost", "localhost"], 400),
        ("1.0", ["localhost"], 200),
        ("1.0", [], 421),
    ]:
        fields = [f"Host: {host}" for host in hosts]
        assert exchange(live, f"GET /api/health HTTP/{version}", *fields)[0] == status, (version, hosts)
        # RFC 9112, 3.2 makes no exception for targets that name a host; HTTP/1.0 has no other way without `Host`.
        named = exchange(live, f"GET http://localhost/api/health HTTP/{version}", *fields)[0]
        assert named == (200 if status == 421 else status), (version, hosts)


def test_a_target_is_an_address_of_this_server(live: LiveServer) -> None:
    for line, expected in TARGETS.items():
        status, received = exchange(live, f"{line} HTTP/1.1", "Host: localhost")
        assert status == expected, line
        assert (b"problem+json" in received) == (status >= 400), line
        assert "x-request-id" in head_of(received), line


def test_the_host_of_the_target_is_the_one_that_counts(api: Api, live: LiveServer) -> None:
    """RFC 9112, 3.2.2: whatever `Host` says is ignored, where requests of other origins are told apart as well."""
    assert exchange(live, "GET http://localhost/api/health HTTP/1.1", "Host: evil.example")[0] == 200
    assert exchange(live, "OPTIONS * HTTP/1.1", "Host: evil.example")[0] == 421
    for origin, status in [("http://evil.example", 401), ("http://localhost", 204)]:
        link = api.post("/api/auth/one-time", next="/").json()["url"]
        cookie = api.client.get(link).headers["set-cookie"].partition(";")[0]
        line = "POST http://localhost/api/auth/logout HTTP/1.1"
        asked = [f"Cookie: {cookie}", f"Origin: {origin}", "Content-Length: 0"]
        assert exchange(live, line, "Host: evil.example", *asked)[0] == status


def test_a_line_goes_on_after_what_was_refused(live: LiveServer) -> None:
    line = HTTPConnection("127.0.0.1", live.port, timeout=10)
    line.connect()
    first = line.sock
    for method, target in [
        ("CONNECT", "localhost:80"),
        ("GET", "http://evil.example/"),
        ("HEAD", "/api/upload"),
        ("HEAD", "/api/events"),
        ("OPTIONS", "*"),
        ("HEAD", "/"),
        ("GET", "/"),
    ]:
        line.putrequest(method, target, skip_host=True)
        line.putheader("Host", "localhost")
        line.endheaders()
        answer = line.getresponse()
        assert (answer.read() == b"") == (method in {"HEAD", "OPTIONS"}), (method, target)
    assert answer.status == 200
    assert line.sock is first
    line.close()


def test_every_error_is_a_problem_document(api: Api) -> None:
    for method, path, status, code in [
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/api/health/", 404, "not_found"),
        ("PUT", "/api/health", 405, "method_not_allowed"),
        ("GET", "/api/jobs?limit=0", 422, "invalid_request"),
        ("GET", "/api/jobs/x", 404, "job_not_found"),
        ("GET", "/openapi.json", 404, "not_found"),
    ]:
        answer = api.client.request(method, path, headers=api.signed_in)
        body = answer.json()
        assert answer.headers["content-type"] == "application/problem+json"
        assert (answer.status_code, body["status"], body["code"]) == (status, status, code)
        assert body["request_id"] == answer.headers["x-request-id"]
        assert body["title"]
        assert body["detail"]


def test_a_bug_is_a_problem_document_too(api: Api, live: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr("sfserver.jobs.reading.JobReader.page", fail)
    status, received = ask(live, "/api/jobs")
    assert status == 500
    assert b"internal_error" in received
    assert b"x-request-id" in received
    assert b"secret" not in received


def test_a_request_id_is_taken_over_if_it_is_harmless(api: Api) -> None:
    assert api.get("/api/health", x_request_id="abc-1").headers["x-request-id"] == "abc-1"
    for bad in ("a b", "x" * 65, "<script>"):
        assert api.get("/api/health", x_request_id=bad).headers["x-request-id"] != bad


def test_other_origins_may_read_but_not_write(api: Api) -> None:
    made = api.publish(visibility="public")
    path = f"/api/stream/{made.video_id}/720p"
    answer = api.client.get(path, headers={"Origin": "http://player.example", "Range": "bytes=0-9"})
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "Content-Range" in answer.headers["access-control-expose-headers"]
    assert "access-control-allow-credentials" not in answer.headers
    asked = {"Origin": "http://player.example", "Access-Control-Request-Method": "GET"}
    preflight = api.client.options(path, headers=asked | {"Access-Control-Request-Headers": "range"})
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-methods"] == "GET, HEAD"
    assert "Range" in preflight.headers["access-control-allow-headers"]
    written = api.client.post("/api/auth/logout", headers={"Origin": "http://player.example"})
    assert "access-control-allow-origin" not in written.headers


def test_everybody_hears_how_the_server_is_and_users_hear_why(api: Api) -> None:
    everybody = api.client.get("/api/health").json()
    assert (everybody["status"], everybody["version"]) == ("degraded", "1.2.3")
    assert set(everybody) == {"status", "version"}
    api.new_video()
    with api.runtime.database.write() as session:
        now = db_now(session)
        session.add(WorkerNode(id="w1", host="h", capabilities=["io"], started_at=now, seen_at=now))
    user = api.get("/api/health").json()
    assert user["status"] == "ok"
    assert (user["database"]["ok"], user["queue"]["ok"], user["storage"]["ok"]) == (True, True, True)
    assert user["workers"][0]["id"] == "w1"
    assert user["queue_depths"] == {"io": 1, "encode": 0, "audio": 0, "insight": 0}
    assert user["oldest_waiting_s"] >= 0


def test_without_store_the_server_is_down(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise StoreUnavailableError("disk is full")

    monkeypatch.setattr(api.runtime.store, "ping", fail)
    answer = api.get("/api/health")
    assert (answer.status_code, answer.json()["status"]) == (503, "down")
    assert answer.json()["storage"] == {"ok": False, "detail": "disk is full"}


def test_without_database_the_server_is_down(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise DatabaseUnavailableError("gone")

    monkeypatch.setattr(api.runtime.database, "read", fail)
    answer = api.client.get("/api/health")
    assert (answer.status_code, answer.json()["status"]) == (503, "down")
    assert api.get("/api/jobs").json()["code"] == "database_unavailable"


@pytest.mark.parametrize("path", ["/", "/watch/01900000-0000-7000-8000-000000000000", "/static/watch.js"])
def test_pages_hold_no_data_and_run_nothing_foreign(api: Api, path: str) -> None:
    answer = api.client.get(path)
    policy = answer.headers["content-security-policy"]
    assert answer.status_code == 200
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "<script>" not in answer.text
    assert "innerHTML" not in answer.text
    assert " style=" not in answer.text


def test_pages_load_what_exists(api: Api) -> None:
    import re

    for page in ("/", "/watch/x", "/static/library.js", "/static/watch.js"):
        for asset in re.findall(r'"(/static/[^"]+)"', api.client.get(page).text):
            assert api.client.get(asset).status_code == 200
    assert api.client.get("/static/endpoints.py").status_code == 404
    assert api.client.get("/static/..%2fendpoints.py").status_code == 404
