"""Fragments say what they were built from, in few bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfserver.media.mp4.boxes import build_box, find_box
from sfserver.media.mp4.fragments import Sample, build_fragment, read_fragment

SAMPLES = st.lists(
    st.builds(
        Sample,
        data=st.binary(max_size=40),
        duration=st.integers(0, 2**32 - 1),
        composition_offset=st.integers(0, 2**32 - 1),
        is_sync=st.booleans(),
    ),
    min_size=1,
    max_size=20,
)


def gop(frames: int, *, offsets: tuple[int, ...] = (0,), duration: int = 3000) -> list[Sample]:
    return [Sample(bytes([n]) * (n + 1), duration, offsets[n % len(offsets)], n == 0) for n in range(frames)]


@given(SAMPLES, st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1))
def test_what_was_built_is_read_back(samples: list[Sample], time: int, sequence: int) -> None:
    data = build_fragment(track_id=7, sequence=sequence, base_decode_time=time, samples=samples)
    found = read_fragment(data)
    assert (found.track_id, found.sequence, found.base_decode_time) == (7, sequence, time)
    assert found.durations.tolist() == [sample.duration for sample in samples]
    assert found.composition_offsets.tolist() == [sample.composition_offset for sample in samples]
    assert found.sync.tolist() == [sample.is_sync for sample in samples]
    assert found.sizes.tolist() == [len(sample.data) for sample in samples]
    assert data[found.data_start :] == b"".join(sample.data for sample in samples)


def test_what_all_samples_share_is_said_once() -> None:
    data = build_fragment(track_id=1, sequence=1, base_decode_time=0, samples=gop(60))
    assert read_fragment(data).data_start - 8 == 8 + 16 + 8 + 24 + 20 + 24 + 4 * 60


def test_reordered_frames_cost_four_bytes_more() -> None:
    plain = build_fragment(track_id=1, sequence=1, base_decode_time=0, samples=gop(60))
    reordered = build_fragment(track_id=1, sequence=1, base_decode_time=0, samples=gop(60, offsets=(3000, 9000, 0)))
    assert len(reordered) - len(plain) == 4 * 60


def test_a_moof_alone_is_enough_to_read() -> None:
    data = build_fragment(track_id=2, sequence=2, base_decode_time=96_000, samples=gop(3))
    found = read_fragment(data[: read_fragment(data).data_start - 8])
    assert found.sizes.sum() == 6


@pytest.mark.parametrize("samples", [[], [Sample(b"x", 1, -1, True)]])
def test_impossible_samples_are_refused(samples: list[Sample]) -> None:
    with pytest.raises(ValueError, match="needs samples"):
        build_fragment(track_id=1, sequence=1, base_decode_time=0, samples=samples)


def test_every_truncation_is_an_error() -> None:
    data = build_fragment(track_id=1, sequence=1, base_decode_time=0, samples=gop(4, offsets=(1, 0)))
    for end in range(read_fragment(data).data_start - 8):
        with pytest.raises(ValueError, match=r"no |claims|are no box|short"):
            read_fragment(data[:end])


@pytest.mark.parametrize(
    ("box", "offset", "value", "complaint"),
    [
        ("tfhd", 1, 0, "not relative to its moof"),
        ("tfhd", 3, 0x39, "not relative to its moof"),
        ("trun", 0, 1, "signed offsets"),
        ("trun", 2, 0, "no sizes"),
        ("trun", 7, 5, "trun is cut short"),
    ],
)
def test_other_kinds_of_fragment_are_refused(box: str, offset: int, value: int, complaint: str) -> None:
    data = bytearray(build_fragment(track_id=1, sequence=1, base_decode_time=0, samples=gop(4)))
    data[find_box(data, f"moof/traf/{box}").body + offset] = value
    with pytest.raises(ValueError, match=complaint):
        read_fragment(bytes(data))


def test_a_box_too_short_for_its_fields_is_refused() -> None:
    moof = build_box("moof", build_box("mfhd"), build_box("traf"))
    with pytest.raises(ValueError, match="mfhd is cut short"):
        read_fragment(moof)
