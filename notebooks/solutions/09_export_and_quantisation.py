# %% [markdown]
# # Solutions to 09 · Export and quantisation
#
# Each stands alone.

# %%
import copy

import numpy as np
import torch
from torch import Tensor, nn

from transformer.config import ModelConfig
from transformer.model import Captioner

torch.set_num_threads(1)
torch.manual_seed(9)
rng = np.random.default_rng(9)


def rms(x: np.ndarray | Tensor) -> float:
    return float((x**2).mean() ** 0.5)


# %% [markdown]
# ## 1 · How few bits?
#
# A bit less doubles the scale and with it every weight's error. As long as errors are small, what comes out moves in
# proportion: a factor of 2 a bit, on average (a single step is a matter of luck). At the low end the line bends up: 2
# bits hold a single step.
#
# (torch keeps a matrix as (out, in): a column of the product is a row of the weight.)


# %%
@torch.no_grad()
def rounded(model: Captioner, bits: int) -> Captioner:
    found = copy.deepcopy(model)
    for module in found.modules():
        if isinstance(module, nn.Linear):
            scale = module.weight.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)
            module.weight.copy_((module.weight / scale).round() * scale)
    return found


config = ModelConfig(d_model=64, n_layers=2, n_heads=2, d_ff=128, conv_channels=8, conv_kernel=7, auxiliary_layer=0)
model, sound = Captioner(config).eval(), (torch.randn(4, 200, 80), torch.full((4,), 200))
with torch.no_grad():
    exact = model(*sound).phones
    moved = {bits: rms(rounded(model, bits)(*sound).phones - exact) for bits in range(8, 1, -1)}
print({bits: f"{error:.4f}" for bits, error in moved.items()})
ratio = (moved[4] / moved[8]) ** (1 / 4)
print(f"a bit less, mean from 8 to 4: x {ratio:.2f}; from 3 to 2: x {moved[2] / moved[3]:.2f}")
assert 1.7 < ratio < 2.4 < moved[2] / moved[3]

# %% [markdown]
# ## 2 · A zero point
#
# With values from −0.28 to $m$ the signed byte steps by $m/127$ and leaves nearly half of its numbers to negatives
# that never come; the unsigned one steps by $(m+0.28)/255$. So the error falls to $127\,(m+0.28)/(255\,m)$: a little
# more than half, which is a little less than one bit. (Half of all values lie between −0.28 and 0, so close together
# that coarse steps don't round them evenly; hence a few hundredths between this and what is measured.)

# %%
x = torch.nn.functional.silu(2 * torch.randn(100_000)).double().numpy()
low, high = float(x.min()), float(x.max())
signed, unsigned = high / 127, (high - low) / 255
zero = round(-low / unsigned)
errors = {
    "signed": rms(np.rint(x / signed) * signed - x),
    "zero point": rms((np.clip(np.rint(x / unsigned) + zero, 0, 255) - zero) * unsigned - x),
}
predicted = 127 * (high - low) / (255 * high)
print({name: f"{error:.5f}" for name, error in errors.items()}, f"predicted ratio {predicted:.3f}")
assert abs(low + 0.28) < 0.01
assert abs(errors["zero point"] / errors["signed"] - predicted) < 0.05

# %% [markdown]
# ## 3 · An outlier in a row
#
# The scale of x has to hold the outlier, so the other inputs keep a fiftieth of their steps: five bits or so are
# gone, and no scale a column brings them back. But LayerNorm ends in a factor for each channel. Divide the outlier's
# by 50 and multiply its row of the matrix by 50: the same function, and nothing sticks out on either side.


# %%
def in_bytes(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return x @ weight, both quantised as the captioner's are: x (S, in) on the fly, weight (in, out) a column."""
    low, high = min(0, x.min()), max(0, x.max())
    x_scale, scale = (high - low) / 255, np.abs(weight).max(0) / 127
    zero = round(-low / x_scale)
    u, q = np.clip(np.rint(x / x_scale) + zero, 0, 255).astype(np.int64), np.rint(weight / scale).astype(np.int64)
    return (u @ q - zero * q.sum(0)) * x_scale * scale


@torch.no_grad()
def error_in_bytes(norm: nn.LayerNorm, linear: nn.Linear, x: Tensor) -> float:
    exact = linear(norm(x)).numpy()
    got = in_bytes(norm(x).double().numpy(), linear.weight.double().numpy().T) + linear.bias.numpy()
    return rms(got - exact) / rms(exact)


# %%
norm, linear, x = nn.LayerNorm(64), nn.Linear(64, 32), torch.randn(100, 64)
with torch.no_grad():
    norm.weight[5] *= 50
    linear.weight[:, 5] /= 50
    smooth_norm, smooth_linear = copy.deepcopy(norm), copy.deepcopy(linear)
    for part in (smooth_norm.weight, smooth_norm.bias):
        part[5] /= 50
    smooth_linear.weight[:, 5] *= 50
    torch.testing.assert_close(linear(norm(x)), smooth_linear(smooth_norm(x)), atol=1e-5, rtol=1e-4)
before, after = error_in_bytes(norm, linear, x), error_in_bytes(smooth_norm, smooth_linear, x)
print(f"error with the outlier {before:.1%}, with its factor in the matrix {after:.1%}")
assert after < before / 10

# %% [markdown]
# ## 4 · Half a byte
#
# Two numbers from −7 to 7 in a byte, and for each 32 rows of a column a scale (here a float of two bytes):
# 1/2 + 2/32 = 0.56 bytes a weight against 1. The error is nearer to that of 4 bits: fourteen times that of 8, and
# eighteen times without groups. They only shave off what one large weight does to a whole column.

# %%
GROUP = 32


def pack(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return bytes (in / 2, out) and scales (in / GROUP, out) of weight (in, out)."""
    groups = weight.reshape(-1, GROUP, weight.shape[1])
    scales = (np.abs(groups).max(1) / 7).astype(np.float16)
    q = np.rint(groups / scales[:, None]).clip(-7, 7).astype(np.int8).reshape(weight.shape) + 8
    q = q.astype(np.uint8)  # before the shift: 15 << 4 is more than a signed byte holds
    return q[::2] | q[1::2] << 4, scales


def unpack(packed: np.ndarray, scales: np.ndarray) -> np.ndarray:
    q = np.stack([packed & 15, packed >> 4], 1).reshape(-1, packed.shape[1]).astype(np.float32) - 8
    return (q.reshape(-1, GROUP, packed.shape[1]) * scales[:, None].astype(np.float32)).reshape(q.shape)


# %%
weight = rng.normal(size=(256, 128))
packed, scales = pack(weight)
errors = {}
for bits in (8, 4):
    scale = np.abs(weight).max(0) / (2 ** (bits - 1) - 1)
    errors[f"{bits} bits"] = rms(np.rint(weight / scale) * scale - weight)
errors["4 bits in groups"] = rms(unpack(packed, scales) - weight)
share = (packed.nbytes + scales.nbytes) / weight.size
print(f"{share:.4f} bytes a weight", {name: f"{error:.4f}" for name, error in errors.items()})
assert share == 0.5 + 2 / GROUP
assert errors["8 bits"] * 8 < errors["4 bits in groups"] < errors["4 bits"]
