# Needs Python 3.11+ with venv and pip, nothing else; everything is installed into .venv.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= $(shell command -v python3.11 || command -v python3 || command -v python)
VENV := .venv
BIN := $(VENV)/bin
DATA_DIR ?= .streamforge
VIDEO ?=
SPEECH ?= ../shared/speech
CAPTIONER_WORK ?= .captioner

# uv does not read pip's configuration, so an index or a wheel folder set up for pip is handed on; where uv still can't
# install (an exotic proxy or mirror), pip does the same more slowly. Where torch is used, it is compiled here once: a test
# starts many processes, and under PYTHONDONTWRITEBYTECODE each would compile it again (8 s).
define install
	@index=$$($(BIN)/python -m pip config get global.index-url 2>/dev/null || true); \
	export UV_DEFAULT_INDEX="$${UV_DEFAULT_INDEX:-$${PIP_INDEX_URL:-$$index}}"; \
	export UV_FIND_LINKS="$${UV_FIND_LINKS:-$${PIP_FIND_LINKS:-}}"; \
	[ -n "$$UV_DEFAULT_INDEX" ] || unset UV_DEFAULT_INDEX; [ -n "$$UV_FIND_LINKS" ] || unset UV_FIND_LINKS; \
	echo "installing $(1)"; \
	$(BIN)/uv pip install --quiet $(2) --python $(BIN)/python -c constraints.txt -e '$(1)' \
	  || $(BIN)/python -m pip install --quiet -c constraints.txt -e '$(1)'
	@touch $@
endef

.PHONY: help setup setup-dev demo test check lint format docs lock bench prove lab train-captioner evaluate-captioner clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/uv:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: install python3 with venv and pip" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed, $(PYTHON) is older: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip >/dev/null
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv

$(VENV)/.server: pyproject.toml constraints.txt | $(BIN)/uv
	$(call install,.[server])

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/uv
	$(call install,.[server$(comma)dev$(comma)lab],--compile-bytecode)
	@touch $(VENV)/.server

$(VENV)/.train: pyproject.toml constraints.txt | $(BIN)/uv
	$(call install,.[server$(comma)dev$(comma)lab$(comma)train],--compile-bytecode)
	@touch $(VENV)/.server $(VENV)/.dev

comma := ,

setup: $(VENV)/.server ## Install sfctl and the embedded server into .venv
	@:

setup-dev: $(VENV)/.dev ## Install the tools for tests, lint and notebooks too
	@:

demo: setup ## Start a server, put a clip through and show what was made (VIDEO=path for your own)
	@$(BIN)/sfctl demo --data-dir "$(DATA_DIR)" $(if $(VIDEO),"$(VIDEO)")

test: setup-dev ## Run the whole suite, notebooks included
	@$(BIN)/python -m pytest

check: lint ## Before every commit: format, lint, types, contracts and the quick tests
	@$(BIN)/python -m pytest -q tests -m "not prove and not slow" $(addprefix --ignore=tests/,api integration promises media/sandbox)

lint: setup-dev ## Check format, style, types and import contracts
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: setup-dev ## Format the code and sort its imports
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix-only --quiet .

docs: setup-dev ## Write docs/reference from the code
	@$(BIN)/python -m docs.generate

lock: setup-dev ## Compile constraints.txt anew from pyproject.toml
	@$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --all-extras --no-header --no-annotate \
	  --no-emit-index-url --no-emit-find-links --output-file constraints.txt pyproject.toml

bench: $(VENV)/.train ## Measure transcoding, serving, uploading and the captioner
	@$(BIN)/python -m bench

prove: setup-dev ## Run the long proofs of the promises (hours) and print what held (SF_PROVE_SEED=n repeats, SF_PROVE_SCALE=0.1 shortens)
	@$(BIN)/python -m pytest -q -m prove -o faulthandler_timeout=0 tests

lab: setup-dev ## Open the notebooks in JupyterLab
	@$(BIN)/jupyter lab notebooks

train-captioner: $(VENV)/.train ## Train the captioner from SPEECH=folder (hours; docs/guides/train-the-captioner.md)
	@ONEDNN_PRIMITIVE_CACHE_CAPACITY=10000 $(BIN)/python -m transformer.build "$(SPEECH)" "$(CAPTIONER_WORK)"

evaluate-captioner: $(VENV)/.train ## Print the captioner's word accuracy, tier by tier, beside a peer
	@$(BIN)/python -m transformer.evaluate "$(CAPTIONER_WORK)" "$(SPEECH)" "$(SPEECH)/../media" \
	  $(if $(wildcard $(CAPTIONER_WORK)/runs/captioner/checkpoint.pt),--run "$(CAPTIONER_WORK)/runs/captioner")

clean: ## Remove .venv, caches and builds; what is in .streamforge stays
	@rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
