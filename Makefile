# Everything a person needs: make run, make test, make check, make bench.
# What each needs is installed first, from the lock, into .venv.

VENV := .venv
PYTHON ?= python3
BIN := $(VENV)/bin
UV := $(BIN)/uv

# Most tests wait for something, so more processes than processors; ARGS=-n0 runs them in one.
TOGETHER := --numprocesses=4 --dist=loadgroup --no-loadscope-reorder
# Thousands of processes are started: each would compile the code again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help run test test-ui test-unit test-fast check format lock docs dist bench bench-latency bench-kafka bench-kafka-outage bench-backlog bench-hostile bench-steady bench-recovery bench-automations bench-start errors soak soak-controls clean

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

test: $(VENV)/.dev  ## all tests, against a real PostgreSQL, Prefect server and Kafka broker
	@$(BIN)/pytest $(TOGETHER) $(ARGS)

test-fast: $(VENV)/.dev  ## the tests that need at most PostgreSQL, and start no processes
	@$(BIN)/pytest $(TOGETHER) -m "not slow" tests/unit tests/integration $(ARGS)

test-ui: $(VENV)/.dev  ## rules clicked together in Prefect's UIs, in Debian's chromium; SHOTS=docs/images keeps pictures
	@test -x /usr/bin/chromium || { echo 'The tests of the UI need a browser: apt-get install chromium' >&2; exit 2; }
	@HEADGATE_SHOTS=$(SHOTS) $(BIN)/pytest tests/ui $(ARGS)

test-unit: $(VENV)/.dev  ## the tests that need no service
	@$(BIN)/pytest $(TOGETHER) tests/unit $(ARGS)

check: $(VENV)/.dev  ## ruff, mypy, import-linter, the schemas of docker compose and Kubernetes
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml infra/docker/project.yml
	@$(BIN)/kubernetes-validate --strict --quiet $(filter-out %/kustomization.yaml,$(wildcard infra/kubernetes/*.yaml))
	@if command -v kubectl > /dev/null; then kubectl kustomize infra/kubernetes | $(BIN)/kubernetes-validate --strict --quiet -; fi

format: $(VENV)/.dev  ## put the code into form
	@$(BIN)/ruff check --fix --quiet .
	@$(BIN)/ruff format --quiet .

lock: $(VENV)/.run  ## lock the dependencies anew
	@$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-emit-index-url --no-emit-find-links pyproject.toml -o requirements.lock
	@$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-emit-index-url --no-emit-find-links --group dev -c requirements.lock pyproject.toml -o requirements-dev.lock

bench: $(VENV)/.dev  ## measure speed; JSON=path also writes the figures there
	@PYTHONPATH=$(CURDIR)/tests:$(CURDIR) $(BIN)/python tests/benchmarks/bench.py $(if $(JSON),--json $(JSON))

bench-latency: $(VENV)/.dev  ## measure latency, beside stock Prefect; JSON=path also writes the figures there
	@PYTHONPATH=$(CURDIR)/tests:$(CURDIR) $(BIN)/python tests/benchmarks/bench_latency.py $(if $(JSON),--json $(JSON))

bench-kafka: $(VENV)/.dev  ## measure speed from Kafka; JSON=path also writes the figures there
	@PYTHONPATH=$(CURDIR)/tests:$(CURDIR) $(BIN)/python tests/benchmarks/bench_kafka.py $(if $(JSON),--json $(JSON)) $(ARGS)

bench-backlog: $(VENV)/.dev  ## measure what a million waiting arrivals cost; JSON=path also writes the figures there
	@PYTHONPATH=$(CURDIR)/tests:$(CURDIR) $(BIN)/python tests/benchmarks/bench_backlog.py $(if $(JSON),--json $(JSON))

bench-steady: $(VENV)/.dev  ## measure steady streams of files and messages; JSON=path also writes the figures there
	@PYTHONPATH=tests $(BIN)/python tests/benchmarks/bench_steady.py $(if $(JSON),--json $(JSON)) $(ARGS)

bench-recovery: $(VENV)/.dev  ## kill each process KILLS=10 times under load, and measure how fast all goes on; JSON=path as above
	@PYTHONPATH=tests $(BIN)/python tests/benchmarks/bench_recovery.py --kills $(or $(KILLS),10) $(if $(JSON),--json $(JSON)) $(ARGS)

bench-automations: $(VENV)/.dev  ## measure what changes of rules lose, and what rules cost; JSON=path also writes the figures there
	@PYTHONPATH=$(CURDIR)/tests:$(CURDIR) $(BIN)/python tests/benchmarks/bench_automations.py $(if $(JSON),--json $(JSON))

bench-start: $(VENV)/.dev  ## measure the first hour: from a fresh clone to the UI, and how long commands take; JSON=path as above
	@PYTHONPATH=$(CURDIR)/tests:$(CURDIR) $(BIN)/python tests/benchmarks/bench_start.py $(if $(JSON),--json $(JSON)) $(ARGS)

errors: $(VENV)/.dev  ## write docs/errors.md anew, by making each mistake
	@$(BIN)/pytest -q -p no:randomly tests/integration/test_mistakes.py --write-errors

soak: $(VENV)/.dev  ## kill everything for MINUTES=30, from SEED=1, and count what is lost; JSON=path also writes the figures there
	@PYTHONPATH=$(CURDIR)/tests:$(CURDIR)/tests/chaos:$(CURDIR) $(BIN)/python tests/chaos/soak.py --minutes $(or $(MINUTES),30) --seed $(or $(SEED),1) $(if $(JSON),--json $(JSON)) $(ARGS)

soak-controls: $(VENV)/.dev  ## the same with guards switched off: each must be found out; JSON=path as above
	@PYTHONPATH=$(CURDIR)/tests:$(CURDIR)/tests/chaos:$(CURDIR) $(BIN)/python tests/chaos/soak_controls.py $(if $(JSON),--json $(JSON)) $(ARGS)

bench-kafka-outage: $(VENV)/.dev  ## measure how fast an outage of Kafka is made up for; JSON=path also writes the figures there
	@PYTHONPATH=$(CURDIR)/tests:$(CURDIR) $(BIN)/python tests/benchmarks/bench_kafka.py --outage $(if $(JSON),--json $(JSON)) $(ARGS)

bench-hostile: $(VENV)/.dev  ## measure what hostile files take; JSON=path also writes the figures there
	@PYTHONPATH=$(CURDIR)/tests:$(CURDIR) $(BIN)/python tests/benchmarks/bench_hostile.py $(if $(JSON),--json $(JSON))

dist: $(VENV)/.run  ## build the wheel into dist/, and prove it in an empty environment: a file becomes rows
	@infra/dist.sh $(UV) $(BIN)/python

docs: $(VENV)/.dev  ## build the documentation site into .site; a dead link fails
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --config-file infra/site/mkdocs.yml

clean:  ## remove the environment and all that Headgate keeps here
	rm -rf $(VENV) .headgate inbox .site dist
