# What a person does in this repository. `make` alone lists it. Settings for a target go on its line: make demo ONCE=1
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
# Two targets at once would share one var/, one database and the same ports.
.NOTPARALLEL:
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# `.ci/venv` writes these stamps when everything in the file is installed.
RUNTIME := $(VENV)/runtime.stamp
DEVELOPMENT := $(VENV)/development.stamp
UV ?= $(firstword $(wildcard $(BIN)/uv) uv)

BENCHES ?= relay latency api results lists admin

.PHONY: help demo bench faults nemesis soak fuzz mutants test test-long test-pooled audit sbom lint format types lock browser-million screenshots compose-check manifests procfile clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z.-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

demo: $(RUNTIME) ## The whole system on this machine [ONCE=1 COUNT=n FILE=x.jsonl CONSUMER=off DATABASE_URL= BROKER_URL=]
	@exec $(BIN)/python -m producer.demo --follow-parent

bench: $(DEVELOPMENT) ## The benchmarks, side by side, as a table and as JSON lines [BENCHES="relay latency api results lists admin" QUICK=1]
	@for bench in $(BENCHES); do $(BIN)/python ops/bench/$$bench.py $(if $(QUICK),--quick) || exit 1; done

test: $(DEVELOPMENT) ## Every check and every test; with CI=true nothing may be skipped
	@exec .ci/test

mutants: $(DEVELOPMENT) ## Put bugs into a copy of the code, one at a time, and show which test catches each [ONLY=name,name]
	@exec $(BIN)/python -m tests.mutants

faults: $(DEVELOPMENT) ## The fault matrix on private servers [ONLY=F02,F13 SEED=1 MODE=both|safety|liveness WRAP="command before each row"]
	@exec $(BIN)/python -m tests.faults.run --only "$(ONLY)" --seed $(or $(SEED),1) --mode $(or $(MODE),both)

nemesis: $(DEVELOPMENT) ## Two or three faults at once, at random, then everything must drain [MINUTES=10 SEED=1]
	@exec $(BIN)/python -m tests.faults.nemesis --minutes $(or $(MINUTES),10) --seed $(or $(SEED),1)

PLOTS := var/plots-venv
$(PLOTS)/stamp: ops/soak/requirements.txt
	@$(PYTHON) -m venv $(PLOTS) && $(PLOTS)/bin/pip install -q -r $< && touch $@

soak: $(DEVELOPMENT) $(PLOTS)/stamp ## Sustained traffic with a fault every 30 s; figures and plots in var/soak [MINUTES=60 RATE=20 SEED=1]
	@$(BIN)/python -m tests.faults.soak --minutes $(or $(MINUTES),60) --rate $(or $(RATE),20) --seed $(or $(SEED),1); \
	  code=$$?; $(PLOTS)/bin/python ops/soak/plot.py var/soak; exit $$code

FUZZ := var/fuzz-venv
$(FUZZ)/stamp: requirements.txt ops/fuzz/requirements.txt
	@$(PYTHON) -m venv $(FUZZ) && $(FUZZ)/bin/pip install -q -r requirements.txt && $(FUZZ)/bin/pip install -q -r ops/fuzz/requirements.txt && touch $@

fuzz: $(FUZZ)/stamp ## Fuzz both doors for results with atheris [MINUTES=10]
	@mkdir -p var/fuzz-corpus
	@exec nice $(FUZZ)/bin/python ops/fuzz/fuzz_webhook.py -max_total_time=$$(( $(or $(MINUTES),10) * 60 )) \
	  -max_len=2048 -len_control=0 -rss_limit_mb=4096 -artifact_prefix=var/ var/fuzz-corpus

test-long: $(DEVELOPMENT) ## The tests that take too long for `make test`: the simulator's proof, four relays, failover, a broker of three nodes
	@$(BIN)/python -m pytest -q -m long

test-pooled: $(DEVELOPMENT) ## The end-to-end tests through a PgBouncer of their own in transaction mode
	@$(BIN)/python -m tests.private_pgbouncer $(BIN)/python -m pytest -q -m "processes and not long" tests/e2e

lint: $(DEVELOPMENT) ## Format check, ruff, import contracts
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@PATH="$(abspath $(BIN)):$$PATH" lint-imports --no-cache

format: $(DEVELOPMENT) ## Format the code and fix what ruff can fix
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

types: $(DEVELOPMENT) ## mypy
	@env -u DATABASE_URL -u BROKER_URL $(BIN)/mypy

AUDIT := var/audit-venv
$(AUDIT)/stamp: ops/audit/requirements.txt
	@$(PYTHON) -m venv $(AUDIT) && $(AUDIT)/bin/pip install -q -r $< && touch $@

audit: $(AUDIT)/stamp ## Known vulnerabilities of what is locked; asks an advisory service on the network
	@$(AUDIT)/bin/pip-audit --disable-pip --require-hashes -r requirements.txt

sbom: $(AUDIT)/stamp ## What is shipped, as CycloneDX, in var/sbom.json
	@$(AUDIT)/bin/cyclonedx-py requirements requirements.txt --output-reproducible --output-file var/sbom.json

lock: ## Compile requirements*.in to requirements*.txt with hashes (needs uv)
	@command -v $(UV) > /dev/null || { echo "make lock needs uv: https://docs.astral.sh/uv/ (or: make lock UV=/path/to/uv)" >&2; exit 1; }
	$(UV) pip compile --quiet --generate-hashes --universal --python-version 3.11 requirements.in -o requirements.txt
	$(UV) pip compile --quiet --generate-hashes --universal --python-version 3.11 requirements-dev.in -o requirements-dev.txt

browser-million: $(DEVELOPMENT) ## Page through a million transactions in Chromium [BROWSER_ROWS=n]; needs PostgreSQL, RabbitMQ, chromium
	@BROWSER_ROWS=$(or $(BROWSER_ROWS),1000000) $(BIN)/python -m pytest -q tests/e2e/test_browser.py -k million --durations=3

screenshots: $(DEVELOPMENT) ## Take the pictures in docs/screenshots anew; needs PostgreSQL, RabbitMQ, chromium
	@$(BIN)/python ops/screenshots.py docs/screenshots

manifests: $(DEVELOPMENT) ## The Kubernetes manifests of the operators' kinds by their CRDs; needs node and npm
	@$(BIN)/python ops/kubernetes/check_operators.py

compose-check: $(DEVELOPMENT) ## Check docker-compose.yml by schema and by Compose itself; needs no Docker engine
	@.ci/compose-check

procfile: $(RUNTIME) ## Run ops/Procfile here, with DATABASE_URL, BROKER_URL and the rest from .env and the environment
	@exec $(BIN)/python ops/run_procfile.py ops/Procfile

.env: .env.example ## Settings for `docker compose up`, with random secrets in place of fixme-…
	@$(PYTHON) ops/make_env.py .env.example .env

clean: ## Remove .venv, var/ (databases, logs, keys of the demo) and caches
	rm -rf $(VENV) var staticfiles .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Where development is installed as well, a change of requirements renews that: it holds everything the demo needs.
$(RUNTIME): requirements.txt
	@if [ -e $(DEVELOPMENT) ]; then .ci/venv "$(PYTHON)" $(VENV) requirements-dev.txt $(DEVELOPMENT); fi
	@[ -e $(DEVELOPMENT) ] || .ci/venv "$(PYTHON)" $(VENV) requirements.txt $(RUNTIME)
	@touch $(RUNTIME)

$(DEVELOPMENT): requirements-dev.txt
	@.ci/venv "$(PYTHON)" $(VENV) requirements-dev.txt $(DEVELOPMENT)
	@touch $(RUNTIME)
