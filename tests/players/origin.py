"""A loopback origin of its own: it serves the page and the players' scripts, and hands exercises to the page."""

import itertools
import json
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

PAGE = Path(__file__).with_name("page")
_TYPES = {".html": "text/html", ".js": "text/javascript"}
_POLL_S = 1.0
Report = dict[str, Any]


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Keep quiet about a browser that was killed while it asked."""


class Origin:
    """Serve the page to one browser; `ask` returns what the page will have seen."""

    def __init__(self, scripts: Path | None = None) -> None:
        self._folders = {"page": PAGE} | ({"scripts": scripts} if scripts else {})
        self._numbers = itertools.count(1)
        self._asked: queue.Queue[bytes] = queue.Queue()
        self._answers: dict[int, Future[Report]] = {}
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self.url = f"http://127.0.0.1:{self._server.server_port}/page/index.html"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join(timeout=10)
        self._server.server_close()

    def ask(self, exercise: str, player: str, task: dict[str, Any]) -> Future[Report]:
        """Have the page do one more exercise beside those it is at."""
        number = next(self._numbers)
        self._answers[number] = answer = Future[Report]()
        asked = {"id": number, "exercise": exercise, "player": player, "task": task}
        self._asked.put(json.dumps(asked).encode())
        return answer

    def next_task(self) -> bytes | None:
        with suppress(queue.Empty):
            return self._asked.get(timeout=_POLL_S)
        return None

    def report(self, outcome: Report) -> None:
        answer = self._answers.pop(outcome["id"])
        if "error" in outcome:
            answer.set_exception(AssertionError(outcome["error"]))
        else:
            answer.set_result(outcome["seen"])

    def find(self, path: str) -> Path | None:
        """Return the file behind a path of the page's or the scripts' folder."""
        folder, _, name = path.strip("/").partition("/")
        root = self._folders.get(folder)
        found = (root / name).resolve() if root else None
        return found if root and found and found.is_file() and found.is_relative_to(root.resolve()) else None


def _handler(origin: Origin) -> Callable[..., BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/next":
                task = origin.next_task()
                return self._answer(200 if task else 204, "application/json", task or b"")
            file = origin.find(self.path)
            if file is None:
                return self._answer(404, "text/plain", b"")
            return self._answer(200, _TYPES.get(file.suffix, "text/plain"), file.read_bytes())

        def do_POST(self) -> None:
            origin.report(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self._answer(204, "text/plain", b"")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Keep quiet."""

        def _answer(self, status: int, media_type: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", media_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler
