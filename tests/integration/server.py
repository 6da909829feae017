"""A real embedded server in a process of its own, on a temporary data directory."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

# Lease, sweep and beat are shortened so that what takes a minute in production shows in seconds here.
FAST = {"SF_WORKER__LEASE_S": "3", "SF_WORKER__BEAT_S": "1", "SF_WORKER__SWEEP_S": "1"}
START_TIMEOUT_S = 30.0


class EmbeddedServer:
    """Start, kill and stop `python -m sfserver up`; `http` is a client signed in as the local user."""

    def __init__(self, data_dir: Path, **settings: str) -> None:
        self.data_dir = data_dir
        self._environment = {**os.environ, **FAST, **settings}
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""
        self.http = httpx.Client()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def token(self) -> str:
        return (self.data_dir / "token").read_text().strip()

    def start(self) -> "EmbeddedServer":
        """Start it and wait until it answers; whatever goes wrong, no process is left."""
        try:
            return self._start()
        except (AssertionError, httpx.HTTPError):
            self.close()
            raise

    def command(self) -> list[str]:
        """Return what is started."""
        return [sys.executable, "-m", "sfserver", "up", "--data-dir", str(self.data_dir), "--port", "0"]

    def _start(self) -> "EmbeddedServer":
        self.data_dir.mkdir(parents=True, exist_ok=True)
        with (self.data_dir / "server.log").open("ab") as log:
            self._process = subprocess.Popen(self.command(), env=self._environment, stderr=log, stdout=log)
        self._wait_until_healthy()
        return self

    def kill(self) -> None:
        """Send SIGKILL: nothing is cleaned up, as after a power cut."""
        self._end(signal.SIGKILL)

    def stop(self) -> float:
        """Send SIGTERM; return the seconds it took to end. The exit status must be 0."""
        started = time.monotonic()
        code = self._end(signal.SIGTERM)
        assert code == 0, self.log()[-3000:]
        return time.monotonic() - started

    def log(self) -> str:
        return (self.data_dir / "server.log").read_text()

    def upload(self, path: Path, **fields: str) -> dict[str, Any]:
        with path.open("rb") as file:
            answer = self.http.post("/api/upload", data=fields, files={"file": (path.name, file)})
        assert answer.status_code == 201, answer.text
        accepted: dict[str, Any] = answer.json()
        return accepted

    def job(self, job_id: str) -> dict[str, Any]:
        answer = self.http.get(f"/api/jobs/{job_id}")
        assert answer.status_code == 200, answer.text
        job: dict[str, Any] = answer.json()
        return job

    def wait(self, job_id: str, timeout_s: float = 120) -> dict[str, Any]:
        """Return the job once it is final."""
        deadline = time.monotonic() + timeout_s
        while (job := self.job(job_id))["status"] not in {"ready", "failed", "cancelled"}:
            assert time.monotonic() < deadline, f"{job}\n{self.log()[-3000:]}"
            time.sleep(0.1)
        return job

    def explain(self, job_id: str) -> dict[str, Any]:
        answer = self.http.get(f"/api/jobs/{job_id}/explain")
        assert answer.status_code == 200, answer.text
        explained: dict[str, Any] = answer.json()
        return explained

    def close(self) -> None:
        self.http.close()
        if self._process is not None and self._process.poll() is None:
            self.kill()
        self._process = None

    def _end(self, number: int) -> int:
        assert self._process is not None
        self._process.send_signal(number)
        code = self._process.wait(timeout=30)
        self.http.close()
        return code

    def _wait_until_healthy(self) -> None:
        announced = self.data_dir / "server.json"
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            assert self._process is not None
            assert self._process.poll() is None, self.log()[-3000:]
            if announced.exists() and (found := json.loads(announced.read_text()))["pid"] == self._process.pid:
                self._reach(found["url"])
                if self.http.get("/api/health").status_code == 200:
                    return
            time.sleep(0.05)
        raise AssertionError(f"not healthy within {START_TIMEOUT_S} s\n{self.log()[-3000:]}")

    def _reach(self, url: str) -> None:
        """Have `http` ask this server, and no earlier connection stay open behind it."""
        if self.url != url or self.http.is_closed:
            self.http.close()
            self.url = url
            self.http = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {self.token}"}, timeout=30)
