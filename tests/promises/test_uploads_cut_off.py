"""D6, as far as one POST goes: a server killed while it receives keeps what it acknowledged and nothing else."""

import hashlib
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.integration.remains import assert_clean
from tests.integration.server import EmbeddedServer
from tests.promises.ledger import Proof, sizes
from tests.promises.reaper import wait_until

pytestmark = pytest.mark.promise("D6")
BOUNDARY = "kill"
PADDING_BYTES = 6 << 20
GONE_S = 30.0


def body(data: bytes, pause_s: float) -> Iterator[bytes]:
    """Yield a form with one file, in pieces of 256 KiB with a pause before each."""
    yield f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n'.encode()
    for start in range(0, len(data), 1 << 18):
        time.sleep(pause_s)
        yield data[start : start + (1 << 18)]
    yield f"\r\n--{BOUNDARY}--\r\n".encode()


def post(url: str, token: str, data: bytes, pause_s: float) -> str | None:
    """Return the id of the video that was acknowledged, or None."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    try:
        answer = httpx.post(url + "/api/upload", content=body(data, pause_s), headers=headers, timeout=30)
    except httpx.TransportError:
        return None
    assert answer.status_code == 201, answer.text
    return str(answer.json()["video_id"])


def listed(server: EmbeddedServer) -> set[str]:
    answer = server.http.get("/api/videos", params={"limit": 100})
    assert answer.status_code == 200, answer.text
    return {str(video["id"]) for video in answer.json()["items"]}


def sources(server: EmbeddedServer) -> set[str]:
    root = server.data_dir / "objects" / "source"
    return {path.relative_to(root).parts[0] for path in root.rglob("*") if path.is_file()}


@sizes(2, 250)
def test_a_kill_keeps_what_was_acknowledged_and_nothing_else(
    proof: Proof, tmp_path: Path, tiny_clip: Path, size: int
) -> None:
    padding = proof.random.randbytes(PADDING_BYTES)
    data = tiny_clip.read_bytes() + (8 + len(padding)).to_bytes(4, "big") + b"free" + padding
    server = EmbeddedServer(tmp_path / "data").start()
    try:
        for number in range(size):
            with proof.cell(f"kill {number}"):
                acknowledged = kill_while_receiving(server, proof, data)
                server.start()
                check_what_is_left(server, acknowledged, data)
    finally:
        server.close()


def kill_while_receiving(server: EmbeddedServer, proof: Proof, data: bytes) -> set[str]:
    """Send four files at different speeds, kill the server somewhere in the middle; return the videos it took."""
    with ThreadPoolExecutor(4) as pool:
        sent: list[Future[str | None]] = [
            pool.submit(post, server.url, server.token, data, pause_s) for pause_s in (0.0, 0.01, 0.03, 0.2)
        ]
        time.sleep(proof.random.uniform(0.02, 1.2))
        server.kill()
        return {video for one in sent if (video := one.result()) is not None}


def check_what_is_left(server: EmbeddedServer, acknowledged: set[str], data: bytes) -> None:
    """An upload whose answer was cut off may be there whole; a part of one never is. Then all are removed, soon."""
    present = listed(server)
    assert acknowledged <= present
    assert sources(server) == present
    for video in present:
        source = server.http.get(f"/api/stream/{video}/source").content
        assert hashlib.sha256(source).digest() == hashlib.sha256(data).digest()
    for video in present:
        assert server.http.delete(f"/api/videos/{video}", params={"purge": "1"}).status_code == 204
    assert_clean(server.data_dir)
    wait_until(lambda: sources(server) == set(), GONE_S)
