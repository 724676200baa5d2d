# demo, test, check and bench; each makes .venv first if it is missing or older than what it is made from.
PYTHON ?= python3

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed

# The matrices here are small: threads of BLAS only wait for one another, and their number would change last digits.
export OMP_NUM_THREADS ?= 1

.PHONY: demo test check bench

demo: $(INSTALLED)
	$(BIN)/fogsim demo

test: $(INSTALLED)
	$(BIN)/python -m pytest

check: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

# The study drives 700 encounters, about ten minutes on two cores, and resumes; pytest's 5: no test is marked slow.
bench: $(INSTALLED)
	$(BIN)/python tests/bench/frame_time.py
	$(BIN)/python tests/bench/kernels.py
	$(BIN)/python scenarios/studies/first_table.py
	$(BIN)/python -m pytest -m slow --timeout=5400 || [ $$? -eq 5 ]

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -c constraints.txt -e '.[test]'
	touch $@
