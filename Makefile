# Everything a newcomer needs: `make run` serves, `make test` checks. Both set up .venv by themselves.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
WORKERS ?= 2

.PHONY: run test test-stores lint fmt bench nightly clean

run: $(STAMP)
	@$(BIN)/atlas serve --example

test: lint
	$(BIN)/pytest -n $(WORKERS) -m "not nightly" --cov --cov-report=term
	@$(MAKE) --no-print-directory test-stores

test-stores: $(STAMP)
	ATLAS_TEST_STORES=all $(BIN)/pytest -n $(WORKERS) -m "not nightly" tests/services

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fmt: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP)
	$(BIN)/python -m benchmarks $(if $(AGAINST),--against $(AGAINST))

nightly: $(STAMP)
	$(BIN)/pytest -n $(WORKERS) -m nightly

clean:
	rm -rf .venv build dist .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Atlas needs Python 3.11 or newer; try: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[all,dev]'
	$(BIN)/python -m compileall -q src
	@touch $(STAMP)
