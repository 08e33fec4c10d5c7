# Two commands do everything on a fresh machine: `make demo` runs the main job, `make test` runs every test.
PYTHON ?= python3
VENV := .venv$(patsubst %,-%,$(notdir $(filter-out python3,$(PYTHON))))
QUIET := --quiet --disable-pip-version-check
READY := $(VENV)/.ready

.PHONY: demo test lint setup audit clean

demo: setup  ## Bring the stack up, deploy both examples, and show the call through the mesh
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" scripts/demo

test: setup  ## Run every test; what needs a missing program is skipped and counted (the live ones run without a nomad too)
	$(VENV)/bin/pytest $(PYTEST_ARGS)

lint: setup  ## Run what the tests of the house run: ruff, mypy and the import contracts
	$(VENV)/bin/pytest tests/unit/test_house.py

setup: $(READY)  ## Make the virtual environment

$(READY): pyproject.toml requirements/dev.lock
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install $(QUIET) --require-hashes --requirement requirements/dev.lock
	$(VENV)/bin/python -m pip install $(QUIET) --no-deps --no-build-isolation --editable .
	touch $@

audit:  ## Look for known holes in what is locked; it asks a service of the internet, so no test does it
	$(PYTHON) -m venv .audit
	.audit/bin/python -m pip install $(QUIET) --require-hashes --requirement requirements/audit.lock
	.audit/bin/pip-audit --strict --disable-pip --require-hashes $(AUDIT_ARGS) -r requirements/run.lock -r requirements/dev.lock

clean:  ## Remove the virtual environments and the tools' caches
	rm -rf .venv .venv-* .audit .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
