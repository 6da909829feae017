"""A server in small: runs one stage that never ends and prints the pid of its child. Killed by the test."""

import os
import sys
import tempfile
from pathlib import Path

from sfserver.media.sandbox.parent import Sandbox, SandboxLimits


def tell(report: dict[str, object]) -> None:
    os.write(1, f"{report['pid']}\n".encode())


if __name__ == "__main__":
    sandbox = Sandbox(SandboxLimits())
    sandbox.start()
    with tempfile.TemporaryDirectory() as workdir:
        sandbox.run(
            f"tests.media.sandbox.sandbox_stages:{sys.argv[1]}",
            {},
            Path(workdir),
            readable=[],
            output_bytes=1 << 20,
            on_report=tell,
            should_stop=lambda: None,
        )
