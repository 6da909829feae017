"""How good the captioner is, tier by tier, beside a peer: `python -m transformer.evaluate WORK SPEECH MEDIA`.

Word accuracy is 1 - WER over all words of a tier. T1 sentences never seen, voices seen · T2 espeak voices never seen ·
T3 a speaker never seen (slt, by two engines), T3n the same in noise, a room and AAC · T4r people who read books, T4l
learners of English, T4x clips from elsewhere. Nobody of T4 was trained on or used to choose a setting.
"""

import argparse
import json
import multiprocessing
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from transformer import augment, build
from transformer.audio import Floats
from transformer.config import SAMPLE_RATE
from transformer.data import Utterance, random_of, read_noises, read_people, read_samples, read_spoken, wordless
from transformer.export import describe, export_model, load_run
from transformer.metrics import word_accuracy
from transformer.runtime import WEIGHTS, Transcriber, read_description
from transformer.synth import TIERS, is_held_out

SCORED = ("sha256", "beam", "timing", "lowest_confidence")  # what the scores hold for: other values need new ones
# What is said in ../shared/media/speech; these four clips are from other projects' test samples.
T4X = {
    "english.wav": "one two three",
    "person1_a.wav": "the child almost hurt the small dog",
    "person1_b.wav": "drop the two when you add the figures",
    "person2_a.wav": "we are sure that one war is enough",
}
WORDLESS_CLIPS = 21
MUSIC_DB = 15.0
MUSIC_CLIPS = 40
IN_FULL = ("T2", "T4r")  # what the network in 32 bits hears too

Harden = Callable[[Floats, np.random.Generator], Floats]


@dataclass(frozen=True)
class Tier:
    """Utterances that are judged together; `harden` is done to each first."""

    name: str
    utterances: tuple[Utterance, ...]
    harden: Harden | None = None


@dataclass(frozen=True)
class Answer:
    """What was heard in one utterance."""

    tier: str
    id: str
    meant: str
    beam: str
    greedy: str
    peer: str | None
    seconds: float  # of sound
    cpu_s: float  # to hear and to write it


def noisy(sound: Floats, random: np.random.Generator, noises: Sequence[Floats]) -> Floats:
    """Return T3n's sound: a room, noise 10 dB below the voice, AAC at 48 kb/s."""
    noise = noises[int(random.integers(len(noises)))]
    return augment.through_codec(augment.add_noise(augment.add_room(sound, random), noise, 10), "aac", "adts", 48_000)


def under_music(sound: Floats, random: np.random.Generator) -> Floats:
    """Return sound over music that is 15 dB weaker."""
    return augment.add_noise(sound, augment.music(len(sound) / SAMPLE_RATE + 1, random), MUSIC_DB)


def read_tiers(work: Path, speech: Path, media: Path) -> list[Tier]:
    """Return all tiers; those without files here are left out."""
    people = [utterance for utterance in read_people(speech) if utterance.split == "test"]
    by_source = {name: tuple(item for item in people if item.source == name) for name in ("ls", "so", "kokoro")}
    # Kokoro's own test sentences are in the language model's texts, unless their hash keeps them out.
    kokoro = tuple(item for item in by_source["kokoro"] if is_held_out(item.text))
    spoken = {name: tuple(read_spoken(work, name)) for name in ("t1", "t2", "t3")}
    noises = read_noises(speech / "noise", held_out=True)
    clips = tuple(
        Utterance(name, "clip", name, "test", text, str(media / "speech" / name))
        for name, text in T4X.items()
        if (media / "speech" / name).exists()
    )
    found = [
        Tier("T1", spoken["t1"] + kokoro),
        Tier("T2", spoken["t2"]),
        Tier("T3", spoken["t3"]),
        Tier("T3n", spoken["t3"], partial(noisy, noises=noises)),
        Tier("T4r", by_source["ls"]),
        Tier("T4l", by_source["so"]),
        Tier("T4x", clips),
        Tier("music", spoken["t1"][:MUSIC_CLIPS], under_music),
    ]
    return [tier for tier in found if tier.utterances]


@cache
def transcriber(folder: Path) -> Transcriber:
    """Return the model under test, loaded once a process."""
    return Transcriber(folder)


def answer(tier: Tier, folder: Path, peer: int, part: tuple[int, int]) -> list[Answer]:
    """Return the answers to one part of a tier's utterances: `part` (k, n) is the k-th of n in a row.

    The peer hears one utterance in `peer` (none if that is 0), and all of T4r.
    """
    first, last = (len(tier.utterances) * at // part[1] for at in (part[0], part[0] + 1))
    model = transcriber(folder)
    answers = []
    for number, (utterance, samples) in enumerate(read_samples(tier.utterances[first:last])):
        random = random_of(utterance.id)
        sound = tier.harden(samples, random) if tier.harden else samples
        began = time.process_time()
        readings = list(model.read(sound))
        words = " ".join(word.text for reading in readings for word in model.write(reading))
        cpu_s = time.process_time() - began
        greedy = " ".join(model.write_greedily(reading) for reading in readings)
        heard = hear_with_peer(sound) if peer and (tier.name == "T4r" or number % peer == 0) else None
        seconds = len(sound) / SAMPLE_RATE
        answers.append(Answer(tier.name, utterance.id, utterance.text, words, greedy, heard, seconds, cpu_s))
    return answers


@cache
def peer_decoder() -> Any:  # noqa: ANN401 - pocketsphinx has no types
    """Return pocketsphinx with the English model that its package brings."""
    from pocketsphinx import Decoder

    return Decoder(samprate=SAMPLE_RATE, loglevel="FATAL")


def hear_with_peer(sound: Floats) -> str:
    """Return what pocketsphinx hears."""
    decoder = peer_decoder()
    decoder.start_utt()
    decoder.process_raw((np.clip(sound, -1, 1) * 32767).astype("<i2").tobytes(), full_utt=True)
    decoder.end_utt()
    found = decoder.hyp()
    return str(found.hypstr) if found else ""


def count_invented(folder: Path, speech: Path, media: Path) -> dict[str, int]:
    """Return how many words are written where nobody speaks.

    A third of the clips is recorded noise that training never saw (of its ten classes), two thirds come from the
    generators of music and hiss that training uses too, with another seed; then the sound of the films in `media`.
    """
    model = transcriber(folder)
    clips = list(wordless(read_noises(speech / "noise", held_out=True), WORDLESS_CLIPS, seed=99))
    clips += [augment.read_sound(str(path)) for path in sorted(media.glob("*.mp4"))]
    written = [len(model.transcribe(clip)) for clip in clips]
    return {"clips": len(clips), "words": sum(written), "clips_with_words": sum(map(bool, written))}


def summarise(answers: Sequence[Answer]) -> dict[str, dict[str, float]]:
    """Return each tier's word accuracies in per cent, and the CPU time for a second of sound."""
    table: dict[str, dict[str, float]] = {}
    for name in dict.fromkeys(answer.tier for answer in answers):
        of_tier = [answer for answer in answers if answer.tier == name]
        row: dict[str, float] = {"utterances": len(of_tier)}
        for column in ("beam", "greedy", "peer"):
            pairs = [(getattr(item, column), item.meant) for item in of_tier if getattr(item, column) is not None]
            if pairs:
                row[column] = round(100 * word_accuracy(pairs), 1)
        row["rtf"] = round(sum(item.cpu_s for item in of_tier) / sum(item.seconds for item in of_tier), 4)
        table[name] = row
    return table


def as_text(table: dict[str, dict[str, float]]) -> str:
    """Return the tier table as it is printed."""
    columns = ("beam", "greedy", "fp32", "peer")
    lines = [f"{'tier':6}{'n':>5}" + "".join(f"{column:>8}" for column in (*columns, "RTF"))]
    for name, row in table.items():
        cells = "".join(f"{row[column]:8.1f}" if column in row else f"{'-':>8}" for column in columns)
        lines.append(f"{name:6}{row['utterances']:5.0f}{cells}{row['rtf']:8.4f}")
    return "\n".join(lines)


def evaluate(folder: Path, tiers: Sequence[Tier], peer: int, *, processes: int) -> Iterator[Answer]:
    """Yield all answers, worked out side by side."""
    jobs = [(tier, folder, peer, (part, processes * 4)) for tier in tiers for part in range(processes * 4)]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for part in pool.starmap(answer, jobs, chunksize=1):
            yield from part


def write_in_full(run: Path, model: Path, folder: Path) -> None:
    """Write the network of a training run in 32 bits, with the rest of `model`, into `folder`."""
    shutil.copytree(model, folder, dirs_exist_ok=True)
    export_model(load_run(run), folder, int8=False)
    describe(folder, {})


def main() -> None:
    """Evaluate a folder with a model; print the table, write it as JSON and into the model's description."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("work", "speech", "media"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--model", type=Path, default=WEIGHTS)
    parser.add_argument("--run", type=Path, help="the training run behind the model: heard in 32 bits beside it")
    parser.add_argument("--tiers", default="", help="only these, by comma")
    parser.add_argument("--peer", type=int, default=8, help="let it hear one utterance in so many (0: none)")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    if not (options.work / "manifests").exists():
        build.write_manifests(options.speech, options.work)
    build.speak_manifests(options.work, TIERS)
    tiers = read_tiers(options.work, options.speech, options.media)
    wanted = [tier for tier in tiers if not options.tiers or tier.name in options.tiers.split(",")]
    answers = list(evaluate(options.model, wanted, options.peer, processes=options.processes))
    table = summarise(answers)
    if options.run:
        with tempfile.TemporaryDirectory() as folder:
            write_in_full(options.run, options.model, Path(folder))
            some = [tier for tier in wanted if tier.name in IN_FULL]
            whole = summarise(list(evaluate(Path(folder), some, 0, processes=options.processes)))
        for name, row in whole.items():
            table[name]["fp32"] = row["beam"]
    invented = count_invented(options.model, options.speech, options.media)
    print(as_text(table))
    print(f"words over {invented['clips']} clips without speech: {invented['words']}")
    report = {"tiers": table, "without_speech": invented}
    (options.work / "evaluation.json").write_text(json.dumps(report, indent=1))
    (options.work / "answers.json").write_text(json.dumps([vars(item) for item in answers], indent=1))
    if not options.tiers:
        about = read_description(options.model)
        describe(options.model, {"scores": {**report, "of": {name: about[name] for name in SCORED}}})


if __name__ == "__main__":
    main()
