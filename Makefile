# Needs Python 3.10 or newer and make, nothing else; every target sets itself up in .venv.
# Another Python:                  make test PYTHON=python3.12
# No CUDA (gigabytes) on Linux:    export PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# The set-up compiles no bytecode, which is quicker, so the first import must be allowed to keep its bytecode.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup test lint check demo bench clean

help: ## list the targets
	@grep -E '^[a-z]+:.*## ' Makefile | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 8

setup: $(READY) ## create .venv with the versions of constraints.txt (the others do it when needed)

test: $(READY) ## run the tests, in two processes; PYTESTARGS="-k credit -x"
	$(BIN)/python -m pytest -n 2 --dist worksteal $(PYTESTARGS)

lint: $(READY) ## ruff (rules and format) and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy seqgan_kit

check: lint test ## lint, then test: what CI runs

demo: $(READY) ## train SeqGAN on captions of little scenes; ARGS="--help"
	$(BIN)/seqgan-kit train text --config recipes/shapes.yaml $(ARGS)

bench: $(READY) ## measure against the straightforward ways and peers; ONLY=text ARGS="--threads 2"
	for name in $(or $(ONLY),text variance gail pictures dialogue); do $(BIN)/python benchmarks/$$name.py $(ARGS) || exit 1; done

clean: ## remove .venv, caches and build products; runs/ stays
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "seqgan_kit needs Python 3.10 or newer, '$(PYTHON)' is not; name another: make PYTHON=python3.12" >&2; exit 1; }
	@echo "Setting up .venv with the versions of constraints.txt; the first time this takes a minute or more ..."
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -qq --no-compile -c constraints.txt -e '.[dev]'
	@touch $@
