# The classic host, installed last and without its dependencies: its metadata asks for torch 1.9.1.
CLASSIC := solo-learn==1.0.2
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
# What writes the locks, and what compares them with the advisories, in environments of their own.
LOCKER := uv==0.13.9
AUDITOR := pip-audit==2.10.1
COMPILE = $(LOCK_VENV)/bin/uv pip compile -q --no-config --universal --generate-hashes \
	--custom-compile-command "make lock"
# PyPI's torch for Linux is built for CUDA alone, and most of the download is CUDA's libraries.
TORCH_INDEX :=
# A pyenv shim of that name can exist and not run.
PYTHON = $(shell python3.11 -c '' 2>/dev/null && echo python3.11 || echo python3)
# Two torch threads beside another busy process are slower than one.
export OMP_NUM_THREADS ?= 1
MARKERS := not slow and not trial
# With it, a process imports the host in twice the time.
coverage: COVERAGE := --cov --cov-report=
# The adapter of the current host counts where a checkout is there to test it on.
UNTESTED := $(if $(SOLO_LEARN_HOME),,solo_rekd/hosts/current/*)
override SOLO_LEARN_HOME := $(abspath $(SOLO_LEARN_HOME))
export SOLO_LEARN_HOME

.PHONY: help install lock audit demo lint test coverage test-all test-trials test-hosts test-parts test-rest \
	test-current bench study tables reliability site upstream clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-13s %s\n", $$1, $$2}' Makefile

install: $(STAMP) ## make .venv: the locked packages, the host, this package; TORCH_INDEX=URL: torch from there

$(STAMP): requirements.txt requirements.lock requirements-classic.lock setup.py pyproject.toml solo_rekd.pth
	@test -x $(BIN)/python || $(PYTHON) -c 'import sys; sys.version_info >= (3, 10) or \
		sys.exit("solo-rekd: error: Python %d.%d is too old for the pinned packages: " \
		"install Python 3.10 or later, or say make PYTHON=/path/to/it" % sys.version_info[:2])'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing the locked packages into $(VENV): 3.3 GB to download, 7 GB on the disk ..."
	@$(if $(TORCH_INDEX),echo "torch comes from TORCH_INDEX and is compared with no hash; all else is")
	@$(if $(TORCH_INDEX),$(PIP) install --no-deps --index-url "$(TORCH_INDEX)" \
		$(shell grep -E '^torch(vision)?==' requirements.txt))
	@# What has no wheel is built by these, not by what a build would fetch without a hash.
	@$(BIN)/python scripts/locked.py requirements.lock --only setuptools wheel packaging > $(VENV)/build.lock
	@$(PIP) install --require-hashes --no-deps -r $(VENV)/build.lock
	@$(BIN)/python scripts/locked.py requirements.lock $(if $(TORCH_INDEX),--other_torch) > $(VENV)/install.lock
	@$(PIP) install --require-hashes --no-deps --no-build-isolation -r $(VENV)/install.lock
	@$(PIP) install --require-hashes --no-deps -r requirements-classic.lock
	@$(PIP) install --no-deps --no-build-isolation -e .
	@# The hook runs at every start of Python: where no bytecode is written, it would be compiled.
	@$(BIN)/python -m compileall -q solo_rekd/__init__.py solo_rekd/autoload.py
	@$(BIN)/python scripts/check_torch.py requirements.txt
	@touch $@

LOCK_VENV := .venv-lock

lock: $(LOCK_VENV)/.installed ## write the locks, every file's hash in them, from the pins of requirements.txt
	@$(COMPILE) --python-version 3.10 requirements.txt -o requirements.lock
	@echo "$(CLASSIC)" | $(COMPILE) --python-version 3.10 --no-deps - -o requirements-classic.lock
	@$(COMPILE) --python-version 3.11.5 docs/requirements.txt -o docs/requirements.lock

$(LOCK_VENV)/.installed: Makefile
	@test -x $(LOCK_VENV)/bin/python || $(PYTHON) -m venv $(LOCK_VENV)
	@$(LOCK_VENV)/bin/python -m pip --disable-pip-version-check -q install $(LOCKER) $(AUDITOR)
	@touch $@

audit: $(LOCK_VENV)/.installed ## compare the locked packages with the known advisories; it needs the network
	@$(LOCK_VENV)/bin/python scripts/audit.py requirements.lock docs/requirements.lock

demo: $(STAMP) ## train and compare small students on a CPU, in a few minutes, to one report
	@$(BIN)/solo-rekd demo

lint: $(STAMP) ## check style, format, types and which module imports which
	@$(BIN)/ruff check -q
	@$(BIN)/ruff format -q --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache --no-logo > /dev/null || $(BIN)/lint-imports --no-cache --no-logo

test: $(STAMP) ## lint and the fast tests; SOLO_LEARN_HOME=DIR: also on a checkout of the main branch
	@rm -f .coverage .coverage.*
	@# side by side, for each is one process; the longest first
	@$(MAKE) -s -j2 MARKERS="$(MARKERS)" COVERAGE="$(COVERAGE)" \
		$(if $(SOLO_LEARN_HOME),test-current) test-hosts test-rest lint test-parts

coverage: test ## the same, and the share of the lines that these tests run
	@$(BIN)/coverage combine -q
	@$(BIN)/coverage report --fail-under=90 --omit="$(UNTESTED)"

test-all: MARKERS := not trial
test-all: test ## the same as test with the slow tests

test-trials: $(STAMP) ## what takes longest: kills, leaks, lost processes, other devices; SOLO_LEARN_HOME=DIR as above
	@$(BIN)/python -m pytest -q -m trial --ignore=tests/hosts/current
	@$(if $(SOLO_LEARN_HOME),PYTHONPATH="$(SOLO_LEARN_HOME)" $(BIN)/python -m pytest -q -m trial tests/hosts/current)

# what needs no checkout of the main branch, in three parts for two cores
HOSTS := $(addprefix tests/,hosts api commands compare distilling evaluation images losses teachers)
PARTS := $(addprefix tests/,checkpoints modules objectives utils)
PYTEST = COVERAGE_FILE="$(CURDIR)/.coverage.$@" $(BIN)/python -m pytest -q -m "$(MARKERS)" $(COVERAGE)

test-hosts: $(STAMP)
	@$(PYTEST) $(HOSTS)

test-parts: $(STAMP)
	@$(PYTEST) $(PARTS)

test-rest: $(STAMP)
	@$(PYTEST) $(addprefix --ignore=,$(HOSTS) $(PARTS))

test-current: $(STAMP) ## the tests of the current host, solo-learn's main branch, in SOLO_LEARN_HOME
	@PYTHONPATH="$(SOLO_LEARN_HOME)" $(PYTEST) tests/hosts/current

# exec, here and below: a shell between would keep a signal to make from what it started
# the profiler's library announces every start of it
bench: $(STAMP) ## measure, and write docs/performance.md: PARTS="steps losses", PARENT=COMMIT, QUICK=1, SOLO_LEARN_HOME=DIR
	@exec env KINETO_LOG_LEVEL=99 PYTHONPATH=scripts $(BIN)/python -m bench $(if $(PARTS),--parts $(PARTS)) \
		$(if $(PARENT),--parent "$(PARENT)") $(if $(DATA),--data "$(abspath $(DATA))") \
		$(if $(TEACHER_FILE),--teacher_file "$(abspath $(TEACHER_FILE))") $(if $(QUICK),--quick)

study: $(STAMP) ## run phases of scripts/study/plan.yaml: ARGS="rates tune test --data cifar10=DIR --budget MINUTES"
	@exec env PYTHONPATH=scripts $(BIN)/python -m study run $(ARGS)

tables: $(STAMP) ## write the tables and figures of docs and README from docs/results and docs/performance.json
	@PYTHONPATH=scripts $(BIN)/python -m study tables
	@PYTHONPATH=scripts $(BIN)/python -m reliability tables

reliability: $(STAMP) ## trials of docs/reliability.md: ARGS="kill --host main --budget MINUTES", "soak --minutes 15", ...
	@exec env PYTHONPATH="scripts:$(PYTHONPATH)" $(BIN)/python -m reliability $(ARGS)

SITE_VENV := .venv-site

site: $(SITE_VENV)/.installed ## build the site of docs/ into build/site, in a small environment of its own
	@NO_MKDOCS_2_WARNING=1 $(SITE_VENV)/bin/mkdocs build --quiet --strict
	@echo "build/site/index.html"

$(SITE_VENV)/.installed: docs/requirements.lock
	@test -x $(SITE_VENV)/bin/python || $(PYTHON) -m venv $(SITE_VENV)
	@$(SITE_VENV)/bin/python -m pip --disable-pip-version-check -q install --require-hashes --no-deps -r $<
	@touch $@

upstream: ## lay the pull request of upstream/ over a checkout of solo-learn: HOST=DIR
	@$(PYTHON) -I upstream/lay.py "$(HOST)"

clean: ## remove what building and testing left; .venv stays
	@rm -rf build dist *.egg-info .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache
	@find solo_rekd tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +
