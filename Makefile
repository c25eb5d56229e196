# Everything a person needs: make run, make test, make check, make bench.
# What each needs is installed first, from the lock, into .venv.

VENV := .venv
PYTHON ?= python3
BIN := $(VENV)/bin
UV := $(BIN)/uv

.DEFAULT_GOAL := help
.PHONY: help run test test-unit check format lock bench bench-latency bench-kafka clean

help:  ## say what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

$(VENV)/.run: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Headgate needs Python 3.11 or newer; say which one: make PYTHON=python3.12 run")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(UV) || $(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.9,<1'
	@echo "Installing the locked dependencies ..."
	@$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements-dev.lock
	@echo "Installing what tests and checks need ..."
	@$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements-dev.lock
	@touch $@

run: $(VENV)/.run  ## start everything with the demo; ARGS=--exit-when-idle ends by itself
	@$(BIN)/headgate up --demo $(ARGS)

test: $(VENV)/.dev  ## all tests, against a real PostgreSQL and a real Prefect server
	@$(BIN)/pytest $(ARGS)

test-unit: $(VENV)/.dev  ## the tests that need no service
	@$(BIN)/pytest tests/unit $(ARGS)

check: $(VENV)/.dev  ## ruff, mypy, import-linter, the compose schema
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml

format: $(VENV)/.dev  ## put the code into form
	@$(BIN)/ruff check --fix --quiet .
	@$(BIN)/ruff format --quiet .

lock: $(VENV)/.run  ## lock the dependencies anew
	@$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-emit-index-url --no-emit-find-links pyproject.toml -o requirements.lock
	@$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-emit-index-url --no-emit-find-links --group dev -c requirements.lock pyproject.toml -o requirements-dev.lock

bench: $(VENV)/.dev  ## measure speed; JSON=path also writes the figures there
	@PYTHONPATH=tests $(BIN)/python tests/benchmarks/bench.py $(if $(JSON),--json $(JSON))

bench-latency: $(VENV)/.dev  ## measure latency, beside stock Prefect; JSON=path also writes the figures there
	@PYTHONPATH=tests $(BIN)/python tests/benchmarks/bench_latency.py $(if $(JSON),--json $(JSON))

bench-kafka: $(VENV)/.dev  ## measure speed from Kafka; JSON=path also writes the figures there
	@PYTHONPATH=tests $(BIN)/python tests/benchmarks/bench_kafka.py $(if $(JSON),--json $(JSON)) $(ARGS)

clean:  ## remove the environment and all that Headgate keeps here
	rm -rf $(VENV) .headgate inbox
