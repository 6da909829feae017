"""What an attempt is given, out of the store and the database."""

from pathlib import Path

import pytest

from sfserver.errors import SourceMissingError
from sfserver.infra.queue.contract import Queue
from sfserver.tasks.inputs import StoredInputs
from sfserver.tasks.stage import Claim
from tests.tasks.harness import Harness


def inputs(harness: Harness, claim: Claim, folder: Path) -> StoredInputs:
    return StoredInputs(harness.runtime, claim, folder, lambda _count: None)


def test_an_object_is_fetched_and_counted_once(
    harness: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.new_job()
    given, fetch, fetched = inputs(harness, harness.take(Queue.IO), tmp_path), harness.store.fetch, []

    def counted(key: str, *how: object) -> Path:
        fetched.append(key)
        return fetch(key, *how)  # type: ignore[arg-type]

    monkeypatch.setattr(harness.store, "fetch", counted)
    assert given.source() == given.source() == given.fetch(given.claim.source_key)
    assert (fetched, given.fetched_bytes) == ([given.claim.source_key], 10)
    assert given.readable() == [given.source()]


def test_only_what_is_recorded_is_given(harness: Harness, tmp_path: Path) -> None:
    harness.probed(chunks=3, parts=2)
    first, second, _running = harness.take(), harness.take(), harness.take()
    harness.done(second)
    harness.done(first)
    given = inputs(harness, first, tmp_path)
    found = given.outputs("encode")
    stage = harness.runtime.stages["encode"]
    assert [output.index for output in found] == [0, 1]
    assert [list(output.keys.values()) for output in found] == [stage.keys(first), stage.keys(second)]
    assert given.keys("encode") == [*stage.keys(first), *stage.keys(second)]
    assert given.parts("audio") == []
    harness.part(harness.take(Queue.AUDIO), 0)
    assert [part.index for part in given.parts("audio")] == [0]


def test_many_files_are_given_by_their_folder(harness: Harness, tmp_path: Path) -> None:
    harness.new_job()
    given = inputs(harness, harness.take(Queue.IO), tmp_path)
    for number in range(70):
        harness.put(f"chunks/job/encode-{number}/1/file")
        given.fetch(f"chunks/job/encode-{number}/1/file")
    root = harness.runtime.settings.data_dir / "objects" / "chunks" / "job"
    assert given.readable() == [root]


@pytest.mark.parametrize("which", ["source", "part"])
def test_what_the_store_has_lost_is_named(harness: Harness, tmp_path: Path, which: str) -> None:
    harness.new_job()
    given = inputs(harness, harness.take(Queue.IO), tmp_path)
    key = given.claim.source_key if which == "source" else "chunks/job/encode-0/1/file"
    harness.store.delete(key)
    with pytest.raises(SourceMissingError) as refusal:
        given.fetch(key)
    assert ("reprocess" in (refusal.value.hint or "")) is (which == "part")
