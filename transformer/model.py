"""The network: log-mel features in, log-probabilities of phones and letters out, 25 times a second.

    features (B, T, 80)
       │  Subsampling: two stride-2 convolutions                      T/4 frames of d numbers
       │  Block × n: attention with RoPE, depthwise convolution, feed-forward; each pre-LN and residual
       │      └─ an auxiliary head on a middle block, if asked for: for training alone
       ├─ phone head   (B, T/4, 40)   what the decoder with the lexicon reads
       └─ letter head  (B, T/4, 29)   what spells a word that no lexicon has

Attention is written out by hand (Vaswani et al. 2017), as are the rotary position embedding (Su et al. 2021) and the
convolution module (Gulati et al. 2020, with LayerNorm for BatchNorm, so that no frame depends on its batch). On top of
the encoder an attention `Decoder` with a key-value cache can be put; it is never the way to captions, since a decoder
invents text over music.

Letters in shapes: B batch, T feature frames, S = T/4 encoder frames, L text tokens, d = d_model, H heads, h = d / H.
"""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from transformer.config import SUBSAMPLING, ModelConfig


def rotary_angles(positions: Tensor, width: int, base: float = 10_000.0) -> tuple[Tensor, Tensor]:
    """Return cosines and sines (len(positions), width / 2): pair i of a head turns by position / base^(2i / width)."""
    turns = base ** (-torch.arange(0, width, 2, device=positions.device) / width)
    angles = positions[:, None] * turns
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Turn the pairs (i, i + h/2) of x (B, H, S, h) by their angles, so that q·k depends on the distance alone."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cosines - second * sines, first * sines + second * cosines], dim=-1).to(x.dtype)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Scaled dot-product attention by hand: q (B, H, L, h), k and v (B, H, S, h) to (B, H, L, h).

    `mask` is True where a query may look, and broadcasts to (B, H, L, S).
    """
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # (B, H, L, S)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return scores.softmax(-1) @ v


class Attention(nn.Module):
    """Multi-head attention; `fused` swaps the hand-written product for torch's, which gives the same to 1e-5."""

    def __init__(self, d_model: int, n_heads: int, *, rotary: bool = True) -> None:
        super().__init__()
        self.n_heads, self.rotary, self.fused = n_heads, rotary, False
        self.query = nn.Linear(d_model, d_model)
        self.key = nn.Linear(d_model, d_model, bias=False)  # a bias here adds the same to every score
        self.value = nn.Linear(d_model, d_model)
        self.out = nn.Linear(d_model, d_model)

    def forward(
        self, x: Tensor, memory: Tensor | None = None, mask: Tensor | None = None, cache: "Cache | None" = None
    ) -> Tensor:
        """Attend from x (B, L, d) to itself, or to `memory` (B, S, d); a cache keeps keys and values between calls."""
        q = self._heads(self.query(x))  # (B, H, L, h)
        if memory is not None and cache is not None and cache.key is not None and cache.value is not None:
            k, v = cache.key, cache.value  # what is attended to has not changed since the first token
        else:
            source = x if memory is None else memory
            k, v = self._heads(self.key(source)), self._heads(self.value(source))
            past = cache.length if cache is not None and memory is None else 0
            if self.rotary:
                positions = torch.arange(past, past + x.shape[1], device=x.device)
                angles = rotary_angles(positions, q.shape[-1])
                q, k = rotate(q, *angles), rotate(k, *angles)
            if cache is not None:
                k, v = cache.extend(k, v)
        attention = functional.scaled_dot_product_attention if self.fused else attend
        mixed = attention(q, k, v, mask)  # (B, H, L, h)
        return self.out(mixed.transpose(1, 2).flatten(2))

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)  # (B, L, d) -> (B, H, L, h)


@dataclass
class Cache:
    """Keys and values (B, H, L, h) of the tokens so far: with them a new token costs one row of attention, not all."""

    key: Tensor | None = None
    value: Tensor | None = None

    @property
    def length(self) -> int:
        """Return how many tokens are kept."""
        return 0 if self.key is None else self.key.shape[2]

    def extend(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Append new keys and values; return all."""
        self.key = key if self.key is None else torch.cat([self.key, key], dim=2)
        self.value = value if self.value is None else torch.cat([self.value, value], dim=2)
        return self.key, self.value


class Convolution(nn.Module):
    """What a frame takes from its neighbours: gate, depthwise convolution over time, mix (the Conformer's module)."""

    def __init__(self, d_model: int, kernel: int) -> None:
        super().__init__()
        self.gate = nn.Linear(d_model, 2 * d_model)
        self.depthwise = nn.Conv2d(d_model, d_model, (1, kernel), padding=(0, kernel // 2), groups=d_model)
        self.norm = nn.LayerNorm(d_model)
        self.out = nn.Linear(d_model, d_model)

    def forward(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """Mix x (B, S, d) over time; `keep` (B, S, 1) is 0 on padding, which must not leak into the sound."""
        x = functional.glu(self.gate(x), dim=-1)
        x = x if keep is None else x * keep
        # A picture one row high, channels last as x lies in memory: twice as fast on a CPU as Conv1d.
        x = self.depthwise(x.transpose(1, 2)[:, :, None])[:, :, 0].transpose(1, 2)
        return self.out(functional.silu(self.norm(x)))


class ChannelDropout(nn.Module):
    """Dropout of whole channels over all of an example's time (Gal and Ghahramani 2016): as good here, and cheap."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """Zero a share of the channels of x (B, S, d) in training, and scale up the others."""
        if not self.training or self.share == 0:
            return x
        kept = torch.rand(x.shape[0], 1, x.shape[2], device=x.device) >= self.share
        return x * (kept / (1 - self.share)).to(x.dtype)


def feed_forward(d_model: int, d_ff: int) -> nn.Sequential:
    """Return the position-wise network d -> d_ff -> d."""
    return nn.Sequential(nn.Linear(d_model, d_ff), nn.SiLU(), nn.Linear(d_ff, d_model))


class Block(nn.Module):
    """One encoder layer: x + attention, + convolution, + feed-forward, each reading LayerNorm(x)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d = config.d_model
        self.attention_norm, self.attention = nn.LayerNorm(d), Attention(d, config.n_heads)
        self.convolution_norm = nn.LayerNorm(d) if config.conv_kernel else None
        self.convolution = Convolution(d, config.conv_kernel) if config.conv_kernel else None
        self.feed_forward_norm, self.feed_forward = nn.LayerNorm(d), feed_forward(d, config.d_ff)
        self.dropout = ChannelDropout(config.dropout)

    def forward(self, x: Tensor, mask: Tensor | None = None, keep: Tensor | None = None) -> Tensor:
        """Refine x (B, S, d)."""
        x = x + self.dropout(self.attention(self.attention_norm(x), mask=mask))
        if self.convolution is not None and self.convolution_norm is not None:
            x = x + self.dropout(self.convolution(self.convolution_norm(x), keep))
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))


class Subsampling(nn.Module):
    """Two convolutions of stride 2 over time and pitch: 100 frames of 80 mel bands to 25 frames of d numbers."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        channels, bands = config.conv_channels, config.n_mels // SUBSAMPLING
        self.first = nn.Conv2d(1, channels, 3, stride=2, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
        self.out = nn.Linear(channels * bands, config.d_model)

    def forward(self, features: Tensor, frames: Tensor) -> Tensor:
        """(B, T, n_mels), of which `frames` (B,) are sound, to (B, ceil(T / 4), d)."""
        x = functional.silu(self.first(features[:, None]))  # (B, C, T/2, 40)
        sound = torch.arange(x.shape[2], device=x.device) < ((frames + 1) // 2)[:, None]
        x = x * sound[:, None, :, None].to(x.dtype)  # a bias has made something of padding
        x = functional.silu(self.second(x))  # (B, C, T/4, 20)
        return self.out(x.transpose(1, 2).flatten(2))


@dataclass(frozen=True)
class Output:
    """What the encoder says; log-probabilities are natural logarithms, blank first."""

    hidden: Tensor  # (B, S, d)
    lengths: Tensor  # (B,) frames that are sound, of S
    phones: Tensor  # (B, S, n_phones)
    letters: Tensor  # (B, S, n_letters)
    auxiliary: Tensor | None  # (B, S, n_phones), in training alone, if there is an auxiliary head


def output_lengths(frames: Tensor) -> Tensor:
    """Return the encoder frames of so many feature frames: ceil(T / 4), as two stride-2 convolutions leave them."""
    return (frames + SUBSAMPLING - 1) // SUBSAMPLING


class Captioner(nn.Module):
    """The encoder with its heads."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.subsampling = Subsampling(config)
        self.dropout = ChannelDropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.norm = nn.LayerNorm(config.d_model)
        self.phone_head = nn.Linear(config.d_model, config.n_phones)
        self.letter_head = nn.Linear(config.d_model, config.n_letters)
        self.auxiliary_norm = nn.LayerNorm(config.d_model) if config.auxiliary_layer else None
        self.auxiliary_head = nn.Linear(config.d_model, config.n_phones) if config.auxiliary_layer else None

    def forward(self, features: Tensor, frames: Tensor) -> Output:
        """Read normalised features (B, T, n_mels), of which `frames` (B,) each are sound and the rest padding."""
        x = self.dropout(self.subsampling(features, frames))  # (B, S, d)
        lengths = output_lengths(frames)
        sound = torch.arange(x.shape[1], device=x.device) < lengths[:, None]  # (B, S)
        mask, keep = sound[:, None, None], sound[..., None].to(x.dtype)
        auxiliary = None
        for number, block in enumerate(self.blocks, 1):
            x = block(x, mask, keep)
            if self.training and number == self.config.auxiliary_layer and self.auxiliary_head is not None:
                assert self.auxiliary_norm is not None
                auxiliary = self.auxiliary_head(self.auxiliary_norm(x)).float().log_softmax(-1)
        x = self.norm(x)
        phones = self.phone_head(x).float().log_softmax(-1)
        letters = self.letter_head(x).float().log_softmax(-1)
        return Output(x, lengths, phones, letters, auxiliary)

    def use_fused_attention(self, fused: bool = True) -> "Captioner":
        """Let torch's scaled_dot_product_attention do the product (faster), or the one written here."""
        for module in self.modules():
            if isinstance(module, Attention):
                module.fused = fused
        return self


# --- the attention decoder: for the lesson on encoder-decoder models ---


@dataclass
class DecoderCache:
    """The caches of every decoder layer, for its own tokens and for the encoder's frames."""

    own: list[Cache] = field(default_factory=list)
    cross: list[Cache] = field(default_factory=list)


class DecoderBlock(nn.Module):
    """One decoder layer: causal attention over the text, attention to the sound, feed-forward."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d = config.d_model
        self.own_norm, self.own = nn.LayerNorm(d), Attention(d, config.n_heads)
        self.cross_norm, self.cross = nn.LayerNorm(d), Attention(d, config.n_heads, rotary=False)
        self.feed_forward_norm, self.feed_forward = nn.LayerNorm(d), feed_forward(d, config.d_ff)

    def forward(
        self, x: Tensor, memory: Tensor, masks: tuple[Tensor | None, Tensor | None], caches: tuple[Cache, Cache] | None
    ) -> Tensor:
        """Refine x (B, L, d) by the text before it and by `memory` (B, S, d)."""
        own, cross = caches or (None, None)
        x = x + self.own(self.own_norm(x), mask=masks[0], cache=own)
        x = x + self.cross(self.cross_norm(x), memory, masks[1], cross)
        return x + self.feed_forward(self.feed_forward_norm(x))


class Decoder(nn.Module):
    """Text tokens, one after another, from what the encoder made of the sound."""

    def __init__(self, config: ModelConfig, n_tokens: int, n_layers: int = 2) -> None:
        super().__init__()
        self.embedding = nn.Embedding(n_tokens, config.d_model)
        nn.init.normal_(self.embedding.weight, std=config.d_model**-0.5)  # so that the first logits are about 1
        self.blocks = nn.ModuleList(DecoderBlock(config) for _ in range(n_layers))
        self.norm = nn.LayerNorm(config.d_model)

    def forward(
        self, tokens: Tensor, memory: Tensor, lengths: Tensor | None = None, cache: DecoderCache | None = None
    ) -> Tensor:
        """Return logits (B, L, n_tokens) of the token after each of `tokens` (B, L).

        `lengths` (B,) tells how many frames of `memory` (B, S, d) are sound. With a cache, `tokens` are the new ones.
        """
        if cache is not None and not cache.own:
            cache.own = [Cache() for _ in self.blocks]
            cache.cross = [Cache() for _ in self.blocks]
        past = cache.own[0].length if cache is not None else 0
        positions = torch.arange(past + tokens.shape[1], device=tokens.device)
        causal = positions <= positions[past:, None]  # (L, past + L): no token sees a later one
        sound = None
        if lengths is not None:
            sound = (torch.arange(memory.shape[1], device=memory.device) < lengths[:, None])[:, None, None]
        x = self.embedding(tokens)  # (B, L, d)
        for number, block in enumerate(self.blocks):
            caches = (cache.own[number], cache.cross[number]) if cache is not None else None
            x = block(x, memory, (causal, sound), caches)
        return self.norm(x) @ self.embedding.weight.T  # the output layer is the embedding (Press and Wolf 2017)
