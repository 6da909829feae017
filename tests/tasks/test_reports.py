"""What a running stage reports: parts are kept, progress may be lost."""

from pathlib import Path
from typing import Any

import pytest

from sfserver.errors import DatabaseUnavailableError
from sfserver.infra.queue.contract import Queue
from sfserver.media.sandbox.parent import ChildCrashed
from sfserver.tasks import record
from sfserver.tasks.reports import Reports
from sfserver.tasks.stage import Claim
from tests.tasks import made
from tests.tasks.harness import Harness
from tests.tasks.stub_sandbox import write


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr("sfserver.tasks.reports.time.monotonic", lambda: now[0])
    return now


PARTS = [1, 2, 3]


def listener(harness: Harness, claim: Claim, folder: Path) -> Reports:
    return Reports(harness.runtime, harness.runtime.stages[claim.kind], claim, folder, lambda _count: None)


def part(number: int, **facts: Any) -> dict[str, Any]:
    return {"part": {**made.sound_part(number, PARTS).__dict__, **facts}, "index": number}


def test_a_part_is_stored_and_recorded_at_once(harness: Harness, tmp_path: Path) -> None:
    harness.probed(chunks=3, parts=3)
    claim = harness.take(Queue.AUDIO)
    taken = listener(harness, claim, tmp_path)
    for number in range(2):
        write(tmp_path / f"audio.{number}.m4s")
        taken.take(part(number))
        assert [kept.index for kept in harness.parts(claim)] == list(range(number + 1))
    assert {kept.key for kept in harness.parts(claim)} <= harness.objects()


@pytest.mark.parametrize("name", ["audio.9.m4s", "../audio.0.m4s", "index.npy"])
def test_a_part_that_nobody_announced_costs_the_attempt(harness: Harness, tmp_path: Path, name: str) -> None:
    harness.probed(chunks=1)
    claim = harness.take(Queue.AUDIO)
    objects = harness.objects()
    with pytest.raises(ChildCrashed):
        listener(harness, claim, tmp_path).take(part(0, file=name))
    assert (harness.parts(claim), harness.objects()) == ([], objects)


def test_an_outage_of_the_database_while_a_part_is_recorded_is_told(
    harness: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.probed(chunks=1)
    claim = harness.take(Queue.AUDIO)
    write(tmp_path / "audio.0.m4s")

    def away(*_of: object) -> bool:
        raise DatabaseUnavailableError

    monkeypatch.setattr(record, "record_part", away)
    with pytest.raises(DatabaseUnavailableError):
        listener(harness, claim, tmp_path).take(part(0))


def test_progress_is_written_once_a_second(harness: Harness, tmp_path: Path, clock: list[float]) -> None:
    harness.probed(chunks=1)
    claim = harness.take()
    taken = listener(harness, claim, tmp_path)
    written: list[float] = []
    for number in range(40):
        clock[0] += 0.1
        taken.take({"frames": {"360p": number}})
        written.append(harness.task(claim).progress.get("progress", 0.0))
    assert len(set(written)) in {4, 5}
    assert written == sorted(written)


def test_speeds_are_those_since_the_last_time(harness: Harness, tmp_path: Path, clock: list[float]) -> None:
    harness.probed(chunks=1)
    claim = harness.take()
    taken = listener(harness, claim, tmp_path)
    for frames in (10, 30):
        clock[0] += 2.0
        taken.take({"frames": {"360p": frames}})
    assert harness.task(claim).progress == {"progress": 0.5, "frames": {"360p": 30}, "fps": {"360p": 10.0}}


def test_progress_that_cannot_be_written_ends_nothing(
    harness: Harness, tmp_path: Path, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.probed(chunks=1)
    claim = harness.take()
    real, left = record.record_progress, [2]

    def failing(*of: Any) -> None:
        if left[0]:
            left[0] -= 1
            raise DatabaseUnavailableError
        real(*of)

    monkeypatch.setattr(record, "record_progress", failing)
    taken = listener(harness, claim, tmp_path)
    for frames in (10, 20, 30):
        clock[0] += 2.0
        taken.take({"frames": {"360p": frames}})
    assert harness.task(claim).progress["frames"] == {"360p": 30}


def test_every_report_is_progress_to_the_heartbeat(harness: Harness, tmp_path: Path) -> None:
    harness.probed(chunks=1)
    claim = harness.take()
    heard: list[int] = []
    taken = Reports(harness.runtime, harness.runtime.stages["encode"], claim, tmp_path, heard.append)
    for _ in range(3):
        taken.take({"frames": {"360p": 1}})
    assert heard == [0, 0, 0]
