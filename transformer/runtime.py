"""The captioner as it is served: samples in, timed words out, with numpy and onnxruntime alone.

>>> transcribe(samples)
[Word(text='hello', start_s=0.42, end_s=0.78, confidence=0.93), …]
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transformer.align import align, collapse
from transformer.audio import Floats, log_mel, normalise
from transformer.config import FRAME_S, HOP, N_MELS, SAMPLE_RATE, SUBSAMPLING, WINDOW
from transformer.decoding import BeamSearch, BeamSettings, Heard, greedy_text
from transformer.graph import N_PHONES, build_graph, load_entries
from transformer.language_model import UNKNOWN, LanguageModel
from transformer.segment import Piece, split
from transformer.tokenizer import LETTERS

Span = tuple[int, int]  # frames [start, end)

WEIGHTS = Path(__file__).with_name("weights")
FORMAT = 1  # of the folder with a model; another number is refused
N_LETTERS = len(LETTERS) + 1  # with the blank
FEWEST_SAMPLES = WINDOW  # less than one window holds no word
LONGEST_DECODE = 4  # pieces read in one go where nobody pauses: a minute, to bound memory
INTERFACE = [  # of the network: names, types and sizes, None where any will do
    ("features", "tensor(float)", [None, None, N_MELS]),
    ("frames", "tensor(int64)", [None]),
    ("phones", "tensor(float)", [None, None, N_PHONES]),
    ("letters", "tensor(float)", [None, None, N_LETTERS]),
]


class ModelError(ValueError):
    """A model that can't be served: missing, damaged, of another kind, or not the one its description names."""


@dataclass(frozen=True)
class Word:
    """A word, when it is said (seconds from the beginning), and how sure the model is (0 to 1)."""

    text: str
    start_s: float
    end_s: float
    confidence: float


@dataclass(frozen=True)
class Timing:
    """What is known of the delay between a sound and the frame that writes it, measured on engines' own timings."""

    start_offset_s: float
    end_offset_s: float


@dataclass(frozen=True)
class Reading:
    """What the network says of a stretch of sound: log-probabilities, 25 frames a second, and where it starts."""

    start_s: float
    phones: Floats  # (S, 40)
    letters: Floats  # (S, 29)


class Transcriber:
    """A loaded model. It keeps no state between calls, so threads may share it."""

    def __init__(self, folder: Path = WEIGHTS, *, threads: int = 1, settings: BeamSettings | None = None) -> None:
        """Load the model in `folder`. Raises ModelError where its files are not what its description says."""
        self.about = read_description(folder)
        self.session = open_session(folder / "captioner.onnx", threads)
        language, entries = read_language(folder)
        graph = build_graph(entries, language.unigram)
        try:
            beam = BeamSettings(**_numbers(self.about["beam"]))
            self.timing = Timing(**_numbers(self.about["timing"]))
            (self.lowest_confidence,) = _numbers({"lowest_confidence": self.about["lowest_confidence"]}).values()
        except (KeyError, TypeError, ValueError) as problem:
            raise ModelError(f"{folder / 'captioner.json'} describes no captioner: {problem!r}") from None
        self.search = BeamSearch(graph, language, settings or beam)
        self.pronunciations: dict[int, list[bytes]] = {}
        for word, phones in entries:
            self.pronunciations.setdefault(word, []).append(phones)

    def transcribe(
        self, samples: NDArray[np.generic] | Iterable[NDArray[np.generic]], sample_rate: int = SAMPLE_RATE
    ) -> list[Word]:
        """Return the words said in mono sound, whole or block by block (float within ±1, or int16), in time order.

        No word is a normal answer: silence, music and noise have none. Raises ValueError for another sample rate than
        16 kHz, and for sound that is not one row of numbers.
        """
        if sample_rate != SAMPLE_RATE:
            raise ValueError(
                f"the captioner listens at {SAMPLE_RATE} Hz, not at {sample_rate}: resample the sound first"
            )
        return [word for reading in self.read(samples) for word in self.write(reading)]

    def read(self, samples: NDArray[np.generic] | Iterable[NDArray[np.generic]]) -> Iterator[Reading]:
        """Yield what the network says of each stretch of sound between pauses."""
        parts: list[Reading] = []
        for piece in split(samples):
            parts.append(self._listen(piece))
            if not piece.drop_after or len(parts) == LONGEST_DECODE:
                yield _stitch(parts)
                parts = []
        if parts:
            yield _stitch(parts)

    def _listen(self, piece: Piece) -> Reading:
        if len(piece.samples) < FEWEST_SAMPLES or piece.is_silent:
            frames = -(-(1 + len(piece.samples) // HOP) // SUBSAMPLING)
            phones, letters = _silence(frames, N_PHONES), _silence(frames, N_LETTERS)
        else:
            features = normalise(log_mel(piece.samples))[None]  # (1, T, 80)
            inputs = {"features": features, "frames": np.array([features.shape[1]], np.int64)}
            phones, letters = (part[0] for part in self.session.run(None, inputs))
        kept = slice(piece.drop_before, len(phones) - piece.drop_after)
        return Reading(piece.start_s + piece.drop_before * FRAME_S, phones[kept], letters[kept])

    def write(self, reading: Reading) -> list[Word]:
        """Return the words of a reading: beam search, then the best path of what was found for times and confidence."""
        heard = self.search.decode(reading.phones)
        said = [self._phones_of(word, reading) for word in heard]
        try:
            spans = align(reading.phones, [phone for own in said for phone in own])
        except ValueError:  # an unknown word's phones were read off frames that its neighbours need: the beam's times
            spans = [(word.start, word.end + 1) for word, own in zip(heard, said, strict=True) for _ in own]
        words = [word for word in self._time(reading, heard, said, spans) if word.text]
        sure = [word for word in words if word.confidence >= self.lowest_confidence]
        # Over music a word or two of middling confidence come up alone; in speech the neighbours vouch for them.
        return words if len(sure) * 2 >= len(words) else sure

    def align(self, samples: NDArray[np.generic], text: str) -> list[Word]:
        """Return when each word of a known text (normalised) is said in up to a minute of sound.

        Raises ValueError for a word that the lexicon lacks, and where the sound is too short for the text.
        """
        ids = {word: number for number, word in enumerate(self.search.language.words)}
        unknown = [word for word in text.split() if ids.get(word) not in self.pronunciations]
        if unknown:
            raise ValueError(f"the lexicon lacks {', '.join(unknown)}")
        parts = list(self.read(samples))
        reading = _stitch(parts) if parts else Reading(0, _silence(0, N_PHONES), _silence(0, N_LETTERS))
        heard = [Heard(ids[word], 0, 0) for word in text.split()]
        said = [self.pronunciations[word.word][0] for word in heard]
        try:
            spans = align(reading.phones, [phone for own in said for phone in own])
        except ValueError:
            seconds = len(samples) / SAMPLE_RATE
            raise ValueError(f"{seconds:.1f} s of sound are too short for the text") from None
        return self._time(reading, heard, said, spans)

    def write_greedily(self, reading: Reading) -> str:
        """Return the letters of a reading's likeliest path, without lexicon or language model."""
        return greedy_text(reading.letters)

    def _time(
        self, reading: Reading, heard: Sequence[Heard], said: Sequence[Sequence[int]], spans: Sequence[Span]
    ) -> list[Word]:
        """Return words with times and confidence; `said` are the phones of each, `spans` the frames of all phones."""
        words, at = [], 0
        for word, own in zip(heard, said, strict=True):
            frames, at = spans[at : at + len(own)], at + len(own)
            logs = [reading.phones[start:end, phone].max() for (start, end), phone in zip(frames, own, strict=True)]
            start_s = reading.start_s + frames[0][0] * FRAME_S + self.timing.start_offset_s
            end_s = reading.start_s + frames[-1][1] * FRAME_S + self.timing.end_offset_s
            words.append(Word(self._text_of(word, reading), start_s, end_s, float(np.exp(np.mean(logs)))))
        return _apart(words)

    def _phones_of(self, heard: Heard, reading: Reading) -> Sequence[int]:
        """Return the phones of a word as it was said: of its pronunciations the one that fits its frames best."""
        own = reading.phones[heard.start : heard.end + 1]
        if heard.word != UNKNOWN:
            variants = self.pronunciations[heard.word]
            return max(variants, key=lambda phones: _fit(own, phones)) if len(variants) > 1 else variants[0]
        return collapse(own.argmax(-1).tolist()) or [1 + int(own[:, 1:].max(0).argmax())]

    def _text_of(self, heard: Heard, reading: Reading) -> str:
        if heard.word != UNKNOWN:
            return self.search.language.words[heard.word]
        spelt = greedy_text(reading.letters[max(0, heard.start - 1) : heard.end + 3]).split()
        return max(spelt, key=len, default="").strip("'")


def _numbers(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as they are. Raises ValueError where one is not a finite number."""
    for name, value in settings.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
            raise ValueError(f"{name} is {value!r}, which is no number")
    return dict(settings)


def _fit(log_probs: Floats, phones: Sequence[int]) -> float:
    """Return how well phones fit some frames: the mean log-probability of their best frames on the best path."""
    try:
        spans = align(log_probs, phones)
    except ValueError:
        return -np.inf
    return float(
        np.mean([log_probs[start:end, phone].max() for (start, end), phone in zip(spans, phones, strict=True)])
    )


def _apart(words: Sequence[Word]) -> list[Word]:
    """Return words that begin at 0 or later, each after the one before, and end before the next one begins."""
    found: list[Word] = []
    starts = np.maximum.accumulate([max(word.start_s, 0.02 * number) for number, word in enumerate(words)] or [0.0])
    for number, word in enumerate(words):
        start_s = float(starts[number])
        after_s = float(starts[number + 1]) if number + 1 < len(words) else np.inf
        end_s = min(max(word.end_s, start_s + 0.02), after_s)
        found.append(replace(word, start_s=round(start_s, 3), end_s=round(end_s, 3)))
    return found


def _silence(frames: int, labels: int) -> Floats:
    """Return log-probabilities (frames, labels) that say nothing but blank."""
    found = np.full((frames, labels), -20, np.float32)
    found[:, 0] = 0
    return found


def _stitch(parts: Sequence[Reading]) -> Reading:
    """Return readings that follow one another as one; frames that reach past the next one's start are cut off."""
    starts = [round((part.start_s - parts[0].start_s) / FRAME_S) for part in parts]
    sizes = [after - before for before, after in pairwise(starts)]
    kept = list(zip(parts, [*sizes, None], strict=True))
    return Reading(
        parts[0].start_s,
        np.concatenate([part.phones[:size] for part, size in kept]),
        np.concatenate([part.letters[:size] for part, size in kept]),
    )


def read_description(folder: Path) -> dict[str, Any]:
    """Return what captioner.json says of the model in `folder`, once every file's sha256 is found to be as it says.

    Raises ModelError otherwise.
    """
    try:
        about: dict[str, Any] = json.loads((folder / "captioner.json").read_text())
        if about["format"] != FORMAT:
            raise ModelError(f"{folder} holds a model of format {about['format']}; this captioner reads {FORMAT}")
        wanted = dict(about["sha256"])
        for name in ("captioner.onnx", "language.xz", "lexicon.xz"):
            found = hashlib.sha256((folder / name).read_bytes()).hexdigest()
            if found != wanted[name]:
                raise ModelError(f"{name} is not the file that captioner.json describes: its sha256 is {found}")
    except ModelError:
        raise
    except OSError as problem:
        raise ModelError(f"no captioner in {folder}: {problem.strerror} ({problem.filename})") from None
    except (KeyError, TypeError, ValueError) as problem:
        raise ModelError(f"{folder / 'captioner.json'} describes no captioner: {problem!r}") from None
    return about


def read_language(folder: Path) -> tuple[LanguageModel, list[tuple[int, bytes]]]:
    """Return the language model and the pronunciations in `folder`. Raises ModelError for other files."""
    try:
        language, entries = LanguageModel.load(folder / "language.xz"), load_entries(folder / "lexicon.xz")
    except (ValueError, IndexError) as problem:
        raise ModelError(str(problem)) from None
    if any(word >= len(language.words) for word, _ in entries):
        raise ModelError("lexicon.xz has words that language.xz lacks")
    return language, entries


def open_session(path: Path, threads: int = 1) -> Any:  # noqa: ANN401 - onnxruntime has no types
    """Return an onnxruntime session on a model of ours. Raises ModelError for a file that is none, or a foreign one."""
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as states

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = False  # pieces differ in length, and the arena keeps the sum of them
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except (
        states.Fail,
        states.InvalidArgument,
        states.InvalidGraph,
        states.InvalidProtobuf,
        states.NoModel,
        states.NotImplemented,
        states.RuntimeException,
        RuntimeError,
    ) as problem:  # they have no parent in common
        raise ModelError(f"{path.name} is no model that onnxruntime reads: {str(problem)[:200]}") from None
    found = [
        (part.name, part.type, [size if isinstance(size, int) else None for size in part.shape])
        for part in (*session.get_inputs(), *session.get_outputs())
    ]
    if found != INTERFACE:
        raise ModelError(f"{path.name} is another model: its inputs and outputs are {found}")
    return session


@cache
def shipped() -> Transcriber:
    """Return the model that comes with this package, loaded once."""
    return Transcriber()


def transcribe(
    samples: NDArray[np.generic] | Iterable[NDArray[np.generic]], sample_rate: int = SAMPLE_RATE
) -> list[Word]:
    """Return the words said in `samples` by the shipped model; see `Transcriber.transcribe`."""
    return shipped().transcribe(samples, sample_rate)
