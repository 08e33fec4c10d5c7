# Two commands do everything on a fresh machine: `make demo` runs the main job, `make test` runs every test.
VENV := .venv
PYTHON ?= python3
READY := $(VENV)/.ready

.PHONY: demo test lint setup docs clean

demo: setup  ## Bring the stack up, deploy both examples, and show the call through the mesh
	scripts/demo

test: setup  ## Run every test; what needs a missing binary is skipped and counted
	$(VENV)/bin/pytest $(PYTEST_ARGS)

lint: setup  ## Run what the tests of the house run: ruff, mypy and the import contracts
	$(VENV)/bin/pytest tests/unit/test_house.py

setup: $(READY)  ## Make the virtual environment

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[test,lint,envoy]'
	touch $@

clean:  ## Remove the virtual environment and the tools' caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
