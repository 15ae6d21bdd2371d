# What developers type is what CI runs.
PYTHON ?= python3
CONFIG ?= gateway.yaml
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
APT_PACKAGES := chromium chromium-headless-shell firefox-esr iproute2 sip-tester baresip baresip-ffmpeg nftables redis-server \
  rtpengine-daemon kamailio kamailio-outbound-modules kamailio-presence-modules kamailio-sqlite-modules \
  kamailio-websocket-modules espeak-ng coturn pulseaudio curl nginx-light
# What compiles and checks plane/, where no toolchain of another source is: Debian 12 has a recent one under the names for web browsers.
APT_PACKAGES += cargo:cargo-web/cargo cargo-fmt:rustfmt-web/rustfmt cargo-clippy:rust-web-clippy/rust-clippy c++:g++ cmake:cmake

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run demo example docs test test-all coverage pythons check format bench chaos soak fuzz wheels release audit nightly plane system-packages install-test clean

help: ## Show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

# The files below are stamps: nothing is installed again until pyproject.toml changes.
$(BIN)/python:
	@echo "Making $(VENV)"
	@scripts/make-venv $(PYTHON) $(VENV)

$(VENV)/.run: pyproject.toml | $(BIN)/python
	@echo "Installing the gateway into $(VENV)"
	@$(PIP) install --editable .
	@touch $@

$(VENV)/.test: pyproject.toml | $(BIN)/python
	@echo "Installing the gateway and what its tests need into $(VENV)"
	@$(PIP) install --editable '.[dev]'
	@touch $@ $(VENV)/.run $(VENV)/.client

$(VENV)/.audit: pyproject.toml $(VENV)/.test
	@echo "Installing what audits the dependencies into $(VENV)"
	@$(PIP) install --editable '.[audit]'
	@# Without it the audit says that no crate was judged, and fails.
	@! command -v cargo >/dev/null || timeout 900 cargo install --quiet --locked --root $(VENV)/cargo cargo-audit || true
	@[ ! -x $(VENV)/cargo/bin/cargo-audit ] || touch $@

$(VENV)/.client: pyproject.toml | $(BIN)/python
	@echo "Installing the gateway and what its lessons need into $(VENV)"
	@$(PIP) install --editable '.[browser,client]'
	@touch $@ $(VENV)/.run

run: $(VENV)/.run plane ## Install and start the gateway on gateway.yaml (CONFIG=FILE for another)
	@exec $(BIN)/gateway run --config $(CONFIG)

demo: install-test plane ## Prove both directions with a real phone and a real browser
	@$(BIN)/gateway demo

example: $(VENV)/.client ## Run a lesson of examples/ (N=03; its options as ARGS=--verbose)
	@$(BIN)/gateway examples $(if $(N),run $(N) $(ARGS),list)

docs: $(VENV)/.test ## Build the documentation's site in build/site; a warning is an error
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build
	@echo "Open build/site/index.html"

# Tests with a peer in another process wait more than they compute, so three run at a time on two cores.
WORKERS ?= 3
PYTEST := $(BIN)/python -m pytest
PARALLEL = $(PYTEST) --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder --durations 15
# Where an image forbids it, every process of every test would compile what it imports again.
unexport PYTHONDONTWRITEBYTECODE

test: install-test plane ## Run the tests without a peer in another process, and at most 40 of the real thing (ARGS="-k sdp" for a part)
ifeq ($(ARGS),)
	$(PARALLEL) -m "(core or not wall) and not serial and not nightly" --junit-xml build/tests.xml
	$(PYTEST) -m "core and serial" --junit-xml build/tests-serial.xml
else
	$(PYTEST) $(ARGS)
endif

coverage: $(VENV)/.test ## The tests of tests/sip: they take every branch of the SIP state machines, or fail
	@$(BIN)/python -m scripts.lanes --workers $(WORKERS) sip

test-all: install-test plane ## The whole suite in lanes, with every peer, and a table of them
	@$(BIN)/python -m scripts.lanes --workers $(WORKERS)

audit: $(VENV)/.audit ## Advisories of every dependency, Python and Rust; one that cannot be judged is a failure
	@$(BIN)/python -m scripts.audit

nightly: test-all ## The whole suite, members of families, random examples, octets at the parsers, soak, kills, other Pythons and the audit
	$(PARALLEL) -m "nightly and not serial"
	$(PYTEST) -m "nightly and serial"
	$(PARALLEL) -m "hypothesis and not serial" --hypothesis-profile long --timeout 300
	@scripts/plane fuzz $(or $(SECONDS),15)
	@$(BIN)/python -m tests.soak --minutes 1
	@$(BIN)/python -m tests.chaos messages
	@scripts/resolve-pythons & resolving=$$!; \
	  $(BIN)/python -m scripts.other_pythons; others=$$?; \
	  wait $$resolving && exit $$others  # what is asked for far away beside what computes here
	@$(MAKE) --no-print-directory audit

pythons: install-test plane ## Every module, unit tests, the demo and a lesson on each other Python that is here, 3.11 to 3.14 (ARGS=3.13 for one)
	@$(BIN)/python -m scripts.other_pythons $(ARGS)

check: $(VENV)/.test ## Lint, format and types
	@scripts/plane check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@echo "$(BIN)/mypy on each program of examples/"
	@for program in examples/*/*.py; do \
	  MYPYPATH=examples/08_sip_client $(BIN)/mypy --no-error-summary $$program || exit; done  # 09 speaks with the phone of 08

format: $(VENV)/.test ## Rewrite the sources in the house format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	@! command -v cargo >/dev/null || (cd plane && cargo fmt --all)

bench: install-test plane ## Measure beside real peers: tables, and bench/results/*.json (ARGS=media for one)
	@$(BIN)/python -m bench $(ARGS)

chaos: install-test plane ## Kill the gateway at every message of a call, then gateway and packet plane with calls up, and count what is lost (KILLS=20)
	@$(BIN)/python -m tests.chaos --kills $(or $(KILLS),20) $(ARGS)

soak: install-test plane ## Calls, transfers and reloads at 20 a second, and whether memory, descriptors, tasks and timers stay level (MINUTES=30)
	@$(BIN)/python -m tests.soak --minutes $(or $(MINUTES),30) $(ARGS)

fuzz: $(VENV)/.test ## Throw octets at the packet plane's parsers, and mutate what the gateway accepts (SECONDS=60 for each)
	@scripts/plane fuzz $(or $(SECONDS),60)
	@$(BIN)/python -m tests.fuzzing --seconds $(or $(SECONDS),60)

plane:
	@scripts/plane build

wheels: $(VENV)/.run ## Build dist/*.whl: the gateway, and the packet plane for this machine (needs cargo)
	@$(PIP) wheel --no-deps --wheel-dir dist . ./plane
	@ls dist/*.whl

release: wheels ## Build the wheels, and what an installation of them is made of: pinned versions and an SBOM (dist/)
	@scripts/release-files dist $(PYTHON)

system-packages: ## Install the peers that the tests call, where apt is there
	@scripts/system-packages $(APT_PACKAGES)

$(VENV)/sip-libraries.js: $(wildcard tests/browser/sip_libraries/*) scripts/sip-libraries | $(VENV)/.test
	@scripts/sip-libraries $(VENV)

install-test: $(VENV)/.test system-packages $(VENV)/sip-libraries.js

clean: ## Remove what was installed and cached here; .gateway (accounts, passwords) stays
	rm -rf $(VENV) plane/target .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
