# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 07 · Decoding: from frames to words
#
# **Goal.** The network says, 25 times a second, how likely each phone is. A caption has *words*: spelt, apart from
# each other, "write" where one writes and "right" where one doesn't, though both sound the same. At the end of this
# notebook you have written the search that turns one into the other, a language model made of counts, and the tree
# that holds the lexicon. Then the classes of `transformer` decode frames that we spoil on purpose, and you see what
# each part is worth.

# %%
import itertools
import math
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

plt.rcParams.update(
    {"figure.dpi": 70, "figure.figsize": (8, 2.4), "axes.spines.top": False, "axes.spines.right": False}
)
rng = np.random.default_rng(7)

# %% [markdown]
# ## 1. The best path is not the best text
#
# A path (one label a frame) is read by merging repeats and dropping blanks `-`; a text's probability is the **sum**
# over its paths (notebook 05). *Greedy* decoding takes the best label of each frame, hence the one best path. Here
# are three frames. Before you run it: which text does greedy find, and who could beat it?

# %%
from transformer.align import collapse

frames = np.array([[0.55, 0.40, 0.05], [0.55, 0.40, 0.05], [0.55, 0.05, 0.40]])  # columns: -, a, b


def all_texts(probs: np.ndarray) -> dict[tuple[int, ...], float]:
    """Return the probability of every text, by going through every path of probs (frames, labels)."""
    found: dict[tuple[int, ...], float] = defaultdict(float)
    for path in itertools.product(range(probs.shape[1]), repeat=len(probs)):
        found[tuple(collapse(path))] += float(probs[range(len(probs)), path].prod())
    return dict(sorted(found.items(), key=lambda item: -item[1]))


# %%
texts = all_texts(frames)
names = {text: "".join("-ab"[label] for label in text) or "(nothing)" for text in texts}
plt.bar([names[text] for text in texts], texts.values())
plt.bar("(nothing)", frames.max(1).prod(), color="C1", label="the best path")
plt.gca().set(ylabel="probability")
plt.legend(frameon=False)
greedy = tuple(collapse(frames.argmax(1).tolist()))
print(f"greedy: {names[greedy]} {texts[greedy]:.3f}; best text: {names[next(iter(texts))]} {max(texts.values()):.3f}")
assert greedy != next(iter(texts))

# %% [markdown]
# "Nothing" has one path, "ab" has many. Greedy errs wherever the evidence for a label is spread over frames.
#
# ## 2. Prefix beam search
#
# We want to sum over paths but search over texts. So walk through the frames with a table of **prefixes**, texts so
# far, and their probabilities. What happens to the prefix "a" when the next frame says a? It depends on how its paths
# *end*:
#
# ```
#   paths a, aa, -a   end in the label:  + a  →  still "a"  (it merges)
#   paths a-, aa-     end in a blank:    + a  →  "aa"       (a new one)
# ```
#
# So two numbers a prefix: $p_b$ for the paths that end in a blank, $p_l$ for those that end in its last label. Then
# three moves: a blank keeps the prefix (into $p_b$), its last label keeps it (from $p_l$ into $p_l$), and any label
# makes it longer, from $p_b+p_l$, or from $p_b$ alone if the label is the same as the last.


# %%
def prefix_search(probs: np.ndarray, width: int) -> dict[tuple[int, ...], float]:
    beam = {(): (1.0, 0.0)}
    for frame in probs:
        after: dict[tuple[int, ...], list[float]] = defaultdict(lambda: [0.0, 0.0])
        for prefix, (blank, label) in beam.items():
            after[prefix][0] += (blank + label) * frame[0]
            if prefix:
                after[prefix][1] += label * frame[prefix[-1]]
            for new in range(1, len(frame)):
                source = blank if prefix and new == prefix[-1] else blank + label
                after[*prefix, new][1] += source * frame[new]
        best = sorted(after, key=lambda prefix: -sum(after[prefix]))[:width]
        beam = {prefix: (after[prefix][0], after[prefix][1]) for prefix in best}
    return {prefix: sum(both) for prefix, both in beam.items() if sum(both)}


# %% [markdown]
# With a table that is never cut it must give what brute force gives, for every text:

# %%
for _ in range(20):
    probs = rng.dirichlet(np.ones(3) / 2, 6)
    exact, found = all_texts(probs), prefix_search(probs, 10_000)
    assert exact.keys() == found.keys()
    assert np.allclose([exact[text] for text in found], [*found.values()])
print(f"{len(found)} texts of up to 6 frames, equal to the sum over {3**6} paths")

# %% [markdown]
# A table of all texts is as hopeless as all paths. Keep the `width` best after each frame. How wide need it be?

# %%
trials = [rng.dirichlet(np.ones(4) / 2, 6) for _ in range(60)]
truth = [next(iter(all_texts(probs))) for probs in trials]
right = {"greedy": np.mean([tuple(collapse(p.argmax(1).tolist())) == t for p, t in zip(trials, truth, strict=True)])}
for width in (1, 2, 4, 8):
    best = [next(iter(prefix_search(probs, width))) for probs in trials]
    right[f"width {width}"] = np.mean([b == t for b, t in zip(best, truth, strict=True)])
plt.bar(right.keys(), right.values())
plt.gca().set(ylabel="found the best text", ylim=(0, 1.02))
assert right["width 8"] > right["greedy"]

# %% [markdown]
# ## 3. A lexicon, and sentences to listen to
#
# To decode we need a language. In ours, fourteen sounds have two spellings or three, and which one is meant no ear
# can tell. (Phones as ARPAbet writes them; `PHONE_IDS` numbers them, 0 is the blank.)

# %%
from transformer.phones import PHONE_IDS

ENTRIES = """a AH|ago AH G OW|and AE N D|apples AE P AH L Z|at AE T|ate EY T|boy B OY|buy B AY|by B AY|cold K OW L D|
days D EY Z|door D AO R|eight EY T|find F AY N D|for F AO R|four F AO R|girl G ER L|gold G OW L D|he HH IY|
hear HH IH R|here HH IH R|hours AW ER Z|i AY|in IH N|is IH Z|it IH T|king K IH NG|knew N UW|knight N AY T|know N OW|
last L AE S T|left L EH F T|letters L EH T ER Z|man M AE N|name N EY M|new N UW|night N AY T|no N OW|of AH V|
old OW L D|one W AH N|over OW V ER|pair P EH R|pears P EH R Z|race R EY S|red R EH D|right R AY T|sea S IY|see S IY|
she SH IY|ships SH IH P S|shoes SH UW Z|sold S OW L D|son S AH N|sun S AH N|ten T EH N|the DH AH|their DH EH R|
there DH EH R|they DH EY|three TH R IY|to T UW|too T UW|told T OW L D|trees T R IY Z|turn T ER N|two T UW|was W AA Z|
we W IY|will W IH L|won W AH N|wood W UH D|would W UH D|write R AY T|you Y UW|your Y AO R"""
LEXICON = {word: phones.split() for word, phones in (line.strip().split(" ", 1) for line in ENTRIES.split("|"))}
by_sound = defaultdict(list)
for word, phones in LEXICON.items():
    by_sound[" ".join(phones)].append(word)
homophones = {sound: words for sound, words in by_sound.items() if len(words) > 1}
print(len(LEXICON), "words;", *("/".join(words) for words in homophones.values()))

# %% [markdown]
# A small grammar makes the sentences: a template, then something for each slot. We keep 60 that the language model
# will never see.

# %%
TEMPLATES = """WHO will write to WHO|WHO will write NUM letters to WHO|turn right at the PLACE|the right PLACE is here|
WHO would buy NUM MANY for WHO|i know WHO too|no one knew WHO|we see NUM MANY by the sea|they sold their new MANY too|
WHO ate NUM pears over there|there is a PLACE in the wood|NUM hours ago WHO was here|NUM days ago WHO won the race|
one night WHO left to find NUM MANY|you hear WHO at the door too|the sun is over the sea|their son told WHO to write|
we would buy your old MANY|no they ate it last night|he knew the right name of WHO|she won a pair of red shoes"""
SLOTS = {
    "WHO": "the king|the boy|your son|the old man|a girl|the knight|their son|the red knight|one of the MANY",
    "NUM": "two|three|four|eight|ten",
    "MANY": "ships|apples|trees|shoes|letters|pears",
    "PLACE": "door|sea|wood|old trees|gold ships",
}


# %%
def sentence() -> str:
    text = str(rng.choice(TEMPLATES.split("|"))).strip()
    while slots := [word for word in text.split() if word in SLOTS]:
        text = text.replace(slots[0], str(rng.choice(SLOTS[slots[0]].split("|"))), 1)
    return text


rng = np.random.default_rng(1)
drawn = list(dict.fromkeys(sentence() for _ in range(1500)))
held_out, corpus = drawn[:60], drawn[60:]
assert {word for text in drawn for word in text.split()} <= LEXICON.keys()
assert len(homophones) == 14
print(len(corpus), "sentences, such as:", *corpus[:3], sep="\n  ")

# %% [markdown]
# ## 4. A language model from counts
#
# How likely is a sentence? By the chain rule, a product over its words, each given those before. Take of those only
# the last one (a **bigram**), and count. The mark `<s>` stands at both edges, so that a sentence may also end.


# %%
def ngrams(texts: list[str], n: int) -> Counter[tuple[str, ...]]:
    rows = [["<s>", *text.split(), "<s>"] for text in texts]
    return Counter(tuple(row[at : at + n]) for row in rows for at in range(len(row) - n + 1))


seen = ngrams(corpus[:60], 2)
zeros = [text for text in held_out if any(pair not in seen for pair in ngrams([text], 2))]
print("after <the>:", dict(Counter({pair[1]: n for pair, n in seen.items() if pair[0] == "the"}).most_common(5)))
print(f"{len(zeros)} of {len(held_out)} new sentences hold a pair that 60 sentences have not, hence P = 0")

# %% [markdown]
# **Why smoothing**: a single new pair makes a sentence impossible, and most good sentences are new. Something must be
# taken from what was seen and given to what was not. Two questions: how much, and to whom?
#
# *How much.* Adding 1 to every count, the oldest answer, gives each word that was never seen as much as those seen
# once, and there are many. Better take a constant $D<1$ off every count: a count of 5 hardly changes, a count of 1
# does. *To whom.* In proportion to what a shorter history says:
#
# $$p(w\mid h)=\frac{\max(c(hw)-D,\,0)}{c(h)}+\frac{D\cdot\#\{w:c(hw)>0\}}{c(h)}\;p(w\mid\text{shorter }h)$$
#
# The factor before the last is exactly what was taken off, so the sum stays 1.

# %%
VOCABULARY = ["<s>", "<unk>", *LEXICON]
Probability = Callable[[tuple[str, ...], str], float]  # of a word after a history


def interpolate(counts: Counter[tuple[str, ...]], lower: Probability, discounts: list[float]) -> Probability:
    """Discounted counts, and the rest as `lower` says; discounts are those of a count of 0, 1, 2, 3 or more."""
    total, free = Counter(), Counter()
    for (*history, _), n in counts.items():
        total[tuple(history)] += n
        free[tuple(history)] += discounts[min(n, 3)]

    def probability(history: tuple[str, ...], word: str) -> float:
        rest = lower(history[1:], word)
        n = counts[*history, word]
        return (n - discounts[min(n, 3)] + free[history] * rest) / total[history] if total[history] else rest

    return probability


# %%
def from_counts(counts: Counter[str]) -> Probability:
    whole = sum(max(1, counts[word]) for word in VOCABULARY)
    return lambda _history, word: max(1, counts[word]) / whole


def by_frequency(texts: list[str]) -> Probability:
    return from_counts(Counter(word for pair, n in ngrams(texts, 2).items() for word in [pair[1]] * n))


def add_one(texts: list[str]) -> Probability:
    pairs, before = ngrams(texts, 2), Counter()
    for (first, _), n in pairs.items():
        before[first] += n
    return lambda history, word: (pairs[history[0], word] + 1) / (before[history[0]] + len(VOCABULARY))


def discounted(texts: list[str]) -> Probability:
    return interpolate(ngrams(texts, 2), by_frequency(texts), [0, 0.7, 0.7, 0.7])


# %% [markdown]
# ### Kneser and Ney's idea
#
# Look at "ago". It is frequent here, so its plain frequency makes it likely after any new history. But it only ever
# comes after "days" and "hours", which know it already. The shorter model is asked when the longer one has **not**
# seen the pair; so it should answer *in how many different places is the word at home?* Count each pair once:

# %%
pairs = ngrams(corpus, 2)
frequency = Counter(word for pair, n in pairs.items() for word in [pair[1]] * n)
places = Counter(word for _, word in pairs)
for word in ("ago", "find", "ships", "the", "is"):
    print(f"{word:6} {frequency[word]:4} times, after {places[word]:2} different words")
assert frequency["ago"] > frequency["ships"] / 2
assert places["ago"] == 2

# %% [markdown]
# The same holds one step up: when a trigram is asked for, the bigram below it counts in how many different *contexts*
# it was seen. (Right after `<s>` nothing can stand before, so there it counts how often.)


# %%
def always_the_same(_counts: Counter[tuple[str, ...]]) -> list[float]:
    return [0, 0.7, 0.7, 0.7]


def at_home(counts: Counter[tuple[str, ...]]) -> Counter[tuple[str, ...]]:
    return Counter(gram[1:] for gram in counts)  # in how many contexts: each counts once


def two_words(texts: list[str]) -> Probability:
    pairs = ngrams(texts, 2)
    return interpolate(pairs, from_counts(Counter(word for _, word in pairs)), always_the_same(pairs))


def three_words(texts: list[str], discounts: Callable = always_the_same) -> Probability:
    three = ngrams(texts, 3)
    two = at_home(three) + Counter({pair: n for pair, n in ngrams(texts, 2).items() if pair[0] == "<s>"})
    bigram = interpolate(two, from_counts(Counter(word for _, word in two)), discounts(two))
    return interpolate(three, bigram, discounts(three))


# %% [markdown]
# **Perplexity** is $e^{-\text{mean}\log p}$ on new sentences: between how many words the model hesitates. Predict the
# order of the four curves, and which of them has the longest way to go when text is short.


# %%
def perplexity(model: Probability, order: int, texts: list[str]) -> float:
    logs = []
    for text in texts:
        row = ["<s>", "<s>", *text.split(), "<s>"]
        logs += [math.log(model(tuple(row[at - order + 1 : at]), row[at])) for at in range(2, len(row))]
    return math.exp(-sum(logs) / len(logs))


makers = {
    "add one": (add_one, 2), "discount": (discounted, 2),
    "Kneser-Ney, 2 words": (two_words, 2), "Kneser-Ney, 3 words": (three_words, 3),
}  # fmt: skip
sizes = (15, 30, 60, 120, 240, len(corpus))
curves = {
    name: [perplexity(make(corpus[:n]), order, held_out) for n in sizes] for name, (make, order) in makers.items()
}
for make in (add_one, discounted, two_words):
    model = make(corpus)
    assert np.isclose(sum(model(("<s>",), word) for word in VOCABULARY), 1)

# %%
for name, curve in curves.items():
    plt.semilogx(sizes, curve, "o-", label=f"{name}: {curve[-1]:.1f}")
plt.gca().set(xlabel="sentences in training", ylabel="perplexity", ylim=0)
plt.gca().set_xticks(sizes, sizes)
plt.gca().minorticks_off()
plt.legend(frameon=False)
assert curves["add one"][-1] > curves["discount"][-1] > curves["Kneser-Ney, 3 words"][-1]
assert curves["discount"][0] > curves["Kneser-Ney, 2 words"][0]

# %% [markdown]
# ### `transformer.language_model`
#
# One refinement is missing. A single $D$ is coarse, so Chen and Goodman estimate three, for counts of 1, 2 and more,
# from how many n-grams were seen once, twice, three and four times. Then our dictionary of counts and the class,
# which works on sorted arrays, must agree for **every word after every history**, and each history's words must sum
# to 1.

# %%
from transformer.language_model import UNKNOWN, LanguageModel, train_language_model


def three_discounts(counts: Counter[tuple[str, ...]]) -> list[float]:
    n1, n2, n3, n4 = (sum(n == seen for n in counts.values()) for seen in (1, 2, 3, 4))
    y = n1 / (n1 + 2 * n2)
    return [0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3]


by_hand = three_words(corpus, three_discounts)
language = train_language_model(corpus, [*LEXICON], n_bigrams=10**6, n_trigrams=10**6)
ids = {word: number for number, word in enumerate(language.words)}
everything = np.arange(len(ids))
print(f"{len(ids)} words, {len(language.bigram)} bigrams, {len(language.trigram)} trigrams")

# %%
worst = worst_sum = 0.0
for first, second in ngrams(corpus, 2):
    _, state = language.score(np.array([ids[first]]), np.array([ids[second]]))
    theirs = np.exp(language.score(np.repeat(state, len(ids)), everything)[0])
    mine = [by_hand((first, second), word) for word in language.words]
    worst = max(worst, np.abs(theirs - mine).max())
    worst_sum = max(worst_sum, abs(theirs.sum() - 1))
for last in language.words:  # after a pair that was never seen: the last word alone
    theirs = np.exp(language.score(np.full(len(ids), ids[last]), everything)[0])
    mine = [by_hand(("<unk>", last), word) for word in language.words]
    worst, worst_sum = max(worst, np.abs(theirs - mine).max()), max(worst_sum, abs(theirs.sum() - 1))
print(f"probabilities differ by {worst:.0e} at most, sums from 1 by {worst_sum:.0e}")
assert worst < 1e-5
assert worst_sum < 1e-4

# %% [markdown]
# A *state* is what the next word depends on: the last two words if that pair was ever seen, else the last one. The
# beam search below keeps one number for it, not a text.
#
# ### Pruning, and bytes
#
# A model of all English triples would take gigabytes; what ships has a few MB. So drop the n-grams that one would
# miss least: those whose loss hardly changes the probability, or that hardly occur (count × |change of log p|). Their
# place is taken by the shorter history. And a logarithm fits in a byte: 255 steps from 0 to −16.

# %%
folder = Path(tempfile.mkdtemp())
encoded = [[ids[word] for word in text.split()] for text in held_out]
points = []
for keep in (4, 40, 100, 200, 400, 1000):
    pruned = train_language_model(corpus, [*LEXICON], n_bigrams=keep // 2, n_trigrams=keep)
    pruned.save(folder / "language.xz")
    loaded = LanguageModel.load(folder / "language.xz")
    kept = len(pruned.bigram) + len(pruned.trigram)
    points.append((kept, (folder / "language.xz").stat().st_size, loaded.perplexity(encoded)))
    assert abs(loaded.bigram - pruned.bigram).max(initial=0) <= 8 / 255 + 1e-6
    assert np.isclose(loaded.perplexity(encoded), pruned.perplexity(encoded), rtol=0.03)

# %%
kept, size_bytes, hesitation = zip(*points, strict=True)
plt.plot(size_bytes, hesitation, "o-")
for at, count in enumerate(kept):
    plt.annotate(count, (size_bytes[at], hesitation[at]), textcoords="offset points", xytext=(4, 5), fontsize=8)
plt.gca().set(xlabel="bytes of the file", ylabel="perplexity", title="numbers: n-grams kept")
plt.tight_layout()
assert np.isclose(hesitation[-1], perplexity(by_hand, 3, held_out), rtol=0.03)

# %% [markdown]
# ## 5. A tree of pronunciations
#
# Which words may the phones so far become? Put the lexicon into a tree: a node is the beginning of pronunciations, an
# arc one more phone. Words that begin alike share what they share, and the search asks for each frame only *which
# arcs leave the node where I am*. From scratch it is a dictionary of dictionaries.

# %%
from transformer.graph import LOOP_LENGTH, N_PHONES, ROOT, Graph, build_graph
from transformer.phones import PHONES

SOME = ["to", "two", "too", "turn", "told", "ten", "sea", "see", "sun", "sold", "son", "she", "ships", "shoes"]


def toy_tree(words: list[str]) -> dict:
    root: dict = {}
    for word in words:
        node = root
        for phone in LEXICON[word]:
            node = node.setdefault(phone, {})
        node.setdefault("words", []).append(word)
    return root


def count_nodes(node: dict) -> int:
    return 1 + sum(count_nodes(child) for phone, child in node.items() if phone != "words")


# %%
def make_graph(words: list[str], model: LanguageModel) -> Graph:
    entries = [(ids[word], [PHONE_IDS[phone] for phone in LEXICON[word]]) for word in words]
    return build_graph(entries, model.unigram)


def compare(node: dict, graph: Graph, at: int) -> int:
    """Walk both trees; return how many nodes there are below and here."""
    assert {language.words[word] for word in graph.words_at(np.array([at]))[0]} == set(node.get("words", []))
    arcs = [arc for arc in graph.arcs_of(np.array([at]))[0] if not graph.is_loop[arc]]
    below = {PHONES[graph.arc_phone[arc] - 1]: graph.arc_node[arc] for arc in arcs}
    assert below.keys() == node.keys() - {"words"}
    return 1 + sum(compare(node[phone], graph, child) for phone, child in below.items())


tree, graph = toy_tree([*LEXICON]), make_graph([*LEXICON], language)
assert compare(tree, graph, ROOT) == count_nodes(tree) == len(graph.ahead) - LOOP_LENGTH * (N_PHONES - 1)
print(f"{sum(map(len, LEXICON.values()))} phones in {len(LEXICON)} words -> {count_nodes(tree)} nodes")

# %% [markdown]
# (The class has some nodes more: a loop of phones for words that it lacks, section 8.)
#
# **Look-ahead.** When does a path learn that its word is rare? If only at the word's end, then until there "she" and
# "ships" cost the same, and the beam is full of paths that are about to fall. So each node knows the *likeliest* word
# below it, and an arc costs what the best hope loses by taking it. Drawn below: the number at a node is the
# log-probability of its best word; an arc is the thicker, the less it costs.


# %%
LABEL = {"fontsize": 8, "ha": "center", "bbox": {"fc": "w", "lw": 0, "pad": 0.5}}


def draw(graph: Graph, at: int, depth: int, lines: list[int], axis: plt.Axes) -> float:
    """Draw the tree below node `at`; return its height. `lines` counts the rows in use."""
    heights = []
    for arc in graph.arcs_of(np.array([at]))[0]:
        if not graph.is_loop[arc]:
            y = draw(graph, graph.arc_node[arc], depth + 1, lines, axis)
            heights.append((y, PHONES[graph.arc_phone[arc] - 1], float(graph.arc_ahead[arc])))
    here = float(np.mean([y for y, _, _ in heights])) if heights else float(lines[0])
    lines[0] += not heights
    for y, phone, cost in heights:
        axis.plot([depth, depth + 1], [here, y], c="C0", lw=max(0.6, 3 + cost), zorder=1)
        axis.text(depth + 0.55, here + 0.55 * (y - here), phone, **LABEL)
    words = " ".join(language.words[word] for word in graph.words_at(np.array([at]))[0])
    axis.text(depth + 0.04, here - 0.22, f"{graph.ahead[at]:.1f}  {words}", fontsize=8)
    return here


axis = plt.subplots(figsize=(9, 4))[1]
draw(make_graph(SOME, language), ROOT, 0, [0], axis)
axis.set(xlim=(-0.1, 4.8), ylim=(10.5, -0.8))
axis.axis("off")
plt.tight_layout()

# %% [markdown]
# At the word's end the language model says what the word costs *here*, after its true history, and what was paid
# ahead is taken off. So look-ahead changes when a path pays, not how much:

# %%
for word, phones in LEXICON.items():
    node, paid = ROOT, 0.0
    for phone in phones:
        arc = next(a for a in graph.arcs_of(np.array([node]))[0] if graph.arc_phone[a] == PHONE_IDS[phone])
        node, paid = graph.arc_node[arc], paid + graph.arc_ahead[arc]
    assert ids[word] in graph.words_at(np.array([node]))[0]
    assert np.isclose(paid, graph.ahead[node], atol=1e-5)
    assert graph.ahead[node] >= language.unigram[ids[word]], "never dearer than the word itself"

# %% [markdown]
# ## 6. Ears with noise
#
# Instead of a network, a formula: each phone lasts a frame or two with a blank or two behind it, and the true label's
# logit is 10 where the other 39 are 0. Then Gaussian noise of size $\sigma$ on all 40. When is a frame misheard? The
# largest of 39 noises is about $2.2\,\sigma$, so from $10\approx2.2\,\sigma+\sigma$ on, $\sigma\approx3$, errors
# should come up fast.


# %%
def hear(text: str, noise: float, lexicon: dict[str, list[str]] = LEXICON) -> tuple[np.ndarray, list[int]]:
    """Return log-probabilities (S, 40), and the frames at which words begin, with the end behind."""
    path, begins = [0], []
    for word in text.split():
        begins.append(len(path))
        for phone in lexicon[word]:
            path += [PHONE_IDS[phone]] * rng.integers(1, 3) + [0] * rng.integers(1, 3)
    logits = noise * rng.normal(size=(len(path), N_PHONES))
    logits[range(len(path)), path] += 10
    logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    return logs.astype(np.float32), [*begins, len(path)]


_, axes = plt.subplots(1, 3, sharey=True)
for axis, noise in zip(axes, (0, 2, 4), strict=True):
    axis.imshow(np.exp(hear("she won", noise)[0]).T, aspect="auto", cmap="Greys")
    axis.set(title=f"noise {noise}", xlabel="frame")
axes[0].set(ylabel="phone")
plt.tight_layout()

# %% [markdown]
# ## 7. `transformer.decoding.BeamSearch`
#
# It is section 2 on the tree of section 5. A hypothesis is *where it stands in the tree, what the language model
# remembers, its last phone*, with the two probabilities. Whatever is equal in these can't be told apart by anything
# that comes later, so it is merged, and that is what keeps the search small. At a node with words it may end one: it
# pays (or gets back) the language model's opinion times `language_weight` and stands at the root again.
#
# (`blank_penalty` is for real networks, which learn to be silent rather than wrong; our ear hasn't learnt anything.)
#
# First, without noise:

# %%
from transformer.decoding import BeamSearch, BeamSettings, greedy_phones

SETTINGS = BeamSettings(hypotheses=60, language_weight=0.9, word_bonus=0.6, blank_penalty=0, unknown_phone=-3.3)
search = BeamSearch(graph, language, SETTINGS)


def decode(search: BeamSearch, logs: np.ndarray) -> str:
    return " ".join(search.language.words[heard.word] for heard in search.decode(logs))


for text in (
    "eight days ago the knight won the race",
    "the boy ate two pears over there",
    "you hear the king at the door too",
):
    logs, _ = hear(text, 0)
    print("heard:", " ".join(PHONES[phone - 1] for phone in greedy_phones(logs)), "\n   ->", decode(search, logs))
    assert decode(search, logs) == text

# %% [markdown]
# **Homophones decided by context**: "eight" and "ate", "two" and "too", "there" and "their". Nothing in the sound
# tells them apart. What tells is in these numbers:

# %%
for before, sound in (
    ("<s>", "EY T"),
    ("the boy", "EY T"),
    ("at the door", "T UW"),
    ("will write", "T UW"),
    ("we see", "T UW"),
):
    history = ("<s>", "<s>", *before.split())[-2:]
    says = {word: by_hand(history, word) for word in homophones[sound]}
    print(f"{before + ' …':16}", {word: f"{probability:.4f}" for word, probability in says.items()})

# %% [markdown]
# **Is it exact?** Merging adds up texts that end alike, such as "i sea" and "two i sea" if only the last two words
# matter from then on. So a beam that drops nothing finds the best *ending* (state of the language model), and among
# its texts one that was ahead when they met. Five words, five frames of noise, and all texts that fit into them. Noise
# is the worst case, a tie between everything; what if a frame is clearer about what it says?

# %%
FIVE = ["to", "two", "sea", "he", "i"]
tiny = train_language_model(
    ["to sea", "two sea", "he two", "i to sea", "he to two i"], FIVE, n_bigrams=100, n_trigrams=100
)
number = {word: at for at, word in enumerate(tiny.words)}
sounds = {word: [PHONE_IDS[phone] for phone in LEXICON[word]] for word in FIVE}
used = [0, *sorted({phone for phones in sounds.values() for phone in phones})]
exact = BeamSettings(
    hypotheses=10**6, threshold=1e6, phone_floor=-1e6, blank_penalty=0, language_weight=0.8, word_bonus=0.5,
    unknown_word=-1e9, sure_blank=1,
)  # fmt: skip
five = BeamSearch(build_graph([(number[word], phones) for word, phones in sounds.items()], tiny.unigram), tiny, exact)

# %%
texts = [text for count in range(4) for text in itertools.product(FIVE, repeat=count)]  # a fourth word never fits
endings, priors, spelt = {}, {}, {}
for text in texts:
    endings[text], told = np.zeros(1, np.int64), [number[word] for word in text]
    for word in told:
        _, endings[text] = tiny.score(endings[text], np.array([word]))
    priors[text] = np.exp(0.8 * tiny.score_text(told) + 0.5 * len(text))
    spelt[text] = tuple(used.index(phone) for word in text for phone in sounds[word])

# %%
same, draws = Counter(), np.random.default_rng(3)
for clear in (1, 3) * 30:
    logits = clear * draws.normal(size=(5, N_PHONES)) + np.where(np.isin(range(N_PHONES), used), 4, 0)
    logs = (logits - np.log(np.exp(logits).sum(1, keepdims=True))).astype(np.float32)
    heard = prefix_search(np.exp(logs[:, used]), 10**6)  # section 2: the sum over paths, of all rows of phones
    scores = {text: heard.get(spelt[text], 0) * priors[text] for text in texts}
    by_ending: dict[int, float] = defaultdict(float)
    for text, score in scores.items():
        by_ending[int(endings[text][0])] += score
    found = tuple(decode(five, logs).split())
    assert int(endings[found][0]) == max(by_ending, key=by_ending.get)
    same[clear] += found == max(scores, key=scores.get)
print(f"the best ending of {len(by_ending)} each time; the best text of {len(texts)}:")
print({f"noise x {clear}": f"{count} of 30" for clear, count in same.items()})
assert same[1] < same[3]

# %% [markdown]
# The clearer the frames, the more one text outweighs the others with its ending, and the more often the search is
# exact.
#
# ### What is each part worth?
#
# Four ways to words, from frames more and more spoilt:
#
# - *greedy*: best label of each frame. It can't even find where words begin, so we **tell** it, and give each row of
#   phones the most frequent word that sounds so.
# - *lexicon*: all words equally likely (a uniform model, so a word still costs $0.9\ln 78$).
# - *one word*: a model that knows how frequent words are, no more.
# - *three words*: the trigram.
#
# Predict: with no noise at all, which of them still make mistakes, and which two make the same ones? Word error rate:
# edits (insert, delete, change) by words said.

# %%
from transformer.metrics import word_accuracy

never, nothing = np.array([-1]), np.zeros(1, np.float32)  # a key that no look-up finds


def context_free(probability: Probability) -> LanguageModel:
    logs = np.log([probability((), word) for word in language.words]).astype(np.float32)
    return LanguageModel(language.words, logs, 0 * logs, never, nothing, nothing, never, nothing)


def search_with(model: LanguageModel) -> BeamSearch:
    return BeamSearch(make_graph([*LEXICON], model), model, search.settings)


def greedy_words(logs: np.ndarray, begins: list[int]) -> str:
    found = []
    for begin, end in itertools.pairwise(begins):
        sound = " ".join(PHONES[phone - 1] for phone in greedy_phones(logs[begin:end]))
        found.append(max(by_sound.get(sound, ["?"]), key=lambda word: frequency[word]))
    return " ".join(found)


def wrong(got: list[str], wanted: list[str]) -> float:
    return 1 - word_accuracy(list(zip(got, wanted, strict=True)))


# %%
searches = {
    "lexicon": search_with(context_free(from_counts(Counter()))),
    "one word": search_with(context_free(by_frequency(corpus))),
    "three words": search,
}
noises, chosen = (0, 2, 3, 3.5, 4, 4.5, 5), held_out[:16]
errors: dict[str, list[float]] = defaultdict(list)
for noise in noises:
    sounds = [hear(text, noise) for text in chosen]
    errors["greedy, told the gaps"].append(wrong([greedy_words(*sound) for sound in sounds], chosen))
    for name, way in searches.items():
        errors[name].append(wrong([decode(way, logs) for logs, _ in sounds], chosen))

# %%
for name, curve in errors.items():
    plt.plot(noises, curve, "o-", label=name)
plt.gca().set(xlabel="noise", ylabel="word error rate", ylim=(0, 1.1))
plt.legend(frameon=False)
plt.tight_layout()
print({name: f"{curve[0]:.0%} -> {curve[3]:.0%} at {noises[3]}" for name, curve in errors.items()})
assert errors["three words"][0] < 0.03 < errors["one word"][0], "no ear can tell homophones apart"
assert all(errors["three words"][n] < min(errors["one word"][n], errors["lexicon"][n]) for n in range(6))
assert errors["lexicon"][3] < errors["greedy, told the gaps"][3]

# %% [markdown]
# Without noise a fifth of the words is wrong for whoever has no context: homophones, for which greedy and "one word"
# choose the more frequent and "lexicon" the first. With noise greedy falls first, though we told it the gaps. The
# lexicon repairs: a phone that fits no word is overruled by those that do. Frequencies add little in a language of 76
# words (they would in one of 65,000). Context adds most, and holds on until there is nothing left to hold on to.
#
# ### How much should it be believed?
#
# The language model and the ear are not of one scale, so $\log P_{ear}+\lambda\log P_{language}$ has a knob. At 0 a
# word costs nothing, and the bonus for each word (`word_bonus`, which balances that every word makes a text less
# likely) pays for words that nobody said. At a very large $\lambda$ we are deaf. Which form has the curve, and which
# of the two noises forgives a wrong weight more?

# %%
weights = (0, 0.3, 0.6, 1, 2, 4)
best_weight = {}
for noise in (3, 4):
    sounds = [hear(text, noise)[0] for text in chosen]
    ways = [replace(search, settings=replace(search.settings, language_weight=weight)) for weight in weights]
    rates = [wrong([decode(way, logs) for logs in sounds], chosen) for way in ways]
    best_weight[noise] = weights[int(np.argmin(rates))]
    plt.plot(weights, rates, "o-", label=f"noise {noise}")
plt.gca().set(xlabel="language_weight", ylabel="word error rate", ylim=0)
plt.legend(frameon=False)
print("best:", best_weight)
assert all(weight > 0 for weight in best_weight.values())

# %% [markdown]
# ### How many hypotheses?
#
# Here the fixed price of each numpy call hides most of what a hypothesis costs. And look-ahead: the same graph with
# all its hopes put to 0 pays at the words' ends only. Small beams should miss it, wide ones shouldn't care.

# %%
blind = replace(search, graph=replace(graph, arc_ahead=0 * graph.arc_ahead, ahead=0 * graph.ahead))
counts, sounds = (2, 4, 8, 16, 32, 64), [hear(text, 3.5)[0] for text in chosen]
figure, (left, right) = plt.subplots(1, 2)
small = {}
for name, way in (("look-ahead", search), ("none", blind)):
    rates, cost = [], []
    for count in counts:
        narrow, began = replace(way, settings=replace(way.settings, hypotheses=count)), time.process_time()
        rates.append(wrong([decode(narrow, logs) for logs in sounds], chosen))
        cost.append((time.process_time() - began) / sum(map(len, sounds)) * 1000)
    left.semilogx(counts, rates, "o-", base=2, label=name)
    right.semilogx(counts, cost, "o-", base=2)
    small[name] = rates[0]
    print(name, [f"{rate:.0%}" for rate in rates])
left.set(xlabel="hypotheses", ylabel="word error rate", ylim=0)
right.set(xlabel="hypotheses", ylabel="ms a frame", ylim=0)
left.legend(frameon=False)
figure.tight_layout()
print("what is kept by default:", BeamSettings().hypotheses)
assert small["look-ahead"] < small["none"]

# %% [markdown]
# ## 8. A word that the lexicon lacks
#
# Names, mostly. Whatever is said, the tree makes known words of it, and without a way out a stranger becomes a row of
# wrong words that fit. The way out is a **loop of phones** beside the tree: any phone after any other, from three on,
# at a fixed price for the word and for each phone. If the ear insists on phones that make no words, the loop is
# cheaper than the contortions. In the captioner the letter head then spells what was heard there.

# %%
NAMES = {
    "zebra": "Z IY B R AH",
    "olga": "OW L G AH",
    "fumiko": "F UW M IY K OW",
    "yusuf": "Y UW S UH F",
    "hobart": "HH OW B AA R T",
}
strange = LEXICON | {name: phones.split() for name, phones in NAMES.items()}
text = "there is a zebra in the wood"
logs, _ = hear(text, 1, strange)
found = search.decode(logs)
said = next(heard for heard in found if heard.word == UNKNOWN)
print(decode(search, logs), "| frames", said.start, "to", said.end, "| phones:",
      *(PHONES[phone - 1] for phone in greedy_phones(logs[said.start : said.end + 1])))  # fmt: skip
closed = replace(search, settings=replace(search.settings, unknown_word=-1e6))
print("without the way out:", decode(closed, logs))
assert decode(search, logs) == text.replace("zebra", "<unk>")

# %% [markdown]
# What should it cost? Cheap, and every mumble is a stranger; dear, and no stranger is ever met. At noise 2.5:

# %%
with_name = [text.replace(text.split()[-1], str(rng.choice([*NAMES]))) for text in chosen]
strangers = [hear(text, 2.5, strange)[0] for text in with_name]
friends = [hear(text, 2.5)[0] for text in chosen]
prices, met, invented = (0, -1, -2, -3.3, -5, -7), [], []
for price in prices:
    way = replace(search, settings=replace(search.settings, unknown_phone=price))
    met.append(np.mean(["<unk>" in decode(way, logs) for logs in strangers]))
    invented.append(np.mean(["<unk>" in decode(way, logs) for logs in friends]))
plt.plot(prices, met, "o-", label="strangers met")
plt.plot(prices, invented, "o-", label="<unk> among known words")
plt.gca().set(xlabel="unknown_phone (log price of each)", ylabel="share", ylim=(-0.03, 1.03))
plt.legend(frameon=False, loc=(0.36, 0.2))
assert met[0] >= met[-1]
assert invented[0] >= invented[-1]

# %% [markdown]
# ## 9. When was it said?
#
# The search sums over paths and keeps texts. For times we go back: of all paths that carry **this** text, which is
# the likeliest? Same trellis as for the training (phones with blanks between them, stay, step or skip), a maximum
# instead of the sum, and a note of where it came from (Viterbi). Brute force agrees:

# %%
from transformer.align import align, interleave_blanks


def path_of(spans: list[tuple[int, int]], target: list[int], frames: int) -> list[int]:
    path = [0] * frames
    for (start, end), label in zip(spans, target, strict=True):
        path[start:end] = [label] * (end - start)
    return path


for target in ([1, 2], [1, 1], [2, 1, 2], [1, 2, 2]):
    logs = np.log(rng.dirichlet(np.ones(3), 7)).astype(np.float32)
    rivals = [path for path in itertools.product(range(3), repeat=7) if collapse(path) == target]
    best = max(rivals, key=lambda path: logs[range(7), path].sum())
    assert path_of(align(logs, target), target, 7) == list(best)
    print(target, "of", len(rivals), "paths", "".join("-ab"[label] for label in best))

# %% [markdown]
# The trellis of a sentence: each row a phone or blank of the text, grey what the frames say of it, red the path.

# %%
text = "she won the race"
logs, begins = hear(text, 3)
target = [PHONE_IDS[phone] for word in text.split() for phone in LEXICON[word]]
spans, states = align(logs, target), interleave_blanks(target)
walk = np.searchsorted([edge for span in spans for edge in span], range(len(logs)), side="right")
plt.figure(figsize=(8, 3.4))
plt.imshow(np.exp(logs[:, states]).T, aspect="auto", cmap="Greys")
plt.plot(walk, "C3", lw=2)
plt.gca().set_yticks(range(1, len(states), 2), [PHONES[phone - 1] for phone in target], fontsize=8)
plt.gca().set(xlabel="frame")
plt.tight_layout()
assert [states[at] for at in walk] == path_of(spans, target, len(logs))

# %% [markdown]
# A word begins with its first phone and ends with its last. A frame is 40 ms. And how sure is it? For each phone take
# the best frame of its span; the geometric mean over the word's phones is the **confidence** of
# `transformer.runtime`.


# %%
def times_and_confidence(logs: np.ndarray, words: list[str]) -> list[tuple[str, int, int, float]]:
    target = [[PHONE_IDS[phone] for phone in LEXICON[word]] for word in words]
    spans = iter(align(logs, [phone for word in target for phone in word]))
    found = []
    for word, phones in zip(words, target, strict=True):
        own = list(itertools.islice(spans, len(phones)))
        best = [logs[start:end, phone].max() for (start, end), phone in zip(own, phones, strict=True)]
        found.append((word, own[0][0], own[-1][1], float(np.exp(np.mean(best)))))
    return found


for (word, start, end, sure), begin in zip(times_and_confidence(logs, text.split()), begins, strict=False):
    print(f"{word:5} {start * 0.04:.2f} - {end * 0.04:.2f} s, confidence {sure:.2f} (began at {begin * 0.04:.2f})")
    assert abs(start - begin) <= 2

# %% [markdown]
# Can it be trusted? Decode at a noise where some words are wrong, and look where the right and wrong ones fall. A
# word counts as right if the true one was being said at its middle.

# %%
sure: dict[bool, list[float]] = {True: [], False: []}
late = []
for text in held_out:
    logs, begins = hear(text, 4)
    for word, start, end, confidence in times_and_confidence(logs, decode(closed, logs).split()):
        said = np.searchsorted(begins, (start + end) / 2, side="right") - 1
        is_right = word == text.split()[min(max(said, 0), len(begins) - 2)]
        sure[is_right].append(confidence)
        late += [start - begins[said]] if is_right else []
plt.hist([sure[True], sure[False]], np.linspace(0, 1, 21), label=["right", "wrong"])
plt.gca().set(xlabel="confidence", ylabel="words")
plt.legend(frameon=False)
plt.tight_layout()
print(f"{len(sure[False]) / sum(map(len, sure.values())):.0%} of the words are wrong")
print(f"the right ones begin {np.mean(late):+.2f} frames late")
print(f"median confidence: right {np.median(sure[True]):.2f}, wrong {np.median(sure[False]):.2f}")
assert np.median(sure[True]) > 1.5 * np.median(sure[False])

# %% [markdown]
# It sorts, and doesn't judge: below 0.2 a word is doubtful, but most words there are right all the same, for the
# language model had its reasons. So `transformer.runtime` drops no word where at least half of a stretch's words are
# sure (0.3 or more). Where fewer are, it takes the stretch for music and drops the unsure ones. `Word.confidence` is
# passed on, so that captions can mark a word. The class, with our ear in the place of its network:

# %%
from transformer.runtime import Reading, Timing, Transcriber


class WithOurEar(Transcriber):
    def __init__(self, least: float) -> None:
        self.search, self.timing, self.lowest_confidence = closed, Timing(0, 0), least
        self.pronunciations = {
            ids[word]: [bytes(PHONE_IDS[phone] for phone in phones)] for word, phones in LEXICON.items()
        }


everything_kept, served = WithOurEar(0), WithOurEar(0.3)
for noise in (4, 8):
    unsure = dropped = 0
    for text in chosen:
        logs, _ = hear(text, noise)
        reading = Reading(0, logs, logs[:, :29])  # letters, which only unknown words need
        words = everything_kept.write(reading)
        ours = times_and_confidence(logs, [word.text for word in words])
        assert np.allclose([word.confidence for word in words], [confidence for *_, confidence in ours])
        doubtful = sum(word.confidence < 0.3 for word in words)
        kept = served.write(reading)
        assert len(words) - len(kept) == (0 if 2 * doubtful <= len(words) else doubtful)
        unsure, dropped = unsure + doubtful, dropped + len(words) - len(kept)
    print(f"noise {noise}: {unsure} unsure words, of which {dropped} are dropped")

# %% [markdown]
# ## Exercises
#
# 1. **One number is not enough.** Let a prefix have a single probability. Find the smallest example in which a text
#    that can't be said gets some, and show what the two numbers would have said.
# 2. **The sum after pruning.** How far from 1 do the words after a history sum in a pruned model? And in one that
#    went through a file? Give a bound for the second before you measure.
# 3. **Ears that wait.** Make a language in which only the word *after* a homophone tells which one it was. How many
#    hypotheses does the search need, and why can it know at all?
# 4. **A name for a finished model.** A user hands in a name and its phones. Put it into a trained `LanguageModel`
#    (mind the keys: they are made with the number of words) and into the graph, so that it is heard and nothing else
#    changes.
#
# Solutions: `solutions/07_decoding.py`.
#
# ## Further reading
#
# - A. Graves, N. Jaitly, *Towards end-to-end speech recognition with recurrent neural networks*, 2014: prefix search.
# - S. Chen, J. Goodman, *An empirical study of smoothing techniques for language modeling*, 1999: section 4, all of
#   it.
# - K. Seymore, R. Rosenfeld, *Scalable backoff language models*, 1996: what an n-gram is worth.
# - S. Ortmanns, H. Ney, A. Eiden, *Language-model look-ahead for large vocabulary speech recognition*, 1996.
# - M. Mohri, F. Pereira, M. Riley, *Weighted finite-state transducers in speech recognition*, 2002: the grown-up
#   graph.
