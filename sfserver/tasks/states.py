"""How a task moves from state to state, and what a setback costs: one table, one policy, no I/O."""

from dataclasses import dataclass
from enum import StrEnum

from sfserver.wire.jobs import JobStatus, StageState

FIRST_RETRY_S = 1.0
# In these a job still wants its fatal tasks done; others also run on a job that is ready.
ACTIVE_JOBS = (JobStatus.QUEUED, JobStatus.PROCESSING)
# A sweep may have put a task back while its worker slept; as long as nobody claimed it since, it is still its own.
OWNED = (StageState.RUNNING, StageState.WAITING)


class Happening(StrEnum):
    """What can happen to a task."""

    CLAIMED = "claimed"
    SUCCEEDED = "succeeded"
    REFUSED = "refused"  # the same input will fail again
    CRASHED = "crashed"  # the media process died while its worker lived
    VANISHED = "vanished"  # the worker is gone: its lease ran out, or its process died without a word
    OUTAGE = "outage"  # the environment is broken, and the worker has seen it itself
    DOUBT = "doubt"  # the media process says that the environment is broken, and nobody else sees it
    RELEASED = "released"  # the worker stops, and says so: as if it had never been claimed
    ABANDONED = "abandoned"  # the lease ran out for a reason that is nobody's fault: a power cut, a database away
    RETAKEN = "retaken"  # whoever was put back beats again, and nobody was faster
    CANCELLED = "cancelled"
    RENEWED = "renewed"  # somebody asked for it to be done again


_R, _W = StageState.RUNNING, StageState.WAITING
_ENDED = (StageState.DONE, StageState.FAILED, StageState.CANCELLED)

# The state that follows; what is not here cannot happen.
TRANSITIONS: dict[tuple[StageState, Happening], StageState] = {
    (_W, Happening.CLAIMED): _R,
    (_W, Happening.RETAKEN): _R,
    **{(state, Happening.SUCCEEDED): StageState.DONE for state in OWNED},
    **{(state, Happening.REFUSED): StageState.FAILED for state in OWNED},
    **{(state, Happening.CANCELLED): StageState.CANCELLED for state in OWNED},
    **{
        (state, happening): _W
        for state in OWNED
        for happening in (
            *(Happening.CRASHED, Happening.VANISHED, Happening.OUTAGE, Happening.DOUBT),
            *(Happening.RELEASED, Happening.ABANDONED),
        )
    },
    **{(state, Happening.RENEWED): _W for state in (*_ENDED, _W, _R)},
}


@dataclass(frozen=True)
class Counters:
    """What a task has been through. `losses` includes the one that a running attempt is charged with in advance."""

    attempts: int = 0
    crashes: int = 0
    losses: int = 0
    outages: int = 0
    doubts: int = 0


@dataclass(frozen=True)
class RetryPolicy:
    """How much a task may go through before it is given up, and the longest wait between two attempts."""

    max_crashes: int = 3
    max_losses: int = 10
    max_doubts: int = 10
    lonely_after_losses: int = 3
    backoff_max_s: float = 60.0


@dataclass(frozen=True)
class Step:
    """What a happening leads to; `delay_s` is how long a waiting task waits at least, `given_up` says that it fails."""

    state: StageState
    counters: Counters
    delay_s: float = 0.0
    given_up: bool = False


class ImpossibleError(ValueError):
    """A happening that the table does not know in this state."""


def after(state: StageState, happening: Happening, counters: Counters, policy: RetryPolicy) -> Step:
    """Return what follows when `happening` meets a task in `state`. Raises ImpossibleError.

    A claim charges a loss, so that a worker that vanishes has paid; every end that somebody lives to record gives it
    back. An outage is nobody's fault and is tried again without end; a doubt is believed ten times, since media that
    meets its own memory limit says the same.
    """
    following = TRANSITIONS.get((state, happening))
    if following is None:
        raise ImpossibleError(f"{happening} cannot happen to a task that is {state}")
    charged = _charge(state, happening, counters)
    if _is_too_much(happening, charged, policy):
        return Step(StageState.FAILED, charged, given_up=True)
    return Step(following, charged, _delay_s(happening, charged, policy))


def is_lonely(losses: int, policy: RetryPolicy) -> bool:
    """Whether a task with so many past losses runs with nothing beside it on its worker."""
    return losses >= policy.lonely_after_losses


def backoff_s(count: int, longest_s: float) -> float:
    """Return the wait before the next attempt after `count` in a row: 1 s, doubled each time."""
    return min(longest_s, FIRST_RETRY_S * 2.0 ** min(count - 1, 30))


_REFUND = Counters(losses=-1)
# What a happening adds to the counters; what is not here gives the loss of the claim back.
_COSTS = {
    Happening.CLAIMED: Counters(attempts=1, losses=1),
    Happening.VANISHED: Counters(),
    Happening.RETAKEN: Counters(),
    Happening.CANCELLED: Counters(),
    Happening.CRASHED: Counters(crashes=1, losses=-1),
    Happening.OUTAGE: Counters(outages=1, losses=-1),
    Happening.DOUBT: Counters(doubts=1, losses=-1),
    Happening.RELEASED: Counters(attempts=-1, losses=-1),
}


def _charge(state: StageState, happening: Happening, now: Counters) -> Counters:
    if happening is Happening.RENEWED:
        return Counters()
    cost = _COSTS.get(happening, _REFUND)
    if happening is Happening.CANCELLED and state is StageState.RUNNING:
        cost = _REFUND
    return Counters(
        attempts=max(0, now.attempts + cost.attempts),
        crashes=now.crashes + cost.crashes,
        losses=max(0, now.losses + cost.losses),
        outages=now.outages + cost.outages,
        doubts=now.doubts + cost.doubts,
    )


def _is_too_much(happening: Happening, now: Counters, policy: RetryPolicy) -> bool:
    match happening:
        case Happening.CRASHED:
            return now.crashes >= policy.max_crashes
        case Happening.VANISHED:
            return now.losses >= policy.max_losses
        case Happening.DOUBT:
            return now.doubts >= policy.max_doubts
        case _:
            return False


def _delay_s(happening: Happening, now: Counters, policy: RetryPolicy) -> float:
    match happening:
        case Happening.CRASHED:
            return FIRST_RETRY_S
        case Happening.OUTAGE:
            return backoff_s(now.outages, policy.backoff_max_s)
        case Happening.DOUBT:
            return backoff_s(now.doubts, policy.backoff_max_s)
        case _:
            return 0.0
