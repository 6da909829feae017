"""Stages that misbehave in every way the sandbox must survive."""

import os
from pathlib import Path

from sfserver.media.sandbox_child import Report


def echo(arguments: dict[str, object], workdir: Path, report: Report) -> dict[str, object]:
    report({"step": 1})
    report({"step": 2})
    (workdir / "out.bin").write_bytes(b"x" * 10)
    return {"got": arguments, "pid": os.getpid()}
