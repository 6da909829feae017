"""Stands in for `python -m sfserver`: writes what a server writes into its data directory and answers for a while.

Run as `python -m tests.cli.stub_server LIFE_S sfserver up --data-dir DIR …`; with a life of 0 it dies at once.
"""

import json
import os
import signal
import sys
import threading
from pathlib import Path

from tests.cli.fake_server import TOKEN, serving


def main() -> None:
    life_s, options = float(sys.argv[1]), sys.argv[4:]
    data_dir = Path(options[options.index("--data-dir") + 1])
    if not life_s:
        sys.exit("database is locked")
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    with serving() as fake:
        (data_dir / "token").write_text(TOKEN + "\n")
        record = {"url": fake.url, "pid": os.getpid(), "version": "0.1.0", "started_at": "2026-01-01T00:00:00Z"}
        (data_dir / "server.json").write_text(json.dumps(record))
        stopped.wait(life_s)
    (data_dir / "server.json").unlink()


if __name__ == "__main__":
    main()
