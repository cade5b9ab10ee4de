# make demo: sets everything up and runs the main job.  make test: sets everything up and runs the tests.
# Both use a virtual environment of their own (.venv) and leave the machine's Python alone.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   ?= .venv
RUNS   ?= runs/demo
TORCH  := $(if $(filter Darwin,$(shell uname)),torch==2.13.0,torch==2.13.0+cpu)
BIN    := $(VENV)/bin

.PHONY: demo test clean-venv

demo: $(VENV)/.installed
	@echo "Training 2 kinds of networks with 5 or 6 normalisations and 3 seeds each: about ten minutes on 2 cores."
	@echo "Finished runs are kept in $(RUNS): stop with Ctrl-C and go on with the same command at any time."
	@# The report is written whatever became of the runs; it names those that failed.
	failed=0; for experiment in vgg linear; do \
	  $(BIN)/python -m experiments experiment=santurkar2018/$$experiment runs_dir=$(RUNS) || failed=$$?; \
	  if [ $$failed -gt 128 ]; then exit $$failed; fi; \
	done; $(BIN)/python -m analysis report $(RUNS) && exit $$failed

test: $(VENV)/.installed
	@echo "Style, types and tests: about seven minutes on 2 quiet cores."
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile $(PYTEST_ARGS)

$(VENV)/.installed: pyproject.toml constraints/cpu.txt
	@echo "Setting up $(VENV) with the versions of constraints/cpu.txt: one to three minutes, about 1.7 GB of disk."
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3,11) <= sys.version_info < (3,14) else "Python 3.11, 3.12 or 3.13 is needed, this is " + sys.version.split()[0] + "; name one: make PYTHON=/path/to/python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	@# A CPU build of torch, from the package index in use if it has one, else from PyTorch's own.
	$(BIN)/pip install --quiet --disable-pip-version-check "$(TORCH)" 2>/dev/null \
	  || $(BIN)/pip install --quiet --disable-pip-version-check --index-url https://download.pytorch.org/whl/cpu "$(TORCH)"
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints/cpu.txt -e ".[dev]"
	@touch $@

clean-venv:
	rm -rf $(VENV)
