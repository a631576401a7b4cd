# Each target makes .venv by itself from the lock files; it costs nothing when nothing has changed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp
COMMAND := $(BIN)/pytop-containers
PREFIX ?= /usr/local
INSTALLED = $(DESTDIR)$(PREFIX)/lib/pytop-containers
DEV_STAMP := $(VENV)/.stamp-dev

# Tests that share the kernel (cgroups, bridges, daemons) wait much and compute little: two files at a time. Those that
# count what is left on the machine, or hold the second in which something must be seen, run alone. The others take all cores.
REAL := tests/engines tests/integration
ALONE := tests/engines/test_stress.py tests/engines/test_cancellation.py \
  tests/integration/test_containment_real.py tests/integration/test_guard_real.py tests/integration/test_neighbours_real.py \
  tests/integration/test_evaluation_real.py tests/integration/test_demo_teach.py
SIDE_BY_SIDE := $(ALONE:%=--ignore=%) -n 2 --dist loadfile
FAST := $(REAL:%=--ignore=%) -n logical
# Percent of lines and branches of runtime/limits and collectors that the tests without root must run.
LIMITS_FLOOR := 92
COLLECTORS_FLOOR := 87

PACKAGES := tui collectors runtime themes

# $(call console_script,FILE,PYTHON,STATEMENT): write the command, as an installer would; Python's own directory stays off sys.path.
console_script = printf '%s\n' '\#!$(2) -P' 'import sys' '$(3)' 'from tui.__main__ import main' '' 'sys.exit(main())' >'$(1)' && chmod 755 '$(1)'

.PHONY: demo run install uninstall test test-long test-v2 test-newer coverage mutants soak eval-containment check bench format lock proto clean help

help: ## show the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST)

demo: $(STAMP) $(COMMAND) ## real containers, one starving another, in the live dashboard
	@$(BIN)/python -m tui demo $(ARGS)

run: $(STAMP) $(COMMAND) ## the dashboard
	@$(BIN)/python -m tui $(ARGS)

install: ## have the command on the PATH: PREFIX/bin/pytop-containers (PREFIX=/usr/local), in an environment of its own
	@$(MAKE) --no-print-directory VENV='$(INSTALLED)' '$(INSTALLED)/.stamp'
	@library=$$('$(INSTALLED)/bin/python' -c 'import sysconfig; print(sysconfig.get_path("purelib"))') && \
	  for package in $(PACKAGES); do rm -rf "$$library/$$package" && cp -R "$$package" "$$library/$$package" || exit 1; done && \
	  find $(PACKAGES:%="$$library/%") -name __pycache__ -prune -exec rm -rf {} +
	@$(call console_script,$(INSTALLED)/bin/pytop-containers,$(PREFIX)/lib/pytop-containers/bin/python,)
	@mkdir -p '$(DESTDIR)$(PREFIX)/bin' && ln -sf ../lib/pytop-containers/bin/pytop-containers '$(DESTDIR)$(PREFIX)/bin/pytop-containers'
	@echo "installed: $(DESTDIR)$(PREFIX)/bin/pytop-containers" >&2

uninstall: ## remove what `make install` has written
	@rm -rf '$(INSTALLED)' && rm -f '$(DESTDIR)$(PREFIX)/bin/pytop-containers'

test: $(DEV_STAMP) ## every test, from fast to real (ARGS for pytest: those, in one process)
ifeq ($(strip $(ARGS)),)
	@$(BIN)/python -m pytest $(FAST)
	@$(BIN)/python -m pytest $(ALONE)
	@$(BIN)/python -m pytest $(REAL) $(SIDE_BY_SIDE)
else
	@$(BIN)/python -m pytest $(ARGS)
endif

test-long: $(DEV_STAMP) ## the loops of which the other tests run a tenth, whole
	@PYTOP_LONG=1 $(BIN)/python -m pytest -m long $(or $(ARGS),$(REAL))

test-v2: $(DEV_STAMP) ## tests of pure cgroup v2 and of systemd in two QEMU guests (ARGS="plain" or "systemd" for one)
	@$(BIN)/python -m tests.guest $(ARGS)

test-newer: $(DEV_STAMP) ## tests of Docker, Podman and containerd with those of Debian 13 (as root; apt and debootstrap)
	@$(BIN)/python -m tests.newer $(ARGS)

coverage: $(DEV_STAMP) ## what the tests that need no root run of the code, by file; fails below the floors
	@$(BIN)/python -m pytest $(FAST) --cov --cov-report=
	@$(BIN)/coverage report
	@echo "runtime/limits, at least $(LIMITS_FLOOR) %:"
	@$(BIN)/coverage report --format=total --include='runtime/limits/*' --fail-under=$(LIMITS_FLOOR)
	@echo "collectors, at least $(COLLECTORS_FLOOR) %:"
	@$(BIN)/coverage report --format=total --include='collectors/*' --fail-under=$(COLLECTORS_FLOOR)

mutants: $(DEV_STAMP) ## wrong programs, drawn by a printed seed: at least 90 % are found by the tests that need no root (some 30 min)
	@$(BIN)/python -m tests.mutants $(ARGS)

soak: $(DEV_STAMP) ## 10,000 short containers under a running dashboard: nothing grows (as root, 20 min)
	@$(BIN)/python -m tests.soak $(ARGS)

eval-containment: $(DEV_STAMP) ## who hurts whom, on real containers: precision, recall and recovery against their bounds (as root, 45 min)
	@$(BIN)/python -m tests.eval $(ARGS)

check: $(DEV_STAMP) ## lint, format, types, import contracts, spelling
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/codespell

bench: $(DEV_STAMP) ## ratios against C readers, fork+exec and runc
	@$(BIN)/python -m tests.bench $(ARGS)

format: $(DEV_STAMP) ## let ruff format and mend
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

lock: ## write the lock files anew (needs uv)
	@uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --extra containerd -o requirements/run.lock pyproject.toml
	@uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate -c requirements/run.lock --extra containerd --group dev -o requirements/dev.lock pyproject.toml

proto: ## write the code for containerd's messages anew (needs uv)
	@uv run -q --no-project --with grpcio-tools==1.85.1 python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. runtime/engines/containerd/proto/containerd.proto

clean: ## remove the virtual environment and caches
	@rm -rf $(VENV) .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage dist

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Python 3.11 or later is needed, and '$(PYTHON)' is not. Name one: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "The venv module is missing. On Debian or Ubuntu: apt-get install python3-venv; on Fedora it is part of python3." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(COMMAND): Makefile | $(VENV)/bin/python
	@$(call console_script,$@,$(abspath $(BIN)/python),sys.path.insert(0, "$(CURDIR)"))

$(STAMP): requirements/run.lock | $(VENV)/bin/python
	@echo "installing what the app needs into $(VENV)" >&2
	@$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements/run.lock
	@touch $@

$(DEV_STAMP): requirements/dev.lock $(STAMP)
	@echo "installing what the tests and checks need into $(VENV)" >&2
	@$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check --require-hashes -r requirements/dev.lock
	@touch $@
