# All commands for users and developers. `make demo` and `make test` only need CPython 3.11, pip and make.
PYTHON ?= $(shell command -v python3.11 || echo python3)
VENV ?= .venv
BIN := $(VENV)/bin
# Package index for torch; empty: plain pip, whose own configuration then chooses the build.
TORCH_INDEX ?=
TORCH := $(shell grep '^torch==' requirements.lock)
# Not --quiet, which also hides the bar of each download.
PIP := python -m pip install --disable-pip-version-check
STAMP := $(VENV)/.installed-$(shell cat requirements.lock pyproject.toml | cksum | cut -d' ' -f1)
DEMO ?= demo

.PHONY: help env demo test test-all check format lint types imports bench lock clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

# The stamp is named after the lock file: if there is nothing new to install, the network is not used.
$(STAMP):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
		{ echo "$(PYTHON) is not CPython 3.11. Install it, or name it: make PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing $(TORCH) with its libraries, then the other packages: up to several GB, minutes"
	$(BIN)/$(PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) $(TORCH)
	$(BIN)/$(PIP) --requirement requirements.lock
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	rm -f $(VENV)/.installed-*
	touch $@

env: $(STAMP) ## create the environment from requirements.lock

demo: $(STAMP) ## extract a small archive on a local Ray cluster, train a small prior, write their pages
	$(BIN)/mocap-ray demo $(DEMO)

test: $(STAMP) ## run the tests, within 15 minutes on 2 cores
	$(BIN)/python -m pytest -m "not slow and not gpu"

test-all: $(STAMP) ## run all tests, including the slow ones
	$(BIN)/python -m pytest

check: format lint types imports test ## run format, lint, types, imports and test

format: $(STAMP) ## check the format of all files; `ruff format .` fixes it
	$(BIN)/ruff format --check .

lint: $(STAMP)
	$(BIN)/ruff check .

types: $(STAMP)
	$(BIN)/mypy

imports: $(STAMP) ## check that rooms import only from rooms below, without cycles between files
	$(BIN)/lint-imports --no-logo

bench: $(STAMP) ## measure speed against baselines: a table, and bench/results.json
	$(BIN)/python -m bench

lock: ## update requirements.lock
	$(BIN)/python -m piptools compile --quiet --strip-extras --extra dev --allow-unsafe --no-emit-find-links \
		--no-emit-index-url --no-emit-trusted-host --no-header --output-file requirements.lock pyproject.toml
	sed -i -E 's/^([a-zA-Z0-9_.-]+==[^ +]+)\+[a-z0-9.]+/\1/' requirements.lock

clean: ## remove the files of the demo and the tools, but not the environment
	rm -rf $(DEMO) .pytest_cache .mypy_cache .ruff_cache .hypothesis
