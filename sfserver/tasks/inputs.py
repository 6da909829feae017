"""What a stage is given (`tasks.stage.Inputs`), out of the store and the database."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy.orm import Session

from sfserver.errors import ObjectMissingError, SourceMissingError
from sfserver.models import Job, Task, TaskPart, Video
from sfserver.tasks import lifecycle, repository
from sfserver.tasks.stage import Answer, AnyStage, Claim, Output
from sfserver.tasks.work import Work
from sfserver.wire.jobs import StageState

# A sandbox opens each path it may read; from here on it gets their common folder instead.
_MOST_PATHS = 64
_RECORDED = "a part that was recorded"
_AGAIN = "process the video again: sfctl reprocess"


@dataclass
class StoredInputs:
    """The inputs of one attempt; `on_bytes` hears of every block moved, `fetched` are the paths to read by key."""

    work: Work
    claim: Claim
    scratch: Path
    on_bytes: Callable[[int], None]
    fetched: dict[str, Path] = field(default_factory=dict)
    fetched_bytes: int = 0

    def source(self) -> Path:
        """Return the uploaded file. Raises `SourceMissingError`."""
        return self.fetch(self.claim.source_key)

    def fetch(self, key: str) -> Path:
        """Return a local file that holds an object. Raises `SourceMissingError` where the store has lost it."""
        if key in self.fetched:
            return self.fetched[key]
        try:
            path = self.work.store.fetch(key, self.scratch, self.on_bytes)
        except ObjectMissingError as error:
            if key == self.claim.source_key:
                raise SourceMissingError("the uploaded file is not in the store any more") from error
            raise SourceMissingError(f"{_RECORDED} is not in the store any more", hint=_AGAIN) from error
        self.fetched[key] = path
        self.fetched_bytes += path.stat().st_size
        return path

    def outputs(self, kind: str) -> list[Output]:
        """Return what was recorded of another stage of the job, by index."""
        stage = self.work.stages[kind]
        with self.work.database.read() as session:
            job = session.get_one(Job, self.claim.job_id)
            video = session.get_one(Video, self.claim.video_id)
            tasks = [t for t in repository.tasks_of(session, job.id, kind) if t.state == StageState.DONE]
            return [self._output(stage, task, job, video) for task in tasks]

    def keys(self, kind: str) -> list[str]:
        """Return the keys of what another stage of the job has stored, without reading its results."""
        stage = self.work.stages[kind]
        with self.work.database.read() as session:
            job = session.get_one(Job, self.claim.job_id)
            video = session.get_one(Video, self.claim.video_id)
            tasks = repository.light_tasks(session, job.id, kind)
            made = [lifecycle.claim_of(task, job, video) for task in tasks if task.state == StageState.DONE]
        return [key for claim in made for key in stage.keys(claim)]

    def parts(self, kind: str) -> Sequence[TaskPart]:
        """Return the finished parts of a stage of one task, in order."""
        with self.work.database.read() as session:
            tasks = repository.tasks_of(session, self.claim.job_id, kind)
            return [part for task in tasks for part in repository.parts_of(session, task.id)]

    def check_object(self, key: str, size_bytes: int) -> None:
        """See that an object is there as it was stored. Raises `SourceMissingError`."""
        try:
            found = self.work.store.size_of(key)
        except ObjectMissingError as error:
            raise SourceMissingError(f"{_RECORDED} is not in the store any more", hint=_AGAIN) from error
        if found != size_bytes:
            raise SourceMissingError(f"{_RECORDED} has {found} of its {size_bytes} bytes in the store", hint=_AGAIN)
        self.on_bytes(0)

    def ask(self, question: Callable[[Session], Answer]) -> Answer:
        """Return what the database says."""
        with self.work.database.read() as session:
            return question(session)

    def new_file(self, name: str) -> Path:
        """Return where something may be written for the child to read; it goes with the attempt."""
        self.scratch.mkdir(parents=True, exist_ok=True)
        self.fetched[name] = self.scratch / name
        return self.fetched[name]

    def readable(self) -> list[Path]:
        """Return what the sandbox may read: what was fetched, or the folder of it all."""
        paths = list(self.fetched.values())
        return paths if len(paths) <= _MOST_PATHS else [Path(os.path.commonpath([path.parent for path in paths]))]

    def _output(self, stage: AnyStage, task: Task, job: Job, video: Video) -> Output:
        made = lifecycle.claim_of(task, job, video)
        result = stage.result_of(task)
        return Output(task.index, task.spec, result, {name: stage.key(made, name) for name in stage.made(result)})
