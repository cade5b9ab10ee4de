# make demo: sets everything up and runs the main job.  make atlas: the same for every study.
# make test: sets everything up and runs the tests.  OVERRIDES='seed=0': of every run of demo or atlas.
# All use a virtual environment of their own (.venv) and leave the machine's Python alone.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   ?= .venv
RUNS   ?= runs/demo
ATLAS  ?= runs/atlas
TORCH  := $(if $(filter Darwin,$(shell uname)),torch==2.13.0,torch==2.13.0+cpu)
BIN    := $(VENV)/bin

.PHONY: demo atlas test clean-venv

# Experiments, one after another: $(1) their names, $(2) the folder. The report is written whatever became of the runs;
# it names those that failed.
define carry_out
failed=0; $(BIN)/python -m experiments.sweeps.several $(1) runs_dir=$(2) $(OVERRIDES) || failed=$$?; \
  case $$failed in 130|143) exit $$failed;; esac; \
  $(BIN)/python -m analysis report $(2) && exit $$failed
endef

demo: $(VENV)/.installed
	@echo "Training 2 kinds of networks with 5 or 6 normalisations and 3 seeds each."
	@echo "Finished runs are kept in $(RUNS): stop with Ctrl-C and go on with the same command at any time."
	@$(call carry_out,santurkar2018/vgg santurkar2018/linear,$(RUNS))

atlas: $(VENV)/.installed
	@echo "Every study at its demo size, then the report of all explanations."
	@echo "Finished runs are kept in $(ATLAS): stop with Ctrl-C and go on with the same command at any time."
	@names=$$($(BIN)/python -m analysis experiments) || exit $$?; $(call carry_out,$$names,$(ATLAS))

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
