"""What nobody wants goes out of the store when it is due, and not before."""

from datetime import timedelta

import pytest
from sqlalchemy.orm import Session

from sfserver.errors import StoreUnavailableError
from sfserver.infra.queue.contract import Queue
from sfserver.models import Garbage, TaskPart
from sfserver.tasks import garbage, repository
from tests.tasks.harness import DAY_S, Harness


def discard(harness: Harness, keys: list[str], **how: object) -> None:
    with harness.runtime.database.write() as session:
        garbage.discard(session, keys, **how)  # type: ignore[arg-type]


def collect(harness: Harness) -> int:
    return garbage.collect(harness.runtime.database, harness.runtime.store)


@pytest.mark.parametrize(
    ("count", "rows"), [(0, []), (1, [1]), (1000, [1000]), (1001, [1000, 1]), (2500, [1000, 1000, 500])]
)
def test_a_row_names_at_most_a_thousand_keys(harness: Harness, count: int, rows: list[int]) -> None:
    discard(harness, [f"a/{number}" for number in range(count)])
    assert sorted((len(row.keys) for row in harness.rows(Garbage)), reverse=True) == rows
    assert sum(rows) == collect(harness)
    assert harness.rows(Garbage) == []


def test_nothing_goes_before_it_is_due(harness: Harness) -> None:
    harness.put("a/later")
    harness.put("a/now")
    discard(harness, ["a/later"], after=timedelta(hours=1))
    discard(harness, ["a/now"])
    assert collect(harness) == 1
    assert harness.objects() == {"a/later"}
    harness.shift_clock(3590)
    assert collect(harness) == 0
    harness.shift_clock(20)
    assert collect(harness) == 1
    assert harness.objects() == set()


def test_what_a_sleeper_stores_after_the_first_time_goes_the_second(harness: Harness) -> None:
    discard(harness, ["a/key"], zombies=True)
    assert collect(harness) == 1
    harness.put("a/key")
    harness.shift_clock(DAY_S - 60)
    assert collect(harness) == 0
    harness.shift_clock(120)
    assert collect(harness) == 1
    assert harness.objects() == set()


def discard_and_break(harness: Harness) -> None:
    with harness.runtime.database.write() as session:
        garbage.discard(session, ["a/key"])
        session.flush()
        raise ZeroDivisionError


def test_a_transaction_that_is_rolled_back_discards_nothing(harness: Harness) -> None:
    with pytest.raises(ZeroDivisionError):
        discard_and_break(harness)
    assert harness.rows(Garbage) == []


@pytest.mark.parametrize("fails_at", [0, 1, 2, 5])
def test_a_store_that_fails_keeps_what_is_left_for_the_next_time(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    for part in ("a", "b"):
        for number in range(3):
            harness.put(f"{part}/{number}")
        discard(harness, [f"{part}/{number}" for number in range(3)])
    delete = harness.store.delete
    seen: list[str] = []

    def failing(key: str) -> None:
        if len(seen) == fails_at:
            raise StoreUnavailableError
        seen.append(key)
        delete(key)

    with monkeypatch.context() as patched:
        patched.setattr(harness.store, "delete", failing)
        assert collect(harness) == fails_at // 3 * 3
    assert len(harness.rows(Garbage)) == 2 - fails_at // 3
    assert len(harness.objects()) == 6 - fails_at
    collect(harness)
    assert (harness.objects(), harness.rows(Garbage)) == (set(), [])


def test_a_reprieve_calls_the_deletion_off(harness: Harness) -> None:
    harness.put("a/key")
    discard(harness, ["a/key"], after=garbage.REPRIEVE, reprieve_job_id="job")
    with harness.runtime.database.write() as session:
        assert not garbage.reprieve(session, "another job")
        assert garbage.reprieve(session, "job")
        assert not garbage.reprieve(session, "job")
    harness.shift_clock(2 * DAY_S)
    assert collect(harness) == 0
    assert harness.objects() == {"a/key"}


def test_a_deletion_that_has_begun_cannot_be_called_off(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """All rows of a job, for half of what it recorded is no use; not even those whose turn comes next time."""
    keys = [f"a/{number}" for number in range(1500)]
    for key in keys[:1] + keys[-1:]:
        harness.put(key)
    discard(harness, keys, after=garbage.REPRIEVE, reprieve_job_id="job")
    harness.shift_clock(DAY_S + 60)

    def failing(key: str) -> None:
        raise StoreUnavailableError(key)

    with monkeypatch.context() as patched:
        patched.setattr(harness.store, "delete", failing)
        assert collect(harness) == 0
    with harness.runtime.database.write() as session:
        assert not garbage.reprieve(session, "job")
    assert collect(harness) == 1500
    assert harness.objects() == set()


def test_a_reprieve_between_the_look_and_the_deletion_is_heard(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.put("a/key")
    discard(harness, ["a/key"], after=garbage.REPRIEVE, reprieve_job_id="job")
    harness.shift_clock(DAY_S + 60)
    due = repository.due_garbage

    def look(session: Session, limit: int) -> object:
        rows = due(session, limit)
        with harness.runtime.database.write() as writing:
            assert garbage.reprieve(writing, "job")
        return rows

    monkeypatch.setattr(repository, "due_garbage", look)
    assert collect(harness) == 0
    assert harness.objects() == {"a/key"}


def test_one_sweep_collects_some_and_the_next_ones_the_rest(harness: Harness) -> None:
    for number in range(120):
        discard(harness, [f"a/{number}"])
    assert [collect(harness) for _ in range(4)] == [50, 50, 20, 0]


def test_parts_that_any_kind_of_stage_recorded_go_with_its_job(harness: Harness) -> None:
    job_id = harness.probed(chunks=2)
    claim, key = harness.take(Queue.ENCODE), "chunks/a/encode-0/1/part.0"
    harness.put(key)
    with harness.runtime.database.write() as session:
        session.add(TaskPart(task_id=claim.task_id, index=0, key=key, result={}))
    harness.cancel(job_id)
    assert key in harness.garbage()
    harness.sweep(after_s=DAY_S)
    assert key not in harness.objects()
