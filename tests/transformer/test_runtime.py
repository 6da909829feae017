import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tests.transformer.conftest import Exported
from tests.transformer.tiny import BEAM, LEXICON, Floats, letters_of, make_entries, path_of, phones_of, say
from tests.transformer.tones import make_tone_model, speak_tones
from transformer import runtime
from transformer.audio import clean_samples
from transformer.config import FRAME_S, SAMPLE_RATE
from transformer.decoding import BeamSettings
from transformer.export import describe
from transformer.graph import save_entries
from transformer.runtime import Reading, Transcriber, Word

PLAIN_WORDS = ["see", "the", "cat", "cats", "me", "nine", "ten", "either"]
SERVES = """
import sys
from pathlib import Path
import numpy as np
from transformer.runtime import Transcriber
Transcriber(Path(sys.argv[1])).transcribe(np.random.default_rng(0).normal(0, 0.1, 16_000))
print(*sys.modules)
"""


def noise(seconds: float, level: float = 0.1) -> Floats:
    return np.random.default_rng(0).normal(0, level, int(seconds * SAMPLE_RATE)).astype(np.float32)


def check_words(words: list[Word]) -> None:
    assert all(word.text and 0 <= word.start_s < word.end_s and 0 <= word.confidence <= 1 for word in words)
    assert all(before.end_s <= after.start_s for before, after in pairwise(words))


def reading_of(phones: Floats, letters: str = "", start_s: float = 0.0) -> Reading:
    return Reading(start_s, phones, say(letters_of(letters.ljust(len(phones), "_")), 29))


@pytest.fixture(scope="module")
def untrained(exported: Exported) -> Transcriber:
    return Transcriber(exported.folder)


@pytest.fixture(scope="module")
def tone_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tone_model(tmp_path_factory.mktemp("tones"))


@pytest.fixture(scope="module")
def tones(tone_folder: Path) -> Transcriber:
    return Transcriber(tone_folder)


def test_the_folder_is_loaded(untrained: Transcriber) -> None:
    assert untrained.about["name"] == "untrained"
    assert untrained.search.language.words[2:] == tuple(LEXICON)


# --- sound of every kind ---

SOUNDS = {
    "nothing": np.zeros(0, np.float32),
    "one sample": np.ones(1, np.float32),
    "0.1 s": noise(0.1),
    "NaN": np.where(np.arange(16_000) % 7, noise(1), np.nan),
    "only NaN": np.full(16_000, np.nan, np.float32),
    "infinite": np.where(np.arange(16_000) % 900, noise(1), np.inf),
    "clipped": np.sign(noise(1)) * 50,
    "silence": np.zeros(20_000, np.int16),
    "a constant": np.full(16_000, 0.7, np.float32),
    "an offset": noise(1, 0.02) + 0.5,
    "noise": noise(3),
    "int16": (noise(1) * 32767).astype(np.int16),
    "float64": noise(1).astype(np.float64),
    "speech of tones": speak_tones(PLAIN_WORDS)[0],
}


@pytest.mark.parametrize("sound", SOUNDS.values(), ids=SOUNDS)
@pytest.mark.parametrize("which", ["untrained", "tones"])
def test_any_sound_gives_words_in_order(request: pytest.FixtureRequest, which: str, sound: Floats) -> None:
    model: Transcriber = request.getfixturevalue(which)
    check_words(model.transcribe(sound))


@pytest.mark.parametrize("name", ["nothing", "one sample", "silence", "only NaN"])
def test_silence_has_no_words(untrained: Transcriber, name: str) -> None:
    assert untrained.transcribe(SOUNDS[name]) == []


@pytest.mark.parametrize("rate", [8000, 44_100, 48_000, 0])
def test_another_sample_rate_is_refused(untrained: Transcriber, rate: int) -> None:
    with pytest.raises(ValueError, match=f"not at {rate}"):
        untrained.transcribe(noise(1), rate)


def test_stereo_is_refused(untrained: Transcriber) -> None:
    with pytest.raises(ValueError, match="mono"):
        untrained.transcribe(np.zeros((16_000, 2), np.float32))


# --- what is heard, and when ---


def test_words_are_heard_when_they_are_said(tones: Transcriber) -> None:
    sound, spans = speak_tones(["see", "the", "two", "cats"])
    words = tones.transcribe(sound)
    assert [word.text for word in words] == ["see", "the", "two", "cats"]
    assert [word.start_s for word in words] == pytest.approx([start for start, _ in spans], abs=0.01)
    assert [word.end_s for word in words] == pytest.approx([end for _, end in spans], abs=0.01)
    assert all(word.confidence > 0.99 for word in words)


def test_a_pause_is_cut_at_and_times_go_on(tones: Transcriber) -> None:
    sound, spans = speak_tones(PLAIN_WORDS * 3)
    quiet = np.zeros(3 * SAMPLE_RATE, np.float32)
    words = tones.transcribe(np.concatenate([sound, quiet, sound]))
    assert len(list(tones.read(np.concatenate([sound, quiet, sound])))) == 2
    later = len(sound) / SAMPLE_RATE + 3
    starts = [start for start, _ in spans] + [later + start for start, _ in spans]
    assert [word.text for word in words] == PLAIN_WORDS * 6
    assert [word.start_s for word in words] == pytest.approx(starts, abs=0.05)


def test_speech_without_a_pause_is_read_over_its_cuts(tones: Transcriber) -> None:
    said = random.Random(0).choices(PLAIN_WORDS, k=120)
    sound, spans = speak_tones(said)
    sound = sound[: 40 * SAMPLE_RATE]
    (reading,) = tones.read(sound)
    assert reading.start_s == 0
    assert len(reading.phones) == len(reading.letters) == 1 + 40 / FRAME_S
    whole = [word for word, (_, end) in zip(said, spans, strict=True) if end <= 40]
    heard = tones.write(reading)
    assert [word.text for word in heard[: len(whole)]] == whole
    starts = [start for start, _ in spans][: len(whole)]
    assert [word.start_s for word in heard[: len(whole)]] == pytest.approx(starts, abs=0.01)


def test_a_minute_without_a_pause_is_read_in_parts(tones: Transcriber, tmp_path: Path) -> None:
    sound, spans = speak_tones(random.Random(1).choices(PLAIN_WORDS, k=180))
    readings = list(tones.read(sound))
    assert len(readings) == 2
    assert readings[1].start_s == pytest.approx(readings[0].start_s + len(readings[0].phones) * FRAME_S)
    early = {"start_offset_s": -0.06, "end_offset_s": 0.06}
    words = Transcriber(make_tone_model(tmp_path, timing=early)).transcribe(sound)
    check_words(words)
    assert abs(len(words) - len(spans)) <= 1  # the one at the joint may be halved
    assert words[-1].start_s == pytest.approx(spans[-1][0] - 0.06, abs=0.01)


def test_block_by_block_is_as_a_whole(tones: Transcriber) -> None:
    sound, _ = speak_tones(PLAIN_WORDS * 5)
    blocks = (sound[at : at + 5000] for at in range(0, len(sound), 5000))
    assert tones.transcribe(blocks) == tones.transcribe(sound)


def test_threads_may_share_a_model(tones: Transcriber) -> None:
    sounds = [speak_tones(PLAIN_WORDS[at:] + PLAIN_WORDS[:at])[0] for at in range(len(PLAIN_WORDS))]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(tones.transcribe, sounds * 2))
    assert together == [tones.transcribe(sound) for sound in sounds] * 2


# --- from a reading to words ---


def test_the_way_in_which_a_word_was_said_is_what_its_times_and_confidence_rest_on(tones: Transcriber) -> None:
    for variant in LEXICON["either"]:
        path = [0, 0, 0, *(label for phone in phones_of(variant) for label in (phone, phone, 0)), 0, 0]
        (word,) = tones.write(reading_of(say(path)))
        assert word.text == "either"
        assert (word.start_s, word.end_s) == pytest.approx((3 * FRAME_S, 11 * FRAME_S))
        assert word.confidence > 0.9


def test_a_word_said_in_its_short_way_fits_into_few_frames(tmp_path: Path) -> None:
    folder = make_tone_model(tmp_path)
    cat = next(word for word, phones in make_entries() if phones == phones_of("K AE T"))
    save_entries(folder / "lexicon.xz", [(cat, phones_of("K AE T AH R IH NG")), (cat, phones_of("K AE T"))])
    describe(folder, {})
    (word,) = Transcriber(folder).write(reading_of(say([0, *phones_of("K AE T"), 0])))
    assert word.text == "cat"


def test_a_word_that_the_lexicon_lacks_is_spelt(tones: Transcriber) -> None:
    zoyg = phones_of("ZH OY G UH V")
    path = [*path_of("the"), *(label for phone in zoyg for label in (phone, phone, 0)), *path_of("cat")]
    at = len(path_of("the"))
    letters = "t_h_e_".ljust(at, "_")[:at] + " z_oo_yy__gg_ov"
    words = tones.write(reading_of(say(path, sure=0.9999), letters))
    assert [word.text for word in words] == ["the", "zoygov", "cat"]
    check_words(words)


@pytest.mark.parametrize("blank", [1 / 40, 0.05, 0.3, 0.6])
@pytest.mark.parametrize("beam", [BEAM, replace(BEAM, unknown_word=1, unknown_phone=1)], ids=["usual", "spelling"])
def test_a_reading_that_says_nothing_clearly_breaks_nothing(
    tone_folder: Path, blank: float, beam: BeamSettings
) -> None:
    model = Transcriber(tone_folder, settings=beam)
    check_words(model.write(reading_of(say([0] * 40, sure=blank), "a_b_c" * 8)))
    phones = np.random.default_rng(0).dirichlet(np.ones(40), 40)
    check_words(model.write(reading_of(np.log(phones + 1e-9).astype(np.float32), "a_b_c" * 8)))


def test_an_unsure_word_counts_only_among_sure_ones(tones: Transcriber) -> None:
    cat = path_of("cat")
    unsure = say(cat)
    spoken = [at for at, label in enumerate(cat) if label]
    unsure[spoken] = say([cat[at] for at in spoken], sure=0.2)
    assert 0 < tones.lowest_confidence < 1
    assert tones.write(reading_of(unsure)) == []
    among = np.concatenate([say(path_of("see the")), unsure, say(path_of("see me"))])
    assert [word.text for word in tones.write(reading_of(among))] == ["see", "the", "cat", "see", "me"]


def test_times_moved_before_the_beginning_do_not_overlap(tmp_path: Path) -> None:
    early = {"start_offset_s": -0.2, "end_offset_s": 0.0}
    model = Transcriber(make_tone_model(tmp_path, timing=early))
    words = model.write(reading_of(say([*phones_of("AH K AE T DH AH"), 0])))
    assert len(words) == 3
    check_words(words)


def test_a_known_text_is_aligned(tones: Transcriber) -> None:
    sound, spans = speak_tones(["see", "the", "cats"])
    words = tones.align(sound, "see the cats")
    assert [(word.text, word.start_s, word.end_s) for word in words] == [
        (text, pytest.approx(start, abs=0.01), pytest.approx(end, abs=0.01))
        for text, (start, end) in zip(["see", "the", "cats"], spans, strict=True)
    ]
    assert tones.align(sound, "") == []


def test_times_do_not_drift_from_one_piece_to_the_next(tones: Transcriber) -> None:
    said, spans = speak_tones(["see", "the", "cats"])
    turn = np.concatenate([said, np.zeros(6 * SAMPLE_RATE + 333, np.float32)])  # no whole number of frames
    turns = 8
    words = tones.align(np.concatenate([turn] * turns), " ".join(["see the cats"] * turns))
    truth = [start + number * len(turn) / SAMPLE_RATE for number in range(turns) for start, _ in spans]
    assert [word.start_s for word in words] == pytest.approx(truth, abs=FRAME_S)


@pytest.mark.parametrize(
    ("seconds", "text", "problem"),
    [
        (1, "see zebras", "lacks zebras"),
        (1, "<unk>", "lacks <unk>"),
        (0.2, "see the cats", "too short"),
        (0, "cat", "short"),
    ],
)
def test_a_text_that_does_not_fit_is_refused(tones: Transcriber, seconds: float, text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        tones.align(noise(seconds), text)


# --- how it is imported ---


def test_serving_loads_neither_torch_nor_av(exported: Exported) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SERVES, exported.folder],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert {"torch", "av", "onnx", "matplotlib", "transformer.model"} & set(done.stdout.split()) == set()
    assert "transformer.runtime" in done.stdout.split()


def test_the_shipped_model_is_what_the_function_asks(tones: Transcriber, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "shipped", lambda: tones)
    sound, _ = speak_tones(["see", "me"])
    assert runtime.transcribe(sound) == tones.transcribe(clean_samples(sound))
