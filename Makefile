# make demo    protect and train a small model, print the access table (DATA=folder of CamVid for real images)
# make test    the test suite;   make test-slow   the slow tests;   make lint   style, layers, types, spelling, keys
# make docs-test   every code block of README and docs, the slow ones too
# make test-onedl, make test-lowest   the suite beside the fork of MMSegmentation, and beside the lowest versions
# make test-recipes   other libraries, Triton's configuration, model-signing and Ray, in an environment of their own
# make docs    the documentation site, in site/
# make bench   what encryption costs, against the published form, naive numpy and a copy (reads CamVid from data/)
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA ?=
KEY_LINE := MMSEG-KEYPROTECT-KEY-1\.[A-Za-z0-9_-]{48}

.PHONY: demo test test-slow docs-test test-onedl test-lowest test-recipes bench lint docs install

install: $(VENV)/checks-installed

# not compiled: the demo would wait for more bytecode than it needs
$(VENV)/installed: setup.cfg pyproject.toml requirements.txt
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --no-compile -r requirements.txt
	$(BIN)/pip install -q --no-compile --no-build-isolation -e .
	touch $@

# torch has a file that Python 3.11 cannot compile
$(VENV)/checks-installed: $(VENV)/installed
	$(BIN)/pip install -q --no-build-isolation -e '.[test,lint]'
	$(BIN)/python -m compileall -qq -j 2 $(VENV)/lib || true
	touch $@

demo: $(VENV)/installed
	$(BIN)/keyprotect demo $(if $(DATA),--data $(DATA))

test: install
	$(BIN)/pytest -n 2 --dist loadfile

test-slow: install
	$(BIN)/pytest -m slow

docs-test: install
	$(BIN)/pytest -m '' tests/docs

# other versions, in environments of their own, whose warnings differ; MIM, the docs and wheels are tested with the main
# ones alone
OTHER := -W default --ignore=tests/test_mim.py --ignore=tests/docs --ignore=tests/benchmarks

test-onedl: $(VENV)/onedl/installed
	$(VENV)/onedl/bin/pytest -n 2 --dist loadfile $(OTHER)

test-lowest: $(VENV)/lowest/installed
	$(VENV)/lowest/bin/pytest -n 2 --dist loadfile $(OTHER)

test-recipes: $(VENV)/recipes/installed
	$(VENV)/recipes/bin/pytest -W default -m '' tests/recipes

$(patsubst %,$(VENV)/%/installed,onedl lowest recipes): $(VENV)/%/installed: requirements-%.txt setup.cfg
	test -d $(VENV)/$* || $(PYTHON) -m venv $(VENV)/$*
	$(VENV)/$*/bin/pip install -q -r requirements-$*.txt
	$(VENV)/$*/bin/pip install -q --no-build-isolation --no-deps -e .
	touch $@

bench: install
	$(BIN)/python -m benchmarks.speed

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/interrogate -q .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/typos
	git ls-files -z -- ':!mmseg_keyprotect/.mim' | xargs -0 $(BIN)/detect-private-key
	! git grep -nE '$(KEY_LINE)' -- ':!tests/data/vectors'

docs: $(VENV)/docs-installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# the API reference reads the source, so the site needs no torch and no MMSegmentation
$(VENV)/docs-installed: setup.cfg pyproject.toml
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -e '.[docs]'
	touch $@
