# Each target sets up what it needs. A fresh machine has to have Python 3.11 or later, make, and a way to PyPI.
#   make help

UV_VERSION := 0.13.9
ACTIONLINT_VERSION := 1.7.7
ACTIONLINT := .cache/bin/actionlint-$(ACTIONLINT_VERSION)
# On GitHub's runners Go is there, so there it must be had.
ACTIONLINT_MAY_LACK := $(if $(GITHUB_ACTIONS),,yes)
CANDIDATES := python3 python3.13 python3.12 python3.14 python3.11 python
PYTHON ?= $(shell for p in $(CANDIDATES); do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)

VENV := .venv
BIN := $(VENV)/bin
# A uv on PATH is used as it is; else one is installed under .uv/, which `make clean` removes.
UV := $(or $(shell command -v uv 2>/dev/null),.uv/bin/uv)
BOOTSTRAP := $(filter .uv/bin/uv,$(UV))
SYNC := UV_PROJECT_ENVIRONMENT=$(VENV) $(UV) sync --quiet --frozen
INPUTS := pyproject.toml uv.lock

WORKERS ?= 2
MARKS := not soak$(if $(THERMOCLINE_TEST_DOCKER),, and not docker)
CODE = $(shell for d in lib/src tests benchmarks examples infra; do find $$d -name '*.py' 2>/dev/null | grep -q . && echo $$d; done)
SCRATCH := .cache/check
SOAK := .cache/soak
SEED ?= 1
FIND_AZURITE := -c 'from thermocline.testing.rig.azurite import find_azurite; find_azurite()'

.PHONY: help demo test lint bench soak wheel-check dist workflows-check lowest-check functions apps functions-env snapshots infra-check clean
.DEFAULT_GOAL := help

help: ## what there is to make
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1@\2/p' Makefile | awk -F@ '{ printf "%-22s %s\n", $$1, $$2 }'

demo: $(VENV)/.demo ## the main job on a real conversation, in under a minute (ARGS="--transcript FILE")
	$(BIN)/thermocline demo $(ARGS)

test: $(VENV)/.dev servers functions-env ## all tests but the long runs (ARGS="-k name", WORKERS=2)
	$(BIN)/pytest -q -n $(WORKERS) --dist worksteal -m "$(MARKS)" $(ARGS)

lint: $(VENV)/.dev ## style, types, the import contract
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(CODE)
	for app in apps/*/function_app.py; do $(BIN)/mypy --no-error-summary $$app || exit 1; done # all have one name
	$(BIN)/lint-imports --no-logo
	@$(MAKE) --no-print-directory workflows-check

bench: $(VENV)/.bench ## ratios beside the raw SDKs and others, in one run (ARGS="--quick", "--only hot", "--write": docs/performance.md)
	$(BIN)/python -m benchmarks $(ARGS)

soak: $(VENV)/.dev servers ## the long runs: scenarios and sustained load with a one-page report, a million operations under faults (SEED=1)
	@rm -f $(SOAK)/report.md
	@status=0; \
	$(BIN)/python -m thermocline.testing.scenarios --seed $(SEED) --report $(SOAK)/report.md $(SCENARIOS) || status=1; \
	$(BIN)/python -m benchmarks.sustained --seed $(SEED) --report $(SOAK)/report.md $(LOAD) || status=1; \
	$(BIN)/pytest -m soak --timeout 0 $(ARGS) || status=1; \
	echo; cat $(SOAK)/report.md; exit $$status

wheel-check: $(UV) | python ## build the wheel, install it alone, import it
	rm -rf $(SCRATCH)/wheel
	$(UV) build --quiet --out-dir $(SCRATCH)/wheel
	$(UV) venv --quiet --python $(PYTHON) $(SCRATCH)/wheel/venv
	$(UV) pip install --quiet --python $(SCRATCH)/wheel/venv $(SCRATCH)/wheel/*.whl
	cd $(SCRATCH)/wheel && venv/bin/python -I ../../../.ci/wheel_check.py

dist: $(UV) | python ## what a release has: the wheel, the source distribution, their bill of materials
	rm -rf dist
	$(UV) build --quiet --out-dir dist
	rm -f dist/.gitignore
	$(UV) export --quiet --frozen --no-dev --all-extras --format cyclonedx1.5 --output-file dist/sbom.cdx.json

workflows-check: $(VENV)/.dev ## the GitHub workflows, by zizmor and (where Go can be had) actionlint
	$(BIN)/zizmor --offline --quiet .github
	@$(MAKE) --no-print-directory --quiet $(ACTIONLINT) 2>/dev/null || test -n "$(ACTIONLINT_MAY_LACK)"
	@if test -x $(ACTIONLINT); then $(ACTIONLINT) -color=false; \
		else echo "actionlint was left out: it is built with Go, which is not here or reached no proxy"; fi

lowest-check: $(UV) | python ## unit tests and conformance with the lowest versions of all direct dependencies
	rm -rf $(SCRATCH)/lowest
	$(UV) venv --quiet --python $(PYTHON) $(SCRATCH)/lowest
	$(UV) pip install --quiet --python $(SCRATCH)/lowest --resolution lowest-direct --group dev -e '.[all]'
	$(SCRATCH)/lowest/bin/python $(FIND_AZURITE)
	$(SCRATCH)/lowest/bin/python -m pytest -q -n $(WORKERS) --dist worksteal tests/unit tests/wire tests/conformance $(ARGS)

functions: $(VENV)/.dev ## the three Functions apps on this machine, over the embedded tiers (SERVICES=1: the rig's servers)
	$(BIN)/python -m thermocline.testing.functions $(if $(SERVICES),--services) $(ARGS)

apps: $(UV) | python ## the apps' pinned requirements, and the library's wheel in their folders (PACKAGES=1: all packages as well, as azd packs them)
	$(PYTHON) infra/hooks/prepackage.py --uv $(UV) --lock $(if $(PACKAGES),,--no-packages)

functions-env: $(SCRATCH)/functions-3.13/.made ## Python 3.13 with the worker's own runtime, which tests index the apps by

snapshots: | python ## what each profile would build, into infra/snapshots (BICEPCHECK=path/to/bicepcheck)
	$(PYTHON) .ci/infra.py write

infra-check: | python ## the Bicep is clean, and the snapshots are up to date
	$(PYTHON) .ci/infra.py check

clean: ## remove what the targets made, but not the downloads in .cache
	rm -rf $(VENV) .uv $(SCRATCH) dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- what the targets stand on ---------------------------------------------------------------------------------------

.PHONY: python servers

python:
	@test -n "$(PYTHON)" || { echo 'No Python 3.11 or later on PATH; name one: make PYTHON=/path/to/python3' >&2; exit 1; }

$(VENV)/bin/python: | python $(UV)
	UV_PROJECT_ENVIRONMENT=$(VENV) $(UV) venv --quiet --python $(PYTHON) $(VENV)

$(VENV)/.dev: $(INPUTS) | $(VENV)/bin/python
	$(SYNC) --inexact
	@touch $@

$(VENV)/.demo: $(INPUTS) | $(VENV)/bin/python
	$(SYNC) --inexact --no-dev --extra cli
	@touch $@

$(VENV)/.bench: $(INPUTS) | $(VENV)/bin/python
	$(SYNC) --inexact --group bench
	@touch $@

# As Azure runs the apps; nothing is made where there is no Python 3.13.
$(SCRATCH)/functions-3.13/.made: $(INPUTS) .ci/functions_env.py | $(UV) python
	$(PYTHON) .ci/functions_env.py $(UV) $(SCRATCH)/functions-3.13
	@mkdir -p $(@D) && touch $@

# Named by its version: another version is another file.
$(ACTIONLINT):
	@mkdir -p $(@D)
	@GOBIN=$(abspath $(@D)) GOFLAGS=-mod=mod go install github.com/rhysd/actionlint/cmd/actionlint@v$(ACTIONLINT_VERSION)
	@mv $(@D)/actionlint $@

# Azurite comes by npm, once; here and not in a test, whose time limit a slow line would break.
servers: $(VENV)/.dev
	@$(BIN)/python $(FIND_AZURITE) || test -z "$$CI"

ifneq ($(BOOTSTRAP),)
.uv/bin/uv: | python
	@echo "Installing uv $(UV_VERSION) into .uv"
	@$(PYTHON) -m venv .uv 2>/dev/null && .uv/bin/python -m pip install --quiet uv==$(UV_VERSION) || { \
		rm -rf .uv; \
		$(PYTHON) -m pip install --quiet --target .uv uv==$(UV_VERSION) || { \
			echo 'This Python has neither venv nor pip: install uv (docs.astral.sh/uv) or python3-venv' >&2; exit 1; }; }
endif
