"""Probe: find out what was uploaded, index its frames, and plan the encode."""

from collections.abc import Sequence
from dataclasses import asdict, replace

from sfserver.infra.queue.contract import Queue
from sfserver.media.contract import ProbeResult
from sfserver.media.encode.plan import ProbeArguments
from sfserver.media.source.index import INDEX_FILE
from sfserver.models import Video
from sfserver.publications.service import begin
from sfserver.settings import SandboxSettings
from sfserver.tasks import lifecycle
from sfserver.tasks.stage import Claim, Inputs, Stage, StageContext, video_folder

KIND = "probe"
# A row of 16 bytes for each output frame: twelve hours at 60 frames a second, and some.
_BOUND_BYTES = 64 << 20


def _arguments(inputs: Inputs) -> ProbeArguments:
    return ProbeArguments(inputs.source(), inputs.claim.limits)


def _after(context: StageContext, result: ProbeResult) -> None:
    """Keep the plan with the job, but for its chunks: they become the specs of the encode tasks. Open its tracks."""
    context.job.plan = asdict(replace(result.plan, chunks=[]))
    begin(context.session, context.job, result.plan)
    context.session.get_one(Video, context.job.video_id).source_facts = asdict(result.facts)
    lifecycle.add_warnings(context.job, result.warnings)


def _cpu_s(settings: SandboxSettings, claim: Claim) -> float:
    return settings.probe_cpu_s + settings.probe_cpu_s_per_gib * claim.source_size_bytes / (1 << 30)


def _made(result: ProbeResult) -> Sequence[str]:
    return [result.index_file]


PROBE: Stage[ProbeArguments, ProbeResult] = Stage(
    kind=KIND,
    queue=Queue.IO,
    run="sfserver.media.encode.plan:run_probe",
    arguments=_arguments,
    weight=0.02,
    priority=0,
    cpu_s=_cpu_s,
    outputs=lambda _claim: [INDEX_FILE],
    made=_made,
    folder=video_folder,
    lasting=True,
    bound_bytes=lambda _inputs: _BOUND_BYTES,
    after=_after,
)
