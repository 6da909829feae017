"""Parts that fit make a track; a part that does not is refused where it is made, or when the tables are joined."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction

import pytest

from sfserver.errors import InconsistentChunksError
from sfserver.media.contract import AudioPlan, EncodePlan, TrackPart
from sfserver.media.mp4.fragments import Sample, build_fragment, read_fragment
from sfserver.media.mp4.joining import describe_part, join_audio, join_video, read_back
from sfserver.media.mp4.tracks import TrackTable
from tests.media.encoded import SOUND, make_plan, store
from tests.media.packaged import Packaged

TICKS = 3600
PLAN = replace(make_plan(130, fps=Fraction(25), sound=False), timescale=90_000, frame_ticks=TICKS)


def gop(frames: int) -> list[Sample]:
    """A GOP as x264 gives it with two B-frames: I P B B P B B, one frame late."""
    order = [0]
    for anchor in range(3, frames, 3):
        order += [anchor, anchor - 2, anchor - 1]
    order += range(max(order) + 1, frames)
    return [Sample(b"frame", TICKS, (at - n + 1) * TICKS, n == 0) for n, at in enumerate(order)]


def tables(*gops: Sequence[Sample]) -> list[TrackTable]:
    return [store("part", [run], [0]).table for run in gops]


def refusal(join: Callable[[], object]) -> str:
    with pytest.raises(InconsistentChunksError) as caught:
        join()
    assert (caught.value.code, caught.value.status) == ("inconsistent_chunks", 500)
    return caught.value.detail


def test_the_parts_of_a_track_make_it_whole(packaged: Packaged) -> None:
    for name in packaged.encoded.rungs:
        parts = packaged.encoded.tracks[name]
        table = join_video(packaged.plan, [stored.table for stored in parts], parts[0].part.delay_ticks)
        assert int(table.fragment_sizes.sum()) == sum(len(stored.data) for stored in parts)
        assert (len(table.sizes), len(table.fragment_sizes)) == (330, 7)
    sound = join_audio(packaged.plan, [stored.table for stored in packaged.encoded.tracks[SOUND]])
    assert packaged.plan.audio is not None
    assert (len(sound.sizes), len(sound.fragment_sizes)) == (packaged.plan.audio.frames, 7)


def test_how_a_track_is_split_into_parts_does_not_matter() -> None:
    split = tables(gop(50), gop(50), gop(30))
    whole = store("part", [gop(50), gop(50), gop(30)], [0, 50 * TICKS, 100 * TICKS]).table
    assert join_video(PLAN, split, TICKS).pack() == join_video(PLAN, [whole], TICKS).pack()


# The last of 50 frames is decoded last, so its offset is the delay alone.
LATE = [*gop(50)[:-1], replace(gop(50)[-1], composition_offset=2 * TICKS)]
DOUBLED = [*gop(50)[:-1], replace(gop(50)[-1], composition_offset=0)]
OFF_THE_GRID = [replace(gop(50)[0], composition_offset=TICKS + 1), *gop(50)[1:]]
SWAPPED_TIMES = [replace(gop(50)[0], duration=TICKS - 1), replace(gop(50)[1], duration=TICKS + 1), *gop(50)[2:]]
ACROSS = [
    LATE,
    [replace(gop(50)[0], composition_offset=0), *gop(50)[1:]],
]


@pytest.mark.parametrize(
    ("gops", "complaint"),
    [
        ([], "a track without parts"),
        ([gop(50), gop(50)], "100 frames in 2 fragments, not as planned"),
        ([gop(50), gop(50), gop(30), gop(50)], "180 frames in 4 fragments"),
        ([gop(50), gop(30), gop(50)], "130 frames in 3 fragments, not as planned"),
        ([gop(25), gop(25), gop(50), gop(30)], "130 frames in 4 fragments"),
        ([gop(50), gop(50), gop(29)], "129 frames in 3 fragments"),
        ([gop(50), gop(49), gop(30)], "129 frames in 3 fragments"),
        ([gop(50), SWAPPED_TIMES, gop(30)], "frames of other durations"),
        ([gop(50), [*gop(50)[:-1], replace(gop(50)[-1], duration=1)], gop(30)], "frames of other durations"),
        ([gop(50), [*gop(50)[:-1], replace(gop(50)[-1], is_sync=True)], gop(30)], "not one closed GOP"),
        ([gop(50), [replace(gop(50)[0], is_sync=False), *gop(50)[1:]], gop(30)], "not one closed GOP"),
        ([gop(50), LATE, gop(30)], "not each in its place"),
        ([gop(50), DOUBLED, gop(30)], "not each in its place"),
        ([gop(50), OFF_THE_GRID, gop(30)], "not each in its place"),
        ([*ACROSS, gop(30)], "not each in its place"),
    ],
)
def test_a_picture_off_the_plan_is_refused(gops: list[list[Sample]], complaint: str) -> None:
    assert complaint in refusal(lambda: join_video(PLAN, tables(*gops), TICKS))


def test_frames_are_where_the_delay_puts_them() -> None:
    good = tables(gop(50), gop(50), gop(30))
    assert join_video(PLAN, good, TICKS).ticks == 130 * TICKS
    for delay in (0, TICKS - 1, 2 * TICKS):
        assert "not each in its place" in refusal(lambda: join_video(PLAN, good, delay))  # noqa: B023


@pytest.mark.parametrize("frames", [1, 2, 49, 50, 51, 100])
def test_a_track_of_any_length_joins(frames: int) -> None:
    plan = replace(PLAN, frames=frames)
    runs = [gop(50)] * (frames // 50) + [gop(frames % 50)] * bool(frames % 50)
    assert len(join_video(plan, tables(*runs), TICKS).sizes) == frames
    assert "not as planned" in refusal(lambda: join_video(replace(plan, frames=frames + 1), tables(*runs), TICKS))


def sound_plan(frames: int) -> EncodePlan:
    return replace(PLAN, audio=AudioPlan(1, 96_000, 48_000, 2, frames, [3]))


def test_sound_with_a_hole_is_refused() -> None:
    aac = [Sample(b"aac", 1024, 0, True)] * 80
    parts = tables(aac, aac, aac)
    assert len(join_audio(sound_plan(240), parts).sizes) == 240
    for plan, given, complaint in (
        (sound_plan(240), parts[1:], "160 sound frames in 2 of 3 fragments"),
        (sound_plan(160), parts[1:], "160 sound frames in 2 of 3 fragments"),
        (sound_plan(241), parts, "240 sound frames in 3 of 3 fragments"),
        (sound_plan(240), [*parts, parts[0]], "320 sound frames in 4 of 3 fragments"),
        (sound_plan(240), [], "a track without parts"),
        (PLAN, parts, "240 sound frames in 3 of 3 fragments"),
    ):
        assert complaint in refusal(lambda: join_audio(plan, given))  # noqa: B023


def fragment(track_id: int = 1, sequence: int = 5, time: int = 0, frames: int = 3) -> bytes:
    return build_fragment(track_id=track_id, sequence=sequence, base_decode_time=time, samples=gop(frames))


def test_a_fragment_is_read_back_as_whoever_plays_it_will() -> None:
    found = read_back(fragment(), track_id=1, gop=2)
    assert (found.size, found.ticks) == (len(fragment()), 3 * TICKS)


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (fragment(track_id=2), "GOP 2 is not what it was made to be"),
        (fragment(sequence=7), "GOP 2 is not what it was made to be"),
        (fragment() + b"\0", "GOP 2 is not what it was made to be"),
        (fragment()[:-1], "GOP 2 is not what it was made to be"),
        (fragment()[:40], "not a fragment"),
        (b"", "not a fragment"),
        (b"\xff" * 100, "not a fragment"),
        (fragment().replace(b"trun", b"trum"), "not a fragment"),
    ],
)
def test_a_fragment_that_was_not_made_for_its_place_is_refused(data: bytes, complaint: str) -> None:
    assert complaint in refusal(lambda: read_back(data, track_id=1, gop=2))


def test_a_part_says_what_is_in_its_file(packaged: Packaged) -> None:
    for parts in packaged.encoded.tracks.values():
        for stored in parts:
            part = stored.part
            assert part.size_bytes == len(stored.data)
            assert part.fragments == stored.data.count(b"moof")
            assert part.table not in repr(part)
    first: TrackPart = packaged.encoded.tracks["360p"][3].part
    assert (first.file, first.first_gop, first.fragments, first.samples) == ("360p.3.m4s", 3, 2, 100)
    assert first.delay_ticks == packaged.plan.frame_ticks


def test_fragments_with_a_gap_between_them_are_no_part() -> None:
    made = [read_fragment(fragment(time=time)) for time in (0, 3 * TICKS, 7 * TICKS)]
    assert describe_part("x", made[:2], first_gop=0, codec_config=b"").samples == 6
    complaint = refusal(lambda: describe_part("x", made, first_gop=0, codec_config=b""))
    assert complaint == f"x: a fragment begins at {7 * TICKS}, not at {6 * TICKS}"
    assert "begins at 0, not at" in refusal(lambda: describe_part("x", made[1::-1], first_gop=0, codec_config=b""))
