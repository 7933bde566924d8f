# Needs Python >= 3.11 and make; everything else is installed into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# The AWS emulator of the tests pins libraries of its own.
MINISTACK := .venv-ministack
DEMO_HOME := demo-home
WORKERS ?= 2

.PHONY: demo test lint unit bench clean

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test]'
	touch $@

$(MINISTACK)/.installed: constraints-ministack.txt
	$(PYTHON) -m venv $(MINISTACK)
	$(MINISTACK)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints-ministack.txt ministack
	touch $@

# The random walk of Sutton & Barto, from its sweep file to figure 7.2.
demo: $(INSTALLED)
	$(BIN)/sweep run examples/random_walk/random_walk.toml --home $(DEMO_HOME)
	$(BIN)/sweep reconcile --home $(DEMO_HOME)
	$(BIN)/sweep results random-walk --home $(DEMO_HOME) --limit 5
	$(BIN)/python examples/random_walk/plot.py $(DEMO_HOME) $(DEMO_HOME)/random_walk.png
	@echo "results: $(DEMO_HOME)/sweeps/ (HDF5 shards), read them with gapless.open(\"$(DEMO_HOME)\", \"random-walk\")"

test: lint unit

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: $(INSTALLED) $(MINISTACK)/.installed
	$(BIN)/pytest -n 2 --dist worksteal

# Rates, ratios and memory; BENCH=submit (or another file of bench/ without .py) runs one of them.
BENCH ?= all
bench: $(INSTALLED) $(MINISTACK)/.installed
	$(BIN)/python -m bench $(BENCH)

clean:
	rm -rf $(VENV) $(MINISTACK) $(DEMO_HOME) bench-home dist build .pytest_cache .mypy_cache .ruff_cache
