# One line of help for each target: the text after ##. "make" alone prints them.

.DEFAULT_GOAL := help

PYTHON ?= python3
HOST ?= http://localhost:5001
MINUTES ?= 10
# Most tests wait for other processes, so a few more than the cores finish sooner.
TEST_PROCESSES ?= 4
BIN := .venv/bin
RUN_STAMP := .venv/.ready-to-run
DEV_STAMP := .venv/.ready-to-test
EXAMPLES := $(wildcard examples/*-requirements.txt)
JS := examples/javascript
JS_STAMP := $(JS)/node_modules/.package-lock.json
PIP := $(BIN)/python -m pip --quiet --quiet --disable-pip-version-check install

.PHONY: help demo run test test-setup mock-app test-basic test-verbose check test-long soak bench js

help:  ## print this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(RUN_STAMP)  ## site, demo space and connected app in a data folder of their own; prints address and login
	@$(BIN)/python -m scripts.demo

run: $(RUN_STAMP)  ## the site alone, at http://localhost:5001
	@$(BIN)/python run.py

test: $(DEV_STAMP) js  ## the environment and the whole test suite
	@$(BIN)/pytest -m "not long" --numprocesses $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder

test-setup: $(RUN_STAMP)  ## make a space to try on the running site (HOST=...), and print the next command
	@$(BIN)/python test_websockets.py --setup-space --host $(HOST)

mock-app: $(RUN_STAMP)  ## connect a mock app: make mock-app SPACE=TestSpace_1234567890
	@test -n "$(SPACE)" || { echo "Which space? make mock-app SPACE=TestSpace_1234567890"; exit 2; }
	@$(BIN)/python mock_app.py --host $(HOST) --spaces "$(SPACE)" --verbose

test-basic: $(RUN_STAMP)  ## play the scenarios against the running site (HOST=...)
	@$(BIN)/python test_websockets.py --host $(HOST)

test-verbose: $(RUN_STAMP)  ## the same with details
	@$(BIN)/python test_websockets.py --host $(HOST) --verbose

check: $(DEV_STAMP)  ## lint, types, dependency and security audit
	@echo "ruff:";      $(BIN)/ruff check .
	@echo "format:";    $(BIN)/ruff format --check .
	@echo "mypy:";      $(BIN)/mypy
	@echo "bandit:";    $(BIN)/bandit --quiet --configfile pyproject.toml --recursive project spaces_app
	@echo "pip-audit:"; $(BIN)/python -m scripts.audit

test-long: $(DEV_STAMP) js  ## the test suite with its full counts
	@$(BIN)/pytest --numprocesses $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder

soak: $(DEV_STAMP)  ## a long time of everything at once, with a plot in soak-report/ (MINUTES=10)
	@$(BIN)/python -m tests.soak --minutes $(MINUTES)

bench: $(DEV_STAMP)  ## the benchmarks, with their peers where installed
	@$(BIN)/python -m benchmarks.run

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.11"; exit 1; }
	@echo "Making the environment in .venv ..."
	@$(PYTHON) -m venv .venv

$(RUN_STAMP): requirements.txt | $(BIN)/python
	@echo "Installing what the site needs (a minute or two, once) ..."
	@$(PIP) --requirement requirements.txt
	@touch $@

$(DEV_STAMP): requirements-dev.txt requirements.txt $(EXAMPLES) | $(BIN)/python
	@echo "Installing what the site, the examples and the tests need (a few minutes, once) ..."
	@$(PIP) --requirement requirements-dev.txt
	@$(PIP) --no-deps --requirement examples/ocr-requirements.txt
	@touch $(RUN_STAMP) $@

js:
	@if command -v npm > /dev/null; then $(MAKE) --no-print-directory $(JS_STAMP); else echo "npm is not there: the JavaScript app is not tested."; fi

$(JS_STAMP): $(JS)/package-lock.json
	@echo "Installing the JavaScript app's packages ..."
	@cd $(JS) && npm ci --silent --omit=optional --no-audit --no-fund
