# make demo, make test, make lint: from a fresh clone, with Python 3.10+ and make. Everything goes into .venv.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
# mypy and mkdocs follow folders, not the import hook of an editable install: links that look like the installed package.
TREE := $(VENV)/tree/intaglio

.PHONY: help demo test test-slow lint docs tree clean

help:
	@echo "make demo   compile ResNet-50, check its output, time it"
	@echo "make test   the tests; make test-slow runs what they leave out"
	@echo "make lint   ruff, its formatter, and mypy --strict"
	@echo "make docs   the documents as a site, in build/docs"
	@echo "make clean  remove .venv and the caches of the tools"

demo: $(READY)
	$(BIN)/python -m bench demo

# Two workers for the many small tests; the official suite has workers of its own, one for each CPU.
test: $(READY)
	$(BIN)/python -m pytest -n 2 -m "not slow" --ignore tests/onnx_suite
	$(BIN)/python -m pytest tests/onnx_suite

# Real sizes, and the rest of the grids of which `make test` takes a sample.
test-slow: $(READY)
	$(BIN)/python -m pytest -n 2 -m slow --ignore tests/onnx_suite

lint: $(READY) tree
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	MYPYPATH=$(dir $(TREE)) $(BIN)/mypy -p intaglio

docs: $(VENV)/docs-ready tree
	DOCS_TREE=$(dir $(TREE)) NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

tree:
	@mkdir -p $(TREE)
	@for part in $(notdir $(wildcard intaglio/*)); do ln -sfn "$(CURDIR)/intaglio/$$part" $(TREE)/$$part; done
	@for part in compiler runtime templates; do ln -sfn "$(CURDIR)/$$part" $(TREE)/$$part; done

$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Intaglio needs Python 3.10 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[cc,test,lint]'
	touch $@

$(VENV)/docs-ready: $(READY)
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
