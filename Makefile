# `make demo` and `make test` set up everything they need in .venv; later runs work offline.
#
#   make demo [INPUT=film.mkv]   encode a film with a coordinator and two workers, and prove it
#   make test [ARGS="-k name"]   run all tests
#   make chaos [ARGS=R1]         break clusters in every way, and compare what they publish
#   make lint types bench clean  what their names say
#
# PYTHON=python3.12 picks an interpreter; PIP_ARGS="-c constraints.txt" takes the tried versions.

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ffcluster-ready
DEV_READY := $(VENV)/.ffcluster-dev-ready
PLUGINS := $(wildcard plugins/*/pyproject.toml)
EDITABLE := $(foreach p,$(PLUGINS),-e $(patsubst %/,%,$(dir $(p))))
CANDIDATES := python3 python3.13 python3.12 python3.11
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in $(CANDIDATES); do \
	$$p -c '$(NEW_ENOUGH)' 2>/dev/null && { echo $$p; break; }; done)
# Of every process that runs tests a third of the time is waiting for what it started.
PROCESSES ?= $(shell $(BIN)/python -c 'import os; print((os.cpu_count() or 2) * 3 // 2)')
INPUT ?=
ARGS ?=
PIP_ARGS ?=

.PHONY: help setup dev demo test chaos lint types bench wheels clean

help:
	@sed -n 's/^# \{0,1\}//p' Makefile | head -n 9

setup: $(READY)

dev: $(DEV_READY)

$(READY): pyproject.toml $(PLUGINS)
	@test -n "$(PYTHON)" || { \
	  echo "ffcluster needs Python 3.11 or newer, and none of '$(CANDIDATES)' is."; \
	  echo "Install one, or name it: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c '$(NEW_ENOUGH)' || { \
	  echo "$(PYTHON) is older than Python 3.11."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { \
	  echo "$(PYTHON) has no working venv module; on Debian: apt install python3-venv"; exit 1; }
	$(BIN)/python -m pip install -q --disable-pip-version-check $(PIP_ARGS) \
	  "hatchling>=1.27" "editables>=0.5"
	$(BIN)/python -m pip install -q --disable-pip-version-check $(PIP_ARGS) \
	  --no-build-isolation -e ".[ffmpeg,test]" $(EDITABLE)
	@touch $@

$(DEV_READY): $(READY)
	$(BIN)/python -m pip install -q --disable-pip-version-check $(PIP_ARGS) \
	  --no-build-isolation -e ".[ffmpeg,test,dev]" $(EDITABLE)
	@touch $@

demo: $(READY)
	@$(BIN)/python tools/demo.py $(if $(INPUT),"$(INPUT)")

test: $(READY)
	$(BIN)/python -m pytest -n $(PROCESSES) --dist loadscope --no-loadscope-reorder --durations 15 $(ARGS)

lint: $(DEV_READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(DEV_READY)
	$(BIN)/mypy
	$(BIN)/mypy $(foreach p,$(PLUGINS),-p $(subst plugins/,ffcluster_,$(patsubst %/,%,$(dir $(p)))))
	MYPYPATH=examples/ffcluster-plugin-vulkan $(BIN)/mypy -p ffcluster_vulkan
	$(BIN)/mypy tools/*.py twisted/plugins/ffcluster_plugin.py

chaos: $(READY)
	$(BIN)/python -m tests.chaos $(ARGS)

bench: $(READY)
	$(BIN)/python -m tests.bench $(ARGS)

wheels: $(DEV_READY)
	rm -rf dist
	for p in . $(dir $(PLUGINS)); do \
	  $(BIN)/python -m build -q --no-isolation --wheel --outdir dist $$p || exit 1; done

clean:
	rm -rf build dist demo .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -print0 | xargs -0 rm -rf
