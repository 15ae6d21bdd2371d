# What developers type is what CI runs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CONFIG ?= gateway.yaml
APT_PACKAGES := chromium sip-tester baresip redis-server rtpengine-daemon

.DEFAULT_GOAL := help
.PHONY: help run demo test check bench format install-test system-packages clean

help: ## Show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

$(BIN)/gateway: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed, this is `$(PYTHON) -V`"; exit 1; }
	@$(PYTHON) -m venv --help >/dev/null 2>&1 && $(PYTHON) -c 'import ensurepip' 2>/dev/null || $(MAKE) --no-print-directory python-venv
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

.PHONY: python-venv
python-venv:
	@command -v apt-get >/dev/null && [ "`id -u`" = 0 ] || \
	  { echo "Python's venv module is missing: install the package python3-venv"; exit 1; }
	apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv

run: $(BIN)/gateway ## Install and start the gateway on gateway.yaml
	@exec $(BIN)/gateway run --config $(CONFIG)

$(VENV)/.test: $(BIN)/gateway
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

system-packages: ## Install the peers that the tests call, where apt is there
	@scripts/system-packages $(APT_PACKAGES)

install-test: $(VENV)/.test system-packages

demo: $(VENV)/.test system-packages ## Prove both directions with a real phone and a real browser
	$(BIN)/gateway demo

test: install-test ## Install what the tests need and run the whole suite
	$(BIN)/python -m pytest

check: $(VENV)/.test ## Lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.test ## Rewrite the sources in the house format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install-test ## Measure beside real peers; tables and bench/results/*.json
	$(BIN)/python -m bench

clean: ## Remove what was installed and cached here
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info
