"""Who may import what. The layers are import-linter contracts in pyproject.toml; the rest is here."""

import json
import subprocess
import sys
from pathlib import Path

from tests.architecture.source import ROOT, Module, imports, parse, violations

DOMAINS = {"accounts", "uploads", "publications", "videos", "jobs", "playback"}
# A domain's faces: what it does, who is asking, its rows as wire models, what a video shows and has beside it.
FACES = {"service", "access", "reading", "assets", "publish"}
SQL = {f"sqlalchemy.{name}" for name in ("select", "insert", "update", "delete", "text")}
HELP_LOADS = """
import json, sys
sys.argv = ["sfctl", "--help"]
from sfctl.main import main
try:
    main()
except SystemExit as stop:
    assert not stop.code, stop.code
print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""


def importers(module: Module, package: str, *, allowed: str) -> list[str]:
    found = [name for _, name in imports(module) if name.split(".")[0] == package]
    return [f"{module.name}: {name}" for name in found] if not module.name.startswith(allowed) else []


def sql_outside_repositories(module: Module) -> list[str]:
    is_home = module.name.startswith(("sfserver/infra/", "sfserver/models/", "sfserver/migrations/"))
    if is_home or module.name.endswith("/repository.py"):
        return []
    return [f"{module.name}:{line} {name}" for line, name in imports(module) if name in SQL]


def reaches_into_other_domains(module: Module) -> list[str]:
    """Return imports of another domain that go deeper than its faces."""
    own = module.name.split("/")[1]
    if own not in DOMAINS:
        return []
    others = [(line, name, name.split(".")) for line, name in imports(module) if name.startswith("sfserver.")]
    deep = [(line, name) for line, name, parts in others if parts[1] in DOMAINS - {own} and parts[2] not in FACES]
    return [f"{module.name}:{line} {name}" for line, name in deep]


def test_only_media_imports_av_and_only_the_store_its_client() -> None:
    assert violations(lambda module: importers(module, "av", allowed="sfserver/media/"), "sfctl", "sfserver") == []
    assert violations(lambda module: importers(module, "minio", allowed="sfserver/infra/storage")) == []


def test_only_repositories_write_sql() -> None:
    assert violations(sql_outside_repositories, "sfserver") == []


def test_domains_talk_through_their_faces() -> None:
    assert violations(reaches_into_other_domains, "sfserver") == []


def test_import_contracts_hold() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout


def test_help_loads_the_client_alone() -> None:
    done = subprocess.run([sys.executable, "-c", HELP_LOADS], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    loaded = set(json.loads(done.stderr.splitlines()[-1]))
    server = {name for name in loaded if name.startswith("sfserver.") and not name.startswith("sfserver.wire")}
    heavy = {"av", "dramatiq", "fastapi", "numpy", "sqlalchemy", "textual", "torch", "uvicorn"}
    assert server | (heavy & loaded) == set()


def test_the_rules_see_forbidden_imports() -> None:
    assert importers(parse("import av.container"), "av", allowed="sfserver/media/")
    assert sql_outside_repositories(parse("from sqlalchemy import select", "sfserver/jobs/service.py"))
    assert not sql_outside_repositories(parse("from sqlalchemy import select", "sfserver/jobs/repository.py"))
    reach = "from sfserver.videos.repository import get_video"
    assert reaches_into_other_domains(parse(reach, "sfserver/jobs/service.py"))
    assert not reaches_into_other_domains(parse(reach, "sfserver/videos/service.py"))
