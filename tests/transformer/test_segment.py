import tracemalloc
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transformer.audio import Floats, log_mel
from transformer.config import FRAME_S, HOP, MAX_PIECE_S, SAMPLE_RATE, SUBSAMPLING
from transformer.segment import OVERLAP_S, PAUSE_S, SHORTEST_S, Piece, find_pause, levels, split

LIMIT = int(MAX_PIECE_S * SAMPLE_RATE)
OVERLAP = int(OVERLAP_S * SAMPLE_RATE)
# Seconds of speech, and seconds of the pause after it: some are too short to cut at.
TURNS = st.lists(st.tuples(st.floats(0.3, 30), st.sampled_from([0.05, 0.3, 0.5, 2.0])), max_size=6)


def noise(seconds: float, level: float = 0.1, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).normal(0, level, int(seconds * SAMPLE_RATE)).astype(np.float32)


def make_sound(turns: list[tuple[float, float]]) -> tuple[Floats, list[tuple[int, int]]]:
    """Return sound that pauses, and from which sample to which each pause goes."""
    parts, pauses, at = [np.zeros(0, np.float32)], [], 0
    for speech_s, pause_s in turns:
        parts += [noise(speech_s), noise(pause_s, 1e-4)]
        pauses.append((at + len(parts[-2]), at + len(parts[-2]) + len(parts[-1])))
        at = pauses[-1][1]
    return np.concatenate(parts), pauses


def start(piece: Piece) -> int:
    return round(piece.start_s * SAMPLE_RATE)


def end(piece: Piece) -> int:
    return start(piece) + len(piece.samples)


def frames_of(piece: Piece) -> int:
    """Return the frames that the network makes of a piece."""
    return -(-len(log_mel(piece.samples)) // SUBSAMPLING)


def kept_s(piece: Piece) -> tuple[float, float]:
    """Return from when to when a piece's frames count."""
    kept = frames_of(piece) - piece.drop_before - piece.drop_after
    first = piece.start_s + piece.drop_before * FRAME_S
    return first, first + kept * FRAME_S


def in_blocks(sound: Floats, size: int) -> Iterator[Floats]:
    return (sound[at : at + size] for at in range(0, len(sound), size))


# --- what the pieces cover ---


@settings(deadline=None, max_examples=12)
@given(TURNS)
def test_pieces_are_the_sound_in_order(turns: list[tuple[float, float]]) -> None:
    sound, pauses = make_sound(turns)
    pieces = list(split(sound))
    assert all(np.array_equal(piece.samples, sound[start(piece) : end(piece)]) for piece in pieces)
    assert all(0 < len(piece.samples) <= LIMIT for piece in pieces)
    assert [start(piece) for piece in pieces[:1]] == [0] * bool(len(sound))
    assert [end(piece) for piece in pieces[-1:]] == [len(sound)] * bool(len(sound))
    for before, after in pairwise(pieces):
        if before.drop_after:
            assert end(before) - start(after) == OVERLAP
            assert len(before.samples) == LIMIT
        else:
            assert end(before) == start(after)
            assert after.drop_before == 0
            assert len(before.samples) >= SHORTEST_S * SAMPLE_RATE
            assert any(first <= end(before) <= last for first, last in pauses)


@settings(deadline=None, max_examples=10)
@given(TURNS)
def test_every_moment_counts_once(turns: list[tuple[float, float]]) -> None:
    """Frames stand on one grid over a forced cut; at a pause a new grid begins, a frame before the old one ends."""
    pieces = list(split(make_sound(turns)[0]))
    for before, after in pairwise(pieces):
        gap = kept_s(after)[0] - kept_s(before)[1]
        assert gap == pytest.approx(0, abs=1e-6) if before.drop_after else -2 * FRAME_S < gap < 1e-6
    assert all(piece.drop_before == piece.drop_after == 0 for piece in pieces if len(pieces) == 1)


@pytest.mark.parametrize("seconds", [15, 15.01, 28.9, 29, 29.01, 43, 60])
def test_speech_without_a_pause_is_cut_with_an_overlap(seconds: float) -> None:
    pieces = list(split(noise(seconds)))
    assert [start(piece) for piece in pieces] == [number * (LIMIT - OVERLAP) for number in range(len(pieces))]
    assert [bool(piece.drop_before) for piece in pieces] == [False, *[True] * (len(pieces) - 1)]
    assert [bool(piece.drop_after) for piece in pieces] == [*[True] * (len(pieces) - 1), False]
    frames = sum(frames_of(piece) - piece.drop_before - piece.drop_after for piece in pieces)
    assert frames == -(-(1 + int(seconds * SAMPLE_RATE) // HOP) // SUBSAMPLING)


def test_frames_next_to_a_forced_cut_have_heard_what_lies_beyond_it() -> None:
    """Half of the overlap is dropped by either, since a frame needs to hear its neighbours."""
    before, after = split(noise(20))
    assert before.drop_after * FRAME_S == pytest.approx(OVERLAP_S / 2, abs=FRAME_S)
    assert after.drop_before * FRAME_S == pytest.approx(OVERLAP_S / 2, abs=FRAME_S)


@pytest.mark.parametrize("length", [0, 1, 159, 160, LIMIT - 1, LIMIT])
def test_what_fits_is_one_piece(length: int) -> None:
    pieces = list(split(np.full(length, 0.1, np.float32)))
    assert [len(piece.samples) for piece in pieces] == [length] * bool(length)


# --- where it is cut ---


def test_the_cut_is_in_the_middle_of_a_pause() -> None:
    sound = np.concatenate([noise(9), noise(0.5, 1e-4), noise(9)])
    assert find_pause(sound[:LIMIT]) == pytest.approx(9.25 * SAMPLE_RATE, abs=0.14 * SAMPLE_RATE)
    assert [start(piece) for piece in split(sound)] == [0, find_pause(sound[:LIMIT])]


def test_the_latest_of_equal_pauses_is_cut_at() -> None:
    sound = np.concatenate([noise(5), noise(0.4, 1e-4), noise(5), noise(0.4, 1e-4), noise(9)])
    assert find_pause(sound[:LIMIT]) == pytest.approx(10.6 * SAMPLE_RATE, abs=0.1 * SAMPLE_RATE)


@pytest.mark.parametrize(
    ("pause_s", "level", "at_s"), [(PAUSE_S - 0.1, 1e-4, 8), (1, 0.03, 8), (1, 1e-4, 2)], ids=["short", "loud", "early"]
)
def test_what_is_no_pause_is_not_cut_at(pause_s: float, level: float, at_s: float) -> None:
    sound = np.concatenate([noise(at_s), noise(pause_s, level), noise(14 - at_s)])
    assert find_pause(sound[:LIMIT]) is None


def test_a_pause_may_be_noisy() -> None:
    assert find_pause(np.concatenate([noise(9, 0.3), noise(1, 0.01), noise(5, 0.3)])) is not None


# --- what may come in ---


@settings(deadline=None, max_examples=8)
@given(turns=TURNS, size=st.sampled_from([4001, SAMPLE_RATE, LIMIT, 3 * LIMIT + 1]))
def test_block_by_block_is_as_a_whole(turns: list[tuple[float, float]], size: int) -> None:
    sound, _ = make_sound(turns)
    blocks, whole = list(split(in_blocks(sound, size))), list(split(sound))
    assert [(piece.start_s, piece.drop_before, piece.drop_after) for piece in blocks] == [
        (piece.start_s, piece.drop_before, piece.drop_after) for piece in whole
    ]
    assert all(np.array_equal(first.samples, second.samples) for first, second in zip(blocks, whole, strict=True))


def test_empty_blocks_are_nothing() -> None:
    none = np.zeros(0, np.float32)
    assert list(split([])) == list(split([none, none])) == list(split(none)) == []
    assert [len(piece.samples) for piece in split([none, noise(1), none])] == [SAMPLE_RATE]


def test_int16_is_as_float() -> None:
    whole = np.round(np.concatenate([noise(16), noise(1, 1e-4), noise(3)]) * 32768).clip(-32768, 32767)
    ints, floats = list(split(whole.astype(np.int16))), list(split((whole / 32768).astype(np.float32)))
    assert len(ints) == 2
    assert [piece.start_s for piece in ints] == [piece.start_s for piece in floats]
    assert all(np.array_equal(first.samples, second.samples) for first, second in zip(ints, floats, strict=True))


@pytest.mark.parametrize("shape", [(1000, 2), (2, 1000), (1, 1000), ()], ids=str)
def test_only_one_row_is_sound(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="one row of mono sound"):
        list(split(np.zeros(shape, np.float32)))
    with pytest.raises(ValueError, match="one row of mono sound"):
        list(split([np.zeros(100, np.float32), np.zeros(shape, np.float32)]))


def test_other_numbers_are_no_sound() -> None:
    with pytest.raises(ValueError, match="float or int16, not int32"):
        list(split(np.zeros(100, np.int32)))


def test_an_hour_takes_the_memory_of_a_few_pieces() -> None:
    tracemalloc.start()
    seconds = sum(
        len(piece.samples) - OVERLAP * bool(piece.drop_after)
        for piece in split(np.zeros(SAMPLE_RATE, np.int16) for _ in range(3600))
    )
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seconds == 3600 * SAMPLE_RATE
    assert peak < 12 * LIMIT * 4


# --- levels and silence ---


def test_levels_are_in_decibels_of_full_scale() -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(HOP * 4) / SAMPLE_RATE).astype(np.float32)
    assert levels(tone) == pytest.approx([-3.01] * 4, abs=0.01)
    assert levels(tone / 10) == pytest.approx([-23.01] * 4, abs=0.01)
    assert levels(np.zeros(HOP + 5, np.float32)) == pytest.approx([-120])
    assert len(levels(tone[:100])) == 0


def test_silence_is_what_never_gets_loud() -> None:
    quiet = np.concatenate([noise(2, 1e-4), np.zeros(100, np.float32)])
    click = quiet.copy()
    click[5000:5200] = 0.1
    assert Piece(0, quiet, 0, 0).is_silent
    assert Piece(0, np.zeros(50, np.float32), 0, 0).is_silent
    assert not Piece(0, click, 0, 0).is_silent
    assert not Piece(0, noise(1, 0.01), 0, 0).is_silent
