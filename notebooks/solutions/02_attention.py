# %% [markdown]
# # Solutions to 02 · Attention by hand
#
# Each stands alone.

# %%
import math

import torch
from torch import Tensor

from transformer.model import Attention, Cache, attend, rotary_angles, rotate

torch.set_num_threads(1)
_ = torch.manual_seed(2)

# %% [markdown]
# ## 1 · Sharpness
#
# At a = 0 all scores are 0 and all weights 1/S: the entropy is ln S. As a grows, the ratio of the largest weight to the
# next, exp(a · gap), grows without limit: one weight goes to 1, the entropy to 0. In between it only falls.

# %%
S = 16
scores = torch.randn(200, S)
entropies = []
for a in (0.0, 0.3, 1.0, 3.0, 10.0, 1e4):
    weights = (a * scores).softmax(-1)
    entropies.append(-torch.special.xlogy(weights, weights).sum(-1).mean().item())
print("entropy:", *(f"{entropy:.3f}" for entropy in entropies))
assert math.isclose(entropies[0], math.log(S), rel_tol=1e-5)
assert entropies[-1] < 0.01
assert entropies == sorted(entropies, reverse=True)

# %% [markdown]
# ## 2 · A clock for 15 s
#
# The slowest pair turns by base^(-62/64) a frame: 375 · 10000^(-62/64) = 0.05 radians, a sixtieth of a half turn. It
# tells near from far without ever being ambiguous. It passes a half turn, π, if base^(62/64) < 375/π, that is below
# base (375/π)^(64/62) = 139.


# %%
def slowest_turn(base: float) -> float:
    cosines, sines = rotary_angles(torch.arange(376), 64, base)
    assert torch.allclose(cosines**2 + sines**2, torch.ones(1))
    return 375 * torch.atan2(sines[1, -1], cosines[1, -1]).item()


limit = (375 / math.pi) ** (64 / 62)
print(f"{slowest_turn(10_000.0):.3f} radians at base 10 000; half a turn at base {limit:.0f}")
assert math.isclose(slowest_turn(10_000.0), 375 * 10_000 ** (-62 / 64), rel_tol=1e-3)
assert math.isclose(slowest_turn(limit), math.pi, rel_tol=1e-3)

x = torch.randn(1, 1, 376, 64)
turned = rotate(x, *rotary_angles(torch.arange(376), 64))
assert torch.allclose(turned.norm(dim=-1), x.norm(dim=-1), rtol=1e-4)

# %% [markdown]
# ## 3 · Letter by letter
#
# A new token has one query; its key and value join the kept ones. Ten tokens: 1 + 2 + … + 10 = 55 scores, where the
# mask computes 100 and throws 45 away. Without the cache each step would start anew: 1 + 4 + 9 + … = 385.

# %%
layer, x = Attention(32, 4).eval(), torch.randn(2, 10, 32)
with torch.no_grad():
    at_once = layer(x, mask=torch.ones(10, 10, dtype=torch.bool).tril())
    cache, found, computed = Cache(), [], 0
    for step in range(10):
        found.append(layer(x[:, step : step + 1], cache=cache))
        computed += cache.length
torch.testing.assert_close(torch.cat(found, dim=1), at_once, rtol=0, atol=1e-5)
print(computed, "scores one by one,", 10 * 10, "at once,", sum(n * n for n in range(1, 11)), "without a cache")
assert computed == 55

# %% [markdown]
# ## 4 · Without the matrix
#
# The sums so far are sums of exp(score − largest). If the largest grows from M to M', each of their terms has to be
# multiplied by exp(M − M'): one number a query, whatever was seen before. At the start M is −∞, and exp(−∞) = 0 wipes
# out the empty sums.


# %%
def attend_in_blocks(q: Tensor, k: Tensor, v: Tensor, block: int = 64) -> Tensor:
    largest = q.new_full((*q.shape[:-1], 1), -math.inf)  # (B, H, L, 1)
    total, mixed = torch.zeros_like(largest), torch.zeros_like(q)
    for keys, values in zip(k.split(block, -2), v.split(block, -2), strict=True):
        scores = q @ keys.transpose(-2, -1) / math.sqrt(q.shape[-1])  # (B, H, L, block): never L × S
        new = torch.maximum(largest, scores.amax(-1, keepdim=True))
        shrink, weights = (largest - new).exp(), (scores - new).exp()
        total = total * shrink + weights.sum(-1, keepdim=True)
        mixed = mixed * shrink + weights @ values
        largest = new
    return mixed / total


q, k, v = torch.randn(3, 2, 4, 375, 16)
torch.testing.assert_close(attend_in_blocks(5 * q, k, v), attend(5 * q, k, v, None), rtol=0, atol=1e-5)
print("375 keys in blocks of 64: the same to 1e-5")
