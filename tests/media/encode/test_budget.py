from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfserver.media.contract import StorageBudget
from sfserver.media.encode.budget import WORST_CRF, Spent, chunk_crf, describe_spending, expect_bytes
from sfserver.media.encode.ladder import BASE_CRF

MB = 1_000_000
LONG = StorageBudget(allowed_bytes=300 * MB, source_bytes=100 * MB, chunks=100)
SPENT = st.builds(Spent, st.integers(0, 10**9), st.integers(0, 10**7), st.sampled_from([23.5, 25.0, 27.0]))


def test_the_first_chunk_gets_the_best_quality() -> None:
    assert chunk_crf(LONG, []) == BASE_CRF


def test_what_the_plan_expects_decides_before_anything_is_recorded() -> None:
    crfs = [chunk_crf(replace(LONG, expected_bytes=times * 100 * MB), []) for times in (0, 2, 3, 4, 9)]
    assert crfs == [23.5, 23.5, 23.5, 26.0, 27.0]
    assert chunk_crf(replace(LONG, expected_bytes=900 * MB), [Spent(15 * MB, 10 * MB)]) == BASE_CRF


def test_an_expectation_counts_for_more_the_fewer_chunks_could_correct_it() -> None:
    few, many = (expect_bytes(replace(LONG, chunks=chunks), 300 * MB).expected_bytes for chunks in (1, 100))
    assert 300 * MB < many < 315 * MB < 390 * MB < few
    assert expect_bytes(replace(LONG, expected_bytes=800 * MB), 300 * MB).expected_bytes == 800 * MB


def test_a_source_like_ours_changes_nothing() -> None:
    assert chunk_crf(LONG, [Spent(2 * MB, MB)]) == BASE_CRF
    assert chunk_crf(LONG, [Spent(80 * MB, 30 * MB)]) == BASE_CRF


def test_the_more_the_recorded_chunks_are_over_the_higher_the_crf() -> None:
    crfs = [chunk_crf(LONG, [Spent(30 * MB * tenths // 10, 30 * MB)]) for tenths in (28, 31, 34, 37, 40, 60)]
    assert all(lower <= higher for lower, higher in pairwise(crfs))
    assert (crfs[0], crfs[-1]) == (BASE_CRF, WORST_CRF)
    assert len(set(crfs)) >= 4


def test_few_chunks_foretell_less_than_many() -> None:
    one, many = chunk_crf(LONG, [Spent(3 * MB, MB)]), chunk_crf(LONG, [Spent(60 * MB, 20 * MB)])
    assert BASE_CRF < many < one < WORST_CRF


@pytest.mark.parametrize("at_base", [2.0, 3.0, 3.5, 4.0, 4.2])
@pytest.mark.parametrize("unrecorded", [0, 1, 7])
def test_following_it_keeps_the_budget_wherever_that_can_be(at_base: float, unrecorded: int) -> None:
    made: list[Spent] = []
    for _ in range(100):
        crf = chunk_crf(LONG, made[: max(0, len(made) - unrecorded)])
        made.append(Spent(int(at_base * MB * 2 ** ((BASE_CRF - crf) / 6)), MB, crf))
    assert sum(spent.made_bytes for spent in made) <= LONG.allowed_bytes
    # And what was left over is little: the picture gets what the budget has.
    assert at_base <= 3.0 or sum(spent.made_bytes for spent in made) >= 0.85 * LONG.allowed_bytes


def test_chunks_of_one_crf_may_be_given_as_one_sum() -> None:
    apart = [Spent(4 * MB, MB), Spent(2 * MB, MB), Spent(5 * MB, 2 * MB, 25)]
    assert chunk_crf(LONG, apart) == chunk_crf(LONG, [Spent(6 * MB, 2 * MB), Spent(5 * MB, 2 * MB, 25)])


def test_the_allowance_spares_short_files() -> None:
    short = StorageBudget(allowed_bytes=3 * 100_000 + 262_144, source_bytes=100_000, chunks=3)
    assert chunk_crf(short, [Spent(20_000 * 4, 20_000)]) == BASE_CRF
    assert chunk_crf(LONG, [Spent(20_000 * 4, 20_000)]) == WORST_CRF


def test_what_is_spent_already_is_saved_by_the_rest() -> None:
    assert chunk_crf(LONG, [Spent(200 * MB, 50 * MB)]) == WORST_CRF
    assert chunk_crf(LONG, [Spent(301 * MB, 100 * MB)]) == WORST_CRF


def test_no_budget_no_limit() -> None:
    assert chunk_crf(StorageBudget(), [Spent(MB, 1)]) == BASE_CRF


@given(
    st.builds(StorageBudget, st.integers(0, 10**9), st.integers(0, 10**9), st.integers(1, 5000)),
    st.lists(SPENT, max_size=6),
)
def test_always_one_of_eight_whatever_the_order(budget: StorageBudget, recorded: list[Spent]) -> None:
    crf = chunk_crf(budget, recorded)
    assert crf in {23.5 + step / 2 for step in range(8)}
    assert crf == chunk_crf(budget, recorded[::-1])


def test_what_was_spent_is_told_in_words() -> None:
    within = describe_spending(LONG, [Spent(50 * MB, 20 * MB), Spent(40 * MB, 20 * MB, 25.5)])
    assert within == "90.00 MB of the 300.00 MB that all renditions may take; CRF 23.5 to 25.5"
    over = describe_spending(LONG, [Spent(320 * MB, 100 * MB, 27.0)])
    assert over == "320.00 MB of the 300.00 MB that all renditions may take: over it, the picture wins; CRF 27"
