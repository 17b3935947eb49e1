# The doors of this repository; `make` alone shows them. Works with GNU make 3.81 and newer.
#
#   PYTHON=...       the Python that .venv is made with (default: the first one >= 3.11 found)
#   TORCH_INDEX=...  where PyTorch comes from; https://download.pytorch.org/whl/cpu is CPU-only
#   DATA=...         the test bed, for test-data (see docs/data.md)

PYTHON      ?=
TORCH_INDEX ?=
DATA        ?=

VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
PYTEST := $(BIN)/python -m pytest

.DEFAULT_GOAL := help
.PHONY: help install demo test test-data lint bench clean data-is-there

help: ## show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

install: $(VENV)/.installed-dev ## make .venv with everything that development needs

demo: $(VENV)/.installed ## index the sample collection, ask it a dozen questions
	@$(BIN)/pointsman demo

test: $(VENV)/.installed-dev ## the tests that need no data
	@$(PYTEST) -m "not data"

test-data: data-is-there $(VENV)/.installed-dev ## the tests on real data: make test-data DATA=DIR
	@$(PYTEST) -m data --data="$(DATA)"

lint: $(VENV)/.installed-dev ## ruff and mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

bench: $(VENV)/.installed-dev ## speed, each against its rivals (some 15 minutes, on a machine left idle)
	@$(BIN)/python benchmarks/ask_latency.py
	@for each in encoding mixed_adapters attention training_step precompute growth routing; do \
		$(BIN)/python benchmarks/$$each.py || exit 1; done

clean: ## remove .venv, builds and caches (no workspace, no results)
	@rm -rf $(VENV) build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# Two stamps, so that `make demo` need not wait for the tools of development, and a second call of
# anything is instant. The torch step comes first and alone: pip then finds the requirement met and
# cannot prefer the CUDA build, which it may do where two indexes offer the same version.
define get_torch
@echo "Installing Pointsman into $(VENV); PyTorch is the large part and takes some minutes."
$(if $(TORCH_INDEX),@$(PIP) --index-url "$(TORCH_INDEX)" torch)
endef

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/pip
	$(get_torch)
	@$(PIP) -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/pip
	$(get_torch)
	@$(PIP) -e '.[dev]'
	@touch $(VENV)/.installed $@

$(BIN)/pip:
	@"$(python)" -m venv $(VENV)

data-is-there:
	@$(if $(shell test -d "$(DATA)" && echo yes),:,$(error $(no_data)))

# The first candidate that runs and is new enough. A name on PATH proves nothing (version managers
# leave stubs there), so each is started. $(error) inside a recipe says its one line and stops.
candidates = $(if $(PYTHON),"$(PYTHON)",python3 python3.14 python3.13 python3.12 python3.11 python)
found = $(shell for py in $(candidates); do \
	"$$py" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo "$$py" && break; done)
has_venv = $(shell "$(found)" -c 'import ensurepip, venv' >/dev/null 2>&1 && echo yes)
python = $(if $(found),$(if $(has_venv),$(found),$(error $(no_venv))),$(error $(no_python)))

no_python = $(if $(PYTHON),PYTHON=$(PYTHON) is not Python 3.11 or newer,No Python 3.11 or newer \
	was found); install one (python.org, or your system's packages) and name it: make PYTHON=/path/to/python3.12
no_venv = $(found) has no venv module: on Debian or Ubuntu run `apt install python3-venv`, or make \
	$(VENV) with `uv venv --seed` or `virtualenv $(VENV)`, then run make again
no_data = $(if $(DATA),DATA=$(DATA) is no directory,DATA is missing); name the directory of the \
	test bed: make test-data DATA=../data (docs/data.md says how to get it)
