from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional
from torch.testing import assert_close

from transformer.config import NANO, SMALL, ModelConfig
from transformer.model import (
    Attention,
    Block,
    Captioner,
    ChannelDropout,
    Convolution,
    Subsampling,
    attend,
    output_lengths,
    rotary_angles,
    rotate,
)

TINY = ModelConfig(
    d_model=32, n_layers=2, n_heads=2, d_ff=48, conv_channels=4, conv_kernel=5, dropout=0.2, auxiliary_layer=1
)


def padding_mask(lengths: list[int], frames: int) -> Tensor:
    return (torch.arange(frames) < torch.tensor(lengths)[:, None])[:, None, None]


def causal_mask(frames: int) -> Tensor:
    return torch.ones(frames, frames, dtype=torch.bool).tril()


# --- configuration ---


@pytest.mark.parametrize(("d_model", "n_heads"), [(30, 4), (100, 3), (12, 4), (6, 2), (33, 1)])
def test_heads_that_rope_cannot_turn_are_refused(d_model: int, n_heads: int) -> None:
    with pytest.raises(ValueError, match="must be a multiple of"):
        ModelConfig(d_model=d_model, n_heads=n_heads)


@pytest.mark.parametrize("change", [{"conv_kernel": 4}, {"n_mels": 79}, {"auxiliary_layer": 9}], ids=str)
def test_shapes_that_cannot_work_are_refused(change: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        replace(SMALL, **change)


@pytest.mark.parametrize(("config", "most"), [(NANO, 3.2e6), (SMALL, 8.5e6)], ids=["nano", "small"])
def test_both_sizes_are_as_small_as_promised(config: ModelConfig, most: float) -> None:
    with torch.device("meta"):
        parameters = sum(weights.numel() for weights in Captioner(config).parameters())
    assert 0.8 * most < parameters < most


# --- attention ---


@pytest.mark.parametrize(
    "mask",
    [None, causal_mask(9), padding_mask([9, 4, 1], 9), padding_mask([9, 4, 1], 9) & causal_mask(9)],
    ids=["all", "causal", "padding", "both"],
)
def test_attention_by_hand_is_torchs(mask: Tensor | None) -> None:
    q, k, v = torch.randn(3, 3, 2, 9, 8)
    fused = functional.scaled_dot_product_attention(q, k, v, mask)
    assert torch.allclose(attend(q, k, v, mask), fused, atol=1e-5)


def test_attention_by_hand_is_torchs_across_lengths() -> None:
    q, k, v = torch.randn(1, 2, 4, 8), torch.randn(1, 2, 11, 8), torch.randn(1, 2, 11, 6)
    assert torch.allclose(attend(q, k, v, None), functional.scaled_dot_product_attention(q, k, v), atol=1e-5)


def test_a_model_may_switch_to_torchs_attention_and_back() -> None:
    model = Captioner(TINY).eval()
    features, frames = torch.randn(2, 60, 80), torch.tensor([60, 31])
    by_hand = model(features, frames).phones
    fused = model.use_fused_attention()(features, frames).phones
    assert all(module.fused for module in model.modules() if isinstance(module, Attention))
    assert torch.allclose(by_hand, fused, atol=1e-5)
    assert torch.equal(model.use_fused_attention(False)(features, frames).phones, by_hand)


# --- rotary position embedding ---


@settings(deadline=None)
@given(offset=st.integers(-20, 20), at=st.integers(0, 200), seed=st.integers(0, 100))
def test_scores_depend_on_the_offset_alone(offset: int, at: int, seed: int) -> None:
    q, k = torch.randn(2, 1, 1, 1, 16, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    scores = [
        (rotate(q, *rotary_angles(torch.tensor([p]), 16)) * rotate(k, *rotary_angles(torch.tensor([p + offset]), 16)))
        for p in (20, 20 + at)
    ]
    assert torch.isclose(scores[0].sum(), scores[1].sum(), atol=1e-4)


def test_turning_keeps_the_norm_and_tells_positions_apart() -> None:
    x = torch.randn(1, 1, 1, 16).expand(2, 3, 50, 16)
    turned = rotate(x, *rotary_angles(torch.arange(50), 16))
    assert torch.allclose(turned.norm(dim=-1), x.norm(dim=-1), atol=1e-5)
    assert torch.equal(turned[:, :, 0], x[:, :, 0])
    assert (turned[0, 0, 1:] - turned[0, 0, :-1]).norm(dim=-1).min() > 0.1


def test_the_first_pair_turns_by_one_radian_a_frame() -> None:
    cosines, sines = rotary_angles(torch.tensor([0, 1, 2]), 8)
    assert cosines.shape == sines.shape == (3, 4)
    assert torch.allclose(torch.atan2(sines, cosines)[:, 0], torch.tensor([0.0, 1.0, 2.0]))
    assert torch.allclose(torch.atan2(sines, cosines)[1], 10_000 ** -torch.arange(0, 1, 0.25))


def test_attention_without_rope_does_not_see_order() -> None:
    x, order = torch.randn(1, 12, 32), torch.randperm(12)
    blind, seeing = Attention(32, 2, rotary=False), Attention(32, 2)
    assert torch.allclose(blind(x)[:, order], blind(x[:, order]), atol=1e-6)
    assert not torch.allclose(seeing(x)[:, order], seeing(x[:, order]), atol=1e-3)


# --- what may look where ---


def test_a_block_with_a_causal_mask_does_not_see_the_future() -> None:
    block = Block(replace(TINY, conv_kernel=0)).eval()
    x = torch.randn(2, 10, 32)
    changed = x.clone()
    changed[:, 6:] += 10
    before, after = (block(y, causal_mask(10), torch.ones(2, 10, 1)) for y in (x, changed))
    assert torch.allclose(before[:, :6], after[:, :6], atol=1e-6)
    assert (before[:, 6:] - after[:, 6:]).abs().amax(-1).min() > 0.1


def test_the_convolution_sees_half_its_kernel_each_way() -> None:
    convolution = Convolution(32, 5)
    x, keep = torch.randn(1, 20, 32), torch.ones(1, 20, 1)
    changed = x.clone()
    changed[:, 10] += 1
    moved = (convolution(x, keep) - convolution(changed, keep)).abs().amax(-1)[0] > 1e-6
    assert moved.nonzero().ravel().tolist() == [8, 9, 10, 11, 12]


def test_the_convolution_does_not_read_padding() -> None:
    convolution = Convolution(32, 5)
    x, keep = torch.randn(2, 20, 32), torch.ones(2, 20, 1)
    keep[:, 13:] = 0
    garbage = x.clone()
    garbage[:, 13:] = 1e3
    alone = convolution(x[:, :13], keep[:, :13])
    assert torch.allclose(convolution(garbage, keep)[:, :13], alone, atol=1e-5)


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 41, 42, 43, 44])
@pytest.mark.parametrize("kernel", [0, 5])
def test_padding_does_not_change_an_example(frames: int, kernel: int) -> None:
    model = Captioner(replace(TINY, conv_kernel=kernel)).eval()
    long, short = torch.randn(97, 80), torch.randn(frames, 80)
    batch = torch.stack([long, functional.pad(short, (0, 0, 0, 97 - frames))])
    together = model(batch, torch.tensor([97, frames]))
    for row, (example, length) in enumerate([(long, 97), (short, frames)]):
        alone = model(example[None], torch.tensor([length]))
        steps = int(together.lengths[row])
        assert alone.phones.shape[1] == steps
        assert_close(together.phones[row, :steps], alone.phones[0], atol=1e-4, rtol=0)
        assert_close(together.letters[row, :steps], alone.letters[0], atol=1e-4, rtol=0)


def test_the_company_in_a_batch_does_not_matter() -> None:
    model = Captioner(TINY).eval()
    features = torch.randn(3, 80, 80)
    frames = torch.tensor([80, 80, 80])
    changed = features.clone()
    changed[1:] = torch.randn(2, 80, 80) * 5
    assert torch.allclose(model(features, frames).phones[0], model(changed, frames).phones[0], atol=1e-5)


# --- shapes ---


def test_output_lengths_are_the_frames_that_come_out() -> None:
    subsampling = Subsampling(TINY)
    real = [subsampling(torch.randn(1, frames, 80), torch.tensor([frames])).shape[1] for frames in range(1, 51)]
    assert output_lengths(torch.arange(1, 51)).tolist() == real


def test_heads_give_probabilities() -> None:
    output = Captioner(TINY).eval()(torch.randn(2, 50, 80), torch.tensor([50, 30]))
    assert output.hidden.shape == (2, 13, 32)
    assert output.phones.shape == (2, 13, 40)
    assert output.letters.shape == (2, 13, 29)
    assert output.lengths.tolist() == [13, 8]
    for log_probs in (output.phones, output.letters):
        assert torch.allclose(log_probs.exp().sum(-1), torch.ones(2, 13), atol=1e-5)


def test_the_middle_head_speaks_in_training_alone() -> None:
    model, features, frames = Captioner(TINY), torch.randn(2, 50, 80), torch.tensor([50, 30])
    auxiliary = model.train()(features, frames).auxiliary
    assert auxiliary is not None
    assert auxiliary.shape == (2, 13, 40)
    assert torch.allclose(auxiliary.exp().sum(-1), torch.ones(2, 13), atol=1e-5)
    assert model.eval()(features, frames).auxiliary is None


def test_the_middle_head_can_be_left_out() -> None:
    model = Captioner(replace(TINY, auxiliary_layer=0))
    assert model.train()(torch.randn(1, 20, 80), torch.tensor([20])).auxiliary is None
    assert not [name for name, _ in model.named_parameters() if "auxiliary" in name]


# --- dropout ---


def test_channel_dropout_drops_whole_channels_and_keeps_the_mean() -> None:
    dropped = ChannelDropout(0.3).train()(torch.ones(200, 7, 100))
    assert torch.equal(dropped, dropped[:, :1].expand(-1, 7, -1))
    assert dropped.unique().tolist() == [0, pytest.approx(1 / 0.7)]
    assert (dropped == 0).float().mean().item() == pytest.approx(0.3, abs=0.02)
    assert dropped.mean().item() == pytest.approx(1, abs=0.03)


def test_channel_dropout_differs_by_example() -> None:
    dropped = ChannelDropout(0.5).train()(torch.ones(2, 3, 64))
    assert not torch.equal(dropped[0], dropped[1])


def test_channel_dropout_does_nothing_in_use_or_without_a_share() -> None:
    x = torch.randn(2, 3, 8)
    assert torch.equal(ChannelDropout(0.5).eval()(x), x)
    assert torch.equal(ChannelDropout(0).train()(x), x)


# --- learning ---


def test_every_weight_learns() -> None:
    model = Captioner(TINY).train()
    output = model(torch.randn(4, 80, 80), torch.tensor([80, 80, 60, 60]))
    assert output.auxiliary is not None
    sum(head.square().mean() for head in (output.phones, output.letters, output.auxiliary)).backward()
    lazy = [name for name, weights in model.named_parameters() if weights.grad is None or not weights.grad.any()]
    assert lazy == []


def test_one_batch_can_be_learnt_by_heart() -> None:
    model = Captioner(replace(TINY, d_model=64, dropout=0, auxiliary_layer=0)).train()
    features, frames = torch.randn(4, 80, 80), torch.tensor([80, 80, 70, 60])
    targets, lengths = torch.randint(1, 40, (4, 6)), torch.tensor([6, 5, 6, 3])
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(300):
        output = model(features, frames)
        loss = functional.ctc_loss(output.phones.transpose(0, 1), targets, output.lengths, lengths)
        if loss < 0.1:
            break
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 0.1
