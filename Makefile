# Needs Python >= 3.11 and make; everything else is installed into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# The AWS emulator of the tests pins libraries of its own.
MINISTACK := .venv-ministack
DEMO_HOME := demo-home
# Many tests wait for programs and clocks rather than for a core.
WORKERS ?= 3

.PHONY: demo test lint unit bench simulate model chaos power-loss fuzz mutants clean

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
	$(BIN)/pytest -n $(WORKERS) --dist worksteal

# Rates, ratios and memory; BENCH=submit (or another file of bench/ without .py) runs one of them.
BENCH ?= all
bench: $(INSTALLED) $(MINISTACK)/.installed
	$(BIN)/python -m bench $(BENCH)

# The proof, for anyone: what CI plays in part goes on here as long as wished.
SEEDS ?= 10000
simulate: $(INSTALLED)
	$(BIN)/python -m tests.simulator --seeds $(SEEDS)

# The protocol as a small model, checked in every state.
model: $(INSTALLED)
	$(BIN)/python -m tests.model

# Real programs, killed and misled while they work; RUNS in a folder home and as many on the emulator of AWS.
RUNS ?= 100000
chaos: $(INSTALLED) $(MINISTACK)/.installed
	$(BIN)/python -m tests.chaos --home folder --runs $(RUNS)
	$(BIN)/python -m tests.chaos --home ministack --runs $(RUNS)

# Every crash that a power loss may leave of a folder home.
power-loss: $(INSTALLED)
	$(BIN)/python -m tests.power_loss --all

# Every decoder under guided fuzzing, SECONDS each.
SECONDS ?= 60
fuzz: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[proof]'
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS)

# Which changes of what decides would no test notice: hours; goes on where it stopped.
mutants: $(INSTALLED)
	$(BIN)/python -m tests.mutants run

clean:
	rm -rf $(VENV) $(MINISTACK) $(DEMO_HOME) bench-home dist build .pytest_cache .mypy_cache .ruff_cache
