"""Columns of a whole track."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sfserver.media.mp4.fragments import Sample, build_fragment, read_fragment
from sfserver.media.mp4.tracks import TrackTable, run_lengths


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
