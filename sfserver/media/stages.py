"""The stages by the name the sandbox knows: JSON in, one function of `media`, JSON out."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter

from sfserver.media.contract import (
    ChunkResult,
    ChunkSpec,
    EncodePlan,
    MediaLimits,
    TrackPart,
)
from sfserver.media.sandbox_child import Report

_Value = TypeVar("_Value")


@dataclass(frozen=True)
class ProbeArguments:
    """What `probe` needs."""

    source: Path
    limits: MediaLimits


@dataclass(frozen=True)
class EncodeArguments:
    """What `encode` needs: the chunk and, from `probe`, the index of the source's frames and the plan."""

    source: Path
    index_file: Path
    plan: EncodePlan
    chunk: ChunkSpec


@dataclass(frozen=True)
class AudioArguments:
    """What `audio` needs; the first `skip_parts` parts are recorded already."""

    source: Path
    plan: EncodePlan
    skip_parts: int


@dataclass(frozen=True)
class PackageArguments:
    """What `package` needs: each chunk with its files by rung, each audio part with its file, both in order."""

    plan: EncodePlan
    chunks: list[tuple[ChunkSpec, ChunkResult, dict[str, Path]]]
    audio_parts: list[tuple[TrackPart, Path]]


def to_json(value: object) -> dict[str, object]:
    """Turn a dataclass of the contract, or a stage's arguments, into what crosses the wall."""
    dumped: dict[str, object] = TypeAdapter(type(value)).dump_python(value, mode="json")
    return dumped


def from_json(kind: type[_Value], values: object) -> _Value:
    """Read a dataclass back. Raises pydantic's ValidationError."""
    return TypeAdapter(kind).validate_python(values)


def run_probe(arguments: dict[str, object], workdir: Path, report: Report) -> dict[str, object]:
    """Probe one upload: ProbeArguments in, ProbeResult out."""
    from sfserver.media.probe import probe

    asked = from_json(ProbeArguments, arguments)
    return to_json(probe(asked.source, workdir, asked.limits, report))


def run_encode(arguments: dict[str, object], workdir: Path, report: Report) -> dict[str, object]:
    """Encode one chunk into every rung: EncodeArguments in, ChunkResult out."""
    from sfserver.media.encode import encode_chunk

    asked = from_json(EncodeArguments, arguments)
    return to_json(encode_chunk(asked.source, asked.index_file, asked.plan, asked.chunk, workdir, report=report))


def run_audio(arguments: dict[str, object], workdir: Path, report: Report) -> dict[str, object]:
    """Encode the sound: AudioArguments in, AudioResult out, each finished part reported as {"part": TrackPart}."""
    from sfserver.media.audio import encode_audio

    asked = from_json(AudioArguments, arguments)

    def on_part(part: TrackPart) -> None:
        report({"part": to_json(part)})

    return to_json(encode_audio(asked.source, asked.plan, workdir, report, on_part, skip_parts=asked.skip_parts))


def run_package(arguments: dict[str, object], workdir: Path, report: Report) -> dict[str, object]:
    """Join chunks and parts into the published files: PackageArguments in, PackageResult out."""
    from sfserver.media.package import package

    asked = from_json(PackageArguments, arguments)
    return to_json(package(asked.plan, asked.chunks, asked.audio_parts, workdir, report))
