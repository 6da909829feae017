"""The stages by the name the sandbox knows: JSON in, one function of `media`, JSON out."""

from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter

from sfserver.media.audio import encode_audio
from sfserver.media.contract import (
    AudioResult,
    ChunkResult,
    ChunkSpec,
    EncodePlan,
    MediaLimits,
    PackageResult,
    ProbeResult,
    TrackPart,
)
from sfserver.media.encode import encode_chunk
from sfserver.media.joining import EncodedChunk, StoredPart
from sfserver.media.package import package
from sfserver.media.probe import probe
from sfserver.media.progress import Report

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
    limits: MediaLimits = field(default_factory=MediaLimits)


@dataclass(frozen=True)
class AudioArguments:
    """What `audio` needs; the first `skip_parts` parts are recorded already."""

    source: Path
    plan: EncodePlan
    skip_parts: int
    limits: MediaLimits = field(default_factory=MediaLimits)


@dataclass(frozen=True)
class PackageArguments:
    """What `package` needs: each chunk with its files by rung, each audio part with its file, both in order."""

    plan: EncodePlan
    chunks: list[EncodedChunk]
    audio_parts: list[StoredPart]


# Built at import, which is before the fork: the first one alone costs 65 ms.
_ADAPTERS: dict[type, TypeAdapter[Any]] = {
    kind: TypeAdapter(kind)
    for kind in (
        *(ProbeArguments, EncodeArguments, AudioArguments, PackageArguments),
        *(ProbeResult, ChunkResult, AudioResult, PackageResult, TrackPart),
    )
}


def to_json(value: object) -> dict[str, object]:
    """Turn a dataclass of the contract, or a stage's arguments, into what crosses the wall."""
    dumped: dict[str, object] = _ADAPTERS[type(value)].dump_python(value, mode="json")
    return dumped


def from_json(kind: type[_Value], values: object) -> _Value:
    """Read a dataclass back. Raises pydantic's ValidationError."""
    value: _Value = _ADAPTERS[kind].validate_python(values)
    return value


def run_probe(arguments: dict[str, object], workdir: Path, report: Report) -> dict[str, object]:
    """Probe one upload: ProbeArguments in, ProbeResult out."""
    asked = from_json(ProbeArguments, arguments)
    return to_json(probe(asked.source, workdir, asked.limits, report))


def run_encode(arguments: dict[str, object], workdir: Path, report: Report) -> dict[str, object]:
    """Encode one chunk into every rung: EncodeArguments in, ChunkResult out."""
    asked = from_json(EncodeArguments, arguments)
    result = encode_chunk(
        asked.source, asked.index_file, asked.plan, asked.chunk, workdir, report=report, limits=asked.limits
    )
    return to_json(result)


def run_audio(arguments: dict[str, object], workdir: Path, report: Report) -> dict[str, object]:
    """Encode the sound: AudioArguments in, AudioResult out; reports each finished part as {"part", "index"}."""
    asked = from_json(AudioArguments, arguments)
    indices = count(asked.skip_parts)

    def on_part(part: TrackPart) -> None:
        report({"part": to_json(part), "index": next(indices)})

    result = encode_audio(
        asked.source, asked.plan, workdir, report, on_part, skip_parts=asked.skip_parts, limits=asked.limits
    )
    return to_json(result)


def run_package(arguments: dict[str, object], workdir: Path, report: Report) -> dict[str, object]:
    """Join chunks and parts into the published files: PackageArguments in, PackageResult out."""
    asked = from_json(PackageArguments, arguments)
    return to_json(package(asked.plan, asked.chunks, asked.audio_parts, workdir, report))
