# Each target makes its environment itself: .venv in this folder, from the locked list. Needs Python 3.11+ and make.

PYTHON ?= $(shell for p in python3.12 python3.13 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
WORKERS ?= 3
TIMES ?= 40

.PHONY: env spark demo test torture bench check lock clean help

help:
	@echo 'make demo     the whole way on a simulated fleet (ARGS="--once --json")'
	@echo 'make test     the tests (ARGS="-k name")'
	@echo 'make torture  the property tests with forty times the examples (TIMES=5: hours become minutes)'
	@echo 'make bench    every benchmark, into docs/performance.md (ARGS=landing for one)'
	@echo 'make check    lint, types, import contracts, one writer a table'
	@echo 'make env      only the environment'
	@echo 'make lock     resolve the dependencies anew'
	@echo 'make clean    remove the environment and caches, never your data'

env: $(BIN)/.complete

# uv of this machine, or one in the environment.
UV = $(shell command -v uv || echo $(BIN)/python -m uv)
INSTALL = $(UV) pip install --quiet --compile-bytecode --python $(BIN)/python

$(BIN)/.complete: requirements.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo 'Python 3.11, 3.12 or 3.13 is needed and was not found; name it with: make PYTHON=/path/to/python3' >&2; exit 1; }
	@if command -v uv >/dev/null 2>&1; then \
		test -x $(BIN)/python || uv venv --quiet --python "$(PYTHON)" .venv; \
	else \
		test -x $(BIN)/pip || "$(PYTHON)" -m venv .venv; \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check uv; \
	fi
	@$(INSTALL) --require-hashes -r requirements.txt
	@$(INSTALL) --no-deps --no-build-isolation -e .
	@touch $@

# Spark is half a gigabyte that only its tests need.
spark: $(BIN)/.spark

$(BIN)/.spark: requirements-spark.txt $(BIN)/.complete
	@$(INSTALL) --require-hashes -r requirements-spark.txt
	@touch $@

demo: env
	@$(BIN)/python -m millwright.cli demo $(ARGS)

test: spark
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup $(ARGS)

torture: spark
	@TORTURE_TIMES=$(TIMES) $(BIN)/python -m pytest -n $(WORKERS) -m property --hypothesis-profile=torture --timeout 3600 $(ARGS)

bench: spark
	@$(BIN)/python -m benchmarks $(ARGS)

check: spark
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m ruff format --check --quiet .
	@$(BIN)/python -m mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python -m pytest -q -p no:cacheprovider tests/contracts

LOCK = uv pip compile --universal --quiet --upgrade --generate-hashes --no-emit-index-url --no-header --python-version 3.11 pyproject.toml

lock:
	@$(LOCK) --extra embedded --extra bench --extra dev -o requirements.txt
	@$(LOCK) --extra spark -c requirements.txt -o requirements-spark.txt

clean:
	@rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
