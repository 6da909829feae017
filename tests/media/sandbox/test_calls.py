from base64 import b64decode
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import pytest
from pydantic import TypeAdapter

from sfserver.errors import MediaLimitError, UnsupportedMediaError
from sfserver.media.contract import MediaLimits, ProbeResult, TrackPart
from sfserver.media.encode.audio import AudioArguments
from sfserver.media.encode.plan import ProbeArguments
from sfserver.media.encode.video import EncodeArguments
from sfserver.media.mp4.package import PackageArguments, StoredTables, write_tables
from sfserver.media.sandbox.parent import Sandbox, SandboxLimits, output_file
from tests.media.clips import Clip, make_clip

CALLS = {
    "probe": "sfserver.media.encode.plan:run_probe",
    "encode": "sfserver.media.encode.video:run_encode",
    "audio": "sfserver.media.encode.audio:run_audio",
    "package": "sfserver.media.mp4.package:run_package",
}


class Pipeline:
    """All stages behind the walls, each in a directory of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.reports: list[dict[str, object]] = []

    def run(self, stage: str, arguments: object, readable: Sequence[Path]) -> tuple[Any, Path]:
        workdir = self.root / f"{stage}-{len(list(self.root.iterdir()))}"
        workdir.mkdir()
        run = Sandbox(SandboxLimits()).run(
            CALLS[stage],
            arguments,
            workdir,
            readable=readable,
            output_bytes=64 << 20,
            on_report=self.reports.append,
            should_stop=lambda: None,
        )
        return run.result, workdir

    def probe(self, source: Path, limits: MediaLimits | None = None) -> tuple[ProbeResult, Path]:
        probed, workdir = self.run("probe", ProbeArguments(source, limits or MediaLimits()), [source])
        return probed, output_file(workdir, probed.index_file)


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    return Pipeline(tmp_path)


def stored(root: Path, name: str, parts: Sequence[TrackPart]) -> StoredTables:
    path = root / f"{name}.tables"
    write_tables(path, (b64decode(part.table) for part in parts))
    return StoredTables(name, parts[0].codec_config, parts[0].delay_ticks, path)


def test_a_clip_goes_all_the_way_behind_the_walls(pipeline: Pipeline, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "clip.mp4", Clip(frames=125, audio="aac"))
    probed, index = pipeline.probe(source)
    plan, pictures = probed.plan, []
    for chunk in plan.chunks:
        arguments = EncodeArguments(source, index, plan, chunk, MediaLimits())
        encoded, folder = pipeline.run("encode", arguments, [source, index])
        for part in encoded.parts.values():
            assert output_file(folder, part.file).stat().st_size == part.size_bytes
        pictures.append(encoded.parts["360p"])
    sound, folder = pipeline.run("audio", AudioArguments(source, plan, 0, MediaLimits()), [source])
    reported = [report for report in pipeline.reports if "part" in report]
    parts = [TypeAdapter(TrackPart).validate_python(report["part"]) for report in reported]
    tables = [stored(tmp_path, "360p", pictures), stored(tmp_path, "main", parts)]
    joined = PackageArguments(plan, tables[:1], tables[1])
    package, output = pipeline.run("package", joined, [each.tables for each in tables])

    assert len(pictures) > 1
    assert [report["index"] for report in reported] == list(range(sound.parts))
    assert {name: facts.size_bytes for name, facts in package.tracks.items()} == {
        "360p": sum(part.size_bytes for part in pictures),
        "main": sum(part.size_bytes for part in parts),
    }
    assert package.heads == {"360p": "360p.head"}
    assert output_file(output, "360p.head").stat().st_size == package.tracks["360p"].head_bytes


def test_a_second_audio_run_counts_on_from_what_is_recorded(pipeline: Pipeline, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "clip.mp4", Clip(frames=200, audio="aac"))
    probed, _ = pipeline.probe(source)
    assert probed.plan.audio is not None
    pipeline.run("audio", AudioArguments(source, probed.plan, 1, MediaLimits()), [source])

    indices = [report["index"] for report in pipeline.reports if "part" in report]
    assert indices == list(range(1, len(probed.plan.audio.part_ends))) == [1]


def test_refusals_come_through(pipeline: Pipeline, tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("#EXTM3U\nfile:///etc/passwd\n")
    with pytest.raises(UnsupportedMediaError):
        pipeline.probe(text)
    clip = make_clip(tmp_path / "clip.mp4", Clip(frames=5))
    with pytest.raises(MediaLimitError) as error:
        pipeline.probe(clip, MediaLimits(max_pixels=320 * 180 - 1))
    assert error.value.code == "limit_pixels"


@pytest.mark.parametrize(
    ("limits", "code"),
    [(MediaLimits(max_pixels=320 * 180 - 1), "limit_pixels"), (MediaLimits(max_streams=1), "limit_streams")],
)
def test_a_lowered_limit_holds_in_every_call(
    pipeline: Pipeline, tmp_path: Path, limits: MediaLimits, code: str
) -> None:
    source = make_clip(tmp_path / "clip.mp4", Clip(frames=30, audio="aac"))
    probed, index = pipeline.probe(source)
    arguments = EncodeArguments(source, index, probed.plan, probed.plan.chunks[0], limits)
    with pytest.raises(MediaLimitError) as caught:
        pipeline.run("encode", arguments, [source, index])
    assert caught.value.code == code
    if code == "limit_streams":
        with pytest.raises(MediaLimitError, match="streams"):
            pipeline.run("audio", AudioArguments(source, probed.plan, 0, limits), [source])


def test_a_raised_limit_holds_in_every_call(pipeline: Pipeline, tmp_path: Path) -> None:
    source = tmp_path / "large.avi"
    with av.open(str(source), "w", format="avi") as out:
        stream = out.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 7000, 5200, "yuvj420p"
        out.mux(stream.encode(av.VideoFrame(7000, 5200, "yuvj420p")))
        out.mux(stream.encode(None))
    with pytest.raises(MediaLimitError, match="pixels"):
        pipeline.probe(source)
    raised = MediaLimits(max_pixels=40_000_000)
    probed, index = pipeline.probe(source, raised)
    arguments = EncodeArguments(source, index, probed.plan, probed.plan.chunks[0], raised)
    encoded, _ = pipeline.run("encode", arguments, [source, index])
    assert (probed.facts.video.width, encoded.decoded_frames, encoded.concealed_frames) == (7000, 1, 0)
