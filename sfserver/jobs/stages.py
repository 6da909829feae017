"""Between rows and the sandbox: what each stage's process is given, and where what it made is kept."""

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from sfserver.deps import Runtime
from sfserver.jobs import repository
from sfserver.jobs.claims import Claim
from sfserver.media.contract import ChunkSpec, EncodePlan, MediaLimits
from sfserver.media.encode.audio import AudioArguments
from sfserver.media.encode.plan import ProbeArguments
from sfserver.media.encode.video import EncodeArguments
from sfserver.media.mp4.package import PackageArguments
from sfserver.media.sandbox.parent import output_file
from sfserver.settings import LimitSettings

RUN = {
    "probe": "sfserver.media.encode.plan:run_probe",
    "encode": "sfserver.media.encode.video:run_encode",
    "audio": "sfserver.media.encode.audio:run_audio",
    "package": "sfserver.media.mp4.package:run_package",
}
_PLAN, _CHUNK, _PACKAGE = TypeAdapter(EncodePlan), TypeAdapter(ChunkSpec), TypeAdapter(PackageArguments)


@dataclass(frozen=True)
class StageCall:
    """The arguments of a stage's process and the files it may read."""

    arguments: object
    readable: list[Path] = field(default_factory=list)


def prepare(runtime: Runtime, claim: Claim, scratch: Path) -> StageCall:
    """Bring the claim's inputs to this machine and return how to call its stage."""
    return _PREPARE[claim.kind](runtime, claim, scratch)


def keep(runtime: Runtime, claim: Claim, result: Any, workdir: Path) -> dict[str, Any]:  # noqa: ANN401
    """Store the files a stage made under the claim's own prefix; return what to record as the task's result."""
    return _KEEP[claim.kind](runtime, claim, asdict(result), workdir)


def keep_part(runtime: Runtime, claim: Claim, part: Mapping[str, Any], workdir: Path) -> str:
    """Store one finished part of a running stage; return its key."""
    key = f"{claim.prefix}/{part['file']}"
    runtime.store.put_file(key, output_file(workdir, part["file"]))
    return key


def discard(runtime: Runtime, claim: Claim) -> None:
    """Remove what an attempt stored whose result nobody wants.

    Parts of an audio run stay: they are recorded while it runs, and whoever runs it next builds on them.
    """
    if claim.kind != "audio":
        runtime.store.delete_prefix(claim.prefix)
    if claim.kind == "package":
        runtime.store.delete_prefix(claim.publish_prefix)


def media_limits(settings: LimitSettings) -> MediaLimits:
    """Return the media limits among the settings."""
    shared = MediaLimits.__dataclass_fields__.keys() & LimitSettings.model_fields.keys()
    return MediaLimits(**{name: getattr(settings, name) for name in shared})


def _plan(claim: Claim) -> EncodePlan:
    return _PLAN.validate_python(claim.plan)


def _prepare_probe(runtime: Runtime, claim: Claim, scratch: Path) -> StageCall:
    source = runtime.store.local(claim.source_key, scratch)
    return StageCall(ProbeArguments(source, media_limits(runtime.settings.limits)), [source])


def _prepare_encode(runtime: Runtime, claim: Claim, scratch: Path) -> StageCall:
    source = runtime.store.local(claim.source_key, scratch)
    index = runtime.store.local(claim.spec["index_key"], scratch)
    limits = media_limits(runtime.settings.limits)
    arguments = EncodeArguments(source, index, _plan(claim), _CHUNK.validate_python(claim.spec["chunk"]), limits)
    return StageCall(arguments, [source, index])


def _prepare_audio(runtime: Runtime, claim: Claim, scratch: Path) -> StageCall:
    source = runtime.store.local(claim.source_key, scratch)
    with runtime.database.read() as session:
        done = len(repository.parts_of(session, claim.task_id))
    limits = media_limits(runtime.settings.limits)
    return StageCall(AudioArguments(source, _plan(claim), done, limits), [source])


def _prepare_package(runtime: Runtime, claim: Claim, scratch: Path) -> StageCall:
    with runtime.database.read() as session:
        encodes = [(task.spec, task.result or {}) for task in repository.tasks_of(session, claim.job_id, "encode")]
        audio = repository.tasks_of(session, claim.job_id, "audio")
        parts = [(part.result, part.key) for task in audio for part in repository.parts_of(session, task.id)]
    chunks = [
        (spec["chunk"], result["chunk"], _local_parts(runtime, result, scratch))
        for spec, result in sorted(encodes, key=lambda row: row[0]["chunk"]["index"])
    ]
    audio_parts = [(part, str(runtime.store.local(key, scratch))) for part, key in parts]
    paths = [path for _, _, local in chunks for path in local.values()] + [path for _, path in audio_parts]
    given = {"plan": claim.plan, "chunks": chunks, "audio_parts": audio_parts}
    return StageCall(_PACKAGE.validate_python(given), [Path(os.path.commonpath([Path(path).parent for path in paths]))])


def _local_parts(runtime: Runtime, result: dict[str, Any], scratch: Path) -> dict[str, str]:
    parts = result["chunk"]["parts"]
    return {
        rung: str(runtime.store.local(f"{result['prefix']}/{part['file']}", scratch)) for rung, part in parts.items()
    }


def _keep_probe(runtime: Runtime, claim: Claim, result: dict[str, Any], workdir: Path) -> dict[str, Any]:
    key = f"{claim.prefix}/{result['index_file']}"
    runtime.store.put_file(key, output_file(workdir, result["index_file"]))
    return {"probe": result, "index_key": key}


def _keep_encode(runtime: Runtime, claim: Claim, result: dict[str, Any], workdir: Path) -> dict[str, Any]:
    for part in result["parts"].values():
        keep_part(runtime, claim, part, workdir)
    return {"chunk": result, "prefix": claim.prefix}


def _keep_audio(runtime: Runtime, claim: Claim, result: dict[str, Any], workdir: Path) -> dict[str, Any]:
    return {"audio": result}


def _keep_package(runtime: Runtime, claim: Claim, result: dict[str, Any], workdir: Path) -> dict[str, Any]:
    for name in result["files"]:
        runtime.store.put_file(f"{claim.publish_prefix}/{name}", output_file(workdir, name))
    return {"package": result, "prefix": claim.publish_prefix}


_PREPARE: dict[str, Callable[[Runtime, Claim, Path], StageCall]] = {
    "probe": _prepare_probe,
    "encode": _prepare_encode,
    "audio": _prepare_audio,
    "package": _prepare_package,
}
_KEEP: dict[str, Callable[[Runtime, Claim, dict[str, Any], Path], dict[str, Any]]] = {
    "probe": _keep_probe,
    "encode": _keep_encode,
    "audio": _keep_audio,
    "package": _keep_package,
}
