"""The table of transitions and the retry policy, without a database."""

from collections.abc import Sequence
from dataclasses import astuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfserver.tasks.states import TRANSITIONS, Counters, Happening, ImpossibleError, RetryPolicy, Step, after, backoff_s
from sfserver.wire.jobs import StageState

POLICY = RetryPolicy()
ENDED = {StageState.DONE, StageState.FAILED, StageState.CANCELLED}
BACK = {
    *(Happening.CRASHED, Happening.VANISHED, Happening.OUTAGE, Happening.DOUBT),
    *(Happening.RELEASED, Happening.ABANDONED),
}
LIVES = st.lists(st.sampled_from([h for h in Happening if h is not Happening.RENEWED]), max_size=200)


def live(happenings: Sequence[Happening], state: StageState = StageState.WAITING) -> list[Step]:
    """Let these happen to a new task, as far as they can."""
    steps = [Step(state, Counters())]
    for happening in happenings:
        if (steps[-1].state, happening) in TRANSITIONS:
            steps.append(after(steps[-1].state, happening, steps[-1].counters, POLICY))
    return steps


@pytest.mark.parametrize("state", StageState)
@pytest.mark.parametrize("happening", Happening)
def test_the_table(state: StageState, happening: Happening) -> None:
    expected = {
        Happening.CLAIMED: {StageState.WAITING: StageState.RUNNING},
        Happening.RETAKEN: {StageState.WAITING: StageState.RUNNING},
        Happening.SUCCEEDED: dict.fromkeys((StageState.WAITING, StageState.RUNNING), StageState.DONE),
        Happening.REFUSED: dict.fromkeys((StageState.WAITING, StageState.RUNNING), StageState.FAILED),
        Happening.CANCELLED: dict.fromkeys((StageState.WAITING, StageState.RUNNING), StageState.CANCELLED),
        Happening.RENEWED: dict.fromkeys(StageState, StageState.WAITING),
        **{h: dict.fromkeys((StageState.WAITING, StageState.RUNNING), StageState.WAITING) for h in BACK},
    }[happening]
    if state in expected:
        assert after(state, happening, Counters(1, 0, 1), POLICY).state is expected[state]
    else:
        with pytest.raises(ImpossibleError):
            after(state, happening, Counters(), POLICY)


@pytest.mark.parametrize(
    ("happening", "counted"),
    [
        (Happening.SUCCEEDED, (1, 0, 0, 0, 0)),
        (Happening.REFUSED, (1, 0, 0, 0, 0)),
        (Happening.CRASHED, (1, 1, 0, 0, 0)),
        (Happening.VANISHED, (1, 0, 1, 0, 0)),
        (Happening.OUTAGE, (1, 0, 0, 1, 0)),
        (Happening.DOUBT, (1, 0, 0, 0, 1)),
        (Happening.RELEASED, (0, 0, 0, 0, 0)),
        (Happening.ABANDONED, (1, 0, 0, 0, 0)),
        (Happening.RENEWED, (0, 0, 0, 0, 0)),
    ],
)
def test_what_an_attempt_costs(happening: Happening, counted: tuple[int, ...]) -> None:
    """Attempts, crashes, losses, outages, doubts."""
    steps = live([Happening.CLAIMED, happening])
    assert steps[1].counters == Counters(attempts=1, losses=1), "a claim is charged before the work"
    ended = after(StageState.RUNNING, happening, steps[1].counters, POLICY)
    assert astuple(ended.counters) == counted


@pytest.mark.parametrize(
    ("happening", "times"), [(Happening.CRASHED, 3), (Happening.VANISHED, 10), (Happening.DOUBT, 10)]
)
def test_where_a_task_is_given_up(happening: Happening, times: int) -> None:
    steps = live([Happening.CLAIMED, happening] * times)
    assert [step.given_up for step in steps[2::2]] == [False] * (times - 1) + [True]
    assert steps[-1].state is StageState.FAILED


def test_outages_are_tried_again_without_end_and_wait_longer_each_time() -> None:
    steps = live([Happening.CLAIMED, Happening.OUTAGE] * 500)[2::2]
    assert not any(step.given_up for step in steps)
    assert [step.delay_s for step in steps[:8]] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert {step.delay_s for step in steps[6:]} == {60}


def test_a_crash_waits_a_second_and_a_lost_worker_not_at_all() -> None:
    crashed, lost = live([Happening.CLAIMED, Happening.CRASHED]), live([Happening.CLAIMED, Happening.VANISHED])
    assert (crashed[-1].delay_s, lost[-1].delay_s) == (1, 0)


@pytest.mark.parametrize("count", [1, 2, 31, 32, 5000])
def test_no_wait_is_longer_than_the_longest(count: int) -> None:
    assert 0 < backoff_s(count, 60.0) <= 60.0
    assert backoff_s(count, 0.0) == 0.0


@given(LIVES)
def test_no_counter_is_ever_negative_and_a_claim_costs_no_more_than_a_loss(happenings: list[Happening]) -> None:
    for step in live(happenings):
        assert min(astuple(step.counters)) >= 0
        assert step.counters.losses <= step.counters.attempts + happenings.count(Happening.RELEASED)


@given(LIVES)
def test_only_too_many_crashes_losses_or_doubts_give_a_task_up(happenings: list[Happening]) -> None:
    for step in live(happenings):
        counted = step.counters
        if step.given_up:
            assert counted.crashes == 3 or counted.losses >= 10 or counted.doubts == 10
        else:
            assert counted.crashes < 3
            assert counted.doubts < 10


@given(LIVES)
def test_what_has_ended_stays_ended(happenings: list[Happening]) -> None:
    states = [step.state for step in live(happenings)]
    assert not ENDED & set(states[:-1])


@given(st.lists(st.sampled_from([Happening.OUTAGE, Happening.RELEASED, Happening.ABANDONED]), max_size=100))
def test_what_is_nobodys_fault_gives_nothing_up(happenings: list[Happening]) -> None:
    lived = live([item for happening in happenings for item in (Happening.CLAIMED, happening)])
    assert lived[-1].state is StageState.WAITING
    assert (lived[-1].counters.crashes, lived[-1].counters.losses, lived[-1].counters.doubts) == (0, 0, 0)
