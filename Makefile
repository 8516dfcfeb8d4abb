# Tandem. The two commands a newcomer needs are `make run` and `make test`; `make help` lists the rest.

PYTHON ?= python3.11
ENV ?= sandbox
BIN := .venv/bin
TANDEM := $(BIN)/tandem --config config/$(ENV).toml

.PHONY: help run stop flatten setup test check bench chaos simulate mutants clean

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1|/' | awk -F'|' '{printf "  make %-10s %s\n", $$1, $$2}'

run: setup ## install, start everything in the sandbox environment, wait until ready, show the status (MARKET=PATH SPEED=N plays recorded quotes)
	@$(TANDEM) up $(if $(MARKET),--market "$(MARKET)") $(if $(SPEED),--speed $(SPEED))

.PHONY: installed
installed:
	@test -x $(BIN)/tandem || { echo "not installed here yet; run: make setup" >&2; exit 78; }

stop: installed ## stop every program and supervisord; positions stay hedged at the venues
	@$(TANDEM) down

flatten: installed ## emergency close of everything; asks once (FORCE=1 does not ask)
	@$(TANDEM) flatten $(if $(filter 1,$(FORCE)),--force,)

setup: ## install into .venv; ends at once when that is done already
	@PYTHON=$(PYTHON) sh scripts/setup.sh

venue: installed ## skeletons of a new venue in every place it needs (NAME=x)
	@$(BIN)/python -m ops.new_venue $(or $(NAME),--help)

test: setup ## every test; most of them wait, so four workers share the cores (WORKERS=N)
	@$(BIN)/python -m pytest -n $(or $(WORKERS),4) --dist loadscope --no-loadscope-reorder

check: setup ## ruff and mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

bench: setup ## latencies of every hop, beside peers measured in the same run
	@$(BIN)/python -m tests.bench

chaos: setup ## blow after blow against the supervised system: programs killed and stopped, venues away, every fault (ROUNDS=200 SEED=N)
	@$(BIN)/python -m tests.crash.chaos --rounds $(or $(ROUNDS),200) $(if $(SEED),--seed $(SEED))

simulate: setup ## ten thousand simulated lives of the executor under faults (SCHEDULES=N), or one replayed (SEED=N)
	@$(BIN)/python -m tests.simulation $(if $(SEED),--seed $(SEED),--schedules $(or $(SCHEDULES),10000))

mutants: setup ## thirty faults planted into copies of the executor: each must be found by a seed (ONLY=WORD)
	@$(BIN)/python -m tests.simulation.mutants $(if $(ONLY),--only "$(ONLY)")

clean: ## remove .venv and caches (never var/, which holds journals)
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache
