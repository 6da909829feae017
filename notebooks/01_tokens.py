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
# # 01 · Tokens: from text to numbers and back
#
# **Goal.** A network reads and writes numbers. At the end of this notebook you can say what it costs to spell in
# letters, in words, in pieces of words and in sounds; you have learnt a sub-word vocabulary from scratch; and you know
# why our captioner uses *three* of these alphabets and which text must never reach any of them.
#
# One sentence, cut in four ways. The longer the text, the smaller the alphabet, and nothing is free:
#
# ```
#                                                               symbols   alphabet
#  letters    t h e · v i d e o ' s · e n c o d e r                  19         28
#  sub-words  ▁the  ▁vid eo 's  ▁encod er                             6    some 100s
#  words      the  video's  encoder                                   3    10 000s, and never enough
#  phones     DH AH  V IH D IY OW Z  EH N K OW D ER                  14         39
# ```
#
# (Phones are the exception: nearly as few, and shorter.)

# %%
import random
import re
import time
from collections import Counter
from itertools import pairwise
from pydoc_data.topics import topics

import matplotlib.pyplot as plt
import numpy as np

plt.rcParams.update(
    {"figure.dpi": 70, "figure.figsize": (8, 2.6), "axes.spines.top": False, "axes.spines.right": False}
)
rng = random.Random(1)

# %% [markdown]
# ## 1. Letters
#
# The whole idea of a tokenizer fits in two lines: number the symbols, look them up. We number from 1, because 0 is
# taken: it is the **blank**, with which our network says "no new letter in this frame" (notebook 05).

# %%
ALPHABET = " 'abcdefghijklmnopqrstuvwxyz"


def toy_encode(text: str) -> list[int]:
    return [ALPHABET.index(letter) + 1 for letter in text]


def toy_decode(ids: list[int]) -> str:
    return "".join(ALPHABET[number - 1] for number in ids if number)


toy_encode("the video's"), toy_decode([22, 10, 7, 0, 0, 1])

# %% [markdown]
# The captioner's own pair does the same, and names the culprit when a symbol has no number:

# %%
from transformer.tokenizer import BytePairEncoding, decode_letters, encode_letters

for _ in range(1000):
    text = "".join(rng.choices(ALPHABET, k=rng.randrange(40)))
    assert encode_letters(text) == toy_encode(text)
    assert decode_letters(encode_letters(text)) == text
try:
    encode_letters("café")
except ValueError as error:
    print("refused:", error)

# %% [markdown]
# Letters never run out, and 28 of them are learnt quickly: each is seen thousands of times. The price is length. A
# decoder that writes letters needs six steps where one that writes words needs one, and attention compares every token
# with every other, so six times as long is 36 times as many comparisons (notebook 02).
#
# ## 2. Words, and why there are never enough of them
#
# For statistics we need some text. Every Python carries its reference manual in its standard library, so here are
# nearly thirty thousand words of plain English without a download. Paragraphs with an even number are to **learn**
# from, the others are the **unseen** text that comes later.

# %%
from transformer.normalise import normalise_text

paragraphs = dict.fromkeys(part.strip() for name in sorted(topics) for part in topics[name].split("\n\n"))
prose = [normalise_text(part) for part in paragraphs if re.match(r"[A-Z][a-z]+ ", part) and part.endswith(".")]
learn, unseen = prose[::2], prose[1::2]
counts = Counter(word for text in learn for word in text.split())
later = Counter(word for text in unseen for word in text.split())
once = sum(count == 1 for count in counts.values()) / len(counts)
print(f"{counts.total()} words to learn from, {len(counts)} different, {once:.0%} of those occur once")

# %% [markdown]
# ### Zipf's law
#
# Sort the words by how often they occur. In nearly every text the word of rank $r$ has a share of about
# $p_r = \frac{1}{r\,H_V}$, where $H_V = 1 + \frac12 + \dots + \frac1V \approx \ln V + 0.58$ makes the shares add up.
#
# **Predict** two pictures from that formula. On double-logarithmic axes, $\ln p_r = -\ln r - \ln H_V$ is a straight
# line that falls by one decade a decade. And the share of the text that the $k$ commonest words cover is $H_k / H_V$:
# a straight line over $\log k$. *Each doubling of the vocabulary buys the same few percent.*

# %%
ranks = np.arange(1, len(counts) + 1)
measured = np.array(sorted(counts.values(), reverse=True))
harmonic = np.cumsum(1 / ranks)
figure, axes = plt.subplots(1, 2)
axes[0].loglog(ranks, measured, label="measured")
axes[0].loglog(ranks, measured.sum() / (ranks * harmonic[-1]), "k:", label="Zipf")
axes[0].set(xlabel="rank of the word", ylabel="occurrences")
axes[1].semilogx(ranks, measured.cumsum() / measured.sum(), label="measured")
axes[1].semilogx(ranks, harmonic / harmonic[-1], "k:", label="Zipf")
axes[1].set(xlabel="words in the vocabulary", ylabel="share of the text")
axes[0].legend(frameon=False)
figure.tight_layout()
slope = np.polyfit(np.log(ranks[:1000]), np.log(measured[:1000]), 1)[0]
assert -1.3 < slope < -0.7
print(f"slope {slope:.2f}; half of the text is made of {np.searchsorted(measured.cumsum(), measured.sum() / 2)} words")

# %% [markdown]
# ### What is lost
#
# A vocabulary of words is learnt from some text and then meets another. A word it lacks becomes `<unk>`, one token for
# everything unknown. **Predict:** the share of lost words falls with the size of the vocabulary, but not to zero, for
# most new words of the unseen text did not occur in the learnt one at all.

# %%
by_count = [word for word, _ in counts.most_common()]


def lost_share(vocabulary: set[str]) -> float:
    return sum(count for word, count in later.items() if word not in vocabulary) / later.total()


sizes = [50, 100, 200, 400, 800, len(by_count)]
lost = [lost_share(set(by_count[:size])) for size in sizes]
plt.figure(figsize=(5, 2.4))
plt.semilogx(sizes, lost, "o-")
plt.gca().set(
    xlabel="words in the vocabulary (the last point: all that were seen)", ylabel="share lost", ylim=(0, None)
)
assert lost[-1] > 0.2 * lost[-2]
assert lost[-1] > 0.01

# %% [markdown]
# A few percent seem bearable, until one asks *which*. A word's information is $-\log_2 p$ bits: the rarer, the more it
# tells. What an `<unk>` swallows are names, places, terms: exactly what somebody types into a search box.

# %%
bits = {word: -np.log2(count / later.total()) for word, count in later.items()}
kept = np.average([bits[word] for word in later if word in counts], weights=[later[w] for w in later if w in counts])
gone = np.average(
    [bits[word] for word in later if word not in counts], weights=[later[w] for w in later if w not in counts]
)
print(f"a kept word tells {kept:.1f} bits, a lost one {gone:.1f}")
assert gone > kept + 2

said = "the encoder in lisbon has lost a keyframe"
print(" ".join(word if word in counts else "<unk>" for word in said.split()))

# %% [markdown]
# No decoder brings those words back. We want an alphabet that is short for what is common and *falls back to letters*
# for what is rare.
#
# ## 3. Byte-pair encoding from scratch
#
# Start from letters. Find the two neighbours that stand side by side most often, make them **one** token, and repeat.
# What is common fuses into whole words, what is rare stays in pieces. That is all.
#
# A little text of our own, in which you can see what will happen: which pair do you expect first?

# %%
STORY = """the streamer streams a stream of frames and the encoder encodes the frames of the stream
an encoder that encodes the longest frames longest is the slower encoder and the slowest encoder is the oldest
the newest streamer streamed the newer stream while the older streamer was decoding the older frames
decoding is faster than encoding and the faster decoder decoded the fastest stream the streamer was streaming"""
story_words = Counter(STORY.split())
pieces = {word: ["▁", *word] for word in story_words}  # "▁" marks where a word begins
print(pieces["streamer"], story_words["streamer"])


# %%
def count_pairs(pieces: dict[str, list[str]], counts: Counter[str]) -> Counter[tuple[str, str]]:
    pairs = Counter()
    for word, tokens in pieces.items():
        for pair in pairwise(tokens):
            pairs[pair] += counts[word]  # each distinct word is cut once, and counted as often as it occurs
    return pairs


count_pairs(pieces, story_words).most_common(5)

# %% [markdown]
# Two pairs can tie. Whoever takes "the first in the dictionary" gets a vocabulary that changes with the order of the
# text, and ids that no longer fit yesterday's weights. Our rule: the pair that sorts first.


# %%
def join(tokens: list[str], pair: tuple[str, str]) -> list[str]:
    joined: list[str] = []
    for token in tokens:
        if joined and (joined[-1], token) == pair:
            joined[-1] += token
        else:
            joined.append(token)
    return joined


def learn_merges(counts: Counter[str], n: int) -> list[tuple[str, str]]:
    pieces, merges = {word: ["▁", *word] for word in counts}, []
    while len(merges) < n and (pairs := count_pairs(pieces, counts)):
        merges.append(min(pairs, key=lambda pair: (-pairs[pair], pair)))
        pieces = {word: join(tokens, merges[-1]) for word, tokens in pieces.items()}
    return merges


merges = learn_merges(story_words, 60)
print(*("".join(pair) for pair in merges))

# %% [markdown]
# To cut a *new* word, replay the merges in the order in which they were learnt. The picture shows one sentence after 0,
# 5, 15, 30 and 60 of them. **Predict** what happens to "slowstreamest", which is no word at all.


# %%
def cut(word: str, merges: list[tuple[str, str]]) -> list[str]:
    tokens = ["▁", *word]
    for pair in merges:
        tokens = join(tokens, pair)
    return tokens


figure, axis = plt.subplots(figsize=(8.5, 2.2))
for row, n in enumerate((0, 5, 15, 30, 60)):
    tokens, at = [token for word in ("the", "slowstreamest", "decoder") for token in cut(word, merges[:n])], 0
    for number, token in enumerate(tokens):
        axis.barh(-row, len(token), left=at, height=0.8, color=f"C{number % 2}", alpha=0.35, edgecolor="white")
        axis.text(at + len(token) / 2, -row, token, ha="center", va="center", family="monospace", fontsize=10)
        at += len(token)
    axis.text(at + 0.4, -row, f"{len(tokens)} tokens after {n} merges", va="center")
axis.set(xlim=(0, 42))
_ = axis.axis("off")
# %% [markdown]
# Nothing is ever lost: joining the tokens and reading "▁" as a space gives the text back, because a merge never drops
# a letter. The stem and the ending of the invented word are tokens that the model knows from other words.
#
# ### The class
#
# `BytePairEncoding.train` learns the same merges. Its `split` works the other way about: it looks for the pair *of the
# word* that was learnt first, joins it, and looks again. Why is that the same as replaying all merges? A join at rank
# $r$ makes pairs with the new token, and every merge that contains this token was learnt after rank $r$. So the best
# rank only grows, and no merge is passed over.

# %%
theirs = BytePairEncoding.train(STORY.splitlines(), 60)
assert theirs.merges == merges
for word in [*counts, *later, "slowstreamest"]:
    assert theirs.split(word) == cut(word, merges)

vocabulary = ["<pad>", "<start>", "<end>", "▁", "'", *"abcdefghijklmnopqrstuvwxyz", *("".join(pair) for pair in merges)]
assert theirs.encode(said) == [vocabulary.index(token) for word in said.split() for token in cut(word, merges)]
assert theirs.decode(theirs.encode(said)) == said
print(len(theirs), "tokens;", theirs.encode("the streamer"))

# %% [markdown]
# ## 4. How many merges?
#
# Each merge makes the vocabulary one larger and the text shorter by the number of times its pair occurs. The first one
# saves thousands of tokens; if pairs follow Zipf as words do, the $n$-th saves about $1/n$ of that. **Predict:** tokens
# a word fall steeply from "letters + 1", then ever more slowly towards 1. And the unseen text, of which whole words
# lost several percent? Pieces are far commoner than words, so it should cost hardly more than the learnt one. Meanwhile
# the evidence for each token shrinks: what occurs three times in all of the text teaches a network nothing.
#
# The merges of a small vocabulary are the first ones of a larger one, so we learn once and cut the list.

# %%
start = time.process_time()
large = BytePairEncoding.train(learn, 1000)
print(f"{len(large.merges)} merges in {time.process_time() - start:.1f} s")


def use(merges: list[tuple[str, str]], words: Counter[str]) -> Counter[str]:
    tokenizer, used = BytePairEncoding(merges), Counter()
    for word, count in words.items():
        for token in tokenizer.split(word):
            used[token] += count
    return used


steps = [0, 30, 100, 300, 600, 1000]
used = [(use(large.merges[:n], counts), use(large.merges[:n], later)) for n in steps]

# %%
sizes = [31 + n for n in steps]
lengths = np.array([[seen.total() / counts.total(), new.total() / later.total()] for seen, new in used])
evidence = [np.median(list(seen.values())) for seen, _ in used]
figure, axes = plt.subplots(1, 2)
axes[0].plot(sizes, lengths, "o-", label=["learnt text", "unseen text"])
axes[0].axhline(1, color="k", ls=":")
axes[0].set(xlabel="tokens in the vocabulary", ylabel="tokens a word", ylim=(0, None))
axes[0].legend(frameon=False)
axes[1].loglog(sizes, evidence, "o-")
axes[1].axhline(np.median(list(counts.values())), color="k", ls=":", label="words")
axes[1].set(xlabel="tokens in the vocabulary", ylabel="occurrences of the\nmedian token")
axes[1].legend(frameon=False)
figure.tight_layout()
letters_a_word = sum(len(word) * count for word, count in counts.items()) / counts.total()
assert np.isclose(lengths[0, 0], letters_a_word + 1)
assert (np.diff(lengths, axis=0) < 0).all()
assert (lengths[:, 1] < 1.1 * lengths[:, 0]).all(), "the unseen text is at most a tenth longer"

# %% [markdown]
# Length is what attention pays for, evidence is what learning lives on: the vocabulary trades one for the other. Large
# models with terabytes of text take 30 000–250 000 tokens; a small model with a small text is well served by a few
# hundred. And how often is a word unknown now? Never, as long as it is made of letters:

# %%
for word in ("encoder", "lisbon", "streamforge", "zyzzyva"):
    print(f"{word:12}", large.split(word))

# %% [markdown]
# ### And why does our network not write sub-words?
#
# Its encoder gives 25 frames a second, each of which says one symbol or the blank (CTC, notebook 05). Such a network
# can say no more labels than it has frames. Do letters fit? People speak about three words a second, in haste five.

# %%
letters_a_second = 3.0 * (letters_a_word + 1)
print(f"{letters_a_second:.1f} letters a second, in haste {5 * (letters_a_word + 1):.1f}; 25 frames a second")
assert 25 / 2 < letters_a_second < 25
assert 5 * 4 < 25 < 5 * (letters_a_word + 1)

# %% [markdown]
# At three they fit; at five letters need 29 frames and do not, but four phones a word need 20. With half the frame rate
# not even slow letters would fit. So **phones** carry the captions, letters spell what no lexicon has, and BPE is for
# decoders that pay for each token (notebook 06).
#
# ## 5. The normaliser: one text for the voice and for the label
#
# Both tokenizers refuse "7" and "é". Dropping such characters would be easy and wrong: *they are spoken*. So text is
# first written as it is said. From scratch, for numbers below a thousand:

# %%
NAMES = """zero one two three four five six seven eight nine ten eleven twelve
thirteen fourteen fifteen sixteen seventeen eighteen nineteen"""
ONES = NAMES.split()
TENS = ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


def say(number: int) -> str:
    if number < 20:
        return ONES[number]
    if number < 100:
        return TENS[number // 10] + (" " + ONES[number % 10] if number % 10 else "")
    return ONES[number // 100] + " hundred" + (" " + say(number % 100) if number % 100 else "")


from transformer.normalise import spell_number

assert [say(number) for number in range(1000)] == [spell_number(number) for number in range(1000)]
print(say(342), "|", spell_number(1_234_567))

# %% [markdown]
# `normalise_text` knows years, money, clock times, ordinals, abbreviations and acronyms too:

# %%
WRITTEN = [
    "Dr. Ames paid $3.50 for 2 of them.",
    "In 1999 it had 1,234 viewers.",
    "It starts at 7:05 on the 21st.",
    "The HTML page is 80% done.",
    "Chapter 12 & 13 are about café life.",
    "We'll stop at 10:00.",
]
for text in WRITTEN:
    print(f"{text:38}→ {normalise_text(text)}")

# %% [markdown]
# Two promises make it safe to put in front of everything. Its output has only our 28 letters, whatever comes in, and
# doing it twice changes nothing. We try to break them with rubbish:

# %%
for _ in range(3000):
    junk = "".join(rng.choices("abcXYZs' .,:;!?-$£%&0123456789é’½()", k=rng.randrange(30)))
    encode_letters(normalise_text(junk))  # raises for a stranger
    assert normalise_text(normalise_text(junk)) == normalise_text(junk)
print("3000 texts, 28 letters, idempotent")

# %% [markdown]
# ### An experiment: the perfect listener
#
# Half of our training data is spoken by engines. The voice reads a text, and the label claims what it read. Suppose a
# listener hears every word that was spoken, and score it against labels that three different label makers wrote. The
# word error rate is the number of words to insert, delete or replace over the number of words in the label.
#
# **Predict** the three bars. Whoever drops digits loses "three point five zero" from the label, though it is heard: all
# these words count as inserted, and the rate can exceed 1. Who reads digit by digit gets "2" right and "1999" wrong.


# %%
def word_errors(label: list[str], heard: list[str]) -> int:
    row = list(range(len(heard) + 1))
    for i, word in enumerate(label, 1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(heard, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (word != other))
    return row[-1]


def drop(text: str) -> str:
    return re.sub("[^a-z' ]", "", text.lower())


def read_digits(text: str) -> str:
    return drop(re.sub(r"\d", lambda digit: f" {ONES[int(digit[0])]} ", text))


# %%
rates = {}
for name, label in {"drop": drop, "digit by digit": read_digits, "the voice's own": normalise_text}.items():
    pairs = [(label(text).split(), normalise_text(text).split()) for text in WRITTEN]
    rates[name] = sum(word_errors(*pair) for pair in pairs) / sum(len(words) for words, _ in pairs)
plt.figure(figsize=(5, 1.6))
plt.barh(list(rates), list(rates.values()))
plt.xlabel("word error rate of a listener who makes none")
assert rates["the voice's own"] == 0 < rates["digit by digit"] < rates["drop"]

# %% [markdown]
# In training it is worse than in scoring: a wrong label is a lesson, and it teaches the network *not to write what it
# hears*. So the words are made once by `normalise_text`, the engine is given these words (never the digits, which it
# would read in its own way), and the label, the language model and the evaluation use the same function.
#
# ## 6. Phones: an alphabet of sounds
#
# English spelling is a poor picture of its sounds. The same four letters, five sounds:

# %%
from transformer.phones import PHONE_IDS, PHONES, from_ipa

# How espeak would write these words, in IPA; ˈ and ˌ mark stress.
IPA = {"though": "ðˈoʊ", "through": "θɹˈuː", "tough": "tˈʌf", "cough": "kˈɔf", "bough": "bˈaʊ"}
IPA |= {"church": "tʃˈɜːtʃ", "judge": "dʒˈʌdʒ", "video": "vˈɪdɪˌoʊ", "bow": "bˈaʊ", "threw": "θɹˈuː"}
{word: " ".join(from_ipa(ipa)) for word, ipa in IPA.items()}

# %% [markdown]
# CMUdict spells 126 000 words in 39 such **ARPAbet** phones, and what it lacks is spoken by an engine and translated
# from IPA. That translation is tokenizing once more, and has one trap: some sounds are written with two signs. From
# scratch, with the candidates tried longest first, or shortest first:

# %%
SOUNDS = {
    "tʃ": "CH",
    "dʒ": "JH",
    "oʊ": "OW",
    "aʊ": "AW",
    "uː": "UW",
    "ɜː": "ER",
    "ð": "DH",
    "θ": "TH",
    "ɹ": "R",
    "t": "T",
}
SOUNDS |= {"ʃ": "SH", "ʒ": "ZH", "ʌ": "AH", "f": "F", "k": "K", "ɔ": "AO", "b": "B", "d": "D", "v": "V", "ɪ": "IH"}


def toy_phones(ipa: str, *, longest_first: bool = True) -> list[str]:
    found = []
    while ipa:
        sign = next((ipa[:n] for n in ((2, 1) if longest_first else (1, 2)) if ipa[:n] in SOUNDS), "")
        found += [SOUNDS[sign]] if sign else []
        ipa = ipa[len(sign) or 1 :]
    return found


assert all(toy_phones(ipa) == from_ipa(ipa) for ipa in IPA.values())
print(
    "church, longest first:", *toy_phones(IPA["church"]), "| shortest:", *toy_phones(IPA["church"], longest_first=False)
)

# %% [markdown]
# Phones lie nearer to what a microphone hears, so less speech is needed to learn them: our captioner's first head has
# `len(PHONES) + 1` outputs. What they lose is spelling. Going back needs a **lexicon**, and where two words share their
# sounds, a **language model** that knows which of them fits:

# %%
lexicon: dict[tuple[str, ...], list[str]] = {}
for word, ipa in IPA.items():
    lexicon.setdefault(tuple(from_ipa(ipa)), []).append(word)
for sounds, words in lexicon.items():
    if len(words) > 1:
        print(" ".join(sounds), "→", " or ".join(words))
assert len(PHONES) == len(PHONE_IDS) == 39
print([PHONE_IDS[phone] for phone in from_ipa(IPA["church"])])

# %% [markdown]
# | alphabet | size | symbols a word | unknown word | where we use it |
# |---|---|---|---|---|
# | phones | 39 + blank | 4 | none, but needs a lexicon to become text | first CTC head |
# | letters | 28 + blank | 6 | none | second CTC head: spells what no lexicon has |
# | sub-words | hundreds | 2 | none: falls back to letters | nowhere in what ships; for decoders |
# | words | 65 000 | 1 | **lost** | language model, whose way out are the letters |
#
# ## Exercises
#
# 1. **Bits a letter.** 28 letters need at most $\log_2 28 = 4.81$ bits each. How many does English need if each letter
#    is guessed from its frequency alone, and how many if the one before it is known? Use any text of 300 words.
# 2. **Ties.** Learn 60 merges twice with our rule, from the same lines in another order: the merges are equal. Change
#    the rule to "first come" (`Counter.most_common(1)`): how many of the 60 change with the order now?
# 3. **Dropout for merges.** Leave out each possible join with probability $p$ while cutting a word. The same word
#    gets many spellings, all of which decode to it. How does the mean length depend on $p$? Know both ends before you
#    measure. (It is a regulariser: the model can't rely on one way to cut.)
# 4. **Fast learning.** `train` counts all pairs again for every merge. Keep the counts, and an index from pair to the
#    words that hold it; after a merge only these words change. The same merges, how many times as fast?
#
# Solutions: `solutions/01_tokens.py`.
#
# ## Further reading
#
# - G. K. Zipf, *Human behavior and the principle of least effort*, 1949: the law of the ranks.
# - C. E. Shannon, *Prediction and entropy of printed English*, 1951: how many bits a letter is worth.
# - P. Gage, *A new algorithm for data compression*, 1994: byte pairs, before anybody thought of words.
# - R. Sennrich, B. Haddow, A. Birch, *Neural machine translation of rare words with subword units*, 2016: BPE for text.
# - I. Provilkov, D. Emelianenko, E. Voita, *BPE-dropout*, 2020: exercise 3.
# - R. Sproat, N. Jaitly, *RNN approaches to text normalization: a challenge*, 2016: why the normaliser is hard.
# - In this house: `transformer/tokenizer.py`, `transformer/normalise.py`, `transformer/phones.py`.
