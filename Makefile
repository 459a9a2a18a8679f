# Each target does all of its own set-up, from nothing but Python 3.11+.
PYTHON ?= python3
BIN = .venv/bin
# Compiles in half the time what runs a little slower; of jaxlib 0.10, which constraints.txt names.
QUICK = --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1
# Whole systems: with all of XLA's own optimisation, and less of the code generator's than users have.
LIGHT = --xla_cpu_use_fusion_emitters=false --xla_backend_optimization_level=1
# Two processes; the groups of tests begin in the order of tests/conftest.py, the longest first.
PYTEST = $(BIN)/python -m pytest -n 2 --dist loadgroup --no-loadscope-reorder

# Type checks and assertions are written into the code once, not again by every process of the tests.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test quick lint docs clean

demo: .venv/installed
	$(BIN)/python experiments/main.py --config=configs/pertvae.py --workdir=runs/demo

test: .venv/installed-dev
	$(BIN)/python -m ruff check .
	$(PYTEST) -m optimised tests/training tests/nn
	XLA_FLAGS="$(LIGHT)" QUICK_XLA_FLAGS="$(QUICK)" $(PYTEST) -m optimised --ignore=tests/training --ignore=tests/nn
	XLA_FLAGS="$(QUICK)" $(PYTEST) -m "not optimised"

# Every room in two minutes: no training of whole systems, other processes, or recovered truths.
quick: .venv/installed-dev
	XLA_FLAGS="$(QUICK)" $(PYTEST) -m "not optimised and not slow"

docs: .venv/installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

lint: .venv/installed-dev
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .

.venv/made:
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || { echo "error: omics_jax needs Python 3.11 or newer; run 'make $(MAKECMDGOALS) PYTHON=/path/to/python3.11'"; exit 2; }
	$(PYTHON) -m venv .venv
	@touch $@

# Each asks pip once for all that it needs.
.venv/installed-dev: EXTRAS = [dev]
.venv/installed-docs: EXTRAS = [docs]
.venv/installed .venv/installed-dev .venv/installed-docs: pyproject.toml constraints.txt | .venv/made
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".$(EXTRAS)"
	@touch $@

clean:
	rm -rf .venv build *.egg-info
