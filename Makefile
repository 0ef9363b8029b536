# Each target makes its environment itself: .venv in this folder, from the locked list. Needs Python 3.11+ and make.

PYTHON ?= $(shell for p in python3.12 python3.13 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
WORKERS ?= 3
TIMES ?= 40

.PHONY: env demo test torture bench check lock clean help

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

$(BIN)/.complete: requirements.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo 'Python 3.11, 3.12 or 3.13 is needed and was not found; name it with: make PYTHON=/path/to/python3' >&2; exit 1; }
	@if command -v uv >/dev/null 2>&1; then \
		test -x $(BIN)/python || uv venv --quiet --python "$(PYTHON)" .venv; \
		uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.txt && \
		uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e . ; \
	else \
		test -x $(BIN)/pip || "$(PYTHON)" -m venv .venv; \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check uv && \
		$(BIN)/python -m uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.txt && \
		$(BIN)/python -m uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e . ; \
	fi
	@touch $@

demo: env
	@$(BIN)/python -m millwright.cli demo $(ARGS)

test: env
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup $(ARGS)

torture: env
	@TORTURE_TIMES=$(TIMES) $(BIN)/python -m pytest -n $(WORKERS) -m property --hypothesis-profile=torture --timeout 3600 $(ARGS)

bench: env
	@$(BIN)/python -m benchmarks $(ARGS)

check: env
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m ruff format --check --quiet .
	@$(BIN)/python -m mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python -m pytest -q -p no:cacheprovider tests/contracts

lock:
	@uv pip compile --universal --quiet --upgrade --generate-hashes --no-emit-index-url --no-header --python-version 3.11 \
		--all-extras pyproject.toml -o requirements.txt

clean:
	@rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
