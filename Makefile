# The whole course in one place: `make` lists what there is to do.
#
# Needs Python 3.11 or newer (with venv), make and git. Everything is installed into
# $(VENV) and nowhere else; `make clean` takes it away again.
#
#   make lab TORCH_INDEX=https://download.pytorch.org/whl/cpu   CPU build of PyTorch
#   make lab PYTHON=/path/to/python3.12                         another Python
#   make lab LAB_ARGS="--no-browser --port 9000"                more JupyterLab options

SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help lab setup lint unit notebooks-test browser test fuzz torture notebooks handouts bench gpu clean

# The first Python on the path that is new enough. Asked only when needed.
PYTHON ?= $(shell for p in python3.11 python3 python3.12 python3.13 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 \
	&& echo $$p && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
TORCH_INDEX ?=
WORKERS ?= 2
LAB_ARGS ?=

PIP_INSTALL = $(BIN)/python -m pip install --disable-pip-version-check $(if $(CI),--quiet) \
	--constraint constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
# loadscope keeps the cells of one notebook in one kernel.
PYTEST = $(BIN)/python -m pytest -n $(WORKERS) --dist loadscope --durations=10
# Browse the whole repository, start at the first notebook, in copies to write in. A login
# shell, which JupyterLab's terminals would be, forgets the path and with it `lmlib`.
# JupyterLab will not run as root unless told to, and containers often are root.
LAB_OPTIONS = --ServerApp.root_dir="$(CURDIR)" \
	--LabApp.default_url=/lab/tree/work/00_start_here.ipynb \
	--ServerApp.terminado_settings="{'shell_command': ['bash']}" \
	$(if $(filter 0,$(shell id -u)),--allow-root)

# A question about Jupyter's newsletter is no good first sight.
LAB_SETTINGS = $(VENV)/share/jupyter/lab/settings/overrides.json
NO_NEWS = {"@jupyterlab/apputils-extension:notification": \
	{"fetchNews": "false", "checkForUpdates": false}}

# Waiting threads sleep in place of spinning: on a machine that also runs a browser, a
# training step of a small network is then up to ten times faster.
export OMP_WAIT_POLICY ?= PASSIVE

# Tests run the same code for fewer steps, one thread a worker.
lint unit notebooks-test browser fuzz torture: export LMLIB_BUDGET = quick
lint unit notebooks-test browser fuzz torture: export OMP_NUM_THREADS = 1

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' \
		$(firstword $(MAKEFILE_LIST))

lab: export PATH := $(abspath $(BIN)):$(PATH)
lab: $(VENV)/.lab ## install the course and open JupyterLab at the first notebook, in work/
	$(BIN)/python -m tools.working_copies
	$(BIN)/jupyter lab $(LAB_OPTIONS) $(LAB_ARGS)

setup: $(VENV)/.test $(VENV)/.browser ## install everything, the test tools included

# A stamp is written last, so an interrupted installation starts again.
$(VENV)/.lab: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer was not found on the path;" \
		"install it or say make PYTHON=/path/to/python" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@echo "Installing the course into $(VENV) (takes minutes, mostly PyTorch)"
	$(PIP_INSTALL) --editable '.[course]'
	@mkdir -p $(dir $(LAB_SETTINGS)) && echo '$(NO_NEWS)' > $(LAB_SETTINGS)
	@touch $@

$(VENV)/.test: $(VENV)/.lab
	$(PIP_INSTALL) --editable '.[course,test]'
	@touch $@

$(VENV)/.bench: $(VENV)/.test
	$(PIP_INSTALL) --editable '.[course,test,bench]'
	@touch $@

# Where no Chromium can be had, the browser test says so; on CI it fails.
$(VENV)/.browser: $(VENV)/.test tools/chromium.py
	$(BIN)/python -m tools.chromium --install
	@touch $@

lint: $(VENV)/.test ## ruff over code and notebooks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

unit: $(VENV)/.test ## the tests in tests/, without the browser
	$(PYTEST) tests -m "not browser"

notebooks-test: $(VENV)/.test ## run every notebook and compare what is marked (nbval)
	$(PYTEST) notebooks -p no:python --nbval-lax --nbval-current-env \
		--nbval-cell-timeout=120 --nbval-kernel-startup-timeout=120

browser: setup ## move sliders and drag points in a real JupyterLab
	$(BIN)/python -m pytest tests/browser

test: setup lint unit notebooks-test browser ## everything above: what CI runs

fuzz: export LMLIB_FUZZ_EXAMPLES ?= 10000
fuzz: $(VENV)/.test ## damage every kind of file for long (LMLIB_FUZZ_EXAMPLES inputs each)
	$(PYTEST) tests/fuzz

torture: LMLIB_TORTURE_KILLS ?= 500
torture: $(VENV)/.test ## kill and resume runs for long (LMLIB_TORTURE_KILLS kills)
	$(BIN)/python -m tools.torture --kills $(LMLIB_TORTURE_KILLS)

notebooks: $(VENV)/.test ## run all notebooks at full length and store their outputs
	$(BIN)/python -m tools.run_notebooks

handouts: $(VENV)/.lab ## pages to print of all notebooks, without solutions, into work/handouts
	$(BIN)/python -m tools.handouts

bench: $(VENV)/.bench ## ours against a plain reference, ratios in one run
	$(BIN)/python -m benchmarks

# Where a GPU is lent for minutes: resumable, rows and weights in OUT.
OUT ?= gpu
MINUTES ?= 12
gpu: $(VENV)/.bench ## what needs a GPU, most valuable first, in MINUTES, into the folder OUT
	$(BIN)/python -m tools.gpu $(OUT) --minutes $(MINUTES)

clean: ## remove the environment and all caches; data and results stay
	rm -rf $(VENV) .pytest_cache .ruff_cache build *.egg-info
	find . -name __pycache__ -o -name .ipynb_checkpoints | xargs rm -rf
