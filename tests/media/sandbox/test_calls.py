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
from sfserver.media.mp4.package import PackageArguments
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


def test_a_clip_goes_all_the_way_behind_the_walls(pipeline: Pipeline, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "clip.mp4", Clip(frames=125, audio="aac"))
    probed, index = pipeline.probe(source)
    plan = probed.plan
    chunks, folders = [], []
    for chunk in plan.chunks:
        arguments = EncodeArguments(source, index, plan, chunk, MediaLimits())
        encoded, folder = pipeline.run("encode", arguments, [source, index])
        files = {rung: output_file(folder, part.file) for rung, part in encoded.parts.items()}
        chunks.append((chunk, encoded, files))
        folders.append(folder)
    sound, folder = pipeline.run("audio", AudioArguments(source, plan, 0, MediaLimits()), [source])
    reported = [report for report in pipeline.reports if "part" in report]
    parts = [TypeAdapter(TrackPart).validate_python(report["part"]) for report in reported]
    joined = PackageArguments(plan, chunks, [(part, output_file(folder, part.file)) for part in parts])
    package, output = pipeline.run("package", joined, [*folders, folder])

    assert len(chunks) > 1
    assert [report["index"] for report in reported] == list(range(sound.parts))
    assert package.duration_s == 5.0
    assert {name: output_file(output, name).stat().st_size for name in package.files} == package.files


def test_a_second_audio_run_counts_on_from_what_is_recorded(pipeline: Pipeline, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "clip.mp4", Clip(frames=125, audio="aac"))
    probed, _ = pipeline.probe(source)
    assert probed.plan.audio is not None
    pipeline.run("audio", AudioArguments(source, probed.plan, 1, MediaLimits()), [source])

    indices = [report["index"] for report in pipeline.reports if "part" in report]
    assert indices == list(range(1, len(probed.plan.audio.part_ends)))


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
