# Everything sets itself up: the virtual environment is made from a hash-locked requirements file
# the first time a target needs it, and again when that file changes.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Each has servers of its own.
WORKERS ?= 2
LOCK := $(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --no-header --no-annotate $(if $(UPGRADE),--upgrade)

.DEFAULT_GOAL := help
.PHONY: help run replay bench profile abuse faults test check format lint types contracts lock clean distclean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/local.installed ## Start everything, replay the sample, stay up (EXIT=1: stop after it)
	@exec $(BIN)/python -m deploy.local --leashed run $(if $(filter 1,$(EXIT)),--exit) \
		$(if $(filter 0,$(REPLAY)),--no-replay)

replay: $(VENV)/$(if $(filter %.parquet,$(DATA)),replay,local).installed ## Replay DATA=path at SPEED=… against the running stack (PROVE=1: and prove how it ends)
	@exec $(BIN)/python -m deploy.local --leashed replay $(if $(DATA),--data "$(DATA)") \
		$(if $(SPEED),--speed "$(SPEED)") $(if $(filter 1,$(PROVE)),--prove)

bench: $(VENV)/local.installed ## Measure the speed beside the machine's limit (ONLY=figures REPEAT=3 ORDERS=n)
	@exec $(BIN)/python -m bench.speed --leashed $(if $(ONLY),--only "$(ONLY)") $(if $(REPEAT),--repeat "$(REPEAT)") \
		$(if $(ORDERS),--orders "$(ORDERS)")

profile: $(VENV)/dev.installed ## Draw a flame graph of each process behind ONLY=figures
	@exec $(BIN)/python -m bench.speed --leashed --profile $(if $(ONLY),--only "$(ONLY)")

faults: $(VENV)/local.installed ## Do everything that may go wrong to a fresh stack, and check the books (ONLY=F1,F16 SEED=n)
	@exec $(BIN)/python -m tests.faults --leashed $(if $(ONLY),--only "$(ONLY)") $(if $(SEED),--seed "$(SEED)")

abuse: $(VENV)/dev.installed ## Attack every API: bad input, wrong keys, hostile records (ONLY=F42,F58)
	@exec $(BIN)/python -m tests.abuse --leashed $(if $(ONLY),--only "$(ONLY)")

test: $(VENV)/dev.installed ## Run every test, or those of ARGS=… (WORKERS=0: in one process)
	$(BIN)/pytest --numprocesses=$(WORKERS) --dist=worksteal $(ARGS)

check: $(VENV)/dev.installed ## Check format, lint, types and import contracts
	$(BIN)/ruff format --check
	$(MAKE) --no-print-directory lint types contracts

format: $(VENV)/dev.installed ## Format the code and fix what can be fixed
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

lint: $(VENV)/dev.installed ## Run the linter
	$(BIN)/ruff check

types: $(VENV)/dev.installed ## Run the type checker
	$(BIN)/mypy

contracts: $(VENV)/dev.installed ## Check which module may import which
	$(BIN)/lint-imports --no-cache

lock: $(VENV)/dev.installed ## Lock the requirements again (UPGRADE=1: to the newest versions)
	$(LOCK) --group dev --output-file requirements/dev.txt
	$(LOCK) --constraints requirements/dev.txt --output-file requirements/services.txt
	for group in local replay; do $(LOCK) --constraints requirements/dev.txt --group $$group \
		--output-file requirements/$$group.txt || exit 1; done

clean: ## Forget all data of the stack that `make run` started
	@if [ -x $(BIN)/python ] && [ -d .quayside ]; then $(BIN)/python -m deploy.local clean; fi

distclean: clean ## Forget the virtual environment and Kafka's jars too
	rm -rf $(VENV) .quayside .mypy_cache .pytest_cache .ruff_cache

$(VENV)/%.installed: requirements/%.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "quayside: Python 3.11\
	 or newer is needed: install one and set PYTHON to it (make run PYTHON=…)" >&2; exit 1; }
	@exec $(PYTHON) -m deploy.local.install $*
