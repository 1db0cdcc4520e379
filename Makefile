# Everything from nothing but CPython >= 3.10, make and pip.
#
#   make train         train DynaMITE-RL on the GridWorld        (EXAMPLE=path.yaml for another)
#   make test          run the fast tests, two files at a time   (PYTEST_ARGS="-k gridworld" JOBS=4)
#   make slow          run the slow tests
#   make fuzz          odd inputs for every reader               (SECONDS=1800 for each, SEED=2)
#   make lint          check style, types and the import floors  (make format mends the style)
#   make docs          build the documentation site into site/, no broken link allowed
#   make tensorboard   show the curves                           (LOGDIR=folder)
#   make clean         remove the environment and every build product
#
# The first call builds .venv from constraints.txt; later calls find it done.
#
# PYTHON          the interpreter that .venv is made from
# PIP_FLAGS       options for every pip call, e.g. an index of your own
# GPU             1 accepts a CUDA build of torch, 0 refuses it; by default 1 where an NVIDIA device is
# TORCH_PIP_ARGS  options for installing torch alone, e.g. the index of the build you want
# TORCH_CPU_INDEX where the CPU build is looked for when pip's default build is a CUDA one
# TORCH           the torch to install; one that is already in .venv is kept as it is

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
COPY := $(VENV)/copy
EXAMPLE ?= tuned_examples/dynamite/gridworld.yaml
TRAIN_ARGS ?=
PYTEST_ARGS ?=
JOBS ?= 2
SECONDS ?= 300
SEED ?= 1
PIP_FLAGS ?=
TORCH_PIP_ARGS ?=
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu
TORCH ?= $(shell grep '^torch==' constraints.txt)
LOGDIR ?= $(HOME)/ray_results
GPU ?= $(if $(wildcard /dev/nvidiactl /usr/lib/wsl/lib/nvidia-smi),1,0)
PINS := $(VENV)/constraints.txt
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
INSTALL := $(PIP) install --quiet $(PIP_FLAGS) -c $(PINS)

# Ray sends usage statistics unless told not to.
export RAY_USAGE_STATS_ENABLED ?= 0

# A CUDA build of torch needs these on Linux; asking for a version below 0 makes pip refuse it
# before it has fetched the gigabytes that go with it.
CUDA_PACKAGES := cuda-toolkit nvidia-cudnn-cu12 nvidia-cudnn-cu13 nvidia-nccl-cu12 nvidia-nccl-cu13

# Where pip's default build is refused, PyTorch's own index has the CPU build of the same version.
define CPU_TORCH
{ test -z '$(filter 1,$(GPU))$(TORCH_PIP_ARGS)' && echo "Trying the CPU build at $(TORCH_CPU_INDEX)" && \
  $(INSTALL) --no-deps --index-url $(TORCH_CPU_INDEX) '$(TORCH)'; }
endef

define NO_TORCH
{ echo "error: $(TORCH) was not installed; pip's words above say why." >&2; \
  echo "If they name a CUDA package: no NVIDIA device was found, so a CUDA build is refused." >&2; \
  echo "Name the index that holds the CPU build, make TORCH_PIP_ARGS='--index-url URL'," >&2; \
  echo "or accept CUDA, make GPU=1." >&2; exit 2; }
endef

.DEFAULT_GOAL := help
.PHONY: help setup train test slow fuzz lint docs format tensorboard clean

help:
	@sed -n '3,10s/^# *//p' Makefile

setup: $(READY)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "error: $(PYTHON) is older than Python 3.10; name a newer one: make PYTHON=python3.11" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

# With an index of the user's for torch, its dependencies still come from where all others do.
$(READY): setup.py pyproject.toml constraints.txt | $(BIN)/python
	@echo "Setting up $(VENV): this takes a few minutes, once."
	@grep -v '^torch==' constraints.txt > $(PINS)
	@printf '%s\n' $(if $(filter 1,$(GPU)),,$(patsubst %,'%<0',$(CUDA_PACKAGES))) >> $(PINS)
	@$(PIP) show --quiet torch 2>/dev/null || $(INSTALL) $(if $(TORCH_PIP_ARGS),--no-deps $(TORCH_PIP_ARGS)) '$(TORCH)' || $(CPU_TORCH) || $(NO_TORCH)
	$(INSTALL) setuptools
	$(INSTALL) --no-build-isolation -e '.[dev]'
	@touch $@

train: $(READY)
	$(BIN)/rllib train file $(EXAMPLE) $(TRAIN_ARGS)

test slow fuzz: export OMP_NUM_THREADS ?= 1

test: $(READY)
	$(BIN)/python -m pytest -m "not slow" -n $(JOBS) --dist loadfile $(PYTEST_ARGS)

slow: $(READY)
	$(BIN)/python -m pytest -m slow $(PYTEST_ARGS)

fuzz: $(READY)
	@for target in experiment options checkpoint run sweep iida; do \
	  $(BIN)/python -m tests.fuzz.run $$target --seconds $(SECONDS) --seed $(SEED) || exit 1; done

# What looks at the package in one piece gets an installed copy, in another folder; a build folder left
# from before could put deleted files back into it.
define INSTALL_COPY
@rm -rf build $(COPY)
@$(PIP) install --quiet --no-deps --no-index --no-build-isolation --target $(COPY) .
@rm -rf build
endef

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(INSTALL_COPY)
	cd $(COPY) && $(abspath $(BIN))/mypy --config-file $(CURDIR)/pyproject.toml --cache-dir $(CURDIR)/.mypy_cache -p rllib_metarl
	cd $(COPY) && $(abspath $(BIN))/lint-imports --config $(CURDIR)/pyproject.toml --cache-dir $(CURDIR)/.import_linter_cache

$(VENV)/.docs: $(READY)
	$(INSTALL) --no-build-isolation -e '.[docs]'
	@touch $@

docs: $(VENV)/.docs
	$(INSTALL_COPY)
	cd docs && PATH=$(abspath $(BIN)):$$PATH DOCS_SOURCE=$(abspath $(COPY)) NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet -f ../mkdocs.yml
	@echo "site/index.html"

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

tensorboard: $(READY)
	$(BIN)/tensorboard --host 127.0.0.1 --logdir $(LOGDIR)

clean:
	rm -rf $(VENV) build dist site *.egg-info .pytest_cache .ruff_cache .mypy_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
