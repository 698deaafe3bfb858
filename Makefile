# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
OLDEST ?= .venv-oldest
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test test-oldest lint types format notebooks docs bench clean

demo: $(INSTALLED)
	$(BIN)/python -m memkd_sklearn demo

test: $(INSTALLED)
	$(BIN)/python -m pytest -n 2

test-oldest:  # with the oldest versions that pyproject.toml allows
	test -x $(OLDEST)/bin/python || $(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet --only-binary :all: \
		--constraint constraints-oldest.txt --editable ".[test]"
	$(OLDEST)/bin/python -m pytest -n 2

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

notebooks: $(INSTALLED)
	$(BIN)/python notebooks/execute.py

docs: $(INSTALLED)  # the site, in docs/_build/html; runs its examples and the notebooks
	$(BIN)/python -m sphinx -W --keep-going -q docs docs/_build/html

bench: $(INSTALLED)  # a short version; see studies/README.rst
	$(BIN)/python studies/kernel.py --hidden-sizes 4 8 16 --batch-sizes 32 --lengths 100 --seconds 0.2
	$(BIN)/python studies/fit.py --short
	$(BIN)/python studies/edge.py --data ItalyPowerDemand --epochs 5

$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) $(OLDEST) .mypy_cache .pytest_cache .ruff_cache docs/_build docs/api/generated
