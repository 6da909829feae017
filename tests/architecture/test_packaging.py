"""What a newcomer installs: pinned versions without an address, and a Makefile that lists itself."""

import re
import tomllib

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.architecture.source import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONSTRAINTS = (ROOT / "constraints.txt").read_text()


def test_every_dependency_is_pinned() -> None:
    wanted = [
        *PROJECT["dependencies"],
        *(item for extra in PROJECT["optional-dependencies"].values() for item in extra),
    ]
    pinned = {canonicalize_name(line.split("==")[0]) for line in CONSTRAINTS.splitlines()}
    assert {canonicalize_name(Requirement(item).name) for item in wanted} - pinned == set()


def test_constraints_are_versions_and_nothing_else() -> None:
    assert [line for line in CONSTRAINTS.splitlines() if not re.match(r"[a-z0-9-]+==[\w.]+( ; .+)?$", line)] == []
    assert "://" not in CONSTRAINTS


def test_make_help_lists_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    assert phony
    assert set(phony[1].split()) == set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))


def test_the_plain_install_is_the_client() -> None:
    heavy = {"av", "dramatiq", "fastapi", "numpy", "sqlalchemy", "torch", "uvicorn"}
    assert {Requirement(item).name for item in PROJECT["dependencies"]} & heavy == set()
