# One DCGAN, three frameworks. Plain `make` prints what there is.
# ARGS passes flags on:  make train-pytorch ARGS="--precision bfloat16 --seed 1"

PYTHON ?= python3
ARGS ?=
SEEDS ?= 5
ENGINES ?=
STEPS ?=
RECIPE ?= published
WORKERS ?= 1
ARCHITECTURE ?= mnist28
VENV := .venv
BIN := $(VENV)/bin
RUN := $(BIN)/python -m
PYTEST := $(RUN) pytest -q
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt
# TensorFlow brings its CUDA libraries only when asked, so only a machine with a card asks.
TENSORFLOW := $(if $(shell command -v nvidia-smi 2>/dev/null),tensorflow-cuda,tensorflow)
KERAS_BACKEND ?= tensorflow
export KERAS_BACKEND
KERAS_EXTRAS_tensorflow := keras,$(TENSORFLOW)
KERAS_EXTRAS_torch := keras-torch
KERAS_EXTRAS_jax := keras-jax
KERAS_EXTRAS = $(or $(KERAS_EXTRAS_$(KERAS_BACKEND)),$(error KERAS_BACKEND is tensorflow, torch or jax, not $(KERAS_BACKEND)))

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup setup-pytorch setup-tensorflow setup-keras setup-quality train-pytorch train-tensorflow \
	train-keras data sample sample-pytorch sample-tensorflow sample-keras test test-all lint format \
	parity bench quality quality-time paper compare torture audit readme constraints clean

help: ## print this list
	@echo "make TARGET [ARGS=\"--flag value ...\"]   (flags: make train-pytorch ARGS=--help)"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-18s %s\n", $$1, $$2}' Makefile

# ---------------------------------------------------------------- set-up

$(BIN)/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(not (3, 11) <= v <= (3, 13) and f"Python 3.11 to 3.13 is needed, this is {v[0]}.{v[1]}; name one with make PYTHON=python3.12 ...")'
	@$(PYTHON) -m venv $(VENV)

# Which extras are installed is remembered in the environment itself, until their list changes.
$(VENV)/.installed-%: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing $* into $(VENV) ..."
	@$(PIP) --editable ".[$*]"
	@touch $@

setup-pytorch: $(VENV)/.installed-pytorch ## make .venv with what PyTorch needs
setup-tensorflow: $(VENV)/.installed-$(TENSORFLOW) ## make .venv with what TensorFlow needs
setup-keras: $(VENV)/.installed-$(KERAS_EXTRAS) ## make .venv with what Keras needs (KERAS_BACKEND=tensorflow|torch|jax)
setup-quality: $(VENV)/.installed-quality ## make .venv with what scoring needs, besides a backend
setup: setup-pytorch setup-tensorflow setup-keras setup-quality $(VENV)/.installed-keras-jax $(VENV)/.installed-dev ## make .venv with everything

data: | $(BIN)/python ## fetch and verify MNIST (training does it by itself)
	@$(PIP) --editable .
	@$(RUN) common.datasets

# ---------------------------------------------------------------- train

# Several workers on this machine; docs/scale.md has other launchers and machines.
LAUNCH := $(RUN) $(if $(filter-out 1,$(WORKERS)),common.launch $(WORKERS))

train-pytorch: setup-pytorch ## train with PyTorch: set-up, data and 5 epochs in one command (WORKERS=2)
	@$(LAUNCH) pytorch_impl.train $(ARGS)

train-tensorflow: setup-tensorflow ## the same with TensorFlow
	@$(LAUNCH) tensorflow_impl.train $(ARGS)

train-keras: setup-keras ## the same with Keras (KERAS_BACKEND=tensorflow|torch|jax)
	@$(LAUNCH) keras_impl.train $(ARGS)

sample: setup-pytorch ## digits at once, without training, from the pretrained generator: samples.png
	@$(RUN) pytorch_impl.sample $(ARGS)

sample-pytorch: setup-pytorch ## images from a run: ARGS="runs/pytorch-mnist-seed0 --out x.png"
	@$(RUN) pytorch_impl.sample $(ARGS)

sample-tensorflow: setup-tensorflow ## the same with TensorFlow, from any backend's run
	@$(RUN) tensorflow_impl.sample $(ARGS)

sample-keras: setup-keras ## the same with Keras, from any backend's run
	@$(RUN) keras_impl.sample $(ARGS)

# ---------------------------------------------------------------- compare

# Without a SEEDS of the caller's own: one.
compare: SEEDS := $(if $(filter command environment,$(firstword $(origin SEEDS))),$(SEEDS),1)
compare: setup ## train, score and show engines side by side: STEPS=200 ENGINES=pytorch,keras SEEDS=3 RECIPE=tuned
	@$(RUN) compare.sidebyside --seeds $(SEEDS) $(if $(ENGINES),--engines $(ENGINES)) $(if $(STEPS),--steps $(STEPS)) \
		--recipe $(RECIPE) $(ARGS)

parity: setup ## the long parity ladder over every pair of backends: table, plot, JSON (ARCHITECTURE=dcgan)
	@$(RUN) compare.parity --architecture $(ARCHITECTURE) $(ARGS)

quality: setup ## train what is missing, score it, write the bands: SEEDS=5 ENGINES=pytorch,keras RECIPE=published
	@$(RUN) compare.bands --seeds $(SEEDS) $(if $(ENGINES),--engines $(ENGINES)) --recipe $(RECIPE) $(ARGS)

quality-time: setup ## seconds of training until the digits are so good: ENGINES=pytorch SEEDS=5 (nothing else may run)
	@$(RUN) compare.seconds --seeds $(SEEDS) $(if $(ENGINES),--engines $(ENGINES)) $(ARGS)

paper: setup ## try the paper's claims on a finished run, as a page and figures: ARGS="runs/pytorch-mnist-seed0"
	@$(RUN) compare.paper $(ARGS)

readme: setup-pytorch ## fill README.md from the sources and docs/figures
	@$(RUN) compare.readme

bench: setup ## time the engines, each in turns with its framework's own loop, against the limit
	@$(RUN) compare.bench $(ARGS)

# ---------------------------------------------------------------- check

# Each part is a process of its own, with one framework and one thread; two run at a time, the long
# ones first, and what a part prints comes as it ends.
PARTS := cross engine-keras-jax torture engine-keras-torch engine-tensorflow engine-keras engine-pytorch common
TWO_AT_A_TIME := $(MAKE) --no-print-directory --jobs=2 $(if $(filter output-sync,$(.FEATURES)),--output-sync=target)

test: setup data ## set-up, linters and the tests of every part, in minutes
	@$(TWO_AT_A_TIME) lint $(PARTS:%=test-%)

test-all: test ## and the long proofs
	@$(TWO_AT_A_TIME) $(PARTS:%=slow-%)

test-engine-%:
	@echo "tests/engine, $*" && $(PYTEST) tests/engine --engine $*

test-%:
	@echo "tests/$*" && $(PYTEST) tests/$*

# A part without long proofs ends with pytest's status 5.
slow-engine-%:
	@echo "tests/engine, $*, long proofs" && $(PYTEST) -m slow tests/engine --engine $* || [ $$? = 5 ]

slow-%:
	@echo "tests/$*, long proofs" && $(PYTEST) -m slow tests/$* || [ $$? = 5 ]

torture: setup ## break saves, runs, files and flags on purpose, for two hours: table, JSON
	@$(RUN) tests.torture $(if $(ENGINES),--engines $(ENGINES)) $(ARGS)

audit: $(VENV)/.installed-dev ## ask the public advisories about every pinned version
	@$(BIN)/uv tool run pip-audit --strict --requirement constraints.txt --no-deps --disable-pip

lint: $(VENV)/.installed-dev setup-pytorch ## ruff, mypy and the import boundaries
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(VENV)/.installed-dev ## let ruff format the code
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

constraints: $(VENV)/.installed-dev ## resolve the pinned versions anew, for every platform
	@$(BIN)/uv pip compile --universal --python-version 3.11 --upgrade --all-extras --no-annotate --quiet \
		--custom-compile-command "make constraints" pyproject.toml --output-file constraints.txt

clean: ## delete .venv and caches; runs/ and data/ stay
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
