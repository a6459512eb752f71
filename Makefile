PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: setup demo check test bench shape clean

setup: $(READY)           ## a virtual environment with Tandem and everything the suite needs

$(READY): pyproject.toml requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	touch $(READY)

demo: $(READY)            ## the whole story on real data; ARGS=--once ends by itself
	$(BIN)/tandem demo $(ARGS)

check: $(READY)           ## ruff, mypy --strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: $(READY)            ## the whole suite
	$(BIN)/pytest $(ARGS)

bench: $(READY)           ## side by side with nginx and the bare upstream
	$(BIN)/python bench/door.py $(ARGS)

shape: $(READY)           ## a mirror, not a fence: the largest files, functions and signatures
	$(BIN)/python bench/shape.py

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
