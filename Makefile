# The developer's interface. `make up` runs the server, `make test` passes the tests, on a fresh machine.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: install up test test-long check bench clean

install: $(VENV)/.server

up: $(VENV)/.server
	@$(BIN)/runstream up

test: $(VENV)/.test
	$(BIN)/pytest -m "not long"

test-long: $(VENV)/.test
	$(BIN)/pytest -m "long or not long" --timeout 7200

check: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.bench
	$(BIN)/python -m bench

clean:
	rm -rf $(VENV) .cache

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "Runstream needs Python 3.11 or later, $(PYTHON) is `$(PYTHON) -V`; set PYTHON=..."; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || \
	    { echo "No virtual environment could be made in $(VENV); on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@touch $@

$(VENV)/.server: $(VENV)/.made pyproject.toml constraints.txt
	@echo "Installing Runstream into $(VENV), once; this takes a minute"
	@$(PIP) install --constraint constraints.txt --editable '.[server]'
	@touch $@

$(VENV)/.test: $(VENV)/.made pyproject.toml constraints.txt
	@echo "Installing Runstream and what its tests need into $(VENV), once; this takes minutes"
	@$(PIP) install --constraint constraints.txt --editable '.[server,test]'
	@touch $(VENV)/.server $@

$(VENV)/.bench: $(VENV)/.test
	@echo "Installing what the benchmark needs into $(VENV), once"
	@$(PIP) install --constraint constraints.txt --editable '.[server,test,bench]'
	@touch $@
