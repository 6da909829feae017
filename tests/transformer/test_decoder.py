import pytest
import torch
from torch import Tensor

from transformer.config import ModelConfig
from transformer.model import Cache, Decoder, DecoderCache

CONFIG = ModelConfig(d_model=32, n_heads=2, d_ff=48)
N_TOKENS = 30


@pytest.fixture
def decoder() -> Decoder:
    """Return a decoder whose layers outweigh the token that they read, or its greedy text would be one token."""
    decoder = Decoder(CONFIG, N_TOKENS).eval().requires_grad_(False)
    decoder.embedding.weight.mul_(0.1)
    return decoder


def greedy(decoder: Decoder, memory: Tensor, lengths: Tensor, *, cached: bool, steps: int = 25) -> Tensor:
    """Return the likeliest token after each, fed back; with a cache the newest token alone is computed."""
    tokens = torch.ones(len(memory), 1, dtype=torch.long)
    cache = DecoderCache() if cached else None
    for _ in range(steps):
        logits = decoder(tokens[:, -1:] if cached else tokens, memory, lengths, cache)
        tokens = torch.cat([tokens, logits[:, -1:].argmax(-1)], dim=1)
    return tokens


def test_no_token_sees_a_later_one(decoder: Decoder) -> None:
    memory, tokens = torch.randn(2, 15, 32), torch.randint(0, N_TOKENS, (2, 12))
    before = decoder(tokens, memory)
    for at in range(1, 12):
        changed = tokens.clone()
        changed[:, at:] = (tokens[:, at:] + 7) % N_TOKENS
        after = decoder(changed, memory)
        assert torch.allclose(before[:, :at], after[:, :at], atol=1e-5)
        assert (before[:, at] - after[:, at]).abs().max() > 0.01


def test_logits_cover_every_token(decoder: Decoder) -> None:
    assert decoder(torch.zeros(2, 5, dtype=torch.long), torch.randn(2, 9, 32)).shape == (2, 5, N_TOKENS)


def test_the_sound_matters_and_its_padding_does_not(decoder: Decoder) -> None:
    memory, tokens, lengths = torch.randn(2, 15, 32), torch.randint(0, N_TOKENS, (2, 6)), torch.tensor([15, 8])
    before = decoder(tokens, memory, lengths)
    garbage = memory.clone()
    garbage[1, 8:] = 50
    assert torch.allclose(decoder(tokens, garbage, lengths), before, atol=1e-5)
    assert torch.allclose(decoder(tokens[1:], memory[1:, :8])[0], before[1], atol=1e-5)
    assert (decoder(tokens, -memory, lengths) - before).abs().max() > 0.01


@pytest.mark.parametrize("pieces", [[1] * 12, [12], [5, 1, 1, 5], [3, 4, 5]], ids=str)
def test_a_cache_changes_nothing(decoder: Decoder, pieces: list[int]) -> None:
    memory, tokens, lengths = torch.randn(2, 15, 32), torch.randint(0, N_TOKENS, (2, 12)), torch.tensor([15, 8])
    cache = DecoderCache()
    parts = [decoder(part, memory, lengths, cache) for part in tokens.split(pieces, dim=1)]
    assert torch.allclose(torch.cat(parts, dim=1), decoder(tokens, memory, lengths), atol=1e-5)
    assert [own.length for own in cache.own] == [12, 12]
    assert [cross.length for cross in cache.cross] == [15, 15]


def test_greedy_text_is_the_same_with_and_without_a_cache(decoder: Decoder) -> None:
    memory, lengths = torch.randn(3, 15, 32), torch.tensor([15, 8, 1])
    cached, uncached = (greedy(decoder, memory, lengths, cached=cached) for cached in (True, False))
    assert torch.equal(cached, uncached)
    assert len(cached.unique()) > 3


def test_a_cached_step_computes_one_row(decoder: Decoder) -> None:
    memory, cache = torch.randn(1, 15, 32), DecoderCache()
    decoder(torch.zeros(1, 6, dtype=torch.long), memory, cache=cache)
    keys = [cross.key for cross in cache.cross]
    assert decoder(torch.zeros(1, 1, dtype=torch.long), memory, cache=cache).shape == (1, 1, N_TOKENS)
    assert all(cross.key is key for cross, key in zip(cache.cross, keys, strict=True))


def test_the_output_layer_is_the_embedding(decoder: Decoder) -> None:
    shapes = [weights.shape for weights in decoder.parameters() if N_TOKENS in weights.shape]
    assert shapes == [(N_TOKENS, 32)]


def test_a_cache_grows_by_what_is_appended() -> None:
    cache, keys, values = Cache(), torch.randn(1, 2, 5, 8), torch.randn(1, 2, 5, 8)
    assert cache.length == 0
    cache.extend(keys[:, :, :2], values[:, :, :2])
    key, value = cache.extend(keys[:, :, 2:], values[:, :, 2:])
    assert cache.length == 5
    assert torch.equal(key, keys)
    assert torch.equal(value, values)
