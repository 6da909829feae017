"""Requests as they stand on the line, for what no client library would send, and answers taken apart."""

from tests.api.conftest import LiveServer


def ask(live: LiveServer, target: str, host: str = "localhost") -> tuple[int, bytes]:
    """GET a target as the local user; return status and everything received."""
    return exchange(live, f"GET {target} HTTP/1.1", f"Host: {host}", f"Authorization: Bearer {live.token}")


def exchange(live: LiveServer, *lines: str) -> tuple[int, bytes]:
    """Send the lines of a request without a body; return status and everything received until the line closes."""
    with live.connect() as line:
        line.sendall("\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1"))
        received = b"".join(iter(lambda: line.recv(65536), b""))
    return int(received.split(b" ", 2)[1]), received


def head_of(received: bytes) -> dict[str, str]:
    """Return an answer's header fields by lower-case name."""
    lines = received.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]
    return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}


def body_of(received: bytes) -> bytes:
    """Return what follows an answer's header fields."""
    return received.partition(b"\r\n\r\n")[2]
