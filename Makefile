# Lotterybench. Needs Python >= 3.11, make and a package index; everything else is set up here.
#   make reproduce                         measure what fits the budget, decide the claims, write leaderboard.md and its pages
#   make reproduce BUDGET=2h ONLY='lth/*'
#   make report                            the HTML report, in report/index.html
#   make test                              the CPU test suite, under ten minutes on two cores
#   make test-long                         what takes minutes more: a real Slurm with dead nodes, preemption, time limits
#   make test-gpu-shim                     torch's CUDA code under this suite's loop, without a GPU, on a runtime that counts
#   make gpu-first                         on a machine with a GPU: ceilings, tests, speed and first records in 10 minutes
#   make regression                        committed numbers derived again, fast cells measured again; exit codes below

PYTHON  ?= python3
BUDGET  ?= 12m# with the installation before it, make reproduce ends within 15 minutes
ONLY    ?=
RESULTS ?= results
RECHECK ?= recheck
BIN     := .venv/bin
# Hundreds of processes start; none is to compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: reproduce fmt test types tests test-long test-gpu-shim gpu-first regression leaderboard report clean
.DELETE_ON_ERROR:

reproduce: .venv/installed
	$(BIN)/lotterybench run $(if $(ONLY),'$(ONLY)') --budget $(BUDGET) --results $(RESULTS) --recheck $(RECHECK)
	$(BIN)/lotterybench leaderboard --results $(RESULTS)
	@# A claim that deviates (exit code 1) is a finding, not a failure of this command.
	$(BIN)/lotterybench score --results $(RESULTS) || test $$? -eq 1

test: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	@# mypy has one process, which takes the time that tests wait for theirs.
	@$(MAKE) --no-print-directory --jobs 2 types tests

types: .venv/installed
	$(BIN)/mypy

tests: .venv/installed
	$(BIN)/pytest -n auto --dist worksteal

# Layout and import order, as `make test` wants them.
fmt: .venv/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# make itself ends with 2 for whatever a recipe ends with; the last line says which: 1 a regression, 2 nothing is
# measured, 3 the environment. `.venv/bin/lotterybench regression` ends with that code itself.
regression: .venv/installed
	@$(BIN)/lotterybench regression --results $(RESULTS) || { code=$$?; echo "lotterybench regression: exit code $$code"; exit $$code; }

test-long: .venv/installed
	$(BIN)/pytest -m long -n auto --dist loadfile

# Values are rubbish there, so only these tests run. Without g++ or the headers the reason is printed and nothing runs.
SHIM := .venv/gpu_shim
test-gpu-shim: .venv/installed
	@code=0; $(BIN)/python tests/gpu_shim/build.py $(SHIM) || code=$$?; test $$code -ne 77 || exit 0; test $$code -eq 0 || exit 1; \
	LD_PRELOAD=$(CURDIR)/$(SHIM)/libcuda.so.1 CUDA_VISIBLE_DEVICES=0 PYTHONPATH=$(CURDIR)/tests/gpu_shim/site \
	  $(BIN)/pytest tests/gpu_shim

# The first minutes on a GPU; tools/gpu_first.py says what it does and what a bare machine needs.
FIRST ?= gpu-first
gpu-first:
	$(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON)) tools/gpu_first.py $(FIRST) $(if $(WHEELS),--wheels $(WHEELS))

leaderboard: .venv/installed
	$(BIN)/lotterybench leaderboard --results $(RESULTS)

report: .venv/installed
	$(BIN)/lotterybench report --results $(RESULTS)

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Lotterybench needs Python 3.11 or newer; this is $$($(PYTHON) --version). Name another: make PYTHON=python3.12"; exit 3; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
