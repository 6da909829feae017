"""The media gate asked without a socket: what an answer costs the event loop, as CPU of its thread."""

import asyncio
import time

from starlette.types import ASGIApp, Message, Scope

from sfserver.deps import Runtime
from sfserver.models import Video
from sfserver.playback.admission import Admissions, Watchable
from sfserver.publications.reading import Publication
from sfserver.roots.api import create_app


async def first_byte_cpu_s(runtime: Runtime, published: Publication, path: str, starts: list[int]) -> list[float]:
    """Seek as a player does, to the end from each start on; return the event loop's CPU until the first bytes leave."""
    with runtime.database.read() as session:
        watched = Watchable.of(session.get_one(Video, published.video_id), published)
    base, _ = Admissions(runtime).media_base(watched, None)
    app = create_app(runtime)
    await _seek(app, f"{base}/{path}", 0)
    return [await _seek(app, f"{base}/{path}", start) for start in starts]


async def _seek(app: ASGIApp, path: str, start: int) -> float:
    """Ask from `start` on and go away with the first bytes."""
    scope: Scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"range", f"bytes={start}-".encode())],
        "client": ("127.0.0.1", 1),
        "server": ("localhost", 80),
        "state": {},
    }
    has_enough, statuses, spent_s = asyncio.Event(), list[int](), list[float]()

    async def receive() -> Message:
        await has_enough.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])
        elif not spent_s:
            spent_s.append(time.thread_time() - began)
            has_enough.set()
            await asyncio.sleep(0)

    began = time.thread_time()
    await app(scope, receive, send)
    assert statuses == [206], statuses
    return spent_s[0]
