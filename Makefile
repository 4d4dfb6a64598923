# Everything a person types. `make demo` and `make test` need CPython 3.11, pip and make, nothing else.
PYTHON ?= $(shell command -v python3.11 || echo python3)
VENV ?= .venv
BIN := $(VENV)/bin
# Where to get torch from; empty: plain pip, whose own configuration then chooses the build.
TORCH_INDEX ?=
TORCH := $(shell grep '^torch==' requirements.lock)
STAMP := $(VENV)/.installed-$(shell cat requirements.lock pyproject.toml | cksum | cut -d' ' -f1)
DEMO ?= demo

.PHONY: help env demo test test-all check format lint types imports bench lock clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

# The stamp is named after the lock file: with nothing new to install, nothing is asked of the network.
$(STAMP):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
		{ echo "$(PYTHON) is not CPython 3.11. Install it, or name it: make PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) $(TORCH)
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	rm -f $(VENV)/.installed-*
	touch $@

env: $(STAMP) ## make the environment from requirements.lock

demo: $(STAMP) ## a small archive and a stand-in body, extracted on a local Ray, a small prior, pages to look at
	$(BIN)/mocap-ray demo $(DEMO)

test: $(STAMP) ## the tests, within 15 minutes on 2 cores
	$(BIN)/python -m pytest -m "not slow and not gpu"

test-all: $(STAMP) ## the slow ones too
	$(BIN)/python -m pytest

check: format lint types imports test ## format, lint, types, imports, tests

format: $(STAMP) ## fails where a file is not formatted; `ruff format .` mends it
	$(BIN)/ruff format --check .

lint: $(STAMP)
	$(BIN)/ruff check .

types: $(STAMP)
	$(BIN)/mypy

imports: $(STAMP) ## a room imports only from rooms below it; no circles between files
	$(BIN)/lint-imports --no-logo

bench: $(STAMP) ## speed against baselines and floor: a table, and bench/results.json
	$(BIN)/python -m bench

lock: ## compile requirements.lock anew
	$(BIN)/python -m piptools compile --quiet --strip-extras --extra dev --allow-unsafe --no-emit-find-links \
		--no-emit-index-url --no-emit-trusted-host --no-header --output-file requirements.lock pyproject.toml
	sed -i -E 's/^([a-zA-Z0-9_.-]+==[^ +]+)\+[a-z0-9.]+/\1/' requirements.lock

clean: ## what the demo and the tools left; not the environment
	rm -rf $(DEMO) .pytest_cache .mypy_cache .ruff_cache .hypothesis
