"""A harness with a bench, on which attempts are made one after the other on this thread."""

from pathlib import Path
from threading import Event

from sfserver.infra.queue.contract import Queue
from sfserver.tasks.attempt import Attempt, Bench
from sfserver.tasks.stage import Claim
from tests.tasks.harness import Harness
from tests.tasks.stub_sandbox import StubSandbox


class Workshop:
    """What a test drives: its attempts leave no file behind, or it fails."""

    def __init__(self, harness: Harness, sandbox: StubSandbox) -> None:
        self.harness, self.sandbox = harness, sandbox
        self.folder: Path = harness.runtime.settings.data_dir / "work"
        self.stopping = Event()

    def attempt(self, claim: Claim) -> Attempt:
        bench = Bench(self.harness.runtime, self.sandbox, self.folder, self.stopping)  # type: ignore[arg-type]
        return Attempt(bench, claim)

    def work(self, queue: Queue) -> Claim:
        """Claim the next task of a queue and attempt it."""
        claim = self.harness.take(queue)
        self.run(claim)
        return claim

    def run(self, claim: Claim) -> None:
        self.attempt(claim).run()
        assert [path for path in self.folder.rglob("*") if path.is_file()] == []

    def finish(self) -> None:
        """Do everything that can be done now."""
        while claims := [claim for queue in Queue if (claim := self.harness.claim(queue))]:
            for claim in claims:
                self.run(claim)
