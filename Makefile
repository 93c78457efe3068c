# make sweep             a first sweep on made-up patients; nothing to prepare, no download beyond Python packages
# make sweep DATA=/path  on yours          WEIGHTS=none|imagenet|FILE, ARGS="--trials 4" pass on to the script
# make bench             measures every claim of speed and writes docs/performance.md; ARGS=--quick
# make lint test test-cluster test-encoders clean

PYTHON ?= python3
INSTALLED := .venv/installed
BASELINES := .venv/installed-bench

# Made-up patients need no pretrained encoder, and `none` lets the first run do without a hub of weights.
# With DATA the script's own default holds unless WEIGHTS says otherwise.
ifeq ($(strip $(DATA)),)
WEIGHTS ?= none
endif

# albumentations would otherwise ask the network for a newer version at each import.
export NO_ALBUMENTATIONS_UPDATE := 1

.PHONY: sweep setup test test-cluster test-encoders bench lint clean

sweep: setup
	.venv/bin/python sweeps/encoders.py $(if $(DATA),--data "$(DATA)") $(if $(WEIGHTS),--weights "$(WEIGHTS)") $(ARGS)

# Tests side by side; those of Ray start in one process, see tests/conftest.py.
test: setup
	.venv/bin/python -m pytest --numprocesses=2 --dist=worksteal $(ARGS)

test-cluster: setup
	.venv/bin/python -m pytest -m cluster $(ARGS)

test-encoders: setup
	.venv/bin/python -m pytest -m 'every_encoder and not heavy' $(ARGS)

# Lightning is a baseline that nothing else needs. Run it on idle cores.
bench: setup $(BASELINES)
	.venv/bin/python -m benchmarks.bench $(ARGS)

$(BASELINES): $(INSTALLED)
	.venv/bin/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[bench]'
	@touch $@

lint: setup
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports
	.venv/bin/python -m benchmarks.house --check

setup: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("brainseg needs Python 3.11 or newer, $(PYTHON) is %d.%d; try: make PYTHON=python3.12" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	@test -x .venv/bin/pip || $(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

# Neither .venv (a long download for some) nor runs/ (results): remove those by hand.
clean:
	rm -rf build *.egg-info .mypy_cache .pytest_cache .ruff_cache
	find . -path ./.venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
