import lzma
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.requirements import require_tool
from transformer import synth
from transformer.synth import HELD_OUT_VARIANTS, HELD_OUT_VOICES, is_held_out, plan, write_manifest
from transformer.tokenizer import LETTERS
from transformer.tools import speak
from transformer.tools.speak import Line, read_manifest, speak_espeak

VARIANTS = ("Alex", "f2", "m3", "whisper")
TEXT = "the a cat's dog ran home over hill and far away in May she said no to his old green boat by noon"
WORDS = TEXT.split()
LISTING = """\
Pty Language       Age/Gender VoiceName          File                 Other Languages
 5  variant         --/M      Alex               !v/Alex
 5  variant         --/F      Annie              !v/Annie
 5  variant         --/M      Mr_Serious         !v/Mr serious
 5  variant         --/M      Storm              !v/Storm             (en-us 5)
 5  variant         --/F      female5            !v/f5
"""
Plan = dict[str, list[Line]]
LINES = st.builds(
    Line,
    id=st.text("abc-0123", min_size=1, max_size=20),
    engine=st.sampled_from(["espeak", "flite", "festival", "joe"]),
    voice=st.sampled_from(["en-us+f2", "kal16", "cmu_us_slt_arctic_hts"]),
    speed=st.integers(80, 125).map(lambda percent: percent / 100),
    pitch=st.integers(0, 99),
    text=st.text(LETTERS, min_size=1).map(str.strip).filter(bool),
)


def make_sentences(count: int, seed: int = 0) -> list[str]:
    choose = random.Random(seed)
    return [" ".join(choose.choices(WORDS, k=choose.randint(5, 12))) for _ in range(count)]


# --- which sentences are for tests ---


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Dr. Smith’s DOG ate 3 bones!", "doctor smith's dog ate three bones"),
        ("“Well—come in,” she said.", "well come in she said"),
        ("  café  at 10:00 ", "cafe at ten o'clock"),
    ],
)
def test_spelling_does_not_move_a_sentence(one: str, other: str) -> None:
    for number in range(200):
        tail = f" {WORDS[number % 20]} {WORDS[number // 10]} {number}"
        assert is_held_out(one + tail) == is_held_out(other + tail.upper())


def test_one_sentence_in_forty_is_held_out() -> None:
    held_out = sum(map(is_held_out, make_sentences(6000)))
    assert 110 < held_out < 190


# --- the plan ---


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of two small texts, with sentences that occur twice, are too short or too long."""
    folder = tmp_path_factory.mktemp("texts")
    sentences = [*make_sentences(9500), "too short", " ".join(WORDS), *make_sentences(50)]
    spoken = "".join(f"clip-{number}\t{text.capitalize()}.\n" for number, text in enumerate(sentences[:5000]))
    (folder / "spoken.tsv.xz").write_bytes(lzma.compress(spoken.encode(), preset=0))
    (folder / "books.txt.xz").write_bytes(lzma.compress("\n".join(sentences[5000:]).encode(), preset=0))
    return folder


def shrink(patch: pytest.MonkeyPatch) -> None:
    """Do without espeak-ng, and hold out more, so that a small text is enough for every test."""
    patch.setattr(synth, "espeak_variants", lambda: VARIANTS)
    patch.setattr(synth, "EVERY", 5)


@pytest.fixture
def shrunk(monkeypatch: pytest.MonkeyPatch) -> None:
    shrink(monkeypatch)


@pytest.fixture(scope="module")
def manifests(texts: Path) -> Plan:
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        return plan(texts)


@pytest.mark.usefixtures("shrunk")
def test_every_split_gets_what_it_shall(manifests: Plan) -> None:
    assert {split: len(lines) for split, lines in manifests.items()} == {
        split: sum(part.count for part in parts) for split, parts in synth.shares().items()
    }


@pytest.mark.usefixtures("shrunk")
def test_a_plan_is_the_same_each_time(manifests: Plan, texts: Path) -> None:
    assert plan(texts) == manifests


@pytest.mark.usefixtures("shrunk")
def test_another_seed_is_another_plan(manifests: Plan, texts: Path) -> None:
    other = plan(texts, seed=2)
    assert [line.text for line in other["t1"]] != [line.text for line in manifests["t1"]]


def test_a_sentence_is_said_once(manifests: Plan) -> None:
    said = [line.text for lines in manifests.values() for line in lines]
    assert len(set(said)) == len(said)
    assert all(3 <= len(text.split()) <= 18 for text in said)


@pytest.mark.usefixtures("shrunk")
def test_test_sentences_are_held_out_and_no_others(manifests: Plan) -> None:
    assert not any(is_held_out(line.text) for line in manifests["train"])
    assert all(is_held_out(line.text) for split, lines in manifests.items() if split != "train" for line in lines)


def test_held_out_voices_never_train(manifests: Plan) -> None:
    seen = {line.voice for line in manifests["train"]}
    assert not {voice.partition("+")[2] for voice in seen} & set(HELD_OUT_VARIANTS)
    assert not any("slt" in voice or "ked" in voice for voice in seen)
    assert {line.voice for line in manifests["t2"]} == set(HELD_OUT_VOICES)
    assert not {line.voice for split in ("t2", "t3", "t3dev") for line in manifests[split]} & seen
    assert {line.voice for line in manifests["t1"]} <= seen


def test_ids_name_one_line(manifests: Plan) -> None:
    """Sound is kept under the id: two lines of one id would share the first one's sound."""
    ids = [line.id for lines in manifests.values() for line in lines]
    assert len(set(ids)) == len(ids)


def test_paces_and_pitches_vary_within_bounds(manifests: Plan) -> None:
    lines = manifests["train"]
    assert {line.speed < 1 for line in lines} == {True, False}
    assert all(0.8 <= line.speed <= 1.25 and 20 <= line.pitch < 80 for line in lines)


# --- espeak's voices ---


@pytest.fixture
def uncached() -> Iterator[None]:
    speak.espeak_voices.cache_clear()
    yield
    speak.espeak_voices.cache_clear()


@pytest.mark.usefixtures("uncached")
def test_variants_are_read_from_espeaks_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speak, "run", lambda *_: LISTING.encode())
    variants = synth.espeak_variants()
    assert {"Alex", "Storm"} <= set(variants)
    assert not {"Annie", "f5"} & set(variants)
    assert "Mr" not in variants  # half of a name, which espeak-ng takes for no variant at all


@pytest.mark.usefixtures("uncached")
def test_espeak_has_the_variants_that_are_held_out() -> None:
    require_tool("espeak-ng")
    everything = speak.run("espeak-ng", "--voices=variant").decode()
    assert [name for name in HELD_OUT_VARIANTS if f"!v/{name} " not in everything] == []
    assert len(synth.espeak_variants()) > 50


@pytest.mark.parametrize("voice", ["nowhere", "en+nobody"])
def test_a_voice_that_espeak_lacks_is_refused(voice: str, tmp_path: Path) -> None:
    require_tool("espeak-ng")
    with pytest.raises(RuntimeError, match="no voice"):
        speak_espeak(Line("a", "espeak", voice, 1, 50, "hello"), tmp_path / "a.wav")


def test_a_voice_that_flite_lacks_is_refused(tmp_path: Path) -> None:
    require_tool("flite")
    with pytest.raises(RuntimeError, match="no voice"):
        speak.speak_flite(Line("a", "flite", "nobody", 1, 50, "hello"), tmp_path / "a.wav")


def test_a_voice_that_festival_lacks_is_refused(tmp_path: Path) -> None:
    require_tool("festival")
    with pytest.raises(RuntimeError, match="SIOD ERROR"):
        speak.speak_festival(Line("a", "festival", "nobody_diphone", 1, 50, "hello"), tmp_path / "a.wav")


# --- manifests ---


@settings(deadline=None)
@given(st.lists(LINES, max_size=10))
def test_a_manifest_comes_back(tmp_path_factory: pytest.TempPathFactory, lines: list[Line]) -> None:
    path = tmp_path_factory.getbasetemp() / "manifest.tsv"
    write_manifest(path, lines)
    assert read_manifest(path) == lines


def test_quotes_are_text_and_not_syntax(tmp_path: Path) -> None:
    line = replace(Line("a", "flite", "rms", 1.25, 33, ""), text='"hello" he said')
    write_manifest(tmp_path / "quotes.tsv", [line])
    assert read_manifest(tmp_path / "quotes.tsv") == [line]
    assert (tmp_path / "quotes.tsv").read_text().splitlines()[0] == "id\tengine\tvoice\tspeed\tpitch\ttext"
