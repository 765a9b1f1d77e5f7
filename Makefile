# Every target makes .venv when it is missing and installs again only when pyproject.toml changes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev
STUDY ?= study
# One thread per process: sweeps and the two-process tests bring their own parallelism.
export OMP_NUM_THREADS := 1
export MPLBACKEND := Agg

.PHONY: help study study-quick test check notebooks paper format clean
.DEFAULT_GOAL := help

help: ## Show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python >= 3.11 is needed, this is " + sys.version.split()[0] + "; try: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

# A first installation that was interrupted can leave an environment without pip: make it again.
define install
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@echo "installing $(1) into $(VENV): about two minutes the first time"
	$(BIN)/python -m pip install --quiet --editable '$(1)'
endef

$(STAMP): pyproject.toml | $(BIN)/python
	$(call install,.)
	@touch $@

$(DEV_STAMP): pyproject.toml | $(BIN)/python
	$(call install,.[dev])
	@touch $@ $(STAMP)

study: $(STAMP) ## Sweep, fit, predict, compare, report: a verdict on real images in $(STUDY)/
	$(BIN)/python -m surrogate.study --out $(STUDY)

study-quick: $(STAMP) ## The same in under a minute, with fewer trials
	$(BIN)/python -m surrogate.study --out $(STUDY)-quick --quick

# Slow tests share runs within a module, so a module stays on one core (loadscope); those that time
# things side by side, or use both cores themselves, run alone.
test: $(DEV_STAMP) ## Every test that needs no accelerator
	$(BIN)/python -m pytest -n 2 -m 'not slow'
	$(BIN)/python -m pytest -n 2 --dist loadscope -m 'slow and not alone'
	$(BIN)/python -m pytest -m alone

check: $(DEV_STAMP) ## Lint, types and the fast tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2 -m 'not slow'

notebooks: $(STAMP) ## Run the notebooks and render them to notebooks/rendered/*.html
	$(BIN)/python -m pip install --quiet --editable '.[notebooks,diagnostics]'
	@mkdir -p notebooks/rendered
	@for name in $(basename $(notdir $(wildcard notebooks/*.py))); do \
		$(BIN)/jupytext --quiet --to ipynb --output notebooks/rendered/$$name.ipynb notebooks/$$name.py && \
		$(BIN)/jupyter nbconvert --to html --execute --log-level WARN notebooks/rendered/$$name.ipynb || exit 1; \
	done

paper: $(STAMP) ## Build the paper from committed records: paper/generated/paper.pdf
	$(BIN)/python -m pip install --quiet --editable '.[paper]'
	$(BIN)/python -m paper.build

format: $(DEV_STAMP) ## Format the code in place
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove the virtual environment and all caches (never a study's records)
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .hypothesis *.egg-info
