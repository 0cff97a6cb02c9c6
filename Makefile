# Every command here makes what it needs first, and repeats no finished work. `make PYTHON=python3.12 demo` picks another Python.
PYTHON ?= python3
BIN    := .venv/bin
LATEST := .venv-latest/bin

help: ## print this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1 : /p' Makefile

demo: $(if $(wildcard .venv/.dev),.venv/.dev,.venv/.run) ## grow faces from 4x4 to 32x32 on this machine, and say where the pictures are
	$(BIN)/python -W ignore tools/demo.py

test: .venv/.dev ## run everything that must pass, as CI does
	tools/check.sh

docs: .venv/.dev ## write README.md and build the pages into _docs/
	$(BIN)/python tools/make_readme.py
	MPLBACKEND=agg PYTHONWARNINGS=ignore $(BIN)/python tools/build_docs.py
	@echo 'Read them: $(BIN)/python -m http.server -d _docs, then open http://localhost:8000'

test-latest: $(LATEST)/pip ## run pytest on the newest fastai and fastcore, without nbdev
	rm -rf build
	$(LATEST)/pip install -q --upgrade --upgrade-strategy eager . pytest
	$(LATEST)/pip list 2>/dev/null | grep -E '^(fastai|fastcore|torch|plum-dispatch) '
	MPLBACKEND=agg OMP_NUM_THREADS=1 PYTHONWARNINGS=ignore $(LATEST)/pytest -q tests

clean: ## remove pages, builds and caches; environments and runs/ stay
	rm -rf _docs _proc build dist .pytest_cache
	find progrow tests tools -name __pycache__ -exec rm -rf {} +

.PHONY: help demo test docs test-latest clean

# The demo needs only what a user of the package needs; .dev adds nbdev and pytest, and serves the demo too once it is there.
.venv/.run: settings.ini setup.py | $(BIN)/pip
	$(BIN)/pip install -e .
	@touch $@

.venv/.dev: settings.ini setup.py | $(BIN)/pip
	$(BIN)/pip install -e '.[dev]'
	@touch $@

.venv/bin/pip .venv-latest/bin/pip:
	@$(PYTHON) -c 'import sys; v=sys.version_info; v>=(3,10) or sys.exit("progrow needs Python 3.10 or newer, and $(PYTHON) is %d.%d: name another one with make PYTHON=..." % v[:2])'
	$(PYTHON) -m venv $(@:/bin/pip=)
