# Everything starts here; `make` alone says what there is. Needs GNU make and Python with venv; for the conformance
# suite also npm.

PYTHON  ?= python3
VENV    ?= .venv
CONFIG  ?= gateway.toml.example
SECONDS ?= 10
ARGS    ?=

bin     := $(VENV)/bin
pip     := $(bin)/python -m pip --disable-pip-version-check
install := $(pip) install -qq --constraint constraints.txt --editable .
fuzzers := $(wildcard fuzz/fuzz_*.py)

export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test lint format bench conformance fuzz docs dist pins clean

help: ## Say what there is
	@awk 'BEGIN { FS = ":.*## " } /^[a-z]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/.run ## Start the gateway with CONFIG (gateway.toml.example)
	@printf '\nTry this in another terminal:\n\n'
	@sed -n '/^#   curl/,/^#$$/s/^#//p' gateway.toml.example
	@printf '   %s\n' 'curl -s http://127.0.0.1:9090/services' '' 'More: docs/tutorials/first-gateway.md' ''
	@exec $(bin)/gatewayd --config $(CONFIG)

test: $(VENV)/.test ## Run all tests with branch coverage; ARGS="-k name" for some of them
	$(bin)/coverage erase
	$(bin)/coverage run -m pytest $(ARGS)
	$(bin)/coverage combine --quiet
	$(bin)/coverage report $(if $(ARGS),--fail-under=0)

lint: $(VENV)/.lint ## Check style, types and the direction of imports
	$(bin)/ruff check .
	$(bin)/ruff format --check .
	$(bin)/mypy
	$(bin)/pyright --pythonpath $(bin)/python
	$(bin)/lint-imports

format: $(VENV)/.lint ## Put the code into its usual form
	$(bin)/ruff check --fix-only --quiet .
	$(bin)/ruff format .

bench: $(VENV)/.test ## Measure the gateway against its budgets; ARGS=--quick for a first look
	$(bin)/python -m bench.run $(ARGS)

conformance: $(VENV)/.test conformance/node_modules/.installed ## Run the official MCP suite through the gateway; needs npm
	$(bin)/python -m conformance.run $(ARGS)

fuzz: $(VENV)/.test ## Feed damaged input to the codecs, SECONDS (10) each
	@set -e; for target in $(fuzzers); do $(bin)/python $$target --seconds $(SECONDS); done

docs: $(VENV)/.run ## Write the generated pages of docs/reference anew
	$(bin)/python docs/generate.py

dist: $(VENV)/.lint ## Build the wheel and the source archive into dist/
	$(bin)/python -m build

pins: ## Write constraints.txt anew, with the newest versions of everything
	rm -rf build/pins
	$(PYTHON) -m venv build/pins
	build/pins/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	build/pins/bin/python -m pip install --quiet --editable . --group test --group lint --group build
	@sed -n '/^#/p; /^$$/p; /;/p' constraints.txt > build/constraints.txt
	build/pins/bin/python -m pip freeze --exclude-editable >> build/constraints.txt
	mv build/constraints.txt constraints.txt

clean: ## Remove what the other targets made, the environment included
	rm -rf $(VENV) build dist *.egg-info .coverage .coverage.* .hypothesis .import_linter_cache
	rm -rf .mypy_cache .pytest_cache .ruff_cache conformance/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment is made once; what is in it follows pyproject.toml and constraints.txt.

$(bin)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo 'gatewayd needs Python 3.11 or newer: make PYTHON=/path/to/python3.11'; exit 1; }
	@echo 'Making an environment in $(VENV). This takes a minute, once.'
	$(PYTHON) -m venv $(VENV)
	$(pip) install --quiet --upgrade 'pip>=25.1'

$(VENV)/.run: pyproject.toml constraints.txt | $(bin)/python
	$(install)
	@touch $@

$(VENV)/.test: pyproject.toml constraints.txt | $(bin)/python
	$(install) --group test
	@touch $@ $(VENV)/.run

$(VENV)/.lint: pyproject.toml constraints.txt | $(bin)/python
	$(install) --group test --group lint --group build
	@touch $@ $(VENV)/.test $(VENV)/.run

conformance/node_modules/.installed: conformance/package.json
	npm install --prefix conformance --package-lock=false --no-fund --no-audit --loglevel=error
	@touch $@
