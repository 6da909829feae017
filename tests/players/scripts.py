"""The players in JavaScript: exact versions, from npm, only for these tests."""

import json
import os
import subprocess
from pathlib import Path

from tests.requirements import require_tool

FOLDER = Path(__file__).parent
MODULES = FOLDER / "node_modules"
_ENVIRONMENT = dict(os.environ)


def install_scripts() -> Path:
    """Return the folder of the installed packages; install what is not there in the version asked for."""
    npm = require_tool("npm")
    wanted = json.loads((FOLDER / "package.json").read_text())["dependencies"]
    if any(_installed(name) != version for name, version in wanted.items()):
        options = ["--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"]
        subprocess.run([npm, "install", *options], cwd=FOLDER, env=_ENVIRONMENT, check=True, capture_output=True)
    assert {name: _installed(name) for name in wanted} == wanted
    return MODULES


def _installed(name: str) -> str | None:
    manifest = MODULES / name / "package.json"
    return str(json.loads(manifest.read_text())["version"]) if manifest.exists() else None
