from collections.abc import Sequence
from pathlib import Path

import pytest

from sfserver.errors import MediaLimitError, UnsupportedMediaError
from sfserver.media.contract import AudioResult, ChunkResult, MediaLimits, PackageResult, ProbeResult, TrackPart
from sfserver.media.sandbox import Sandbox, SandboxLimits, output_file
from sfserver.media.stages import (
    AudioArguments,
    EncodeArguments,
    PackageArguments,
    ProbeArguments,
    from_json,
    to_json,
)
from tests.media.clips import Clip, make_clip


class Pipeline:
    """All stages behind the walls, each in a directory of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.reports: list[dict[str, object]] = []

    def run(self, stage: str, arguments: object, readable: Sequence[Path]) -> tuple[dict[str, object], Path]:
        workdir = self.root / f"{stage}-{len(list(self.root.iterdir()))}"
        workdir.mkdir()
        run = Sandbox(SandboxLimits()).run(
            stage,
            to_json(arguments),
            workdir,
            readable=readable,
            output_bytes=64 << 20,
            on_report=self.reports.append,
            should_stop=lambda: None,
            beat=lambda: True,
        )
        return run.result, workdir

    def probe(self, source: Path, limits: MediaLimits | None = None) -> tuple[ProbeResult, Path]:
        result, workdir = self.run("probe", ProbeArguments(source, limits or MediaLimits()), [source])
        probed = from_json(ProbeResult, result)
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
        result, folder = pipeline.run("encode", EncodeArguments(source, index, plan, chunk), [source, index])
        encoded = from_json(ChunkResult, result)
        files = {rung: output_file(folder, part.file) for rung, part in encoded.parts.items()}
        chunks.append((chunk, encoded, files))
        folders.append(folder)
    result, folder = pipeline.run("audio", AudioArguments(source, plan, skip_parts=0), [source])
    reported = [report for report in pipeline.reports if "part" in report]
    parts = [from_json(TrackPart, report["part"]) for report in reported]
    arguments = PackageArguments(plan, chunks, [(part, output_file(folder, part.file)) for part in parts])
    packaged, output = pipeline.run("package", arguments, [*folders, folder])
    package = from_json(PackageResult, packaged)

    assert len(chunks) > 1
    assert [report["index"] for report in reported] == list(range(from_json(AudioResult, result).parts))
    assert package.duration_s == 5.0
    assert {name: output_file(output, name).stat().st_size for name in package.files} == package.files


def test_a_second_audio_run_counts_on_from_what_is_recorded(pipeline: Pipeline, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "clip.mp4", Clip(frames=125, audio="aac"))
    probed, _ = pipeline.probe(source)
    assert probed.plan.audio is not None
    pipeline.run("audio", AudioArguments(source, probed.plan, skip_parts=1), [source])

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
