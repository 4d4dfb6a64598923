# All commands for users and developers. `make demo` and `make test` only need CPython 3.11, pip and make.
PYTHON ?= $(shell command -v python3.11 || echo python3)
VENV ?= .venv
BIN := $(VENV)/bin
# Package index for torch; empty: plain pip, whose own configuration then chooses the build.
TORCH_INDEX ?=
TORCH := $(shell grep '^torch==' requirements.lock)
STAMP := $(VENV)/.installed-$(shell cat requirements.lock pyproject.toml | cksum | cut -d' ' -f1)
# Set (HASHES=1): every file but torch's must have a hash of requirements.hashes. The nodes of a cluster install so.
HASHES ?=
LIBRARIES := $(if $(HASHES),--require-hashes --no-deps --requirement requirements.hashes,--requirement requirements.lock)
DEMO ?= demo
# Not --quiet, which also hides the progress bar of downloads.
PIP := $(BIN)/python -m pip --disable-pip-version-check install --root-user-action ignore
# Two processes: one runs the tests that start Ray, the other one all others (tests/conftest.py).
PYTEST := $(BIN)/python -m pytest --numprocesses 2 --dist loadgroup

.PHONY: help env demo test test-all test-cluster cluster cluster-tools check format lint types imports bench docs dist \
	lock hashes clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

# The stamp is named after the lock file: if there is nothing new to install, the network is not used.
$(STAMP):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
		{ echo "$(PYTHON) is not CPython 3.11. Install it, or name it: make PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV): torch first, the largest part (with CUDA several GB)."
	$(PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) $(TORCH)
	$(PIP) $(LIBRARIES)
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	rm -f $(VENV)/.installed-*
	touch $@

env: $(STAMP) ## create the environment from requirements.lock

demo: $(STAMP) ## extract a small archive on a local Ray cluster, train a small prior, write their pages
	$(BIN)/mocap-ray demo $(DEMO)

test: $(STAMP) ## run the tests, within 15 minutes on 2 cores
	$(PYTEST) -m "not slow and not gpu and not cluster"

test-all: $(STAMP) ## run all tests, including the slow ones
	$(PYTEST)

test-cluster: $(STAMP) ## run the tests of clusters: several machines made of namespaces, Slurm, Prometheus (needs root)
	$(BIN)/python -m pytest -rs tests/cluster tests/distributed -m cluster
	$(BIN)/python -m pytest -rs tests/cluster

cluster: $(STAMP) ## start a cluster of two nodes on this machine, with token, dashboard and Prometheus
	@BIN=$(abspath $(BIN)) bash cluster/laptop.sh

cluster-tools: $(STAMP) ## install what `make cluster` and `make test-cluster` use: Debian packages and linters
	BIN=$(abspath $(BIN)) bash cluster/tools.sh

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

docs: $(STAMP) ## build the site: build/site/index.html; a warning or a broken link is an error
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going -b html -d build/doctrees docs build/site
	@echo "Open build/site/index.html in a browser."

dist: $(STAMP) ## build dist/*.tar.gz and dist/*.whl, without the network
	rm -rf dist
	PYTHONWARNINGS=ignore $(BIN)/python -m build --no-isolation --outdir dist .

lock: ## update requirements.lock
	$(BIN)/python -m piptools compile --quiet --strip-extras --extra dev --extra docs --allow-unsafe --no-emit-find-links \
		--no-emit-index-url --no-emit-trusted-host --no-header --output-file requirements.lock pyproject.toml
	sed -i -E 's/^([a-zA-Z0-9_.-]+==[^ +]+)\+[a-z0-9.]+/\1/' requirements.lock
	$(MAKE) hashes

hashes: ## write requirements.hashes for requirements.lock (needs `make cluster-tools`)
	grep -v '^torch==' requirements.lock > requirements.tmp
	$(BIN)/uv pip compile --quiet --generate-hashes --no-deps --no-header --no-annotate --python-version 3.11.7 \
		--python-platform x86_64-manylinux_2_28 requirements.tmp --output-file requirements.hashes
	rm requirements.tmp

clean: ## remove the files of the demo and the tools, but not the environment
	rm -rf $(DEMO) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
