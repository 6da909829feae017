# %% [markdown]
# # Solutions to 03 · The block and a language model
#
# The notebook's small language and a model come first, trained by torch's Adam at a constant rate; then each stands
# alone.

# %%
import math
import random
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from transformer.config import SMALL, ModelConfig
from transformer.model import Block

torch.set_num_threads(1)
rng = random.Random(3)
NAMES = dict.fromkeys(("tom", "max", "paul", "oscar"), "his") | dict.fromkeys(("ann", "maria", "lucy", "petra"), "her")
VERBS, ADJECTIVES = ("films", "cuts", "finds", "saves"), ("old", "new", "long", "blue")
NOUNS = ("river", "train", "garden", "dance", "storm", "street", "song", "match")
GIVES = ("shows", "sends", "lends")
SYMBOLS = "\n abcdefghijklmnopqrstuvwxyz"


def say() -> str:
    name, adjective = rng.choice(list(NAMES)), rng.choice([f"{rng.choice(ADJECTIVES)} ", ""])
    thing = f"{rng.choice(VERBS)} the {adjective}{rng.choice(NOUNS)}"
    return f"{name} {thing} and {rng.choice(GIVES)} it to {NAMES[name]} friend"


def is_correct(line: str) -> bool:
    words = line.split()
    if len(words) == 11 and words[3] in ADJECTIVES:
        del words[3]
    allowed = [
        NAMES,
        VERBS,
        ["the"],
        NOUNS,
        ["and"],
        GIVES,
        ["it"],
        ["to"],
        NAMES.get((words or [""])[0], ""),
        ["friend"],
    ]
    return len(words) == 10 and all(
        word == options if isinstance(options, str) else word in options
        for word, options in zip(words, allowed, strict=True)
    )


lines = [say() for _ in range(2000)]
LONGEST = max(map(len, lines)) + 1
assert all(map(is_correct, lines))


# %%
class LanguageModel(nn.Module):
    def __init__(self, config: ModelConfig, kind: type[nn.Module] = Block) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(SYMBOLS), config.d_model)
        self.blocks = nn.ModuleList(kind(config) for _ in range(config.n_layers))
        self.norm, self.out = nn.LayerNorm(config.d_model), nn.Linear(config.d_model, len(SYMBOLS))

    def depths(self, letters: Tensor) -> list[Tensor]:
        """Return the logits (B, S, V) that the output layer reads from the stream after 0, 1, … blocks."""
        stream, mask = (
            [self.embedding(letters)],
            torch.ones(letters.shape[1], letters.shape[1], dtype=torch.bool).tril(),
        )
        for block in self.blocks:
            stream.append(block(stream[-1], mask, torch.ones_like(stream[-1][..., :1])))
        return [self.out(self.norm(x)) for x in stream]


def encode(lines: list[str]) -> tuple[Tensor, Tensor]:
    letters, target = torch.zeros(len(lines), LONGEST, dtype=torch.long), torch.full((len(lines), LONGEST), -100)
    for row, line in enumerate(lines):
        ids = torch.tensor([SYMBOLS.index(symbol) for symbol in f"\n{line}\n"])
        letters[row, : len(ids) - 1], target[row, : len(ids) - 1] = ids[:-1], ids[1:]
    return letters, target


letters, target = encode(lines[100:])
test_letters, test_target = encode(lines[:100])


def bits(logits: Tensor, target: Tensor) -> Tensor:
    return functional.cross_entropy(logits.flatten(0, 1), target.flatten()) / math.log(2)


# %%
def train(
    model: LanguageModel, steps: int, rate: float, batch: int, *, all_depths: bool = False, warm_up: int = 0
) -> list[float]:
    """Return bits a letter on the test lines after 0, 1, … blocks."""
    optimiser = torch.optim.Adam(model.parameters(), rate)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = rate * min(1.0, (step + 1) / max(1, warm_up))
        rows = torch.randint(len(letters), (batch,))
        heads = model.depths(letters[rows])
        sum(bits(logits, target[rows]) for logits in (heads if all_depths else heads[-1:])).backward()
        optimiser.step()
        optimiser.zero_grad()
    with torch.no_grad():
        return [bits(logits, test_target).item() for logits in model.depths(test_letters)]


# %% [markdown]
# ## 1 · Where are the weights?
#
# Attention: four maps d × d, three with an offset: 4d² + 3d. Convolution: a gate d → 2d, a kernel of K numbers a
# channel, a norm, a map d → d: 3d² + Kd + 6d. Feed-forward: 2df + f + d. Three norms in front: 6d. With d = 256 and
# f = 3d the feed-forward is the largest, 6d² against 4d² and 3d².


# %%
def weights_of_block(config: ModelConfig) -> dict[str, int]:
    d, f, k = config.d_model, config.d_ff, config.conv_kernel
    convolution = 3 * d * d + k * d + 6 * d if k else 0
    norms = 6 * d if k else 4 * d
    return {
        "attention": 4 * d * d + 3 * d,
        "convolution": convolution,
        "feed-forward": 2 * d * f + f + d,
        "norms": norms,
    }


for config in (SMALL, replace(SMALL, conv_kernel=0)):
    counted = weights_of_block(config)
    assert sum(counted.values()) == sum(weight.numel() for weight in Block(config).parameters())
    assert max(counted, key=counted.get) == "feed-forward"
    print(counted)

# %% [markdown]
# ## 2 · Patience
#
# With small steps the two are alike: the model is the same, only the way to it differs. At the high rate post-norm is a
# matter of luck: from one of our seeds it gets stuck at 4 bits, the entropy of single letters, and never looks at its
# context. Small steps at first help in both cases, since the echo of random layers becomes a signal once the layers
# are no longer random.


# %%
class PostNormBlock(Block):
    def forward(self, x: Tensor, mask: Tensor, keep: Tensor) -> Tensor:
        x = self.attention_norm(x + self.attention(x, mask=mask))
        return self.feed_forward_norm(x + self.feed_forward(x))


deep = ModelConfig(d_model=32, n_layers=12, n_heads=2, d_ff=64, conv_kernel=0, dropout=0.0, auxiliary_layer=0)


def end(kind: type[nn.Module], steps: int, rate: float, warm_up: int = 0, seed: int = 3) -> float:
    torch.manual_seed(seed)
    return train(LanguageModel(deep, kind), steps, rate, 8, warm_up=warm_up)[-1]


calm = {kind.__name__: round(end(kind, 30, 3e-3), 2) for kind in (Block, PostNormBlock)}
fast = {warm_up: [round(end(PostNormBlock, 45, 1.2e-2, warm_up, seed), 2) for seed in (3, 4)] for warm_up in (0, 15)}
print("3e-3:", calm, "| post-norm at 1.2e-2, with so many steps of warm-up:", fast)
assert abs(calm["Block"] - calm["PostNormBlock"]) < 0.3
assert sum(fast[15]) < sum(fast[0]) - 0.2

# %% [markdown]
# ## 3 · Reading the stream
#
# At depth 0 the stream holds the current letter alone: the best that can be said from it is the count of pairs, and
# no training gets below that. Each block then adds what it has found to the same stream.

# %%
pairs, firsts = Counter(), Counter()
for line in lines[:100]:
    text = f"\n{line}\n"
    pairs.update(pairwise(text))
    firsts.update(text[:-1])
pair_floor = -sum(n * math.log2(n / firsts[first]) for (first, _), n in pairs.items()) / pairs.total()

torch.manual_seed(3)
small = ModelConfig(d_model=64, n_layers=2, n_heads=4, d_ff=128, conv_kernel=0, dropout=0.0, auxiliary_layer=0)
model = LanguageModel(small)
depths = train(model, 120, 4e-3, 32, all_depths=True)
print("bits a letter by depth:", *(f"{value:.3f}" for value in depths), f"; pairs {pair_floor:.3f}")
assert pair_floor < depths[0] < 1.15 * pair_floor
assert depths[0] > depths[1] > depths[2]

# %% [markdown]
# ## 4 · Nucleus
#
# A temperature changes the ratios of all letters, and 25 wrong ones with a little probability each are together likely
# to be drawn once in fifty letters. The nucleus cuts this tail off and leaves the ratios of the others as they are: the
# variety stays, the slips go.


# %%
@torch.no_grad()
def write(n: int, temperature: float, nucleus: float = 1.0) -> list[str]:
    torch.manual_seed(4)
    drawn = torch.zeros(n, 1, dtype=torch.long)
    for _ in range(LONGEST):
        chances, order = (model.depths(drawn)[-1][:, -1] / temperature).softmax(-1).sort(descending=True)
        before = chances.cumsum(-1) - chances  # what the likelier letters have together; 0 for the first: it is kept
        chances = chances.masked_fill(before >= nucleus, 0)
        drawn = torch.cat([drawn, order.gather(1, chances.multinomial(1))], dim=1)
    return ["".join(SYMBOLS[number] for number in row).split("\n")[1] for row in drawn.tolist()]


shares = {}
for name, (temperature, nucleus) in {
    "all, T = 1.5": (1.5, 1.0),
    "nucleus": (1.5, 0.9),
    "all, T = 0.1": (0.1, 1.0),
}.items():
    found = write(60, temperature, nucleus)
    shares[name] = (sum(map(is_correct, found)) / 60, len(set(found)) / 60)
print("correct and different:", shares)
assert shares["nucleus"][0] > shares["all, T = 1.5"][0] + 0.3
assert shares["nucleus"][1] > shares["all, T = 0.1"][1] + 0.3
