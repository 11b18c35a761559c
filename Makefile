# Everything stands on `setup`, which makes .venv. Needs only python3 (3.11 or later, with venv), make and a network to fetch packages.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp
ARGS ?=

.PHONY: setup demo test check bench peers docs fuzz clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Mailwright needs Python 3.11 or later; make setup PYTHON=/path/to/python3.11" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $(STAMP)

demo: setup
	$(BIN)/mailwright demo $(ARGS)

test: setup
	$(BIN)/python -m pytest $(ARGS)

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_layers.py

bench: setup
	$(BIN)/python -m bench.relay $(ARGS)

# Ten minutes of coverage-guided fuzzing of what reads mail that comes back (ARGS="--seconds 60" for less).
fuzz: setup
	$(BIN)/python -m tests.fuzz.judgement $(ARGS)

# Mail servers and libraries of others that some tests start, unpacked into var/peers; without them these tests skip.
peers: setup
	$(BIN)/python -m tests.peers.fetch

# Pages that are written from the code; tests fail when they are old.
docs: setup
	$(BIN)/python -m config.reference
	$(BIN)/python -m gateway.observe.reference

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
