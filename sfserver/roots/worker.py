"""The worker's root: a sandbox with the settings' limits, and a runner over a runtime."""

from pathlib import Path

from sfserver.deps import Runtime
from sfserver.media.sandbox.confinement import Wall
from sfserver.media.sandbox.parent import Sandbox, SandboxLimits
from sfserver.publications.service import forget_retired
from sfserver.settings import Settings
from sfserver.stages.registry import STAGES
from sfserver.tasks.runner import Runner
from sfserver.tasks.sweep import Here, sweep
from sfserver.uploads.service import sweep_expired
from sfserver.videos.service import purge_expired


def make_sandbox(settings: Settings) -> Sandbox:
    """Return the sandbox of a worker; start it before any thread."""
    sandbox = settings.sandbox
    limits = SandboxLimits(
        memory_bytes=sandbox.memory_bytes,
        stall_s=sandbox.stall_s,
        nice=sandbox.nice,
        require_walls=sandbox.require_walls,
        omit_walls=tuple(Wall(name) for name in sandbox.omit_walls),
    )
    return Sandbox(limits, preload=STAGES.calls)


def make_runner(runtime: Runtime, sandbox: Sandbox, folder: Path) -> Runner:
    """Return the loop of a worker, which keeps the files of running attempts in `folder`."""
    return Runner(runtime, sandbox, folder, lambda here: _sweep(runtime, here))


def _sweep(runtime: Runtime, here: Here) -> None:
    sweep_expired(runtime)
    purge_expired(runtime)
    forget_retired(runtime.database)
    sweep(runtime, here)
