"""What a client that has gone asked for is not read to its end (S3); what goes meanwhile ends the answer."""

import os
import time

import pytest
import structlog

from sfserver.infra.storage.directory import DirectoryReader
from sfserver.models import Video
from tests.api.conftest import Api, LiveServer

SIZE = 256 << 20


def test_an_object_that_goes_while_it_is_sent_cuts_the_answer_and_is_no_bug(api: Api, live: LiveServer) -> None:
    made = api.new_video()
    with api.runtime.database.write() as session:
        video = session.get_one(Video, made.video_id)
        path = api.runtime.settings.data_dir / "objects" / video.source_key
        os.truncate(path, SIZE)
        video.source_size_bytes = SIZE
    with structlog.testing.capture_logs() as told, live.connect() as line:
        asked = (f"GET /api/stream/{made.video_id}/source HTTP/1.1", "Host: localhost")
        line.sendall("\r\n".join([*asked, f"Authorization: Bearer {live.token}", "", ""]).encode())
        received = len(line.recv(1 << 20))
        os.truncate(path, 1 << 20)
        while data := line.recv(1 << 20):
            received += len(data)
    assert received < SIZE
    assert "media.cut" in [entry["event"] for entry in told]
    assert "http.bug" not in [entry["event"] for entry in told]


def test_a_dropped_connection_ends_the_reading(api: Api, live: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    made = api.new_video()
    with api.runtime.database.write() as session:
        video = session.get_one(Video, made.video_id)
        os.truncate(api.runtime.settings.data_dir / "objects" / video.source_key, SIZE)
        video.source_size_bytes = SIZE
    read = []
    inner = DirectoryReader.read

    def counting(self: DirectoryReader, offset: int, length: int) -> bytes:
        read.append(length)
        return inner(self, offset, length)

    monkeypatch.setattr(DirectoryReader, "read", counting)
    with live.connect() as line:
        asked = (f"GET /api/stream/{made.video_id}/source HTTP/1.1", "Host: localhost")
        line.sendall("\r\n".join([*asked, f"Authorization: Bearer {live.token}", "", ""]).encode())
        received = 0
        while received < 4 << 20:
            received += len(line.recv(1 << 20))
    deadline, seen = time.monotonic() + 10, -1
    while seen != sum(read) and time.monotonic() < deadline:
        seen = sum(read)
        time.sleep(0.3)
    assert 4 << 20 <= sum(read) < SIZE // 4, "it was read on for nobody"
