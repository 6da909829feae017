"""A sandbox whose children are functions of this process, and end as a test says."""

from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sfserver.media.sandbox.parent import StageRun, Stopped, StopReason
from sfserver.stages.registry import STAGES
from tests.tasks import made

KINDS = {stage.run: kind for kind, stage in STAGES.items()}


class StubSandbox:
    """Makes what each stage would, for a clip of `chunks` chunks; `ends` are raised first, one a run, by kind."""

    def __init__(self, *, chunks: int = 2, audio: bool = True, parts: int = 2) -> None:
        self._plan = {"chunks": chunks, "audio": audio, "parts": parts}
        self.ends: dict[str, list[Exception]] = defaultdict(list)
        self.runs: Counter[str] = Counter()
        self.asked: dict[str, Any] = {}
        self.reports: list[dict[str, object]] = []
        self.last_result: Any = None
        self.during: Callable[[], None] = lambda: None

    def run(
        self,
        call: str,
        arguments: Any,
        workdir: Path,
        *,
        on_report: Callable[[dict[str, Any]], None],
        should_stop: Callable[[], StopReason | None],
        **how: Any,
    ) -> StageRun:
        kind = KINDS[call]
        self.runs[kind] += 1
        self.asked = {"call": call, "arguments": arguments, "workdir": workdir, **how}
        self.during()
        if reason := should_stop():
            raise Stopped(reason)
        if self.ends[kind]:
            raise self.ends[kind].pop(0)
        for report in self.reports:
            on_report(report)
        self.last_result = result = self._make(kind, arguments, workdir, on_report)
        return made.run_of(result)

    def _make(self, kind: str, arguments: Any, workdir: Path, on_report: Callable[[dict[str, Any]], None]) -> Any:
        match kind:
            case "probe":
                result: Any = made.probe_result(**self._plan)  # type: ignore[arg-type]
            case "encode":
                result = made.chunk_result(arguments.chunk.index)
            case "audio":
                result = made.audio_result(len(arguments.plan.audio.part_ends))
                for number in range(arguments.skip_parts, result.parts):
                    part = made.sound_part(number, arguments.plan.audio.part_ends)
                    write(workdir / part.file)
                    on_report({"part": part.__dict__, "index": number})
            case "package":
                result = made.package_result()
            case _:
                result = made.poster_result()
        for name in STAGES[kind].made(result):
            write(workdir / name)
        return result


def write(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"0123456789")
