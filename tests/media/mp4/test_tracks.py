"""Columns of a whole track, and the bytes that carry them over the sandbox wall and into the database."""

import struct
import tracemalloc
import zlib
from collections.abc import Sequence
from dataclasses import fields, replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfserver.media.mp4.fragments import Sample, build_fragment, read_fragment
from sfserver.media.mp4.tracks import FragmentIndex, TrackTable, run_lengths

U32 = st.integers(0, 2**32 - 1)
SAMPLES = st.lists(st.tuples(st.integers(0, 2**28), U32, U32, st.booleans()), min_size=1, max_size=6)
FRAGMENTS = st.lists(st.tuples(st.integers(0, 2**20), SAMPLES), min_size=1, max_size=8)
HEAD_BYTES = 12


def table_of(fragments: Sequence[tuple[int, Sequence[tuple[int, int, int, bool]]]]) -> TrackTable:
    samples = [sample for _, run in fragments for sample in run]
    sizes, durations, offsets, sync = (list(column) for column in zip(*samples, strict=True))
    return TrackTable(
        np.array(sizes, np.uint32),
        np.array(durations, np.uint32),
        np.array(offsets, np.uint32),
        np.array(sync, np.bool_),
        np.array([start + sum(size for size, *_ in run) for start, run in fragments], np.uint64),
        np.array([start for start, _ in fragments], np.uint64),
        np.array([len(run) for _, run in fragments], np.uint64),
        np.array([sum(duration for _, duration, *_ in run) for _, run in fragments], np.uint64),
    )


TABLES = st.builds(table_of, FRAGMENTS)
SMALL = table_of([(100, [(30, 10, 5, True), (3, 10, 0, False)]), (90, [(40, 7, 5, True)])])


def columns(table: TrackTable | FragmentIndex) -> list[tuple[np.dtype[np.generic], list[int]]]:
    return [(getattr(table, each.name).dtype, getattr(table, each.name).tolist()) for each in fields(table)]


def check_agrees_with_itself(table: TrackTable) -> None:
    """Check what packaging and serving take for granted."""
    counts = table.fragment_samples.astype(int).tolist()
    assert all(counts)
    assert sum(counts) == len(table.sizes) == len(table.durations) == len(table.sync)
    bounds = np.cumsum([0, *counts])
    runs = [table.sizes[a:b].tolist() for a, b in pairwise(bounds)]
    assert table.fragment_sizes.tolist() == [
        start + sum(run) for start, run in zip(table.data_starts.tolist(), runs, strict=True)
    ]
    assert (table.sync_ends <= table.fragment_sizes).all()


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60))
def test_run_lengths_unfold_to_the_values(values: list[int]) -> None:
    counts, each = run_lengths(np.array(values, np.uint32))
    assert np.repeat(each, counts.astype(int)).tolist() == values
    assert (each[1:] != each[:-1]).all()


def test_fragments_join_in_order() -> None:
    gops = [[Sample(b"key", 10, 5, True), Sample(b"b", 10, 0, False)], [Sample(b"last", 7, 5, True)]]
    data = [build_fragment(track_id=1, sequence=1, base_decode_time=0, samples=gop) for gop in gops]
    table = TrackTable.join(read_fragment(each) for each in data)
    assert table.sizes.tolist() == [3, 1, 4]
    assert table.composition_offsets.tolist() == [5, 0, 5]
    assert table.sync.tolist() == [True, False, True]
    assert table.fragment_sizes.tolist() == [len(each) for each in data]
    assert (table.fragment_samples.tolist(), table.fragment_ticks.tolist(), table.ticks) == ([2, 1], [20, 7], 27)
    for each, end in zip(data, table.sync_ends.tolist(), strict=True):
        assert each[:end].endswith((b"key", b"last"))
    parts = [TrackTable.join([read_fragment(each)]) for each in data]
    assert columns(TrackTable.concatenate(parts)) == columns(table)


@given(TABLES)
def test_what_was_packed_is_unpacked(table: TrackTable) -> None:
    assert columns(TrackTable.unpack(table.pack())) == columns(table)


def test_an_hour_of_a_real_stream_stays_small() -> None:
    rng = np.random.default_rng(1)
    run = [(int(size), 3000, 3000 * (n % 3), n == 0) for n, size in enumerate(rng.integers(500, 60_000, 60))]
    table = TrackTable.concatenate([table_of([(400, run)])] * 1800)
    assert len(table.sizes) == 108_000
    assert len(table.pack()) < 4 * len(table.sizes)


@given(TABLES, st.data())
def test_bytes_that_changed_on_the_way_are_refused(table: TrackTable, data: st.DataObject) -> None:
    packed = table.pack()
    at = data.draw(st.integers(0, len(packed) - 1))
    kind = data.draw(st.sampled_from(["flip", "cut", "drop", "insert", "double"]))
    changed = {
        "flip": packed[:at] + bytes([packed[at] ^ data.draw(st.integers(1, 255))]) + packed[at + 1 :],
        "cut": packed[:at],
        "drop": packed[:at] + packed[at + 1 :],
        "insert": packed[:at] + b"\xaa" + packed[at:],
        "double": packed[:at] + packed,
    }[kind]
    try:
        found = TrackTable.unpack(changed)
    except ValueError:
        return
    assert columns(found) == columns(table)


@given(TABLES, st.data())
def test_a_table_that_was_made_up_is_refused_or_agrees_with_itself(table: TrackTable, data: st.DataObject) -> None:
    raw = bytearray(zlib.decompress(table.pack()))
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = TrackTable.unpack(zlib.compress(bytes(raw)))
    except ValueError:
        return
    check_agrees_with_itself(found)


@given(st.binary(max_size=200))
def test_garbage_is_no_table(garbage: bytes) -> None:
    for packed in (garbage, zlib.compress(garbage), zlib.compress(b"SFT1" + garbage)):
        with pytest.raises(ValueError, match="table"):
            TrackTable.unpack(packed)


@pytest.mark.parametrize(
    ("lie", "complaint"),
    [
        ({"fragment_sizes": np.array([134, 130], np.uint64)}, "other sizes"),
        ({"fragment_sizes": np.array([0, 0], np.uint64)}, "other sizes"),
        ({"data_starts": np.array([99, 90], np.uint64)}, "other sizes"),
        ({"fragment_samples": np.array([1, 2], np.uint64)}, "other sizes"),
        ({"fragment_samples": np.array([2, 2], np.uint64)}, "no fragment"),
        ({"fragment_samples": np.array([3, 0], np.uint64)}, "no fragment"),
        ({"fragment_samples": np.array([2**32 - 1, 4], np.uint64)}, "no fragment"),
        ({"sizes": np.array([30, 3, 41], np.uint32)}, "other sizes"),
        ({"sizes": np.array([30, 3], np.uint32)}, "not a sample table"),
        ({"sync": np.array([True], np.bool_)}, "not a sample table"),
    ],
)
def test_a_table_that_lies_is_refused(lie: dict[str, np.ndarray], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        TrackTable.unpack(replace(SMALL, **lie).pack())


@pytest.mark.parametrize(
    "counts", [(0, 0), (0, 3), (2, 0), (3, 2), (2**32 - 1, 2**32 - 1), (1, 3), (2, 4)], ids=lambda pair: f"{pair}"
)
def test_counts_of_another_table_are_refused(counts: tuple[int, int]) -> None:
    raw = zlib.decompress(SMALL.pack())
    for rest in (raw[HEAD_BYTES:], b""):
        with pytest.raises(ValueError, match=r"table|buffer"):
            TrackTable.unpack(zlib.compress(b"SFT1" + struct.pack("<II", *counts) + rest))


def test_every_truncation_is_refused() -> None:
    packed, raw = SMALL.pack(), zlib.decompress(SMALL.pack())
    cut = [packed[:end] for end in range(len(packed))] + [zlib.compress(raw[:end]) for end in range(len(raw))]
    for broken in [*cut, zlib.compress(raw + b"\0"), zlib.compress(b"SFT2" + raw[4:])]:
        with pytest.raises(ValueError, match="not a sample table"):
            TrackTable.unpack(broken)


def test_a_bomb_is_put_out_before_it_fills_memory() -> None:
    squeezed, zeros = zlib.compressobj(9), bytes(1 << 20)
    first = squeezed.compress(zeros) + squeezed.flush(zlib.Z_FULL_FLUSH)
    more = squeezed.compress(zeros) + squeezed.flush(zlib.Z_FULL_FLUSH)
    bomb = first + more * 1023
    assert len(bomb) < 2 << 20
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="not a sample table"):
            TrackTable.unpack(bomb)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 200 << 20


@given(TABLES)
def test_an_index_says_what_serving_needs_in_12_bytes_a_fragment(table: TrackTable) -> None:
    index = table.index
    assert len(index.pack()) == 12 * len(table.fragment_sizes)
    assert columns(FragmentIndex.unpack(index.pack())) == columns(index)
    assert index.sizes.tolist() == table.fragment_sizes.tolist()
    firsts = np.cumsum([0, *table.fragment_samples.astype(int)])[:-1]
    assert index.sync_ends.tolist() == (table.data_starts + table.sizes[firsts]).tolist()
    assert index.ticks.tolist() == [ticks % 2**32 for ticks in table.fragment_ticks.tolist()]


@given(st.lists(TABLES, min_size=1, max_size=4))
def test_indices_of_parts_are_those_of_the_whole(tables: list[TrackTable]) -> None:
    whole = TrackTable.concatenate(tables).index
    assert columns(FragmentIndex.concatenate([table.index for table in tables])) == columns(whole)
    assert b"".join(table.index.pack() for table in tables) == whole.pack()


@pytest.mark.parametrize("length", [1, 3, 4, 8, 11, 13, 23])
def test_an_index_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match=r"reshape|multiple"):
        FragmentIndex.unpack(bytes(length))


def test_no_parts_have_an_empty_index() -> None:
    assert [len(column) for _, column in columns(FragmentIndex.concatenate([]))] == [0, 0, 0]
