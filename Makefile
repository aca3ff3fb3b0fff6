# Everything runs in a venv of the project's own; only Python >= 3.11, make and a package registry are needed.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

SEEDS  ?= 2000
# One a core, so that tests that measure time hold on a busy machine.
WORKERS ?= auto
# Short tests wait, too: with one process more, two cores are busy (measured: 391 s, 328 s; with two more 334 s).
TEST_WORKERS ?= $(shell $(PYTHON) -c 'import os; print((os.cpu_count() or 1) + 1)')
# Real processes wait more than they work (measured: with one a core, 0.3 of two cores were busy).
PROOF_WORKERS ?= $(TEST_WORKERS)
PYTEST  := $(BIN)/python -m pytest --durations=10 -n

# Else each of the hundreds of processes that tests start would compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test proof machines simulate bench docs docs-links man lint types layers check clean

demo: $(VENV)/.core ## a whole run against the local emulator, from four real photos
	$(BIN)/fluxbatch demo

test: $(VENV)/.dev ## what a change is tried with: about six minutes on two cores
	$(PYTEST) $(TEST_WORKERS) -m "not proof and not machines"

proof: $(VENV)/.dev ## real processes, kills, readers of other projects, recipes, a browser; simulations by the thousand
	$(PYTEST) $(PROOF_WORKERS) -m proof

machines: $(VENV)/.dev ## several machines: Ray, a pooler, control and rerolls of a shared dataset
	$(PYTEST) $(WORKERS) -m machines

simulate: $(VENV)/.dev ## simulations by the seed: SEEDS=100000 for longer, SEED=123 tells one in full, SHARED=1 has many processes
	$(BIN)/python -m tests.simulation --seeds $(SEEDS) $(if $(SEED),--seed $(SEED)) $(if $(SHARED),--shared)

bench: $(VENV)/.dev ## every benchmark, side by side with a plain script; about half an hour
	for name in kills faults slot_use token_use overhead poll_frontier scaling memory startup million live_page; do $(BIN)/python -m benchmarks.$$name || exit 1; done
	$(BIN)/python -m benchmarks.kills docs
	$(BIN)/python -m benchmarks.kills s3

docs: $(VENV)/.dev ## the site of the documents in build/docs/html; a warning or a broken link is an error
	$(BIN)/python docs/site/build.py build/docs

docs-links: docs ## asks every address outside of the site too; needs the network
	$(BIN)/python -m sphinx -q -b linkcheck -c docs/site build/docs/source build/docs/links

man: $(VENV)/.core ## manual pages of every verb: man -l build/man/man1/fluxbatch-run.1
	$(BIN)/python docs/site/man_pages.py build/man

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.dev
	$(BIN)/mypy

layers: $(VENV)/.dev
	$(BIN)/lint-imports

check: test proof machines lint types layers ## what has to pass before a commit

clean:
	rm -rf $(VENV) demo

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("fluxbatch needs Python >= 3.11, this is " + sys.version.split()[0] + "; try: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

# An older pip knows no dependency groups.
$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable '.[all]' --group dev
	@touch $@ $(VENV)/.core
