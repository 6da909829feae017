"""U4: whatever is done to a file's bytes, it ends; nobody hangs, and the server answers."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

import pytest

from sfserver.errors import PermanentError
from sfserver.media.contract import MediaLimits
from sfserver.media.encode.audio import AudioArguments
from sfserver.media.encode.plan import ProbeArguments
from sfserver.media.encode.video import EncodeArguments
from sfserver.media.sandbox.parent import ChildCrashed, Sandbox
from tests.integration.remains import assert_clean
from tests.integration.server import EmbeddedServer
from tests.promises.ledger import Proof, sizes
from tests.promises.mutation import mutate, originals

pytestmark = pytest.mark.promise("U4")
LIMITS = MediaLimits()


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return originals(tmp_path_factory.mktemp("originals"))


def mutants(sources: dict[str, bytes], seed: int, count: int) -> Iterator[tuple[str, bytes]]:
    """Yield a name, which with the seed makes it again, and the bytes."""
    kinds = sorted(sources)
    for number in range(count):
        kind = kinds[number % len(kinds)]
        yield f"{kind}-{number}", mutate(sources[kind], Random(f"{seed}/{number}"))


class Stages:
    """Takes a file through probe, encode and audio as the pipeline does, without its database."""

    def __init__(self, sandbox: Sandbox, folder: Path) -> None:
        self._sandbox, self._folder = sandbox, folder

    def end_of(self, name: str, data: bytes) -> str:
        """Return how the file ended: "ready" or an error code. Raises ChildCrashed."""
        workdir = self._folder / name
        workdir.mkdir(parents=True)
        source = workdir / "source"
        source.write_bytes(data)
        try:
            self._run(workdir / "work", source)
        except PermanentError as error:
            return error.code
        return "ready"

    def _run(self, workdir: Path, source: Path) -> None:
        workdir.mkdir()
        probed = self._call("sfserver.media.encode.plan:run_probe", ProbeArguments(source, LIMITS), workdir, source)
        plan, index = probed.plan, workdir / probed.index_file
        for chunk in plan.chunks[:2]:
            arguments = EncodeArguments(source, index, plan, chunk, LIMITS)
            self._call("sfserver.media.encode.video:run_encode", arguments, workdir, source)
        if plan.audio:
            sound = AudioArguments(source, plan, 0, LIMITS)
            self._call("sfserver.media.encode.audio:run_audio", sound, workdir, source)

    def _call(self, name: str, arguments: object, workdir: Path, source: Path) -> Any:
        run = self._sandbox.run(
            name,
            arguments,
            workdir,
            readable=[source, workdir],
            output_bytes=256 << 20,
            on_report=lambda _: None,
            should_stop=lambda: None,
        )
        return run.result


@sizes(90, 9000)
def test_every_mutant_ends_in_the_sandbox(
    sandbox: Sandbox, sources: dict[str, bytes], proof: Proof, tmp_path: Path, size: int
) -> None:
    stages = Stages(sandbox, tmp_path)
    ends: dict[str, int] = {}

    def judge(mutant: tuple[str, bytes]) -> tuple[str, str]:
        try:
            return mutant[0], stages.end_of(*mutant)
        except ChildCrashed as crash:
            # A native crash is what the sandbox is for; silence or an error nobody mapped is ours.
            return mutant[0], "crash" if crash.signal_name else f"{crash.reason}\n{crash.log[-500:]}"

    with ThreadPoolExecutor(3) as pool:
        for name, end in pool.map(judge, mutants(sources, proof.seed, size)):
            with proof.cell(name):
                assert "\n" not in end, end
                ends[end] = ends.get(end, 0) + 1
    assert ends.get("ready", 0) > size // 20, ends


@sizes(12, 1000)
def test_every_mutant_ends_over_http(
    server: EmbeddedServer, sources: dict[str, bytes], proof: Proof, size: int
) -> None:
    born, waiting = server.pid, {}
    for name, data in mutants(sources, proof.seed + 1, size):
        with proof.cell(f"post {name}"):
            answer = server.http.post("/api/upload", files={"file": (name, data)})
            assert answer.status_code in {201, 400, 415}, answer.text
            if answer.status_code == 201:
                waiting[name] = answer.json()["job_id"]
        if len(waiting) >= 8:
            settle(server, proof, waiting)
    settle(server, proof, waiting)
    with proof.cell("the server afterwards"):
        assert server.http.get("/api/health").json()["status"] == "ok"
        assert server.pid == born
        assert_clean(server.data_dir)


def settle(server: EmbeddedServer, proof: Proof, waiting: dict[str, str]) -> None:
    """Wait for all jobs; each is final, for a reason that names no bug."""
    while waiting:
        name, job_id = waiting.popitem()
        with proof.cell(f"job {name}"):
            job = server.wait(job_id, timeout_s=120)
            detail = (job["error"] or {"detail": ""})["detail"]
            assert "failed:" not in detail, job["error"]
            assert "internal error" not in detail, job["error"]
            assert "no progress" not in detail, job["error"]
            if job["status"] == "ready":
                assert server.http.get(f"/api/stream/{job_id}/360p").status_code == 200
