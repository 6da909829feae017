from itertools import pairwise, product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from transformer.ctc import collapse, ctc_loss, interleave_blanks
from transformer.tokenizer import BLANK

N_LABELS = 4  # the blank and three labels
TARGETS = st.lists(st.integers(1, N_LABELS - 1), max_size=5)


def make_logits(frames: int, seed: int = 0) -> Tensor:
    return torch.randn(frames, N_LABELS, generator=torch.Generator().manual_seed(seed)).double().requires_grad_()


def fits(frames: int, target: list[int]) -> bool:
    repeats = sum(first == second for first, second in pairwise(target))
    return frames >= len(target) + repeats


def torch_loss(logits: Tensor, target: list[int]) -> Tensor:
    labels = torch.tensor([target], dtype=torch.long).reshape(1, -1)
    log_probs = logits.log_softmax(-1)[:, None]
    return functional.ctc_loss(log_probs, labels, (len(logits),), (len(target),), reduction="sum")


def brute_force(log_probs: Tensor, target: list[int]) -> float:
    """Return -log of the sum over every path that collapses to the target."""
    frames = len(log_probs)
    paths = [path for path in product(range(N_LABELS), repeat=frames) if collapse(path) == target]
    total = sum(log_probs[range(frames), path].sum().exp().item() for path in paths)
    return -float(torch.tensor(total, dtype=torch.float64).log())


@settings(deadline=None)
@given(frames=st.integers(1, 14), target=TARGETS, seed=st.integers(0, 1000))
def test_own_loss_is_torchs(frames: int, target: list[int], seed: int) -> None:
    logits = make_logits(frames, seed)
    own, reference = ctc_loss(logits.log_softmax(-1), target), torch_loss(logits, target)
    assert own.isfinite() == fits(frames, target)
    assert torch.isclose(own, reference, rtol=1e-8)
    if fits(frames, target):
        (own_gradient,) = torch.autograd.grad(own, logits)
        (gradient,) = torch.autograd.grad(reference, logits)
        assert torch.allclose(own_gradient, gradient, atol=1e-8)


@pytest.mark.parametrize("target", [[], [1], [1, 1], [2, 2, 2], [1, 2, 1], [3, 3, 1, 1]])
def test_own_loss_is_torchs_with_repeats_and_without_labels(target: list[int]) -> None:
    logits = make_logits(9)
    own, reference = ctc_loss(logits.log_softmax(-1), target), torch_loss(logits, target)
    assert torch.isclose(own, reference)
    assert torch.allclose(*(torch.autograd.grad(loss, logits)[0] for loss in (own, reference)), atol=1e-8)


@settings(deadline=None, max_examples=40)
@given(frames=st.integers(1, 5), target=TARGETS, seed=st.integers(0, 1000))
def test_own_loss_is_the_sum_over_all_paths(frames: int, target: list[int], seed: int) -> None:
    log_probs = make_logits(frames, seed).detach().log_softmax(-1)
    assert ctc_loss(log_probs, target).item() == pytest.approx(brute_force(log_probs, target), rel=1e-9)


def test_the_texts_of_three_frames_add_up_to_one() -> None:
    log_probs = make_logits(3).detach().log_softmax(-1)
    texts = {tuple(collapse(path)) for path in product(range(N_LABELS), repeat=3)}
    total = sum(torch.exp(-ctc_loss(log_probs, text)).item() for text in texts)
    assert total == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(("frames", "target"), [(1, [1, 2]), (2, [1, 1]), (4, [1, 2, 3, 1, 2]), (3, [2, 2, 1])])
def test_too_few_frames_cost_infinity(frames: int, target: list[int]) -> None:
    assert ctc_loss(make_logits(frames).log_softmax(-1), target).item() == float("inf")


def test_nothing_said_is_the_product_of_blanks() -> None:
    log_probs = make_logits(6).log_softmax(-1)
    assert torch.isclose(ctc_loss(log_probs, []), -log_probs[:, BLANK].sum())


def test_gradients_are_finite_where_labels_are_impossible() -> None:
    logits = torch.randn(8, N_LABELS)
    logits[:, 3] = -1e4
    logits.requires_grad_()
    (gradient,) = torch.autograd.grad(ctc_loss(logits.log_softmax(-1), [1, 2]), logits)
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 0


def test_a_certain_path_costs_nothing() -> None:
    path = [0, 1, 1, 0, 1, 2, 0]
    log_probs = functional.one_hot(torch.tensor(path), N_LABELS).float().mul(100).log_softmax(-1)
    assert ctc_loss(log_probs, [1, 1, 2]).item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(
    ("path", "labels"),
    [
        ([], []),
        ([0, 0], []),
        ([1, 1, 1], [1]),
        ([1, 0, 1], [1, 1]),
        ([0, 1, 1, 0, 0, 1, 2, 2, 0], [1, 1, 2]),
        ([2, 1, 2], [2, 1, 2]),
    ],
)
def test_collapse_merges_repeats_before_it_drops_blanks(path: list[int], labels: list[int]) -> None:
    assert collapse(path) == labels


@given(TARGETS, st.integers(1, 3))
def test_states_collapse_to_their_target(target: list[int], times: int) -> None:
    states = interleave_blanks(target)
    assert len(states) == 2 * len(target) + 1
    assert collapse([state for state in states for _ in range(times)]) == target
