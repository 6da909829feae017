"""Parts that fit become the published files, byte for byte; parts that do not are refused."""

import struct
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import pytest

from sfserver.errors import InconsistentChunksError
from sfserver.media.contract import ChunkResult, ChunkSpec, TrackPart
from sfserver.media.mp4.boxes import find_box, iter_boxes
from sfserver.media.mp4.fragments import Sample, build_fragment, read_fragment
from sfserver.media.mp4.package import package
from tests.media.encoded import Encoded, Packaged, make_packaged, make_plan

Chunk = tuple[ChunkSpec, ChunkResult, dict[str, Path]]


def test_every_published_file_is_named_with_its_size(packaged: Packaged) -> None:
    found = {str(p.relative_to(packaged.root)): p.stat().st_size for p in packaged.root.rglob("*") if p.is_file()}
    per_rung = ("v/{}.mp4", "file/{}.head", "file/{}.layout", "hls/{}.m3u8", "hls/{}.iframes.m3u8")
    named = {name.format(quality) for name in per_rung for quality in ("720p", "360p")}
    assert found == packaged.result.files
    assert set(found) == named | {"a/main.mp4", "hls/audio.m3u8"}


@pytest.mark.parametrize("quality", ["720p", "360p"])
def test_a_track_file_is_its_parts_behind_a_header(packaged: Packaged, quality: str) -> None:
    data = (packaged.root / f"v/{quality}.mp4").read_bytes()
    kinds = [box.kind for box in iter_boxes(data)]
    assert kinds == ["ftyp", "moov", "sidx"] + ["moof", "mdat"] * 3
    assert data.endswith(b"".join(paths[quality].read_bytes() for _, _, paths in packaged.encoded.chunks))


@pytest.mark.parametrize("name", ["v/720p.mp4", "v/360p.mp4", "a/main.mp4"])
def test_the_index_points_at_every_fragment(packaged: Packaged, name: str) -> None:
    data = (packaged.root / name).read_bytes()
    sidx = find_box(data, "sidx")
    count = struct.unpack_from(">H", data, sidx.body + 30)[0]
    offset = sidx.end
    for size, ticks, sap in struct.iter_unpack(">III", data[sidx.body + 32 : sidx.end]):
        fragment = read_fragment(data[offset : offset + size])
        assert (fragment.ticks, sap) == (ticks, 0x90000000)
        offset += size
    assert (offset, count) == (len(data), 3)


@pytest.mark.parametrize("quality", ["720p", "360p"])
def test_no_frame_is_lost_or_doubled_at_a_joint(packaged: Packaged, quality: str) -> None:
    plan = packaged.encoded.plan
    with av.open(packaged.root / f"v/{quality}.mp4") as container:
        times = [(packet.pts, packet.dts) for packet in container.demux() if packet.size]
    assert sorted(pts for pts, _ in times if pts is not None) == [n * plan.frame_ticks for n in range(plan.frames)]
    steps = {b - a for (_, a), (_, b) in pairwise(times) if a is not None and b is not None}
    assert steps == {plan.frame_ticks}


def test_progress_never_goes_back(packaged: Packaged) -> None:
    assert packaged.progress == sorted(packaged.progress)
    assert 0 < packaged.progress[0] <= packaged.progress[-1] <= 1


def test_facts_agree_with_the_files(packaged: Packaged, silent: Packaged) -> None:
    result = packaged.result
    assert (result.duration_s, result.fps) == (5.2, packaged.encoded.plan.fps)
    assert result.audio is not None
    assert (result.audio.codecs, result.audio.channels, result.audio.sample_rate) == ("mp4a.40.2", 2, 48_000)
    for rendition in result.renditions:
        data = (packaged.root / f"v/{rendition.quality}.mp4").read_bytes()
        assert (rendition.init_bytes, rendition.init_bytes + rendition.index_bytes) == (
            find_box(data, "moov").end,
            find_box(data, "sidx").end,
        )
        assert rendition.track_size_bytes == len(data)
        assert rendition.video_codecs.startswith("avc1.")
    assert silent.result.audio is None
    assert silent.result.renditions[0].audio_codecs is None


@pytest.mark.parametrize("frames", [1, 2, 61])
def test_a_clip_of_any_length_is_packaged(tmp_path: Path, frames: int) -> None:
    made = make_packaged(make_plan(frames), tmp_path)
    with av.open(made.root / "v/360p.mp4") as container:
        assert [frame.pts for frame in container.decode(video=0)] == [n * 3000 for n in range(frames)]


def change_last(encoded: Encoded, change: Callable[[TrackPart], TrackPart]) -> list[Chunk]:
    *rest, (spec, result, paths) = encoded.chunks
    part = change(result.parts["360p"])
    return [*rest, (spec, replace(result, parts={**result.parts, "360p": part}), paths)]


def refusal(encoded: Encoded, workdir: Path) -> str:
    with pytest.raises(InconsistentChunksError) as caught:
        package(encoded.plan, encoded.chunks, encoded.audio_parts, workdir, lambda _: None)
    assert (caught.value.code, caught.value.status) == ("inconsistent_chunks", 500)
    return caught.value.detail


def test_other_chunks_than_planned_are_refused(packaged: Packaged, tmp_path: Path) -> None:
    encoded = packaged.encoded
    *rest, (spec, result, paths) = encoded.chunks
    other = replace(result, fingerprint="other")
    without = replace(result, parts={"720p": result.parts["720p"]})
    for chunks, complaint in (
        (rest, "not those of the plan"),
        (encoded.chunks[::-1], "not those of the plan"),
        ([*rest, (spec, other, paths)], "different encoders"),
        ([*rest, (spec, without, paths)], "chunk 1 has no 360p"),
    ):
        assert complaint in refusal(replace(encoded, chunks=chunks), tmp_path)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda part: replace(part, codec_config="014d401f"), "different decoder settings"),
        (lambda part: replace(part, delay_ticks=part.delay_ticks + 1), "different decoder settings"),
        (lambda part: replace(part, samples=part.samples - 1), "does not hold its 79 samples"),
        (lambda part: replace(part, first_gop=0), "begins at GOP 0, not at 1"),
        (lambda part: replace(part, size_bytes=part.size_bytes + 1), "whole fragments"),
        (lambda part: replace(part, fragment_sizes=[part.size_bytes]), "not one fragment"),
        (lambda part: replace(part, fragment_sizes=[1, part.size_bytes - 1]), "at 0: "),
    ],
)
def test_a_part_that_says_otherwise_is_refused(
    packaged: Packaged, tmp_path: Path, change: Callable[[TrackPart], TrackPart], complaint: str
) -> None:
    chunks = change_last(packaged.encoded, change)
    assert complaint in refusal(replace(packaged.encoded, chunks=chunks), tmp_path)


def test_a_missing_gop_is_refused(packaged: Packaged, tmp_path: Path) -> None:
    *rest, (spec, result, paths) = packaged.encoded.chunks
    size = result.parts["360p"].fragment_sizes[0]
    cut = tmp_path / "cut"
    cut.write_bytes(paths["360p"].read_bytes()[:size])
    part = replace(result.parts["360p"], size_bytes=size, fragment_sizes=[size], samples=50)
    chunk = (spec, replace(result, parts={**result.parts, "360p": part}), {**paths, "360p": cut})
    assert refusal(replace(packaged.encoded, chunks=[*rest, chunk]), tmp_path) == "2 fragments for 130 frames"


SAMPLES = [Sample(b"frame", 3600, 3600, n == 0) for n in range(50)]


@pytest.mark.parametrize(
    ("changes", "samples", "complaint"),
    [
        ({}, SAMPLES, ""),
        ({"base_decode_time": 3600}, SAMPLES, "track, sequence and time"),
        ({"sequence": 3}, SAMPLES, "track, sequence and time"),
        ({"track_id": 2}, SAMPLES, "track, sequence and time"),
        ({}, SAMPLES[:-1], "has 49 of 50 frames"),
        ({}, [replace(SAMPLES[0], duration=1), *SAMPLES[1:]], "frames"),
        ({}, [*SAMPLES[:-1], replace(SAMPLES[-1], composition_offset=7200)], "each frame in its place"),
        ({}, [*SAMPLES[:-1], replace(SAMPLES[-1], is_sync=True)], "not one closed GOP"),
        ({}, [replace(SAMPLES[0], is_sync=False), *SAMPLES[1:]], "not one closed GOP"),
    ],
)
def test_a_fragment_off_the_grid_is_refused(
    tmp_path: Path, changes: dict[str, int], samples: list[Sample], complaint: str
) -> None:
    plan = make_plan(50, fps=Fraction(25), sound=False)
    plan = replace(plan, timescale=90_000, frame_ticks=3600)
    place = {"track_id": 1, "sequence": 1, "base_decode_time": 0} | changes
    path = tmp_path / "part"
    path.write_bytes(build_fragment(samples=samples, **place))
    size = path.stat().st_size
    part = TrackPart("part", size, len(samples), 0, [size], "014d401e", 3600)
    chunks = [(plan.chunks[0], ChunkResult({"360p": part}, "x", 0, 0, 0), {"360p": path})]
    encoded = Encoded(plan, chunks, [])
    if complaint:
        assert complaint in refusal(encoded, tmp_path)
    else:
        assert package(plan, chunks, [], tmp_path, lambda _: None).renditions[0].quality == "360p"


def test_sound_with_a_hole_is_refused(packaged: Packaged, tmp_path: Path) -> None:
    encoded = packaged.encoded
    for parts in (encoded.audio_parts[1:], encoded.audio_parts[::-1]):
        assert "begins at GOP 2, not at 0" in refusal(replace(encoded, audio_parts=parts), tmp_path)


def test_broken_bytes_are_refused(packaged: Packaged, tmp_path: Path) -> None:
    (spec, result, paths), *rest = packaged.encoded.chunks
    data = bytearray(paths["360p"].read_bytes())
    data[8:12] = b"\xff\xff\xff\xff"
    broken = tmp_path / "broken"
    broken.write_bytes(data)
    chunks = [(spec, result, {**paths, "360p": broken}), *rest]
    assert "claims 4294967295" in refusal(replace(packaged.encoded, chunks=chunks), tmp_path)
