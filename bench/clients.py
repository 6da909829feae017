"""Small HTTP clients that cost little themselves: plain sockets, one thread, keep-alive."""

import json
import selectors
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_READ_BYTES = 1 << 20
_SCRATCH = bytearray(_READ_BYTES)
_BOUNDARY = "bench-boundary"


@dataclass(frozen=True)
class Site:
    """A path on a server, and the headers that every request for it carries."""

    url: str
    headers: str = ""

    def connect(self) -> socket.socket:
        """Open a connection."""
        parts = urlsplit(self.url)
        return socket.create_connection((parts.hostname or "", parts.port or 80), timeout=30)

    def request(self, start: int, length: int) -> bytes:
        """Return a GET for a range."""
        parts = urlsplit(self.url)
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        fields = f"Host: {parts.netloc}\r\n{self.headers}Range: bytes={start}-{start + length - 1}\r\n"
        return f"GET {path} HTTP/1.1\r\n{fields}\r\n".encode()


@dataclass
class Load:
    """What a run of many connections saw."""

    bytes: int = 0
    wall_s: float = 0.0
    first_byte_s: list[float] = field(default_factory=list)


@dataclass
class _Connection:
    socket: socket.socket
    due: float
    asked: float = 0.0
    head: bytes = b""
    left: int = -1


def fetch_ranges(
    site: Site, next_range: Callable[[], tuple[int, int]], *, connections: int, seconds: float, pause_s: float = 0.0
) -> Load:
    """Ask for ranges over so many connections for a while; each asks again `pause_s` after it asked last.

    Raises AssertionError for any answer but 206.
    """
    load, chooser = Load(), selectors.DefaultSelector()
    began = time.monotonic()
    every = [_Connection(site.connect(), began + pause_s * n / connections) for n in range(connections)]
    for connection in every:
        chooser.register(connection.socket, selectors.EVENT_READ, connection)
    while (now := time.monotonic()) < began + seconds:
        for connection in every:
            if connection.left < 0 and not connection.asked and connection.due <= now:
                connection.asked, connection.due = time.monotonic(), now + pause_s
                connection.socket.sendall(site.request(*next_range()))
        for key, _ in chooser.select(0.002):
            _receive(key.data, load)
    load.wall_s = time.monotonic() - began
    for connection in every:
        connection.socket.close()
    return load


def _receive(connection: _Connection, load: Load) -> None:
    count = connection.socket.recv_into(_SCRATCH)
    assert count, "the server closed the connection"
    if connection.left < 0:
        if not connection.head:
            load.first_byte_s.append(time.monotonic() - connection.asked)
        connection.head += bytes(_SCRATCH[:count])
        head, found, body = connection.head.partition(b"\r\n\r\n")
        if not found:
            return
        assert head.startswith(b"HTTP/1.1 206"), head
        lines = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        connection.left, count = int(lines[b"content-length"]), len(body)
    connection.left -= count
    load.bytes += count
    if connection.left == 0:
        connection.left, connection.head, connection.asked = -1, b"", 0.0


@dataclass(frozen=True)
class Posted:
    """An accepted upload and when (time.monotonic) it began, had sent its last byte and was answered."""

    answer: dict[str, Any]
    began_at: float
    sent_at: float
    answered_at: float


def post_file(url: str, token: str, file: Path) -> Posted:
    """Upload a file by sendfile(2), which costs the client little. Raises AssertionError unless it is accepted."""
    parts = urlsplit(url)
    before = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{file.name}"\r\n\r\n'.encode()
    after = f"\r\n--{_BOUNDARY}--\r\n".encode()
    length = len(before) + file.stat().st_size + len(after)
    head = (
        f"POST /api/upload HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: multipart/form-data; boundary={_BOUNDARY}\r\nContent-Length: {length}\r\n"
        "Connection: close\r\n\r\n"
    ).encode()
    began = time.monotonic()
    with (
        socket.create_connection((parts.hostname or "", parts.port or 80), timeout=120) as line,
        file.open("rb") as body,
    ):
        line.sendall(head + before)
        line.sendfile(body)
        line.sendall(after)
        sent = time.monotonic()
        answer = b""
        while part := line.recv(1 << 16):
            answer += part
    answered = time.monotonic()
    assert answer.startswith(b"HTTP/1.1 201"), answer
    return Posted(json.loads(answer.partition(b"\r\n\r\n")[2]), began, sent, answered)
