"""Speech and its text, from files to batches: utterances, cached features, joined and augmented examples.

`prepare` computes features once (as they are, and in harder variants); `plan_epoch` and `make_batch` make fresh
examples of them each time.
"""

import csv
import json
import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from itertools import chain, groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from transformer import augment
from transformer.audio import Floats, log_mel, normalise
from transformer.config import N_MELS, SAMPLE_RATE
from transformer.lexicon import Pronunciation, encode_phones
from transformer.synth import is_held_out
from transformer.tokenizer import encode_letters
from transformer.tools.speak import read_manifest

SPEEDS = (1.0, 0.9, 1.1)  # variant 0 is the sound as it is, the others are slower and faster, and harder
NOISE_TRAIN_S = 160  # of the 200 s of each class of noise; the rest is for tests
# How much of a source one epoch sees, all of it where nothing stands: people are the half of what is heard.
SHARE_SEEN = {"kokoro": 0.6, "espeak": 0.6, "flite": 0.6, "festival": 0.6, "joe": 0.6}
DEV_SPEAKERS = ("ls-7859", "so-0575", "so-0594", "so-3023", "so-0736")
HEARD = ("train", "t3dev")  # of what engines speak: the other splits are heard as sound, when all is done
LONGEST = 2_400  # frames of an utterance: the longest reading has 20 s, and is slower in a variant


@dataclass(frozen=True)
class Utterance:
    """Who says what, and where the sound lies."""

    id: str
    source: str  # ls, ka, lj, so, kokoro, espeak, flite, festival, joe, none
    speaker: str
    split: str  # train, test, or a tier's name
    text: str
    path: str
    start_s: float = 0
    end_s: float = 0  # 0: to the end of the file


def read_people(folder: Path) -> list[Utterance]:
    """Return the utterances of people and of the neural engine that `folder` lists (its README tells the columns)."""
    found = []
    for kind in ("people", "neural"):
        with (folder / kind / f"{kind}.tsv").open(newline="") as file:
            for number, row in enumerate(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)):
                speaker = row["speaker"] if kind == "people" else f"kokoro {row['voice']}"
                source = speaker.split("-")[0] if kind == "people" else "kokoro"
                split = "test" if kind == "neural" and is_held_out(row["text"]) else row["split"]
                path = str(folder / kind / row["file"])
                times = float(row["start_s"]), float(row["end_s"])
                found.append(Utterance(f"{kind}-{number}", source, speaker, split, row["text"], path, *times))
    return found


def read_spoken(work: Path, split: str) -> list[Utterance]:
    """Return the utterances that engines spoke for one split."""
    folder = work / "speech" / split
    return [
        Utterance(line.id, line.engine, f"{line.engine} {line.voice}", split, line.text, str(folder / f"{line.id}.wav"))
        for line in read_manifest(work / "manifests" / f"{split}.tsv")
    ]


def read_samples(utterances: Sequence[Utterance]) -> Iterator[tuple[Utterance, Floats]]:
    """Yield each utterance with its samples; utterances of one file must stand together, it is decoded once."""
    for path, group in groupby(utterances, lambda utterance: utterance.path):
        sound = augment.read_sound(path)
        for utterance in group:
            end = round(utterance.end_s * SAMPLE_RATE) or len(sound)
            yield utterance, sound[round(utterance.start_s * SAMPLE_RATE) : end]


@cache
def read_noises(folder: Path, *, held_out: bool = False) -> tuple[Floats, ...]:
    """Return the recorded noises' training part, or the part that is kept for tests."""
    part = slice(NOISE_TRAIN_S * SAMPLE_RATE, None) if held_out else slice(NOISE_TRAIN_S * SAMPLE_RATE)
    return tuple(augment.read_sound(str(path))[part] for path in sorted(folder.glob("*.opus")))


def wordless(noises: Sequence[Floats], count: int, seed: int) -> Iterator[Floats]:
    """Yield sounds of 3-14 s in which nobody speaks: noise, music-like sound, steady noise, near silence."""
    random = np.random.default_rng(seed)
    for number in range(count):
        seconds = random.uniform(3, 14)
        if number % 3 == 0:
            noise = noises[int(random.integers(len(noises)))]
            start = random.integers(0, len(noise) - int(3 * SAMPLE_RATE))
            yield noise[start : start + int(seconds * SAMPLE_RATE)] * np.float32(random.uniform(0.05, 1))
        elif number % 3 == 1:
            yield augment.music(seconds, random)
        else:
            yield augment.steady_noise(seconds, random) * np.float32(10 ** random.uniform(-3, 0))


def random_of(name: str) -> np.random.Generator:
    """Return a random generator that is always the same for a name, and another one for another name."""
    return np.random.default_rng(list(name.encode()))


# --- the cache of features ---


@dataclass(frozen=True)
class Job:
    """One shard to compute: utterances of whole files, in one variant."""

    path: Path
    utterances: tuple[Utterance, ...]
    variant: int
    speech: Path


def prepare(speech: Path, work: Path) -> None:
    """Compute every shard that is missing under `work`/features, two at a time."""
    (work / "features").mkdir(parents=True, exist_ok=True)
    people = [utterance for utterance in read_people(speech) if utterance.split == "train"]
    spoken = list(chain.from_iterable(read_spoken(work, split) for split in HEARD))
    jobs = [*_people_jobs(people, work, speech), *_spoken_jobs(spoken, work, speech)]
    compute_wordless(speech, work / "features" / "wordless.0.npy")
    missing = [job for job in sorted(jobs, key=lambda job: job.variant) if not job.path.with_suffix(".json").exists()]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        for number, path in enumerate(pool.imap(compute_shard, missing), 1):
            print(f"{number}/{len(missing)} {path.name}", flush=True)


def _people_jobs(people: Sequence[Utterance], work: Path, speech: Path) -> Iterator[Job]:
    for path, group in groupby(people, lambda utterance: utterance.path):
        utterances = tuple(group)
        for variant in range(len(SPEEDS)):
            yield Job(work / "features" / f"{Path(path).stem}.{variant}.npy", utterances, variant, speech)


def _spoken_jobs(spoken: Sequence[Utterance], work: Path, speech: Path, size: int = 200) -> Iterator[Job]:
    for split, group in groupby(spoken, lambda utterance: utterance.split):
        utterances = tuple(group)
        for start in range(0, len(utterances), size):
            for variant in range(2 if split == "train" else 1):
                path = work / "features" / f"{split}-{start // size:03d}.{variant}.npy"
                yield Job(path, utterances[start : start + size], variant, speech)


def compute_shard(job: Job) -> Path:
    """Compute one shard: float16 log-mel of all its utterances in a row, and a list of what they are."""
    random = random_of(job.path.stem)
    noises: list[Floats] = []
    if job.variant:
        noises = [*read_noises(job.speech / "noise"), *(augment.music(20, random) for _ in range(4))]
    rows: list[dict[str, object]] = []
    features = []
    for utterance, samples in read_samples(job.utterances):
        sound = samples
        if job.variant:
            sound = augment.harder(samples, noises, random, SPEEDS[job.variant] * random.uniform(0.95, 1.05))
            noises[-1 - len(rows) % 3] = np.resize(samples, 20 * SAMPLE_RATE)  # babble: who spoke before
        features.append(log_mel(sound).astype(np.float16))
        rows.append({**asdict(utterance), "variant": job.variant, "frames": len(features[-1])})
    return write_shard(job.path, rows, features)


def compute_wordless(speech: Path, path: Path, count: int = 240) -> None:
    """Compute the shard of sounds in which nobody speaks, unless it is there."""
    if not path.with_suffix(".json").exists():
        sounds = wordless(read_noises(speech / "noise"), count, seed=7)
        features = [log_mel(sound).astype(np.float16) for sound in sounds]
        nobody = [Utterance(f"wordless-{number}", "none", "none", "wordless", "", "") for number in range(count)]
        rows = [{**asdict(item), "variant": 0, "frames": len(one)} for item, one in zip(nobody, features, strict=True)]
        write_shard(path, rows, features)


def write_shard(path: Path, rows: Sequence[Mapping[str, object]], features: Sequence[NDArray[np.float16]]) -> Path:
    """Write features and, last, their list: a shard with its list is whole."""
    np.save(path, np.concatenate(features))
    part = path.with_suffix(".part")
    part.write_text(json.dumps(rows))
    return part.rename(path.with_suffix(".json"))


# --- examples and batches ---


@dataclass(frozen=True)
class Example:
    """Features (frames, N_MELS), log10 and not yet normalised, and what is said in them."""

    features: NDArray[np.float16]
    phones: tuple[int, ...]
    letters: tuple[int, ...]
    source: str
    text: str


@dataclass(frozen=True)
class Batch:
    """Examples padded to the longest; targets stand one after another, as CTC takes them."""

    features: Floats  # (B, T, N_MELS), normalised
    frames: NDArray[np.int64]  # (B,)
    phones: NDArray[np.int64]
    phone_counts: NDArray[np.int64]
    letters: NDArray[np.int64]
    letter_counts: NDArray[np.int64]


Corpus = dict[str, list[Example]]  # by utterance: the same one may lie there in several variants


def load(
    work: Path, lexicon: Mapping[str, list[Pronunciation]], groups: Mapping[str, Callable[[Utterance], bool]]
) -> dict[str, Corpus]:
    """Return the cached utterances of each group; features stay on disk until they are looked at."""
    corpora: dict[str, Corpus] = {name: {} for name in groups}
    for path in sorted((work / "features").glob("*.json")):
        rows = json.loads(path.read_text())
        features = np.load(path.with_suffix(".npy"), mmap_mode="r")
        ends = np.cumsum([row["frames"] for row in rows])
        for row, end in zip(rows, ends, strict=True):
            frames, _ = row.pop("frames"), row.pop("variant")
            utterance = Utterance(**row)
            for name, is_member in groups.items():
                if is_member(utterance) and frames <= LONGEST:
                    example = make_example(features[end - frames : end], utterance, lexicon)
                    corpora[name].setdefault(utterance.id, []).append(example)
    return corpora


def make_example(
    features: NDArray[np.float16], utterance: Utterance, lexicon: Mapping[str, list[Pronunciation]]
) -> Example:
    """Return features with their targets."""
    phones, letters = encode_phones(utterance.text, lexicon), encode_letters(utterance.text)
    return Example(features, tuple(phones), tuple(letters), utterance.source, utterance.text)


def is_dev(utterance: Utterance) -> bool:
    """Tell who is kept from training to choose settings by: one reader, four learners. T4's people are not touched."""
    return utterance.speaker in DEV_SPEAKERS


Group = tuple[Example, ...]  # utterances that are heard one after another, as one example


def join(group: Group, random: np.random.Generator) -> Example:
    """Return utterances said one after another, with 0.1-0.8 s of quiet before each."""
    if len(group) == 1:
        return group[0]
    parts: list[Floats] = []
    for example in group:
        features = example.features.astype(np.float32)
        quiet = features[features.mean(1).argsort()[: 1 + len(features) // 20]].mean(0)
        parts += [quiet + random.normal(0, 0.15, (random.integers(10, 80), N_MELS)).astype(np.float32), features]
    text = " ".join(example.text for example in group)
    phones = tuple(chain.from_iterable(example.phones for example in group))
    return Example(np.concatenate(parts), phones, tuple(encode_letters(text)), group[0].source, text)


def length(group: Group) -> int:
    """Return about how many frames a joined group has."""
    return len(group[0].features) if len(group) == 1 else sum(len(example.features) + 45 for example in group)


def augmented(example: Example, noises: Sequence[Example], random: np.random.Generator) -> Floats:
    """Return an example's features as the network takes them, different each time."""
    features = example.features.astype(np.float32)
    if random.random() < 0.5:
        features = augment.warp_mel(features, random.uniform(0.9, 1.1))
    if random.random() < 0.4:
        features = augment.stretch_time(features, random.uniform(0.9, 1.12))
    if random.random() < 0.3:
        noise = noises[int(random.integers(len(noises)))].features.astype(np.float32)
        features = augment.mix(features, noise, random.uniform(5, 30))
    return augment.mask(normalise(features), random)


def draw(variants: Sequence[Example], random: np.random.Generator, hardness: float) -> Example:
    """Return the plain sound, or in `hardness` of all cases any of an utterance's variants."""
    return variants[int(random.integers(len(variants)))] if random.random() < hardness else variants[0]


def group_examples(corpus: Corpus, random: np.random.Generator, hardness: float) -> list[Group]:
    """Return an epoch's examples: one variant of each utterance, many of the short ones joined to up to 10 s."""
    drawn = [draw(variants, random, hardness) for variants in corpus.values()]
    chosen = [example for example in drawn if random.random() < SHARE_SEEN.get(example.source, 1)]
    groups: list[Group] = []
    waiting: Group = ()
    target = 0.0
    for at in random.permutation(len(chosen)):
        if waiting and length((*waiting, chosen[at])) > target:
            groups.append(waiting)
            waiting, target = (), random.uniform(0, 1000)
        waiting = (*waiting, chosen[at])
    return [*groups, waiting]


def plan_epoch(
    corpus: Corpus, noises: Sequence[Example], *, seed: int, frames: int, by_length: bool, hardness: float
) -> list[list[Group]]:
    """Return an epoch's batches, each of about `frames` feature frames; `by_length` puts short ones first.

    One example in twenty is noise, music or silence with nothing to write.
    """
    random = np.random.default_rng(seed)
    groups = group_examples(corpus, random, hardness)
    groups += [(noises[at],) for at in random.integers(len(noises), size=len(groups) // 20)]
    groups.sort(key=lambda group: length(group) + random.uniform(0, 50))
    batches, at = [], 0
    while at < len(groups):
        size = max(1, frames // _bucket(length(groups[at])))
        batches.append(groups[at : at + size])
        at += size
    return batches if by_length else [batches[at] for at in random.permutation(len(batches))]


def _bucket(frames: int) -> int:
    """Return the length that so many frames are padded to: few shapes, as oneDNN plans each new one for a second."""
    return -(-frames // 150) * 150


def make_batch(groups: Sequence[Group], noises: Sequence[Example], seed: tuple[int, ...], hardness: float) -> Batch:
    """Return groups as a batch, each joined, and `hardness` of them made harder."""
    random = np.random.default_rng(seed)
    examples = [join(group, random) for group in groups]
    features = [
        augmented(example, noises, random)
        if random.random() < hardness
        else normalise(example.features.astype(np.float32))
        for example in examples
    ]
    return collate(examples, features)


def collate(examples: Sequence[Example], features: Sequence[Floats]) -> Batch:
    """Return examples as one batch; features are padded with zeros, the mean."""
    frames = np.array([len(item) for item in features])
    padded = np.zeros((len(features), _bucket(frames.max()), N_MELS), np.float32)
    for row, item in zip(padded, features, strict=True):
        row[: len(item)] = item
    phones, letters = ([getattr(example, name) for example in examples] for name in ("phones", "letters"))
    return Batch(
        padded,
        frames,
        np.array(list(chain.from_iterable(phones)), np.int64),
        np.array([len(item) for item in phones]),
        np.array(list(chain.from_iterable(letters)), np.int64),
        np.array([len(item) for item in letters]),
    )
