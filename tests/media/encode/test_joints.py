"""From a source to what players read: chunks of the opening and of the rest, made apart, are one track."""

import io
from base64 import b64decode
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from sfserver.media.contract import ChunkResult, ChunkSpec, EncodePlan, MediaLimits
from sfserver.media.encode.chunks import encode_tasks
from sfserver.media.encode.ladder import build_ladder
from sfserver.media.encode.plan import probe
from sfserver.media.encode.video import encode_chunk
from sfserver.media.mp4.boxes import iter_boxes
from sfserver.media.mp4.tracks import TrackTable
from tests.media import encoded as parts
from tests.media.clips import Clip, Encoded, decode_track, ignore, make_clip, read_number, read_samples, run_stages
from tests.media.packaged import Packaged, package

FAST = {"preset": "ultrafast"}
LARGE = Clip(frames=40, fps=Fraction(5), size=(1312, 738), gop=17, options=FAST, audio="aac")

CLIPS = {
    "one_frame": Clip(frames=1, options=FAST),
    "one_frame_with_sound": Clip(frames=1, options=FAST, audio="pcm_s16le"),
    "shorter_than_a_gop": Clip(frames=31, options=FAST, audio="pcm_s16le"),
    "a_gop_and_a_frame": Clip(frames=51, options=FAST, audio="pcm_s16le"),
    "silent": Clip(frames=230, options=FAST),
    "film": Clip(frames=230, fps=Fraction(24000, 1001), options=FAST, audio="pcm_s16le"),
    "half": Clip(frames=140, fps=Fraction(25, 2), options=FAST, audio="pcm_s16le"),
    "ntsc": Clip(frames=490, fps=Fraction(60000, 1001), options=FAST, audio="pcm_s16le"),
}


def whole(encoded: Encoded, root: Path) -> Packaged:
    """Package what the stages made, from their files and the tables they describe them by."""
    found = {rung.name: encoded.parts(rung.name) for rung in encoded.plan.rungs}
    found |= {parts.SOUND: encoded.sound_parts} if encoded.sound_parts else {}
    tracks = {
        name: [parts.Stored(part, (encoded.workdir / part.file).read_bytes()) for part in each]
        for name, each in found.items()
    }
    root.mkdir()
    return package(parts.Encoded(encoded.plan, tracks), root)


def pictures(data: bytes) -> list[tuple[int | None, NDArray[np.uint8]]]:
    with av.open(io.BytesIO(data), "r") as container:
        return [(frame.pts, frame.to_ndarray(format="gray").astype(np.uint8)) for frame in container.decode(video=0)]


def sound_frames(data: bytes) -> list[int | None]:
    with av.open(io.BytesIO(data), "r") as container:
        return [packet.pts for packet in container.demux(audio=0) if packet.size]


@pytest.mark.parametrize("name", CLIPS)
def test_init_and_chunks_are_every_frame_once_as_is_the_progressive_file(name: str, tmp_path: Path) -> None:
    clip = CLIPS[name]
    encoded = run_stages(make_clip(tmp_path / "a.mkv", clip), tmp_path / "out")
    made, plan = whole(encoded, tmp_path / "packaged"), encoded.plan
    track, file = pictures(made.track("360p")), pictures(made.progressive("360p"))
    for shown in (track, file):
        assert [read_number(luma) for _, luma in shown] == list(range(clip.frames))
        assert [pts for pts, _ in shown] == [n * plan.frame_ticks for n in range(clip.frames)]
    assert Fraction(plan.frame_ticks, plan.timescale) == 1 / clip.fps
    if clip.audio is None:
        assert (plan.audio, list(made.result.tracks)) == (None, ["360p"])
        return
    assert plan.audio is not None
    times = [n * 1024 for n in range(plan.audio.frames)]
    assert sound_frames(made.track(parts.SOUND)) == sound_frames(made.progressive("360p")) == times


def test_the_lists_of_a_real_encode_hold_every_frame(tmp_path: Path) -> None:
    encoded = run_stages(make_clip(tmp_path / "a.mkv", CLIPS["film"]), tmp_path / "out")
    made = whole(encoded, tmp_path / "packaged")
    published = made.publish(tmp_path / "published")
    for folder in ("hls", "hls/live"):
        with av.open(str(published / folder / "360p.m3u8"), options={"allowed_extensions": "ALL"}) as container:
            times = [frame.pts for frame in container.decode(video=0)]
        assert times == [n * 1001 for n in range(230)]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Encoded:
    """Encode three rungs of eight seconds, the opening in two tasks a chunk."""
    root = tmp_path_factory.mktemp("large")
    rungs, _ = build_ladder(1312, 738, LARGE.fps, 10)
    return run_stages(make_clip(root / "a.mkv", LARGE), root / "out", rungs=rungs)


def test_the_low_rungs_of_the_opening_are_made_first_and_all_fit_together(large: Encoded, tmp_path: Path) -> None:
    plan = large.plan
    assert [sorted(chunk.parts) for chunk in large.chunks] == [
        ["360p", "720p"],
        ["1080p"],
        ["1080p", "360p", "720p"],
    ]
    assert len({chunk.fingerprint for chunk in large.chunks}) == 1
    made = whole(large, tmp_path / "packaged")
    for rung in ("1080p", "720p", "360p"):
        found = large.parts(rung)
        assert [part.first_gop for part in found] == [0, 3]
        assert len({(part.codec_config, part.delay_ticks) for part in found}) == 1
        for data in (made.track(rung), made.progressive(rung)):
            assert [read_number(luma) for _, luma in pictures(data)] == list(range(40))
    assert plan.opening_gops == 4


def test_a_task_of_some_rungs_reports_and_describes_those_alone(large: Encoded, tmp_path: Path) -> None:
    source, index = large.workdir.parent / "a.mkv", large.workdir / large.probed.index_file
    reports: list[dict[str, object]] = []
    task = encode_tasks(large.plan, large.plan.chunks)[0]
    result = encode_chunk(source, index, large.plan, task, tmp_path, report=reports.append)
    assert (task.index, list(result.parts)) == (0, ["720p", "360p"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["360p.0.m4s", "720p.0.m4s"]
    assert reports[-1]["frames"] == {"720p": 30, "360p": 30}


def test_a_rung_of_the_same_pictures_is_the_same_bytes_whatever_it_is_encoded_with(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", Clip(frames=50, fps=Fraction(12), size=(700, 394), options=FAST))
    plan = probe(source, tmp_path, MediaLimits(), ignore).plan
    plan = replace(plan, rungs=build_ladder(700, 394, Fraction(12), plan.gop_frames)[0])
    assert [(rung.name, rung.width) for rung in plan.rungs] == [("720p", 700), ("360p", 640)]
    chunk = ChunkSpec(0, 0, 50)
    together = encode_rungs(source, plan, chunk, tmp_path / "all")
    # The top rung has the source's own size, so the one below is scaled from the same pixels either way.
    for rung in ("720p", "360p"):
        alone = encode_rungs(source, plan, replace(chunk, rungs=[rung]), tmp_path / rung)
        assert list(alone.parts) == [rung]
        assert alone.parts[rung] == together.parts[rung]
        name = alone.parts[rung].file
        assert (tmp_path / rung / name).read_bytes() == (tmp_path / "all" / name).read_bytes()
        assert alone.fingerprint == together.fingerprint


def encode_rungs(source: Path, plan: EncodePlan, chunk: ChunkSpec, workdir: Path) -> ChunkResult:
    workdir.mkdir()
    return encode_chunk(source, source.parent / "index.npy", plan, chunk, workdir, report=ignore)


def test_a_rung_scaled_from_the_source_joins_one_scaled_from_the_rung_above(tmp_path: Path) -> None:
    clip = Clip(frames=100, fps=Fraction(12), size=(480, 270), options=FAST)
    source = make_clip(tmp_path / "a.mp4", clip)
    plan = probe(source, tmp_path, MediaLimits(), ignore).plan
    top = replace(plan.rungs[0], name="1080p", width=400, height=226)
    plan = replace(plan, rungs=[top, replace(top, name="360p", width=320, height=180)])
    direct = encode_rungs(source, plan, ChunkSpec(0, 0, 48, rungs=["360p"]), tmp_path / "direct")
    cascade = encode_rungs(source, plan, ChunkSpec(0, 0, 48), tmp_path / "cascade")
    later = encode_rungs(source, plan, ChunkSpec(1, 48, 100), tmp_path / "later")
    one, other, rest = (result.parts["360p"] for result in (direct, cascade, later))
    assert (tmp_path / "direct" / one.file).read_bytes() != (tmp_path / "cascade" / other.file).read_bytes()
    assert one.codec_config == other.codec_config == rest.codec_config
    assert (one.samples, one.fragments, one.delay_ticks) == (other.samples, other.fragments, other.delay_ticks)
    assert (one.samples, one.fragments) == (48, 2)
    (tmp_path / "joined").mkdir()
    for folder, part in (("direct", one), ("later", rest)):
        (tmp_path / folder / part.file).rename(tmp_path / "joined" / part.file)
    joined = decode_track(tmp_path / "joined", [one, rest], plan)
    assert [read_number(luma) for _, luma in joined] == list(range(100))
    assert [number for number, _ in joined] == list(range(100))


def test_tables_say_what_is_in_the_parts(large: Encoded) -> None:
    plan = large.plan
    for rung in plan.rungs:
        for part in large.parts(rung.name):
            data, table = (large.workdir / part.file).read_bytes(), TrackTable.unpack(b64decode(part.table))
            samples = list(read_samples(large.workdir, [part]))
            starts = [box.start for box in iter_boxes(data) if box.kind == "moof"]
            assert table.sizes.tolist() == [len(sample) for _, _, sample in samples]
            assert table.composition_offsets.tolist() == [offset for _, offset, _ in samples]
            assert table.fragment_sizes.tolist() == np.diff([*starts, len(data)]).tolist()
            assert (part.samples, part.size_bytes, part.fragments) == (len(samples), len(data), len(starts))
            # NAL unit type 5 is a picture that decoding can begin with (ITU-T H.264, table 7-1).
            kinds = [set(nal_types(sample)) for _, _, sample in samples]
            assert table.sync.tolist() == [5 in each for each in kinds]


def nal_types(sample: bytes) -> list[int]:
    """Return the types of the length-prefixed NAL units of a sample."""
    found, at = [], 0
    while at < len(sample):
        found.append(sample[at + 4] & 31)
        at += 4 + int.from_bytes(sample[at : at + 4])
    return found
