"""Uploads over a real connection: refused early, cut off, and with constant memory."""

import json
import socket
import time
from pathlib import Path

import pytest

from tests.api.conftest import MKV, Api, LiveServer
from tests.api.test_uploads import NOTHING, leftovers

PART = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.mkv"\r\n\r\n'
END = b"\r\n--b--\r\n"
MIB = 1 << 20


def begin(live: LiveServer, *headers: str, token: str | None = None) -> socket.socket:
    """Return a connection on which an upload's head is sent."""
    line = live.connect()
    lines = ["POST /api/upload HTTP/1.1", "Host: localhost", f"Authorization: Bearer {token or live.token}"]
    lines += ["Content-Type: multipart/form-data; boundary=b", *headers, "", ""]
    line.sendall("\r\n".join(lines).encode())
    return line


def send_until_answered(line: socket.socket, data: bytes, most: int) -> int:
    """Send chunks of `data` until the server answers or closes; return the bytes sent."""
    line.settimeout(0.001)
    sent = 0
    while sent < most:
        try:
            line.settimeout(10)
            line.sendall(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            sent += len(data)
            line.settimeout(0.001)
            if line.recv(1, socket.MSG_PEEK):
                break
        except TimeoutError:
            continue
        except OSError:
            break
    line.settimeout(10)
    return sent


def read_answer(line: socket.socket) -> tuple[int, dict[str, object]]:
    """Read status and JSON body to the end of the connection or of the body."""
    received = b""
    while True:
        head, separator, body = received.partition(b"\r\n\r\n")
        length = next((int(row[16:]) for row in head.lower().split(b"\r\n") if row.startswith(b"content-length")), 0)
        if separator and len(body) >= length:
            return int(head.split(b" ")[1]), json.loads(body)
        data = line.recv(65536)
        assert data, f"closed after {received!r}"
        received += data


def wait_for(condition: object, seconds: float = 10.0) -> bool:
    assert callable(condition)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.02)
    return False


def test_a_text_is_refused_in_its_first_mebibytes(api: Api, live: LiveServer) -> None:
    with begin(live, "Transfer-Encoding: chunked") as line:
        line.sendall(f"{len(PART):x}\r\n".encode() + PART + b"\r\n")
        sent = send_until_answered(line, b"no video\n" * 8000, most=64 * MIB)
        assert read_answer(line)[1]["code"] == "unsupported_media"
    assert sent < 16 * MIB
    assert wait_for(lambda: leftovers(api) == NOTHING)


def test_too_much_is_refused_while_it_streams(api: Api, live: LiveServer) -> None:
    api.runtime.settings.limits.max_upload_bytes = 3 * MIB
    with begin(live, "Transfer-Encoding: chunked") as line:
        line.sendall(f"{len(PART) + len(MKV):x}\r\n".encode() + PART + MKV + b"\r\n")
        sent = send_until_answered(line, bytes(100_000), most=64 * MIB)
        status, problem = read_answer(line)
    assert (status, problem["code"]) == (413, "upload_too_large")
    assert str(3 * MIB) in str(problem["detail"])
    assert sent < 20 * MIB
    assert wait_for(lambda: leftovers(api) == NOTHING)


@pytest.mark.parametrize(("token", "limit", "status"), [("sf_wrong", 1 << 40, 401), (None, MIB, 413)])
def test_a_refusal_does_not_wait_for_the_body(
    api: Api, live: LiveServer, token: str | None, limit: int, status: int
) -> None:
    api.runtime.settings.limits.max_upload_bytes = limit
    with begin(live, f"Content-Length: {100 * MIB}", token=token) as line:
        assert read_answer(line)[0] == status
        assert wait_for(lambda: line.recv(1) == b"")
    assert leftovers(api) == NOTHING


def test_a_client_that_waits_for_100_is_refused_at_once(api: Api, live: LiveServer) -> None:
    with begin(live, f"Content-Length: {1 << 40}", "Expect: 100-continue") as line:
        assert read_answer(line)[0] == 413


@pytest.mark.parametrize("sent", [0, 10, 3 * MIB])
def test_a_connection_lost_leaves_nothing(api: Api, live: LiveServer, sent: int) -> None:
    with begin(live, f"Content-Length: {10 * MIB}") as line:
        line.sendall(PART + (MKV + bytes(3 * MIB))[:sent])
        assert wait_for(lambda: leftovers(api)[0] == (1, 0, 0))
    assert wait_for(lambda: leftovers(api) == NOTHING)


def test_memory_does_not_grow_with_the_upload(api: Api, live: LiveServer) -> None:
    total, block = 192, bytes(MIB)
    Path("/proc/self/clear_refs").write_text("5")
    before = memory("VmRSS")
    with begin(live, f"Content-Length: {len(PART) + len(MKV) + total * MIB + len(END)}") as line:
        line.sendall(PART + MKV)
        for _ in range(total):
            line.sendall(block)
        line.sendall(END)
        line.settimeout(60)
        status, accepted = read_answer(line)
    assert status == 201
    assert memory("VmHWM") - before < 40 * MIB
    assert api.get(f"/api/videos/{accepted['video_id']}").json()["source"]["size_bytes"] == total * MIB + len(MKV)


def memory(name: str) -> int:
    """Return a line of this process's status in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))
