# Everything that these targets install goes into .venv/; removing that folder undoes it.

SHELL := /bin/bash
BIN := .venv/bin
GROUPS_OF_TOOLS := --group test --group lint

.DEFAULT_GOAL := help
.PHONY: help .venv demo test unit bench lint docs clean

help: ## show this list
	@echo "make TARGET, where TARGET is:"
	@sed -nE 's/^([.a-z]+):[^#]*## (.*)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

.venv: .venv/.ready ## make the environment alone (half a minute to 3 minutes the first time)

.venv/.ready: pyproject.toml scripts/venv scripts/install scripts/python
	@scripts/venv -e '.[all]' $(GROUPS_OF_TOOLS)
	@touch $@

.venv/.docs: .venv/.ready
	@echo "Adding what the documentation needs (about 10 s)"
	@scripts/install --group docs
	@touch $@

demo: .venv/.ready ## run the demonstration (options by ARGS="...")
	@$(BIN)/fiducial demo $(ARGS)

test: .venv/.ready ## set up what tests need, then lint, documentation and every tier of tests
	@$(BIN)/python scripts/run_tests.py $(ARGS)

unit: .venv/.ready ## run the tests that need no service (under a minute)
	@$(BIN)/python -m pytest tests/unit -n 2 -q $(ARGS)

bench: .venv/.ready ## measure the figures of docs/performance.md, or one by BENCH=bench/NAME.py
	@$(BIN)/python scripts/run_bench.py $(BENCH)

lint: .venv/.ready ## check style and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy src scripts $(if $(wildcard bench/*.py),bench)

docs: .venv/.docs ## build the documentation into docs/_build/html; a warning is an error
	@$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build/html
	@echo "docs/_build/html/index.html is built"

clean: ## remove what was built and cached; .venv and results of the demonstration stay
	rm -rf build dist docs/_build .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find src tests scripts bench examples -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
