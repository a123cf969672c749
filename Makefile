# Each target creates .venv and installs what it needs. On Windows use the commands in README.md.
PYTHON ?= python3
BIN = .venv/bin

.PHONY: demo test check

.venv:
	$(PYTHON) -m venv .venv

demo: .venv
	$(BIN)/pip install --quiet -c constraints.txt . && $(BIN)/pellucid demo

test: .venv
	$(BIN)/pip install --quiet -c constraints.txt -e '.[test]' && $(BIN)/pytest

check: .venv
	$(BIN)/pip install --quiet -c constraints.txt -e '.[test,dev]'
	$(BIN)/ruff check && $(BIN)/mypy && $(BIN)/lint-imports
	$(BIN)/python tools/third_party.py --check && $(BIN)/python tools/tree.py --check
	$(BIN)/python tools/wasm.py --check && $(BIN)/python tools/wire.py --check && $(BIN)/python tools/glossary.py --check
	$(BIN)/python tools/studio.py --check && $(BIN)/python tools/golden_films.py --check
