"""A video that is watched by every player at once while it is being encoded."""

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psutil

from tests.players.library import Library, Video
from tests.players.matrix import LIVE, PLAYERS
from tests.players.players import AnyPlayer
from tests.players.signals import Signal


@dataclass(frozen=True)
class Watched:
    """What each player made of it, by name, and how long after they began the video was ready."""

    video: Video
    seen: Mapping[str, Future[Any]]
    ready_after_s: float


@contextmanager
def encoding_on_one_core(server_pid: int) -> Iterator[None]:
    """Have media processes share a core, so that encoding takes a while however many there are."""
    fork_server, *_ = psutil.Process(server_pid).children()
    allowed = fork_server.cpu_affinity()
    fork_server.cpu_affinity(allowed[-1:])
    try:
        yield
    finally:
        fork_server.cpu_affinity(allowed)


class LiveShow:
    """Shows each clip once, to all who can watch live."""

    def __init__(self, library: Library, players: Mapping[str, AnyPlayer]) -> None:
        self._library = library
        self._players = players
        self._shown: dict[Signal, Watched] = {}

    def watch(self, signal: Signal) -> Watched:
        """Return what the players saw; the first call takes as long as the video and its encoding."""
        if signal not in self._shown:
            self._shown[signal] = self._show(signal)
        return self._shown[signal]

    def _show(self, signal: Signal) -> Watched:
        audience = [player.name for player in PLAYERS if any(player.cell(each).is_tested for each in LIVE)]
        for name in audience:
            self._players[name].get_ready()
        with encoding_on_one_core(self._library.server.pid):
            return self._watch(signal, audience)

    def _watch(self, signal: Signal, audience: list[str]) -> Watched:
        video, job_id = self._library.live(signal)
        began = time.monotonic()
        with ThreadPoolExecutor(len(audience)) as seats:
            seen = {name: seats.submit(self._players[name].watch_live, video) for name in audience}
            job = self._library.server.wait(job_id, timeout_s=300)
            ready_after_s = time.monotonic() - began
        assert job["status"] == "ready", job
        return Watched(video, seen, ready_after_s)
